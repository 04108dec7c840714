/* Bodies of requests: valid ones, and what becomes of them with a seed. */
#ifndef NANO_TESTS_FUZZ_BODIES_H
#define NANO_TESTS_FUZZ_BODIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fuzz_random {
    uint64_t state;
};
uint64_t fuzz_next(struct fuzz_random *random);
/* From 0 up to, but without, `end`. */
size_t fuzz_below(struct fuzz_random *random, size_t end);

struct fuzz_body {
    const char *path;
    char *data;
    size_t num_bytes;
};

/* The i-th valid body; false: there are no more. `data` is borrowed. */
bool fuzz_valid_body(size_t i, struct fuzz_body *out);

/* A mutated one; the caller frees data. */
struct fuzz_body fuzz_mutate(struct fuzz_random *random);

/* A field of a wrong type: the i-th of them, in a body that is valid but for it. The caller frees
 * data. */
bool fuzz_wrong_type(size_t i, struct fuzz_body *out, const char **field, bool *must_fail);

#endif

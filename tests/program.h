/* Runs the program under test ($NANOVLLM_PROGRAM) as a user would, and keeps what it said. */
#ifndef NANO_TESTS_PROGRAM_H
#define NANO_TESTS_PROGRAM_H

#include <jansson.h>
#include <stddef.h>

struct program_result {
    int status; /* exit status; 128 + signal */
    char *out, *err;
    size_t out_bytes;
};

/* Arguments end with NULL. `input` NULL: standard input is empty. */
struct program_result program_run(const char *input, const char *const *args);
void program_free(struct program_result *result);

/* program_run(NULL, …) with the arguments as a list. */
#define RUN(...) program_run(NULL, (const char *const[]){__VA_ARGS__, NULL})

/* Fails the test unless the program said exactly one line, "nanovllm: …", that contains `part`, and
 * ended with `status`. */
void program_expect_error(struct program_result *result, int status, const char *part);

/* The JSON value on the n-th line of the output; the caller releases it. */
json_t *program_json(const struct program_result *result, int line);

/* $NANOVLLM_DATA_DIR/tinymodel.gguf; static storage. */
const char *program_model(void);

/* A file with this content in a folder of this test's own, which is removed at its end; static
 * storage until the next call. */
const char *program_file(const char *name, const void *bytes, size_t num_bytes);

#endif

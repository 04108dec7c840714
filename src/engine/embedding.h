/* Embedding: the sum of the hidden rows that a prompt's pooling takes, while its steps run, and the
 * vector that it is at the end. Sums are in double precision and in the order of positions, so
 * neither chunks nor threads nor other sequences change a bit. */
#ifndef NANO_ENGINE_EMBEDDING_H
#define NANO_ENGINE_EMBEDDING_H

#include "base/arena.h"
#include "base/error.h"

struct nano_embedding {
    int normalize;
    int size;
    double *sum;   /* [size] */
    float *values; /* [size], once it is finished */
};

/* Checks the values; the message names the parameter. */
enum nano_status nano_embedding_params_check(const struct nano_embedding_params *params,
                                             struct nano_error *err);

/* Zeroed, in the arena; NULL without memory. */
struct nano_embedding *nano_embedding_create(struct nano_arena *arena, int size, int normalize);

/* Bytes that one takes. */
size_t nano_embedding_bytes(int64_t size);

/* Adds columns [first, end) of a row; the first row begins the sum anew. */
void nano_embedding_add(struct nano_embedding *embedding, const float *row, bool is_first,
                        int64_t first, int64_t end);

/* Makes the values of the sum of num_rows rows. */
void nano_embedding_finish(struct nano_embedding *embedding, int num_rows);

#endif

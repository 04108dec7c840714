/* Embedding. */
#include "engine/embedding.h"

#include <math.h>

#define LARGEST_MAGNITUDE 32760.0 /* of an embedding that is to become 16-bit integers */

struct nano_embedding_params nano_embedding_params_default(void)
{
    return (struct nano_embedding_params){.pooling = NANO_POOLING_DEFAULT, .normalize = 2};
}

enum nano_status nano_embedding_params_check(const struct nano_embedding_params *params,
                                             struct nano_error *err)
{
    if (params->pooling < NANO_POOLING_DEFAULT || params->pooling > NANO_POOLING_LAST)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "pooling %d is unknown",
                              (int)params->pooling);
    if (params->normalize < -1)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "normalize is %d, expected -1 or more", params->normalize);
    return NANO_OK;
}

size_t nano_embedding_bytes(int64_t size)
{
    return sizeof(struct nano_embedding) + (size_t)size * (sizeof(double) + sizeof(float));
}

struct nano_embedding *nano_embedding_create(struct nano_arena *arena, int size, int normalize)
{
    struct nano_embedding *e = nano_arena_alloc(arena, 1, sizeof *e);
    if (!e)
        return NULL;
    e->normalize = normalize;
    e->size = size;
    e->sum = nano_arena_alloc(arena, (size_t)size, sizeof *e->sum);
    e->values = nano_arena_alloc(arena, (size_t)size, sizeof *e->values);
    return e->sum && e->values ? e : NULL;
}

void nano_embedding_add(struct nano_embedding *e, const float *row, bool is_first, int64_t first,
                        int64_t end)
{
    for (int64_t i = first; i < end; i++)
        e->sum[i] = is_first ? (double)row[i] : e->sum[i] + (double)row[i];
}

/* What the values are divided by; 0: they are all zero. */
static double divisor(const struct nano_embedding *e)
{
    double sum = 0, largest = 0;
    for (int i = 0; i < e->size; i++)
        largest = fmax(largest, fabs(e->sum[i]));
    if (e->normalize < 0 || largest == 0)
        return largest == 0 ? 0 : 1;
    if (e->normalize == 0)
        return largest / LARGEST_MAGNITUDE;
    for (int i = 0; i < e->size; i++) /* of parts of the largest, so that no power overflows */
        sum += pow(fabs(e->sum[i]) / largest, e->normalize);
    return largest * pow(sum, 1.0 / e->normalize);
}

void nano_embedding_finish(struct nano_embedding *e, int num_rows)
{
    for (int i = 0; i < e->size; i++)
        e->sum[i] /= num_rows;
    const double by = divisor(e);
    for (int i = 0; i < e->size; i++)
        e->values[i] = by > 0 ? (float)(e->sum[i] / by) : 0.0f;
}

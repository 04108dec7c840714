/* What tests of embeddings share: requests for them, and what came. Each test program is one or two
 * files, so this is a header alone. */
#ifndef NANO_TESTS_EMBEDDING_FIXTURE_H
#define NANO_TESTS_EMBEDDING_FIXTURE_H

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine_state.h"
#include "gguf_builder.h"
#include "tests/tiny_model.h"

#define MAX_SIZE 256

struct embedded {
    int32_t *prompt;
    int num_tokens;
    struct nano_embedding_params params;
    float values[MAX_SIZE];
    int size, num_finishes, num_cached_tokens;
    enum nano_finish_reason reason;
    uint64_t id;
};

static struct nano_error err;

static inline void embedded_init(struct embedded *e, int num_tokens, int vocab_size, uint64_t seed,
                                 enum nano_pooling pooling)
{
    *e = (struct embedded){.num_tokens = num_tokens, .params = nano_embedding_params_default()};
    e->params.pooling = pooling;
    e->prompt = malloc((size_t)num_tokens * sizeof *e->prompt);
    for (int i = 0; i < num_tokens; i++)
        e->prompt[i] = (int32_t)(tiny_random(&seed) % (uint64_t)vocab_size);
}

static inline void embedded_on_output(const struct nano_output *output, void *user_data)
{
    struct embedded *e = user_data;
    cr_assert_eq(e->num_finishes, 0, "one output, and it is the last");
    cr_assert_eq(output->num_tokens, 0);
    cr_assert_eq(output->num_prompt_tokens, e->num_tokens);
    cr_assert_eq(output->embedding != NULL, output->finish_reason == NANO_FINISH_STOP);
    e->num_finishes += output->finish_reason != NANO_FINISH_NONE;
    e->reason = output->finish_reason;
    e->num_cached_tokens = output->num_cached_tokens;
    e->size = output->embedding_size;
    cr_assert_leq(e->size, MAX_SIZE);
    if (output->embedding)
        memcpy(e->values, output->embedding, (size_t)e->size * sizeof *e->values);
}

static inline enum nano_status embedded_submit(struct embedded *e, nano_engine *engine)
{
    struct nano_request request = nano_request_default();
    request.prompt_token_ids = e->prompt;
    request.num_prompt_token_ids = (size_t)e->num_tokens;
    request.embedding = &e->params;
    request.on_output = embedded_on_output;
    request.user_data = e;
    e->num_finishes = 0;
    return nano_engine_submit(engine, &request, &e->id, &err);
}

static inline void embedded_run(struct embedded *e, nano_engine *engine)
{
    cr_assert_eq(embedded_submit(e, engine), NANO_OK, "%s", err.message);
    nano_engine_wait_idle(engine);
    cr_assert_eq(e->reason, NANO_FINISH_STOP);
}

static inline void embedded_compare(const struct embedded *got, const struct embedded *expected)
{
    cr_assert_eq(got->num_finishes, 1);
    cr_assert_eq(got->reason, NANO_FINISH_STOP);
    cr_assert_eq(got->size, expected->size);
    cr_assert_eq(memcmp(got->values, expected->values, (size_t)got->size * sizeof(float)), 0,
                 "%d tokens, pooling %d: the bits differ", got->num_tokens,
                 (int)got->params.pooling);
}

/* The embedding of rows [num_tokens][size] as its definition says. */
static inline void plain_embedding(const double *rows, int num_tokens, int size,
                                   const struct nano_embedding_params *params, double *out)
{
    double norm = 0;
    for (int i = 0; i < size; i++) {
        out[i] = 0;
        for (int t = 0; t < num_tokens; t++)
            if (params->pooling == NANO_POOLING_MEAN)
                out[i] += rows[t * size + i] / num_tokens;
            else if (t == (params->pooling == NANO_POOLING_CLS ? 0 : num_tokens - 1))
                out[i] = rows[t * size + i];
        norm = params->normalize > 0 ? norm + pow(fabs(out[i]), params->normalize)
                                     : fmax(norm, fabs(out[i]) / 32760);
    }
    if (params->normalize > 0)
        norm = pow(norm, 1.0 / params->normalize);
    for (int i = 0; i < size && params->normalize >= 0; i++)
        out[i] /= norm;
}

/* Largest difference divided by the largest value. */
static inline double embedded_difference(const struct embedded *e, const double *expected)
{
    double difference = 0, largest = 0;
    for (int i = 0; i < e->size; i++) {
        if (isnan(e->values[i]))
            return INFINITY;
        difference = fmax(difference, fabs((double)e->values[i] - expected[i]));
        largest = fmax(largest, fabs(expected[i]));
    }
    return difference / largest;
}

/* A model with those weights, through a file. */
static inline nano_model *open_weights(const struct nano_weights *weights)
{
    struct gguf_builder builder;
    nano_model *model;
    char path[64];
    snprintf(path, sizeof path, "embedding-%ld.gguf", (long)getpid());
    gguf_builder_init(&builder);
    gguf_builder_weights(&builder, weights, NULL);
    gguf_builder_write(&builder, path);
    gguf_builder_deinit(&builder);
    cr_assert_eq(nano_model_open(&model, path, &err), NANO_OK, "%s", err.message);
    unlink(path);
    return model;
}

static inline nano_engine *open_engine(nano_model *model, const struct nano_engine_params *params)
{
    nano_engine *engine;
    cr_assert_eq(nano_engine_create(&engine, model, params, &err), NANO_OK, "%s", err.message);
    return engine;
}

#endif

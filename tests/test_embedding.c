/* Embeddings of decoders: against plain means of hidden rows, the same bits whatever else is in the
 * batch, and the ways they can end. */
#include "base/memory.h"
#include "embedding_fixture.h"
#include "engine_harness.h"

static const enum nano_pooling poolings[] = {NANO_POOLING_MEAN, NANO_POOLING_CLS,
                                             NANO_POOLING_LAST};

static struct nano_engine_params manual_params(const char *runner)
{
    struct nano_engine_params params = nano_engine_params_default();
    params.runner = runner;
    params.manual_step = true;
    params.kv_cache_dtype = NANO_KV_F32;
    params.max_model_len = 256;
    params.block_size = 8;
    return params;
}

/* ---- values ---- */

/* Its logits are its hidden rows, because its last matrix is the identity. */
static const struct tiny_shape transparent = {"qwen3", 24,    24,    36,    2,    4, 2, 10,
                                              0,       false, false, false, NULL, 0, 11};

static void make_transparent(struct nano_weights *weights)
{
    tiny_model_make(weights, &transparent, NULL);
    for (size_t i = 0; i < weights->num_tensors; i++) {
        struct nano_tensor *t = &weights->tensors[i];
        if (strcmp(t->name.bytes, "output.weight") != 0)
            continue;
        float *data = nano_arena_alloc(&weights->arena, 24 * 24, sizeof *data);
        cr_assert_not_null(data);
        for (int k = 0; k < 24; k++)
            data[k * 24 + k] = 1;
        t->data = data;
    }
}

Test(embedding, pooled_hidden_rows_of_a_decoder)
{
    static const int lengths[] = {1, 2, 33, 70};
    static const int norms[] = {2, -1, 0, 1, 3};
    struct nano_weights weights;
    make_transparent(&weights);
    nano_model *model = open_weights(&weights);
    struct nano_engine_params params = manual_params("cpu");
    params.max_num_batched_tokens = 40;
    nano_engine *engine = open_engine(model, &params);
    for (int i = 0; i < 4 * 3 * 5; i++) {
        struct embedded e;
        double rows[70 * 24], expected[24];
        embedded_init(&e, lengths[i % 4], 24, 1000 + (uint64_t)i, poolings[i / 4 % 3]);
        e.params.normalize = norms[i / 12];
        embedded_run(&e, engine);
        tiny_model_forward(&weights, &transparent, e.prompt, e.num_tokens, rows);
        plain_embedding(rows, e.num_tokens, 24, &e.params, expected);
        cr_assert_eq(e.size, 24);
        cr_assert_lt(embedded_difference(&e, expected), 2e-5, "%d tokens, pooling %d, norm %d",
                     e.num_tokens, (int)e.params.pooling, e.params.normalize);
        free(e.prompt);
    }
    nano_engine_destroy(engine);
    nano_model_close(model);
    nano_weights_close(&weights);
}

Test(embedding, a_decoder_pools_its_last_token_and_normalizes)
{
    nano_model *model;
    cr_assert_eq(nano_model_open(&model, NULL, &err), NANO_OK, "%s", err.message);
    struct nano_engine_params params = manual_params("cpu");
    nano_engine *engine = open_engine(model, &params);
    struct embedded e, last;
    embedded_init(&e, 20, 200, 1, NANO_POOLING_DEFAULT);
    embedded_init(&last, 20, 200, 1, NANO_POOLING_LAST);
    embedded_run(&e, engine);
    embedded_run(&last, engine);
    embedded_compare(&e, &last);
    double length = 0;
    for (int i = 0; i < e.size; i++)
        length += (double)e.values[i] * (double)e.values[i];
    cr_assert_float_eq(length, 1, 1e-6);
    cr_assert_eq(e.size, nano_model_get_info(model)->hidden_size);
    free(e.prompt);
    free(last.prompt);
    nano_engine_destroy(engine);
    nano_model_close(model);
}

static void check_file_pooling(uint32_t in_file, enum nano_pooling expected)
{
    struct nano_weights weights;
    tiny_model_make(&weights, &tiny_shapes[0],
                    &(struct tiny_fault){.bad_key = "pooling_type", .bad_value = in_file});
    for (size_t i = 0; i < weights.num_metadata; i++)
        if (strcmp(weights.metadata[i].key.bytes, "llama.pooling_type") == 0)
            weights.metadata[i].value.i = in_file;
    nano_model *model = open_weights(&weights);
    struct nano_engine_params params = manual_params("cpu");
    nano_engine *engine = open_engine(model, &params);
    struct embedded by_file, by_request;
    embedded_init(&by_file, 9, 60, 5, NANO_POOLING_DEFAULT);
    embedded_init(&by_request, 9, 60, 5, expected);
    embedded_run(&by_file, engine);
    embedded_run(&by_request, engine);
    embedded_compare(&by_file, &by_request);
    free(by_file.prompt);
    free(by_request.prompt);
    nano_engine_destroy(engine);
    nano_model_close(model);
    nano_weights_close(&weights);
}

Test(embedding, the_file_says_which_pooling)
{
    check_file_pooling(1, NANO_POOLING_MEAN);
    check_file_pooling(2, NANO_POOLING_CLS);
    check_file_pooling(3, NANO_POOLING_LAST);
    check_file_pooling(0, NANO_POOLING_LAST); /* none, which is no vector */
}

/* ---- schedules ---- */

enum { NUM = 18 };

/* Embeddings and generations together, in an engine so small that it preempts. */
static void check_schedule(nano_model *model, const char *runner, int vocab_size, uint64_t seed)
{
    struct embedded alone[NUM], crowd[NUM];
    struct client writers[NUM], alone_writers[NUM];
    uint64_t random = seed;
    struct nano_engine_params params = manual_params(runner);
    nano_engine *engine = open_engine(model, &params);
    for (int i = 0; i < NUM; i++) {
        int num_tokens = 1 + (int)harness_random(&random, 90);
        uint64_t family = harness_random(&random, 4); /* some prompts begin alike, some are equal */
        embedded_init(&alone[i], num_tokens, vocab_size, family, poolings[i % 3]);
        embedded_init(&crowd[i], num_tokens, vocab_size, family, poolings[i % 3]);
        client_init(&writers[i], 5 + i, vocab_size, family, family);
        client_init(&alone_writers[i], 5 + i, vocab_size, family, family);
        writers[i].request.sampling.max_tokens = alone_writers[i].request.sampling.max_tokens = 20;
        embedded_run(&alone[i], engine);
        cr_assert_eq(client_submit(&alone_writers[i], engine, &err), NANO_OK, "%s", err.message);
        nano_engine_wait_idle(engine);
    }
    nano_engine_destroy(engine);

    params.block_size = 1 + (int)harness_random(&random, 6);
    params.max_num_batched_tokens = 6 + (int)harness_random(&random, 70);
    params.max_num_seqs = 2 + (int)harness_random(&random, 12);
    params.num_threads = 1 + (int)harness_random(&random, 2);
    params.max_model_len = 100;
    params.num_blocks = 110 / params.block_size + 8;
    params.enable_prefix_caching = harness_random(&random, 3) > 0;
    params.num_speculative_tokens = harness_random(&random, 2) ? 4 : 0;
    engine = open_engine(model, &params);
    for (int i = 0; i < NUM; i++) {
        bool has_work = true;
        cr_assert_eq(embedded_submit(&crowd[i], engine), NANO_OK, "%s", err.message);
        cr_assert_eq(client_submit(&writers[i], engine, &err), NANO_OK, "%s", err.message);
        for (uint32_t k = harness_random(&random, 4); k > 0; k--) {
            cr_assert_eq(nano_engine_step(engine, &has_work, &err), NANO_OK, "%s", err.message);
            cr_assert(nano_scheduler_check(&engine->scheduler));
        }
    }
    nano_engine_wait_idle(engine);
    cr_assert_eq(engine->scheduler.blocks.num_free, params.num_blocks);
    for (int i = 0; i < NUM; i++) {
        embedded_compare(&crowd[i], &alone[i]);
        if (crowd[i].params.pooling != NANO_POOLING_LAST)
            cr_assert_eq(crowd[i].num_cached_tokens, 0);
        client_compare(&writers[i], &alone_writers[i], false);
        free(alone[i].prompt);
        free(crowd[i].prompt);
        client_deinit(&writers[i]);
        client_deinit(&alone_writers[i]);
    }
    nano_engine_destroy(engine);
}

Test(embedding, same_bits_whatever_the_batch)
{
    struct nano_weights weights;
    tiny_model_make(&weights, &tiny_shapes[6], NULL);
    tiny_model_quantize(&weights, NANO_FORMAT_Q8_0);
    nano_model *model = open_weights(&weights);
    for (uint64_t seed = 0; seed < 12; seed++)
        check_schedule(model, "cpu", tiny_shapes[6].vocab_size, seed);
    nano_model_close(model);
    nano_weights_close(&weights);
    for (uint64_t seed = 0; seed < 60; seed++)
        check_schedule(NULL, "mock-kv", 1000, 100 + seed);
}

Test(embedding, the_last_row_alone_can_use_cached_blocks)
{
    struct nano_engine_params params = manual_params("mock-kv");
    nano_engine *engine = open_engine(NULL, &params);
    for (int i = 0; i < 3; i++) {
        struct embedded first, again;
        embedded_init(&first, 41, 1000, (uint64_t)i, poolings[i]);
        embedded_init(&again, 41, 1000, (uint64_t)i, poolings[i]);
        embedded_run(&first, engine);
        embedded_run(&again, engine);
        embedded_compare(&again, &first);
        cr_assert_eq(again.num_cached_tokens, poolings[i] == NANO_POOLING_LAST ? 40 : 0);
        free(first.prompt);
        free(again.prompt);
    }
    nano_engine_destroy(engine);
}

/* ---- refusals and ends ---- */

Test(embedding, bad_parameters_are_named)
{
    struct nano_engine_params params = manual_params("mock-kv");
    nano_engine *engine = open_engine(NULL, &params);
    struct embedded e;
    embedded_init(&e, 257, 1000, 1, (enum nano_pooling)4);
    cr_assert_eq(embedded_submit(&e, engine), NANO_ERR_INVALID_ARGUMENT);
    cr_assert_str_eq(err.message, "pooling 4 is unknown");
    e.params.pooling = NANO_POOLING_MEAN;
    e.params.normalize = -2;
    cr_assert_eq(embedded_submit(&e, engine), NANO_ERR_INVALID_ARGUMENT);
    cr_assert_str_eq(err.message, "normalize is -2, expected -1 or more");
    e.params.normalize = -1;
    cr_assert_eq(embedded_submit(&e, engine), NANO_ERR_INVALID_ARGUMENT);
    cr_assert(strstr(err.message, "257 tokens, expected at most 256"), "%s", err.message);
    free(e.prompt);
    nano_engine_destroy(engine);
}

Test(embedding, submitting_survives_every_failed_allocation)
{
    struct nano_engine_params params = manual_params("mock-kv");
    nano_engine *engine = open_engine(NULL, &params);
    struct embedded e;
    embedded_init(&e, 30, 1000, 1, NANO_POOLING_MEAN);
    enum nano_status status = NANO_ERR_NO_MEMORY;
    for (uint64_t n = 1; status != NANO_OK; n++) {
        nano_mem_fail_after(n);
        status = embedded_submit(&e, engine);
        cr_assert(nano_mem_fail_after(0) >= n || status == NANO_OK);
        cr_assert(status == NANO_OK || status == NANO_ERR_NO_MEMORY);
    }
    nano_engine_wait_idle(engine);
    cr_assert_eq(e.reason, NANO_FINISH_STOP);
    free(e.prompt);
    nano_engine_destroy(engine);
}

Test(embedding, cancelled_and_destroyed_in_the_middle)
{
    for (int steps = 0; steps < 6; steps++) {
        struct nano_engine_params params = manual_params("mock-kv");
        params.max_num_batched_tokens = 16;
        params.num_threads = 1;
        nano_engine *engine = open_engine(NULL, &params);
        struct embedded e[4];
        bool has_work;
        for (int i = 0; i < 4; i++) {
            embedded_init(&e[i], 50, 1000, (uint64_t)i, poolings[i % 3]);
            cr_assert_eq(embedded_submit(&e[i], engine), NANO_OK, "%s", err.message);
        }
        for (int i = 0; i < steps; i++)
            cr_assert_eq(nano_engine_step(engine, &has_work, &err), NANO_OK);
        nano_engine_cancel(engine, e[1].id);
        if (steps % 2)
            cr_assert_eq(nano_engine_step(engine, &has_work, &err), NANO_OK);
        nano_engine_destroy(engine);
        int num_cancelled = 0;
        for (int i = 0; i < 4; i++) {
            cr_assert_eq(e[i].num_finishes, 1);
            num_cancelled += e[i].reason == NANO_FINISH_CANCELLED;
            free(e[i].prompt);
        }
        cr_assert_geq(num_cancelled, 3);
    }
}

Test(embedding, the_engines_thread_ends_with_requests_under_way)
{
    struct nano_weights weights;
    tiny_model_make(&weights, &tiny_shapes[0], NULL);
    nano_model *model = open_weights(&weights);
    struct nano_engine_params params = manual_params("cpu");
    params.manual_step = false;
    params.max_num_batched_tokens = 8;
    nano_engine *engine = open_engine(model, &params);
    struct embedded e[12];
    for (int i = 0; i < 12; i++) {
        embedded_init(&e[i], 200, tiny_shapes[0].vocab_size, (uint64_t)i, poolings[i % 3]);
        cr_assert_eq(embedded_submit(&e[i], engine), NANO_OK, "%s", err.message);
    }
    nano_engine_destroy(engine);
    for (int i = 0; i < 12; i++) {
        cr_assert_eq(e[i].num_finishes, 1);
        free(e[i].prompt);
    }
    nano_model_close(model);
    nano_weights_close(&weights);
}

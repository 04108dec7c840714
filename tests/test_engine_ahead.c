/* Steps that are begun while others compute: the same tokens, what ends in the meantime, and what
 * goes wrong. */
#include <criterion/criterion.h>
#include <string.h>

#include "engine/engine_state.h"
#include "engine_harness.h"

enum { NUM_CLIENTS = 12, VOCAB = 1000 };

static struct nano_error err;

static struct nano_engine_params device_params(bool async)
{
    struct nano_engine_params params = nano_engine_params_default();
    params.runner = "mock-device-kv";
    params.manual_step = true;
    params.max_model_len = 256;
    params.block_size = 4;
    params.async_scheduling = async;
    return params;
}

static bool step(nano_engine *engine)
{
    bool has_work;
    cr_assert_eq(nano_engine_step(engine, &has_work, &err), NANO_OK, "%s", err.message);
    cr_assert(nano_scheduler_check(&engine->scheduler));
    return has_work;
}

static int32_t stop_token_ids[30];

static void init_client(struct client *client, int i)
{
    client_init(client, 3 + 5 * i, VOCAB, 1, (uint64_t)i);
    struct nano_sampling_params *p = &client->request.sampling;
    p->max_tokens = 20 + 7 * i;
    p->temperature = i % 3 == 0 ? 0.0f : 0.8f;
    p->top_k = i % 3 == 1 ? 20 : 0;
    p->n = i % 5 == 2 ? 3 : 1;
    p->min_tokens = i == 7 ? 10 : 0;
    if (i % 4 == 1) {
        p->stop_token_ids = stop_token_ids;
        p->num_stop_token_ids = 30;
    }
}

/* ---- The same tokens ------------------------------------------------------------------------- */

static nano_engine *run_all(struct client *clients, const struct nano_engine_params *params)
{
    nano_engine *engine = harness_engine(NULL, params);
    for (int i = 0; i < 30; i++)
        stop_token_ids[i] = i * 33;
    for (int i = 0; i < NUM_CLIENTS; i++) {
        init_client(&clients[i], i);
        harness_submit(&clients[i], engine);
        for (int k = 0; k < 5; k++)
            step(engine);
    }
    while (step(engine))
        continue;
    return engine;
}

Test(engine_ahead, no_token_changes)
{
    for (int num_blocks = 0; num_blocks <= 100; num_blocks += 100) { /* 0: as many as are needed */
        struct client expected[NUM_CLIENTS], got[NUM_CLIENTS];
        struct nano_stats stats[2];
        for (int async = 0; async < 2; async++) {
            struct nano_engine_params params = device_params(async);
            params.num_blocks = num_blocks;
            nano_engine *engine = run_all(async ? got : expected, &params);
            nano_engine_get_stats(engine, &stats[async]);
            cr_expect_eq(engine->scheduler.blocks.num_free, engine->scheduler.blocks.num_blocks);
            if (async)
                cr_expect_gt(engine->num_steps_ahead, num_blocks ? 30 : 60, "%llu of %llu",
                             (unsigned long long)engine->num_steps_ahead,
                             (unsigned long long)stats[async].num_steps_total);
            else
                cr_expect_eq(engine->num_steps_ahead, 0);
            nano_engine_destroy(engine);
        }
        cr_expect_eq(stats[0].generation_tokens_total, stats[1].generation_tokens_total);
        cr_expect_eq(stats[0].num_requests_finished, stats[1].num_requests_finished);
        if (num_blocks)
            cr_expect_gt(stats[1].num_preemptions_total, 0);
        for (int i = 0; i < NUM_CLIENTS; i++) {
            client_compare(&got[i], &expected[i], false);
            client_deinit(&got[i]);
            client_deinit(&expected[i]);
        }
    }
}

/* One prompt, one token a step; only the first two steps are not begun before. */
Test(engine_ahead, every_step_behind_the_first_two_is_ahead_and_none_is_too_many)
{
    struct nano_engine_params params = device_params(true);
    nano_engine *engine = harness_engine(NULL, &params);
    struct client client;
    client_init(&client, 9, VOCAB, 1, 1);
    client.request.sampling.max_tokens = 30;
    harness_submit(&client, engine);
    while (step(engine))
        continue;
    struct nano_stats stats;
    nano_engine_get_stats(engine, &stats);
    cr_expect_eq(client.completions[0].num_tokens, 30);
    cr_expect_eq(stats.num_steps_total, 30);
    cr_expect_eq(stats.computed_tokens_total, 9 + 29);
    cr_expect_eq(engine->num_steps_ahead, 28);
    client_deinit(&client);
    nano_engine_destroy(engine);
}

/* What an answer leaves behind can be begun with, as far as it was computed. */
Test(engine_ahead, blocks_of_answers_are_found)
{
    uint64_t hits[2];
    for (int async = 0; async < 2; async++) {
        struct nano_engine_params params = device_params(async);
        nano_engine *engine = harness_engine(NULL, &params);
        struct client first, second;
        client_init(&first, 10, VOCAB, 1, 1);
        first.request.sampling.max_tokens = 31;
        harness_submit(&first, engine);
        nano_engine_wait_idle(engine);
        client_init(&second, 45, VOCAB, 1, 2);
        memcpy(second.prompt, first.prompt, 10 * sizeof *second.prompt);
        memcpy(second.prompt + 10, first.completions[0].tokens, 31 * sizeof *second.prompt);
        second.request.sampling.max_tokens = 3;
        harness_submit(&second, engine);
        nano_engine_wait_idle(engine);
        struct nano_stats stats;
        nano_engine_get_stats(engine, &stats);
        hits[async] = stats.prefix_cache_hits_total;
        cr_expect_eq(hits[async], 40, "%llu", (unsigned long long)hits[async]);
        client_deinit(&first);
        client_deinit(&second);
        nano_engine_destroy(engine);
    }
}

/* ---- Others ---------------------------------------------------------------------------------- */

/* It comes in with the first batch that is not begun yet. */
Test(engine_ahead, new_work_does_not_wait)
{
    struct nano_engine_params params = device_params(true);
    nano_engine *engine = harness_engine(NULL, &params);
    struct client old, late;
    client_init(&old, 9, VOCAB, 1, 1);
    client_init(&late, 9, VOCAB, 1, 2);
    old.request.sampling.max_tokens = 60;
    harness_submit(&old, engine);
    for (int i = 0; i < 10; i++)
        step(engine);
    cr_expect(engine->has_next);
    harness_submit(&late, engine);
    step(engine); /* what was begun; nothing is begun behind it */
    cr_expect(!engine->has_next);
    cr_expect_eq(late.completions[0].num_tokens, 0);
    step(engine);
    cr_expect_eq(late.completions[0].num_tokens, 1);
    step(engine);
    cr_expect(engine->has_next);
    nano_engine_destroy(engine);
    client_deinit(&old);
    client_deinit(&late);
}

/* There is no place for it: the others go on as ever. When one of them ends it comes in at once. */
Test(engine_ahead, who_has_no_place_does_not_hold_others_up)
{
    struct nano_engine_params params = device_params(true);
    params.max_num_seqs = 2;
    nano_engine *engine = harness_engine(NULL, &params);
    struct client clients[3];
    for (int i = 0; i < 3; i++) {
        client_init(&clients[i], 9, VOCAB, 1, (uint64_t)i);
        clients[i].request.sampling.max_tokens = i == 0 ? 20 : 40;
        harness_submit(&clients[i], engine);
    }
    for (int i = 0; i < 19; i++)
        step(engine);
    cr_expect_eq(clients[0].completions[0].num_tokens, 19);
    cr_expect(engine->has_next);
    cr_expect_eq(engine->num_steps_ahead, 18);
    step(engine);
    cr_expect(!engine->has_next);
    cr_expect_eq(clients[0].completions[0].num_finishes, 1);
    step(engine);
    cr_expect_eq(clients[2].completions[0].num_tokens, 1);
    nano_engine_wait_idle(engine);
    for (int i = 0; i < 3; i++)
        client_deinit(&clients[i]);
    nano_engine_destroy(engine);
}

/* ---- Ends ------------------------------------------------------------------------------------ */

static nano_engine *engine_at_work(struct client *client, int num_steps)
{
    struct nano_engine_params params = device_params(true);
    nano_engine *engine = harness_engine(NULL, &params);
    client_init(client, 9, VOCAB, 1, 1);
    client->request.sampling.max_tokens = 60;
    harness_submit(client, engine);
    for (int i = 0; i < num_steps; i++)
        step(engine);
    cr_assert(engine->has_next);
    return engine;
}

Test(engine_ahead, cancelled_while_its_next_token_is_computed)
{
    struct client client;
    nano_engine *engine = engine_at_work(&client, 10);
    nano_engine_cancel(engine, client.id);
    cr_expect(!step(engine), "there was nothing to do but to wait for the device");
    cr_expect(!engine->has_next);
    cr_expect_eq(client.completions[0].reason, NANO_FINISH_CANCELLED);
    cr_expect_eq(client.completions[0].num_tokens, 10);
    client_reset(&client);
    harness_submit(&client, engine);
    nano_engine_wait_idle(engine);
    cr_expect_eq(client.completions[0].num_tokens, 60);
    client_deinit(&client);
    nano_engine_destroy(engine);
}

Test(engine_ahead, destroyed_while_a_batch_is_begun)
{
    struct client client;
    nano_engine_destroy(engine_at_work(&client, 10));
    cr_expect_eq(client.completions[0].reason, NANO_FINISH_CANCELLED);
    client_deinit(&client);
}

/* A stop token shows when the row behind it is computed already. */
Test(engine_ahead, what_a_dead_row_gives_is_dropped)
{
    struct client client;
    nano_engine *engine = engine_at_work(&client, 10);
    int32_t stop = client.completions[0].tokens[5];
    int end = 0;
    while (client.completions[0].tokens[end] != stop)
        end++;
    nano_engine_destroy(engine);
    client_reset(&client);
    struct nano_engine_params params = device_params(true);
    engine = harness_engine(NULL, &params);
    client.request.sampling.stop_token_ids = &stop;
    client.request.sampling.num_stop_token_ids = 1;
    harness_submit(&client, engine);
    nano_engine_wait_idle(engine);
    struct nano_stats stats;
    nano_engine_get_stats(engine, &stats);
    cr_expect_eq(client.completions[0].reason, NANO_FINISH_STOP);
    cr_expect_eq(client.completions[0].num_tokens, end + 1);
    cr_expect_eq(stats.generation_tokens_total, (uint64_t)end + 1);
    cr_expect(!engine->has_next);
    client_deinit(&client);
    nano_engine_destroy(engine);
}

/* ---- What goes wrong ------------------------------------------------------------------------- */

static struct nano_runner failing;
static const struct nano_runner *real;
static int calls_until_failure;
static bool begin_fails;

static enum nano_status begin_or_fail(void *state, const struct nano_batch *batch,
                                      struct nano_error *e)
{
    if (begin_fails && calls_until_failure-- == 0)
        return nano_error_set(e, NANO_ERR_INTERNAL, "the device is gone");
    return real->begin(state, batch, e);
}

static enum nano_status end_or_fail(void *state, struct nano_batch *batch, struct nano_error *e)
{
    const enum nano_status status = real->end(state, batch, e); /* it is ended in any case */
    if (!begin_fails && calls_until_failure-- == 0)
        return nano_error_set(e, NANO_ERR_INTERNAL, "the device is gone");
    return status;
}

static void fail_after(nano_engine *engine, bool in_begin, int num_calls)
{
    real = engine->setup.runner;
    failing = *real;
    failing.begin = begin_or_fail;
    failing.end = end_or_fail;
    engine->setup.runner = &failing;
    begin_fails = in_begin;
    calls_until_failure = num_calls;
}

Test(engine_ahead, a_failure_ends_who_was_in_the_batch_once)
{
    struct client expected[NUM_CLIENTS];
    const struct nano_engine_params params = device_params(true);
    nano_engine_destroy(run_all(expected, &params));
    for (int k = 0; k < 80; k++) {
        struct client clients[NUM_CLIENTS];
        nano_engine *engine = harness_engine(NULL, &params);
        fail_after(engine, k % 2, k / 2);
        int num_failed = 0, num_errors = 0;
        bool has_work = true;
        for (int i = 0; i < NUM_CLIENTS; i++) {
            init_client(&clients[i], i);
            harness_submit(&clients[i], engine);
        }
        while (has_work) {
            num_failed += nano_engine_step(engine, &has_work, &err) != NANO_OK;
            cr_assert(nano_scheduler_check(&engine->scheduler));
        }
        cr_expect_eq(num_failed, 1, "%d: %d", k, num_failed);
        cr_expect(!engine->has_next);
        cr_expect_eq(engine->scheduler.blocks.num_free, engine->scheduler.blocks.num_blocks);
        for (int i = 0; i < NUM_CLIENTS; i++)
            for (int n = 0; n < clients[i].request.sampling.n; n++) {
                const struct completion *got = &clients[i].completions[n];
                cr_expect_eq(got->num_finishes, 1);
                num_errors += got->reason == NANO_FINISH_ERROR;
                cr_expect_leq(got->num_tokens, expected[i].completions[n].num_tokens);
                cr_expect_eq(memcmp(got->tokens, expected[i].completions[n].tokens,
                                    (size_t)got->num_tokens * sizeof *got->tokens),
                             0);
            }
        cr_expect_gt(num_errors, 0);
        /* It goes on with what comes next. */
        client_reset(&clients[0]);
        harness_submit(&clients[0], engine);
        nano_engine_wait_idle(engine);
        client_compare(&clients[0], &expected[0], false);
        for (int i = 0; i < NUM_CLIENTS; i++)
            client_deinit(&clients[i]);
        nano_engine_destroy(engine);
    }
    for (int i = 0; i < NUM_CLIENTS; i++)
        client_deinit(&expected[i]);
}

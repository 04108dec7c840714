/* Engine: what goes wrong. A runner that fails, clients that submit while the engine is destroyed,
 * requests that hold more than there is memory for. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_state.h"
#include "engine_harness.h"

static struct nano_error err;

static struct nano_engine_params mock_params(void)
{
    struct nano_engine_params params = nano_engine_params_default();
    params.runner = "mock-kv";
    params.manual_step = true;
    params.max_model_len = 256;
    params.block_size = 4;
    return params;
}

/* ---- A runner that fails --------------------------------------------------------------------- */

static struct nano_runner failing;
static enum nano_status (*real_run)(void *, struct nano_batch *, struct nano_error *);
static int runs_until_failure;

static enum nano_status run_or_fail(void *state, struct nano_batch *batch, struct nano_error *e)
{
    if (runs_until_failure-- == 0)
        return nano_error_set(e, NANO_ERR_INTERNAL, "the device is gone");
    return real_run(state, batch, e);
}

static void fail_after(nano_engine *engine, int num_runs)
{
    failing = *engine->setup.runner;
    real_run = failing.run;
    failing.run = run_or_fail;
    engine->setup.runner = &failing;
    runs_until_failure = num_runs;
}

/* Steps to the end; returns how many steps failed. */
static int step_to_the_end(nano_engine *engine)
{
    int num_failed = 0;
    bool has_work = true;
    while (has_work) {
        num_failed += nano_engine_step(engine, &has_work, &err) != NANO_OK;
        cr_assert(nano_scheduler_check(&engine->scheduler));
    }
    return num_failed;
}

Test(engine_faults, a_failing_step_ends_its_batch_and_nothing_else)
{
    enum { NUM = 12 };
    for (int num_runs = 0; num_runs < 20; num_runs++) {
        struct nano_engine_params params = mock_params();
        params.num_blocks = 64;
        params.max_num_seqs = 8;
        params.max_num_batched_tokens = 40;
        nano_engine *engine = harness_engine(NULL, &params);
        struct client clients[NUM], alone[NUM];
        for (int i = 0; i < NUM; i++) {
            for (int k = 0; k < 2; k++) {
                struct client *c = k ? &alone[i] : &clients[i];
                client_init(c, 10 + 5 * i, 1000, 1, (uint64_t)i);
                c->request.sampling.max_tokens = 6 + i;
                c->request.sampling.n = 1 + i % 3;
                c->request.sampling.prompt_logprobs = i % 4 == 1 ? 1 : -1;
            }
            cr_assert_eq(client_submit(&clients[i], engine, &err), NANO_OK, "%s", err.message);
        }
        fail_after(engine, num_runs);
        cr_assert_eq(step_to_the_end(engine), 1);
        cr_assert_str_eq(err.message, "the device is gone");
        cr_assert_eq(engine->scheduler.blocks.num_free, 64);
        cr_assert_eq(engine->num_live, 0);
        nano_engine_destroy(engine);
        int num_errors = 0;
        engine = harness_engine(NULL, &params);
        for (int i = 0; i < NUM; i++) {
            cr_assert_eq(client_submit(&alone[i], engine, &err), NANO_OK, "%s", err.message);
            nano_engine_wait_idle(engine);
            for (int k = 0; k < clients[i].request.sampling.n; k++) {
                const struct completion *got = &clients[i].completions[k];
                cr_assert_eq(got->num_finishes, 1);
                num_errors += got->reason == NANO_FINISH_ERROR;
                if (got->reason != NANO_FINISH_ERROR)
                    cr_assert_eq(got->num_tokens, alone[i].completions[k].num_tokens);
                cr_assert_eq(memcmp(got->tokens, alone[i].completions[k].tokens,
                                    (size_t)got->num_tokens * sizeof(int32_t)),
                             0);
            }
            client_deinit(&clients[i]);
            client_deinit(&alone[i]);
        }
        cr_assert(num_errors >= 1 && num_errors <= 8, "%d completions failed", num_errors);
        nano_engine_destroy(engine);
    }
}

/* Text that was held back, because a stop string could have begun in it, is not lost. */
Test(engine_faults, text_so_far_comes_with_the_error)
{
    nano_model *model = harness_model();
    struct nano_engine_params params = nano_engine_params_default();
    params.manual_step = true;
    params.num_threads = 1;
    struct client clients[2];
    for (int i = 0; i < 2; i++) {
        nano_engine *engine = harness_engine(model, &params);
        client_init(&clients[i], 20, 200, 1, 1);
        struct nano_sampling_params *sampling = &clients[i].request.sampling;
        sampling->detokenize = true;
        sampling->temperature = 0.0f;
        sampling->max_tokens = 12;
        char stop[64];
        const char *stops[] = {stop};
        if (i == 1) { /* its beginning is the first run's whole text */
            snprintf(stop, sizeof stop, "%.60s~~", clients[0].completions[0].text);
            sampling->stop = stops;
            sampling->num_stop = 1;
        }
        cr_assert_eq(client_submit(&clients[i], engine, &err), NANO_OK, "%s", err.message);
        fail_after(engine, i == 0 ? 100 : 5);
        cr_assert_eq(step_to_the_end(engine), i);
        nano_engine_destroy(engine);
    }
    const struct completion *whole = &clients[0].completions[0], *cut = &clients[1].completions[0];
    cr_assert_eq(cut->reason, NANO_FINISH_ERROR);
    cr_assert_eq(cut->num_tokens, 5);
    cr_assert(cut->text_bytes > 0 && cut->text_bytes < whole->text_bytes);
    cr_assert_eq(memcmp(cut->text, whole->text, cut->text_bytes), 0);
    client_deinit(&clients[0]);
    client_deinit(&clients[1]);
    nano_model_close(model);
}

/* ---- Ends ------------------------------------------------------------------------------------ */

struct stubborn {
    nano_engine *engine;
    int num_finished, num_refused;
};

static const int32_t some_prompt[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

static enum nano_status submit_stubborn(struct stubborn *stubborn);

static void submit_again(const struct nano_output *output, void *user_data)
{
    struct stubborn *stubborn = user_data;
    if (output->finish_reason == NANO_FINISH_NONE)
        return;
    stubborn->num_finished++;
    cr_assert_lt(stubborn->num_finished, 100, "destroy never ends");
    stubborn->num_refused += submit_stubborn(stubborn) != NANO_OK;
}

static enum nano_status submit_stubborn(struct stubborn *stubborn)
{
    struct nano_request request = nano_request_default();
    request.prompt_token_ids = some_prompt;
    request.num_prompt_token_ids = 9;
    request.sampling.detokenize = false;
    request.sampling.max_tokens = 5;
    request.on_output = submit_again;
    request.user_data = stubborn;
    return nano_engine_submit(stubborn->engine, &request, NULL, &err);
}

Test(engine_faults, submissions_are_refused_while_the_engine_is_destroyed)
{
    struct nano_engine_params params = mock_params();
    struct stubborn stubborn = {.engine = harness_engine(NULL, &params)};
    cr_assert_eq(submit_stubborn(&stubborn), NANO_OK);
    bool has_work;
    for (int i = 0; i < 7; i++)
        cr_assert_eq(nano_engine_step(stubborn.engine, &has_work, &err), NANO_OK);
    cr_assert_eq(stubborn.num_finished, 1);
    cr_assert_eq(stubborn.num_refused, 0);
    nano_engine_destroy(stubborn.engine);
    cr_assert_eq(stubborn.num_finished, 2);
    cr_assert_eq(stubborn.num_refused, 1);
}

Test(engine_faults, prompt_logprobs_are_computed_once_for_all_completions)
{
    struct nano_engine_params params = mock_params();
    nano_engine *engine = harness_engine(NULL, &params);
    struct client client;
    client_init(&client, 41, 1000, 1, 1);
    client.request.sampling.n = 4;
    client.request.sampling.max_tokens = 3;
    client.request.sampling.prompt_logprobs = 2;
    cr_assert_eq(client_submit(&client, engine, &err), NANO_OK, "%s", err.message);
    nano_engine_wait_idle(engine);
    struct nano_stats stats;
    nano_engine_get_stats(engine, &stats);
    cr_assert_eq(client.num_prompt_logprobs, 41);
    cr_assert_eq(stats.computed_tokens_total, 41 + 3 * 1 + 4 * 2);
    client_deinit(&client);
    nano_engine_destroy(engine);
}

static const char *push_char(struct nano_text_output *text, char c, bool stop_now)
{
    int32_t *token;
    size_t count;
    nano_text_output_take(text);
    cr_assert_eq(nano_tokenizer_encode(text->stream.tokenizer, &c, 1, 0, &token, &count, &err),
                 NANO_OK);
    cr_assert_eq(count, 1);
    const char *stop = nano_text_output_push(text, *token, stop_now);
    nano_free(token);
    return stop;
}

/* "ab" was complete before stop strings count; it is still held because "xabc" could follow. */
Test(engine_faults, a_stop_string_that_did_not_count_does_not_stop_later)
{
    nano_model *model = harness_model();
    const char *stops[] = {"ab", "xabc"};
    struct nano_sampling_params params = nano_sampling_params_default();
    struct nano_text_output text;
    struct nano_arena arena;
    nano_arena_init(&arena);
    params.stop = stops;
    params.num_stop = 2;
    cr_assert_eq(
        nano_text_output_init(&text, nano_model_get_tokenizer(model, &err), &params, &arena, &err),
        NANO_OK);
    for (const char *c = "xab"; *c; c++)
        cr_assert_null(push_char(&text, *c, false));
    cr_assert_eq(text.num_held, 3);
    cr_assert_eq(text.num_ready, 0);
    cr_assert_null(push_char(&text, 'z', true));
    cr_assert_null(push_char(&text, 'a', true));
    cr_assert_str_eq(push_char(&text, 'b', true), "ab");
    nano_arena_deinit(&arena);
    nano_model_close(model);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

/* Whatever the plan promises as max_model_len can be asked for, also one at a time. */
Test(engine_faults, the_longest_request_has_room_in_every_budget)
{
    static const int lengths[] = {1, 2, 100, 600, 1000, 1500, 2048, 5000, 70000};
    static const int block_sizes[] = {1, 32, 4096};
    for (int i = 0; i < 27; i++) {
        struct nano_engine_params params = mock_params();
        params.max_model_len = lengths[i % 9];
        params.block_size = block_sizes[i / 9];
        params.max_num_seqs = 1;
        params.mem_budget_bytes = (uint64_t)200 << 20;
        nano_engine *engine = harness_engine(NULL, &params);
        struct client client;
        client_init(&client, 1, 1000, 1, 1);
        client.request.sampling.max_tokens = params.max_model_len == 1 ? 0 : -1;
        client.request.sampling.logprobs = MAX_TOP;
        cr_assert_eq(client_submit(&client, engine, &err), NANO_OK, "%d tokens: %s", lengths[i % 9],
                     err.message);
        nano_engine_destroy(engine);
        client_deinit(&client);
    }
}

Test(engine_faults, a_request_that_can_never_fit_is_not_told_to_wait)
{
    struct nano_engine_params params = mock_params();
    params.max_model_len = 20000;
    params.mem_budget_bytes = (uint64_t)100 << 20;
    nano_engine *engine = harness_engine(NULL, &params);
    struct client client;
    client_init(&client, 19000, 1000, 1, 1);
    client.request.sampling.prompt_logprobs = 1000;
    cr_assert_eq(client_submit(&client, engine, &err), NANO_ERR_INVALID_ARGUMENT);
    cr_assert(strstr(err.message, "memory budget"), "%s", err.message);
    client_deinit(&client);
    nano_engine_destroy(engine);
}

Test(engine_faults, a_context_too_long_for_the_default_pool_is_explained_without_a_budget)
{
    struct nano_engine_params params = mock_params();
    struct nano_memory_plan plan;
    params.max_model_len = 1 << 30;
    params.block_size = 1;
    cr_assert_eq(nano_engine_plan(NULL, &params, &plan, &err), NANO_ERR_NO_MEMORY);
    cr_assert(!strstr(err.message, "budget 0.0") && strstr(err.message, "1073741824"), "%s",
              err.message);
}

Test(engine_faults, no_prompt_at_all)
{
    struct nano_engine_params params = mock_params();
    nano_engine *engine = harness_engine(NULL, &params);
    struct client client;
    client_init(&client, 5, 1000, 1, 1);
    client.request.prompt_token_ids = NULL;
    cr_assert_eq(client_submit(&client, engine, &err), NANO_ERR_INVALID_ARGUMENT);
    cr_assert(strstr(err.message, "empty"), "%s", err.message);
    client_deinit(&client);
    nano_engine_destroy(engine);
}

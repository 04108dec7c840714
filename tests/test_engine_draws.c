/* A runner that draws: the engine asks for draws where nothing else is needed, and the tokens are
 * those that its own sampler makes of the same logits. */
#include <criterion/criterion.h>
#include <string.h>

#include "engine/engine_state.h"
#include "engine_harness.h"

enum { NUM_CLIENTS = 16, VOCAB = 1000 };

/* ---- The mock runner, with draws and logits that repeat themselves --------------------------- */

static struct nano_runner drawing;
static const struct nano_runner *mock;
static nano_engine *engine;
static struct nano_batch *whole;
static struct nano_error err;
static int num_draws, num_draws_ahead, num_logits;

static void on_logits(void *context, int output, float *logits)
{
    struct nano_batch_output *out = &whole->outputs[output];
    for (int i = 3; i < 8; i += 2)
        logits[i] += 6.0f;
    if (!out->draws) {
        num_logits++;
        whole->on_logits(context, output, logits);
        return;
    }
    num_draws++;
    num_draws_ahead += engine->scheduler.step.targets[output].num_ahead > 0;
    out->token = nano_sampler_draw(&engine->sampler, &out->draw, logits);
}

static enum nano_status run(void *state, struct nano_batch *batch, struct nano_error *e)
{
    struct nano_batch inner = *batch;
    for (int i = 0; i < batch->num_outputs; i++)
        if (batch->outputs[i].draws)
            cr_assert(!batch->outputs[i].greedy && !batch->outputs[i].hidden);
    inner.on_logits = on_logits;
    whole = batch;
    return mock->run(state, &inner, e);
}

static void open_engine(bool draws, int num_speculative_tokens)
{
    struct nano_engine_params params = nano_engine_params_default();
    params.runner = "mock-kv";
    params.manual_step = true;
    params.max_model_len = 200;
    params.block_size = 4;
    params.max_num_batched_tokens = 64;
    params.num_speculative_tokens = num_speculative_tokens;
    params.prompt_lookup_min = 1;
    engine = harness_engine(NULL, &params);
    mock = engine->setup.runner;
    drawing = *mock;
    drawing.run = run;
    engine->setup.runner = &drawing;
    engine->caps.draws = draws;
    num_draws = num_draws_ahead = num_logits = 0;
}

static void run_all(struct client *clients, int count)
{
    for (int i = 0; i < count; i++)
        harness_submit(&clients[i], engine);
    for (bool has_work = true; has_work;) {
        engine->step_time = (struct nano_step_time){0};
        cr_assert_eq(nano_engine_step(engine, &has_work, &err), NANO_OK);
    }
}

static void init_client(struct client *client, int i)
{
    static const int top_ks[] = {0, 20, 0, 3};
    client_init(client, 3 + 7 * i, VOCAB, 1, (uint64_t)i);
    struct nano_sampling_params *p = &client->request.sampling;
    p->max_tokens = 60;
    p->n = i % 5 == 0 ? 3 : 1;
    p->temperature = i % 6 == 5 ? 0.0f : 0.4f + 0.1f * (float)(i % 3);
    p->top_k = top_ks[i % 4];
    p->top_p = i % 3 == 0 ? 0.9f : 1.0f;
    p->min_p = i % 7 == 2 ? 0.05f : 0.0f;
    p->min_tokens = i % 8 == 3 ? 20 : 0;
    p->presence_penalty = i % 8 == 4 ? 0.5f : 0.0f;
    p->logprobs = i % 8 == 6 ? 2 : -1;
    p->prompt_logprobs = i % 8 == 7 ? 1 : -1;
}

static void check(int num_speculative_tokens)
{
    struct client expected[NUM_CLIENTS], got[NUM_CLIENTS];
    for (int i = 0; i < NUM_CLIENTS; i++) {
        init_client(&expected[i], i);
        init_client(&got[i], i);
    }
    open_engine(false, 0);
    run_all(expected, NUM_CLIENTS);
    cr_assert_eq(num_draws, 0);
    nano_engine_destroy(engine);
    open_engine(true, num_speculative_tokens);
    run_all(got, NUM_CLIENTS);
    cr_assert_gt(num_draws, 500);
    cr_assert_gt(num_logits, 100);
    if (num_speculative_tokens > 0) {
        struct nano_stats stats;
        nano_engine_get_stats(engine, &stats);
        cr_assert_gt(num_draws_ahead, 100);
        cr_assert_gt(stats.accepted_tokens_total, 50);
    }
    nano_engine_destroy(engine);
    for (int i = 0; i < NUM_CLIENTS; i++) {
        client_compare(&got[i], &expected[i], false);
        client_deinit(&got[i]);
        client_deinit(&expected[i]);
    }
}

Test(engine_draws, tokens_are_those_of_the_engines_sampler)
{
    check(0);
}

Test(engine_draws, proposals_are_checked_with_the_draws_behind_them)
{
    check(4);
}

/* How many outputs of a request alone are draws, and how many come as logits. */
static void count(struct client *client, int draws, int logits)
{
    open_engine(true, 0);
    run_all(client, 1);
    cr_expect_eq(num_draws, draws, "%d draws, expected %d", num_draws, draws);
    cr_expect_eq(num_logits, logits, "%d rows of logits, expected %d", num_logits, logits);
    nano_engine_destroy(engine);
    client_deinit(client);
}

Test(engine_draws, only_what_needs_nothing_else_is_drawn)
{
    static const struct nano_logit_bias bias = {.token_id = 3, .bias = 1.0f};
    struct client c;
    for (int kind = 0; kind < 10; kind++) {
        client_init(&c, 9, VOCAB, 1, 2);
        struct nano_sampling_params *p = &c.request.sampling;
        p->max_tokens = 12;
        p->temperature = kind == 1 ? 0.0f : 1.0f;
        p->repetition_penalty = kind == 2 ? 1.1f : 1.0f;
        p->frequency_penalty = kind == 3 ? 0.1f : 0.0f;
        p->logit_bias = &bias;
        p->num_logit_bias = kind == 4;
        p->logprobs = kind == 5 ? 0 : -1;
        p->min_tokens = kind == 6 ? 5 : 0;
        p->prompt_logprobs = kind == 7 ? 0 : -1;
        p->top_k = kind >= 8 ? NANO_MAX_DRAW_TOP_K + 1 : 0;
        p->top_p = kind == 9 ? 0.9f : 1.0f;
        static const int draws[] = {12, 0, 0, 0, 0, 0, 7, 12, 0, 12};
        static const int logits[] = {0, 0, 12, 12, 12, 12, 5, 8, 12, 0};
        count(&c, draws[kind], logits[kind]);
    }
}

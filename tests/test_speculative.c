/* Speculative decoding and step times: what is proposed, how its length adapts, what it may take
 * from the pool, and the size of chunks that follows from measured steps. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_state.h"
#include "engine_harness.h"

enum { MAX_LENGTH = 400 };

static const struct nano_speculative_config config = {
    .num_speculative_tokens = 8, .prompt_lookup_min = 2, .prompt_lookup_max = 4};
static struct nano_draft draft;
static int32_t tokens[MAX_LENGTH];
static int num_tokens;

static void begin(const int32_t *prompt, int count)
{
    free(draft.next);
    nano_draft_init(&draft, &config, calloc(nano_draft_size(MAX_LENGTH), sizeof(int32_t)),
                    MAX_LENGTH);
    memcpy(tokens, prompt, (size_t)count * sizeof *tokens);
    num_tokens = count;
}

static int propose(int limit, double row_cost)
{
    return nano_draft_propose(&draft, tokens, num_tokens, limit, row_cost);
}

static void check_proposal(const int32_t *expected, int count)
{
    cr_assert_eq(propose(count, 0.0), count);
    for (int i = 0; i < count; i++)
        cr_assert_eq(tokens[num_tokens + i], expected[i], "proposal %d is %d, expected %d", i,
                     tokens[num_tokens + i], expected[i]);
}

Test(speculative, what_followed_the_longest_match_is_proposed)
{
    begin((int32_t[]){1, 2, 3, 4, 50, 51, 9, 3, 4, 60, 61, 1, 2, 3, 4}, 15);
    check_proposal((int32_t[]){50, 51}, 2);
    begin((int32_t[]){8, 3, 4, 50, 51, 9, 3, 4, 60, 61, 7, 3, 4}, 13);
    check_proposal((int32_t[]){60, 61}, 2); /* of equally long ones the last */
    begin((int32_t[]){1, 2, 3, 4, 5, 6, 7, 8}, 8);
    cr_assert_eq(propose(8, 0.0), 0);
    begin((int32_t[]){4, 5, 6, 9, 5}, 5); /* one token is less than prompt_lookup_min */
    cr_assert_eq(propose(8, 0.0), 0);
    begin((int32_t[]){4}, 1);
    cr_assert_eq(propose(8, 0.0), 0);
}

Test(speculative, a_period_is_continued_past_its_end)
{
    begin((int32_t[]){9, 5, 6, 5, 6}, 5);
    check_proposal((int32_t[]){5, 6, 5}, 3);
}

/* One by one or all at once, the index is the same. */
Test(speculative, the_index_grows_with_the_sequence)
{
    int32_t history[MAX_LENGTH];
    uint64_t random = 3;
    for (int i = 0; i < MAX_LENGTH; i++)
        history[i] = (int32_t)harness_random(&random, 6);
    begin(history, 10);
    for (; num_tokens < 300; num_tokens++) {
        propose(1, 0.0);
        tokens[num_tokens] = history[num_tokens];
    }
    int count = propose(3, 0.0);
    int32_t proposed[3];
    memcpy(proposed, tokens + num_tokens, sizeof proposed);
    begin(history, 300);
    cr_assert_eq(count, 3);
    check_proposal(proposed, 3);
}

Test(speculative, length_follows_acceptance_and_cost)
{
    static const int32_t period[] = {5, 6, 5, 6, 5, 6};
    begin(period, 6);
    int at_first = propose(8, 0.0);
    cr_assert(at_first > 0 && at_first < 8);
    cr_assert_lt(propose(8, 0.3), at_first, "a dear row is proposed only if it is likely");
    cr_assert_eq(propose(8, 0.9), 0);
    for (int i = 0; i < 30; i++) {
        int count = propose(8, 0.0);
        nano_draft_observe(&draft, 5, count);
    }
    cr_assert_eq(propose(8, 0.0), 8);
    cr_assert_gt(propose(8, 0.7), 0);
    for (int i = 0; i < 30; i++) {
        propose(8, 0.0);
        nano_draft_observe(&draft, 99, 0);
    }
    cr_assert_eq(propose(8, 0.0), 0, "nothing is proposed that is always wrong");
    for (int i = 0; i < 30; i++) {
        propose(8, 0.0);
        nano_draft_observe(&draft, 5, draft.num_proposed);
    }
    cr_assert_eq(propose(8, 0.0), 8, "predictions that come true bring it back");
}

/* ---- In the engine --------------------------------------------------------------------------- */

static struct nano_error err;

static struct nano_engine_params engine_params(void)
{
    struct nano_engine_params params = nano_engine_params_default();
    params.runner = "mock-kv";
    params.manual_step = true;
    params.max_model_len = 256;
    params.block_size = 4;
    params.num_speculative_tokens = 6;
    return params;
}

/* Steps until there is nothing left to do. What a step took on this machine must not decide how
 * much is proposed. */
static void run(nano_engine *engine)
{
    for (bool has_work = true; has_work;) {
        engine->step_time = (struct nano_step_time){0};
        cr_assert_eq(nano_engine_step(engine, &has_work, &err), NANO_OK);
        cr_assert(nano_scheduler_check(&engine->scheduler));
        for (int i = 0; i < engine->scheduler.num_running; i++) {
            const struct nano_sequence *seq = engine->scheduler.running[i];
            if (!seq->in_prefill)
                cr_assert_eq(seq->num_blocks, (seq->num_computed_tokens + 3) / 4);
        }
    }
}

/* Its output is one token again and again. */
static void client_init_monotonous(struct client *client, int num_prompt_tokens, int max_tokens)
{
    static const struct nano_logit_bias bias = {7, 100.0f};
    client_init(client, num_prompt_tokens, 1000, 1, 2);
    client->request.sampling.max_tokens = max_tokens;
    client->request.sampling.logit_bias = &bias;
    client->request.sampling.num_logit_bias = 1;
}

Test(speculative, repetition_takes_fewer_steps)
{
    struct nano_engine_params params = engine_params();
    nano_engine *engine;
    cr_assert_eq(nano_engine_create(&engine, NULL, &params, &err), NANO_OK, "%s", err.message);
    struct client client;
    client_init_monotonous(&client, 5, 121);
    cr_assert_eq(client_submit(&client, engine, &err), NANO_OK, "%s", err.message);
    run(engine);
    struct nano_stats stats;
    nano_engine_get_stats(engine, &stats);
    cr_assert_eq(client.completions[0].num_tokens, 121);
    cr_assert_eq(stats.num_steps_total + stats.accepted_tokens_total, 121);
    cr_assert_lt(stats.num_steps_total, 40);
    cr_assert_leq(stats.accepted_tokens_total, stats.draft_tokens_total);
    client_deinit(&client);
    nano_engine_destroy(engine);
}

/* The blocks of a finished request hold its own tokens only, so that the same prompt and output,
 * given as a prompt, are found and continued as without speculation. */
Test(speculative, no_proposal_is_ever_published)
{
    struct nano_engine_params params = engine_params(), plain = engine_params();
    plain.num_speculative_tokens = 0;
    plain.enable_prefix_caching = false;
    struct client first, second[2];
    for (int i = 0; i < 2; i++) {
        nano_engine *engine;
        cr_assert_eq(nano_engine_create(&engine, NULL, i ? &plain : &params, &err), NANO_OK);
        client_init(&first, 30, 6, 1, 2); /* few different tokens: there is always a match */
        first.request.sampling.max_tokens = 40;
        cr_assert_eq(client_submit(&first, engine, &err), NANO_OK);
        run(engine);
        client_init(&second[i], 70, 6, 1, 2);
        memcpy(second[i].prompt, first.prompt, 30 * sizeof *first.prompt);
        memcpy(second[i].prompt + 30, first.completions[0].tokens, 40 * sizeof(int32_t));
        second[i].request.sampling.max_tokens = 20;
        cr_assert_eq(client_submit(&second[i], engine, &err), NANO_OK);
        run(engine);
        if (i == 0)
            cr_assert_geq(second[i].completions[0].num_cached_tokens, 60);
        nano_engine_destroy(engine);
        client_deinit(&first);
    }
    client_compare(&second[0], &second[1], false);
    client_deinit(&second[0]);
    client_deinit(&second[1]);
}

/* A pool that holds the sequences without speculation holds them with it. */
Test(speculative, proposals_preempt_nobody)
{
    enum { NUM = 6 };
    uint64_t num_preemptions[2];
    for (int i = 0; i < 2; i++) {
        struct nano_engine_params params = engine_params();
        params.num_speculative_tokens = i ? 6 : 0;
        params.max_num_seqs = NUM;
        params.max_model_len = 128;
        params.num_blocks = NUM * 10; /* exactly what they need in the end */
        params.enable_prefix_caching = false;
        struct client clients[NUM];
        nano_engine *engine;
        cr_assert_eq(nano_engine_create(&engine, NULL, &params, &err), NANO_OK);
        for (int k = 0; k < NUM; k++) {
            client_init_monotonous(&clients[k], 10, 31);
            cr_assert_eq(client_submit(&clients[k], engine, &err), NANO_OK);
        }
        run(engine);
        struct nano_stats stats;
        nano_engine_get_stats(engine, &stats);
        num_preemptions[i] = stats.num_preemptions_total;
        if (i)
            cr_assert_gt(stats.draft_tokens_total, 0);
        nano_engine_destroy(engine);
        for (int k = 0; k < NUM; k++)
            client_deinit(&clients[k]);
    }
    cr_assert_eq(num_preemptions[0], 0);
    cr_assert_eq(num_preemptions[1], 0);
}

Test(speculative, parameters_are_checked)
{
    nano_engine *engine;
    for (int fault = 0; fault < 6; fault++) {
        struct nano_engine_params params = engine_params();
        static const char *const names[] = {"num_speculative_tokens", "num_speculative_tokens",
                                            "prompt_lookup_min",      "prompt_lookup_max",
                                            "itl_target_ms",          "itl_target_ms"};
        params.num_speculative_tokens = fault == 0 ? -1 : fault == 1 ? 65 : 4;
        params.prompt_lookup_min = fault == 2 ? 0 : 3;
        params.prompt_lookup_max = fault == 3 ? 2 : 3;
        params.itl_target_ms = fault == 4 ? -1.0f : fault == 5 ? NAN : 0.0f;
        cr_assert_eq(nano_engine_create(&engine, NULL, &params, &err), NANO_ERR_INVALID_ARGUMENT);
        cr_assert(strstr(err.message, names[fault]), "%s", err.message);
    }
}

/* ---- Step times ------------------------------------------------------------------------------ */

/* A machine where a decode step takes base_ns and each token of prefill token_ns. */
static int settle(struct nano_step_time *time, double base_ns, double token_ns, double target_ns,
                  int num_steps, double jitter)
{
    uint64_t random = 5;
    int chunk = 0;
    for (int i = 0; i < num_steps; i++) {
        double noise = 1.0 + jitter * ((double)harness_random(&random, 2001) / 1000.0 - 1.0);
        chunk = i % 4 == 3 ? 0 : nano_step_time_prefill_limit(time, target_ns, 512);
        nano_step_time_add(time, chunk, 4, 0, (uint64_t)((base_ns + token_ns * chunk) * noise));
    }
    return nano_step_time_prefill_limit(time, target_ns, 512);
}

Test(step_time, chunks_meet_the_target)
{
    struct nano_step_time time = {0};
    int chunk = settle(&time, 20e6, 0.1e6, 40e6, 100, 0.0);
    cr_assert(chunk >= 190 && chunk <= 210, "%d tokens", chunk);
    chunk = settle(&time, 20e6, 0.4e6, 40e6, 100, 0.0); /* a longer context: tokens get dearer */
    cr_assert(chunk >= 47 && chunk <= 53, "%d tokens", chunk);
    chunk = settle(&time, 30e6, 0.1e6, 40e6, 100, 0.1);
    cr_assert(chunk >= 60 && chunk <= 140, "%d tokens", chunk);
}

/* A server that always has prompts never sees what decoding alone takes. */
Test(step_time, the_target_is_met_without_steps_that_only_decode)
{
    struct nano_step_time time = {0};
    int chunk = 64;
    for (int i = 0; i < 100; i++) {
        nano_step_time_add(&time, chunk, 4, 0, (uint64_t)(20e6 + 0.1e6 * chunk));
        chunk = nano_step_time_prefill_limit(&time, 40e6, 512);
    }
    cr_assert(chunk >= 180 && chunk <= 220, "%d tokens", chunk);
}

Test(step_time, bounds)
{
    struct nano_step_time time = {0};
    cr_assert_eq(nano_step_time_row_cost(&time, 4), 0.0);
    int least = nano_step_time_prefill_limit(&time, 1e6, 512);
    cr_assert_gt(least, 0, "nothing is known, but prompts go on");
    cr_assert_eq(settle(&time, 20e6, 0.1e6, 10e6, 50, 0.0), least, "a target out of reach");
    cr_assert_eq(nano_step_time_prefill_limit(&time, 10e6, 5), 5, "a budget below that");
    cr_assert_eq(settle(&time, 20e6, 0.001e6, 40e6, 50, 0.0), 512, "a target that is no limit");
}

Test(step_time, one_step_that_was_held_up_changes_little)
{
    struct nano_step_time time = {0};
    int before = settle(&time, 20e6, 0.1e6, 40e6, 100, 0.0);
    nano_step_time_add(&time, 0, 4, 0, (uint64_t)5e9);
    int after = nano_step_time_prefill_limit(&time, 40e6, 512);
    cr_assert(after >= before / 2, "%d tokens instead of %d", after, before);
    settle(&time, 20e6, 0.1e6, 40e6, 100, 0.0);
    nano_step_time_add(&time, before, 4, 0, (uint64_t)5e9);
    after = nano_step_time_prefill_limit(&time, 40e6, 512);
    cr_assert(after >= before / 2, "%d tokens instead of %d", after, before);
}

/* A row of a small batch may cost more than one of a prompt, or nothing: decoding shows it. */
Test(step_time, row_cost_is_a_row_against_a_decode_step)
{
    struct nano_step_time time = {0};
    settle(&time, 20e6, 0.5e6, 40e6, 100, 0.0);
    cr_assert_float_eq(nano_step_time_row_cost(&time, 4), 0.1, 0.01, "what prompts have shown");
    cr_assert_lt(nano_step_time_row_cost(&time, 1), nano_step_time_row_cost(&time, 4));
    for (int i = 0; i < 60; i++)
        nano_step_time_add(&time, 0, 4 + i % 5, i % 5, (uint64_t)(12e6 + 2e6 * (4 + i % 5)));
    cr_assert_float_eq(nano_step_time_row_cost(&time, 4), 8.0 / 20.0, 0.1);
    cr_assert_float_eq(time.decode_ns, 20e6, 2e6, "proposals do not hide what decoding takes");
    for (int i = 0; i < 60; i++)
        nano_step_time_add(&time, 0, 4 + i % 5, i % 5, (uint64_t)20e6);
    cr_assert_lt(nano_step_time_row_cost(&time, 4), 0.05);
    for (int i = 0; i < 60; i++)
        nano_step_time_add(&time, 0, 4 + i % 5, i % 5, (uint64_t)(5e6 * (4 + i % 5)));
    cr_assert(nano_step_time_row_cost(&time, 4) > 0.7 && nano_step_time_row_cost(&time, 4) <= 1.0);
}

struct chunk_log {
    int num_mixed, num_alone, most_mixed, most_alone;
};

static void on_step(const struct nano_step *step, void *user_data)
{
    struct chunk_log *log = user_data;
    bool mixed = step->num_decode_tokens > 0;
    int *most = mixed ? &log->most_mixed : &log->most_alone;
    if (step->num_prefill_tokens > *most)
        *most = step->num_prefill_tokens;
    log->num_mixed += mixed && step->num_prefill_tokens > 0;
    log->num_alone += !mixed;
}

Test(step_time, only_steps_in_which_somebody_decodes_are_cut)
{
    struct chunk_log log = {0};
    struct nano_engine_params params = engine_params();
    params.max_model_len = 1024;
    params.max_num_batched_tokens = 256;
    params.itl_target_ms = 10.0f;
    params.on_step = on_step;
    params.on_step_user_data = &log;
    nano_engine *engine;
    cr_assert_eq(nano_engine_create(&engine, NULL, &params, &err), NANO_OK);
    struct client clients[3];
    static const int prompts[] = {600, 600, 500}, outputs[] = {60, 20, 20};
    bool has_work = true;
    for (int i = 0; i < 3; i++) {
        client_init(&clients[i], prompts[i], 1000, (uint64_t)i, (uint64_t)i);
        clients[i].request.sampling.max_tokens = outputs[i];
    }
    cr_assert_eq(client_submit(&clients[0], engine, &err), NANO_OK);
    for (int i = 0; has_work; i++) {
        /* 2 ms and 0.1 ms a token: 80 tokens of prefill keep to 10 ms. */
        engine->step_time = (struct nano_step_time){
            .decode_ns = 2e6, .prefill_ns_sum = 0.1e6 * 1000, .prefill_tokens_sum = 1000};
        cr_assert_eq(nano_engine_step(engine, &has_work, &err), NANO_OK);
        cr_assert(nano_scheduler_check(&engine->scheduler));
        if (i == 3) {
            cr_assert_eq(client_submit(&clients[1], engine, &err), NANO_OK);
            cr_assert_eq(client_submit(&clients[2], engine, &err), NANO_OK);
        }
    }
    cr_assert_eq(log.most_alone, 256);
    cr_assert_eq(log.most_mixed, 80);
    cr_assert_eq(log.num_mixed, 14, "1100 tokens of prefill, 80 a step");
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(clients[i].completions[0].num_tokens, outputs[i]);
        client_deinit(&clients[i]);
    }
    nano_engine_destroy(engine);
}

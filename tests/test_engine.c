/* Engine: the life of requests, sharing, limits and errors. Most run on the mock runner with a pool
 * that remembers; texts need the built-in model. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "engine/engine_state.h"
#include "engine_harness.h"
#include "runner/mock/mock_runner.h"

static struct nano_error err;

static struct nano_engine_params mock_params(void)
{
    struct nano_engine_params params = nano_engine_params_default();
    params.runner = "mock-kv";
    params.manual_step = true;
    params.max_model_len = 2048;
    return params;
}

static struct nano_stats stats_of(nano_engine *engine)
{
    struct nano_stats stats;
    nano_engine_get_stats(engine, &stats);
    return stats;
}

/* ---- Sharing --------------------------------------------------------------------------------- */

Test(engine, sixteen_live_requests_hold_a_common_prefix_once_and_compute_it_once)
{
    enum { NUM = 16, PREFIX = 1000, OWN = 32, OUTPUT = 20 };
    struct nano_engine_params params = mock_params();
    nano_engine *engine = harness_engine(NULL, &params);
    struct client clients[NUM];
    for (int i = 0; i < NUM; i++) {
        client_init(&clients[i], PREFIX + OWN, 1000, 5, (uint64_t)i);
        uint64_t common = 77;
        for (int t = 0; t < PREFIX; t++)
            clients[i].prompt[t] = (int32_t)harness_random(&common, 1000);
        clients[i].request.sampling.max_tokens = OUTPUT;
        harness_submit(&clients[i], engine);
    }
    bool has_work = true;
    int most_shared = 0, all_running_used = 0;
    while (has_work) {
        cr_assert_eq(nano_engine_step(engine, &has_work, &err), NANO_OK);
        struct nano_stats stats = stats_of(engine);
        if (stats.num_blocks_shared > most_shared)
            most_shared = stats.num_blocks_shared;
        if (stats.num_requests_running == NUM)
            all_running_used = stats.num_blocks_used;
    }
    int block_size = params.block_size, prefix_blocks = PREFIX / block_size;
    int own_blocks = (PREFIX + OWN + OUTPUT + block_size - 1) / block_size - prefix_blocks;
    struct nano_stats stats = stats_of(engine);
    cr_assert_eq(most_shared, prefix_blocks);
    cr_assert(all_running_used > 0 && all_running_used <= prefix_blocks + NUM * own_blocks,
              "%d blocks are in use", all_running_used);
    uint64_t rest = (uint64_t)(PREFIX + OWN - prefix_blocks * block_size);
    uint64_t once = (uint64_t)(prefix_blocks * block_size);
    cr_assert_eq(stats.computed_tokens_total, once + NUM * (rest + OUTPUT - 1));
    cr_assert_eq(stats.prefix_cache_hits_total, (NUM - 1) * once);
    for (int i = 0; i < NUM; i++) {
        cr_assert_eq(clients[i].completions[0].num_cached_tokens, i == 0 ? 0 : (int)once);
        client_deinit(&clients[i]);
    }
    nano_engine_destroy(engine);
}

Test(engine, completions_of_one_request_share_its_prompt_even_without_a_cache)
{
    struct nano_engine_params params = mock_params();
    params.enable_prefix_caching = false;
    params.block_size = 16;
    nano_engine *engine = harness_engine(NULL, &params);
    struct client clients[2];
    for (int i = 0; i < 2; i++) {
        client_init(&clients[i], 100, 1000, 5, 9);
        clients[i].request.sampling.n = 4;
        clients[i].request.sampling.max_tokens = 5;
        harness_submit(&clients[i], engine);
    }
    nano_engine_wait_idle(engine);
    /* 6 full blocks are computed once by each request, never across the two. */
    cr_assert_eq(stats_of(engine).computed_tokens_total, 2 * (100 + 3 * 4 + 4 * 4));
    client_compare(&clients[0], &clients[1], false);
    for (int i = 0; i < 2; i++)
        client_deinit(&clients[i]);
    nano_engine_destroy(engine);
}

Test(engine, freed_blocks_are_found_again_by_content)
{
    struct nano_engine_params params = mock_params();
    nano_engine *engine = harness_engine(NULL, &params);
    struct client client;
    client_init(&client, 330, 1000, 1, 2);
    client.request.sampling.max_tokens = 4;
    harness_submit(&client, engine);
    nano_engine_wait_idle(engine);
    cr_assert_eq(stats_of(engine).num_blocks_used, 0);
    cr_assert_eq(stats_of(engine).num_blocks_cached, 10);
    client_reset(&client);
    harness_submit(&client, engine);
    nano_engine_wait_idle(engine);
    cr_assert_eq(client.completions[0].num_cached_tokens, 320);
    client_deinit(&client);
    nano_engine_destroy(engine);
}

static int cached_tokens_with_salt(nano_engine *engine, struct client *client, const char *salt)
{
    client_reset(client);
    client->request.cache_salt = salt;
    harness_submit(client, engine);
    nano_engine_wait_idle(engine);
    return client->completions[0].num_cached_tokens;
}

Test(engine, requests_of_different_salts_do_not_share_blocks)
{
    struct nano_engine_params params = mock_params();
    nano_engine *engine = harness_engine(NULL, &params);
    struct client client;
    client_init(&client, 330, 1000, 1, 2);
    client.request.sampling.max_tokens = 4;
    cr_assert_eq(cached_tokens_with_salt(engine, &client, NULL), 0);
    cr_assert_eq(cached_tokens_with_salt(engine, &client, "one"), 0);
    cr_assert_eq(cached_tokens_with_salt(engine, &client, "another"), 0);
    cr_assert_eq(cached_tokens_with_salt(engine, &client, "one"), 320);
    cr_assert_eq(cached_tokens_with_salt(engine, &client, "another"), 320);
    cr_assert_eq(cached_tokens_with_salt(engine, &client, ""), 320, "empty is the common one");
    client_deinit(&client);
    nano_engine_destroy(engine);
}

/* ---- Windows and recurrent states ------------------------------------------------------------ */

/* A client whose prompt is another's prompt and output and num_new tokens more. */
static void next_turn(struct client *client, const struct client *before, int num_new,
                      int32_t vocab_size)
{
    const struct completion *c = &before->completions[0];
    const int num_old = (int)before->request.num_prompt_token_ids;
    client_init(client, num_old + c->num_tokens + num_new, vocab_size, 3, 4);
    memcpy(client->prompt, before->prompt, (size_t)num_old * sizeof *client->prompt);
    memcpy(client->prompt + num_old, c->tokens, (size_t)c->num_tokens * sizeof *client->prompt);
    client->request.sampling.max_tokens = 5;
}

/* A first turn that answers with num_output tokens, and a second one with more of the user's. */
static void check_second_turn(nano_model *model, const char *runner, int num_output)
{
    enum { NEW = 40 };
    struct nano_engine_params params = nano_engine_params_default();
    params.runner = runner;
    params.manual_step = true;
    params.max_model_len = 512;
    params.max_num_seqs = 4;
    params.block_size = 16;
    params.max_num_batched_tokens = 64;
    nano_engine *engine = harness_engine(model, &params), *fresh = harness_engine(model, &params);
    const int32_t vocab_size = model ? (int32_t)nano_model_get_info(model)->vocab_size : 1000;
    struct client first, other, second, expected;
    client_init(&first, 200 + num_output % 20, vocab_size, 1, 2);
    client_init(&other, 100, vocab_size, 8, 9);
    first.request.sampling.max_tokens = num_output;
    harness_submit(&first, engine);
    harness_submit(&other, engine);
    nano_engine_wait_idle(engine);
    next_turn(&second, &first, NEW, vocab_size);
    next_turn(&expected, &first, NEW, vocab_size);
    harness_submit(&second, engine);
    nano_engine_wait_idle(engine);
    harness_submit(&expected, fresh);
    nano_engine_wait_idle(fresh);
    const struct nano_stats stats = stats_of(engine);
    const int num_cached = second.completions[0].num_cached_tokens,
              num_computed = (int)second.request.num_prompt_token_ids - num_cached;
    cr_assert_leq(num_computed, NEW + params.block_size, "%s, %d tokens: %d are computed", runner,
                  num_output, num_computed);
    cr_assert_eq(stats.prefix_cache_hits_total, (uint64_t)num_cached);
    cr_assert_eq(expected.completions[0].num_cached_tokens, 0);
    client_compare(&second, &expected, false);
    client_deinit(&first);
    client_deinit(&other);
    client_deinit(&second);
    client_deinit(&expected);
    nano_engine_destroy(engine);
    nano_engine_destroy(fresh);
}

Test(engine, a_second_turn_computes_its_new_tokens_and_at_most_a_block)
{
    static const char *const runners[] = {"mock-kv", "mock-windows", "mock-window", "mock-state",
                                          "mock-hybrid"};
    for (size_t r = 0; r < sizeof runners / sizeof *runners; r++)
        for (int num_output = 1; num_output < 140; num_output += 9)
            check_second_turn(NULL, runners[r], num_output);
}

Test(engine, a_second_turn_of_small_models)
{
    static const char *const names[] = {"gemma3", "olmo3", "mamba2",  "granitehybrid",
                                        "qwen35", "lfm2",  "gpt-oss", "deepseek2"};
    if (!test_data_path(""))
        cr_skip_test("NANOVLLM_TEST_DATA is not set");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[64];
        nano_model *model;
        snprintf(name, sizeof name, "zoo/gguf/%s.gguf", names[i]);
        cr_assert_eq(nano_model_open(&model, test_data_path(name), &err), NANO_OK, "%s",
                     err.message);
        for (int num_output = 1; num_output < 60; num_output += 19)
            check_second_turn(model, "cpu", num_output);
        nano_model_close(model);
    }
}

Test(engine, behind_a_window_no_block_is_held)
{
    enum { WINDOW = 24, CHUNK = 32, BLOCK = 8 };
    struct nano_engine_params params = mock_params();
    params.runner = "mock-window";
    params.block_size = BLOCK;
    params.max_num_batched_tokens = CHUNK;
    const int most = (WINDOW - 1 + CHUNK + BLOCK - 2) / BLOCK + 1;
    params.num_blocks = most - 1;
    nano_engine *engine;
    cr_assert_eq(nano_engine_create(&engine, NULL, &params, &err), NANO_ERR_INVALID_ARGUMENT);
    char expected[32];
    snprintf(expected, sizeof expected, "needs %d", most);
    cr_assert(strstr(err.message, expected), "%s", err.message);
    params.num_blocks = 100;
    engine = harness_engine(NULL, &params);
    struct client client;
    client_init(&client, 1500, 1000, 1, 2);
    client.request.sampling.max_tokens = 500;
    harness_submit(&client, engine);
    bool has_work = true;
    while (has_work) {
        cr_assert_eq(nano_engine_step(engine, &has_work, &err), NANO_OK, "%s", err.message);
        cr_assert(nano_scheduler_check(&engine->scheduler));
        if (client.completions[0].num_tokens > BLOCK && has_work)
            cr_assert_leq(stats_of(engine).num_blocks_used, (WINDOW + BLOCK - 2) / BLOCK + 1);
    }
    cr_assert_leq(stats_of(engine).max_blocks_used, most);
    client_deinit(&client);
    nano_engine_destroy(engine);
    params.num_blocks = most; /* and that is enough for any length */
    engine = harness_engine(NULL, &params);
    client_init(&client, 1500, 1000, 1, 2);
    client.request.sampling.max_tokens = 500;
    harness_submit(&client, engine);
    nano_engine_wait_idle(engine);
    cr_assert_eq(client.completions[0].num_tokens, 500);
    client_deinit(&client);
    nano_engine_destroy(engine);
}

/* Prompts of a common beginning, then of their own. */
static void system_prompt_clients(struct client *clients, int num, int num_common)
{
    for (int i = 0; i < num; i++) {
        uint64_t common = 77;
        client_init(&clients[i], num_common + 50, 1000, (uint64_t)i, (uint64_t)i + 100);
        for (int t = 0; t < num_common; t++)
            clients[i].prompt[t] = (int32_t)harness_random(&common, 1000);
        clients[i].request.sampling.max_tokens = 4;
    }
}

Test(engine, the_second_prompt_with_a_beginning_keeps_its_state_for_the_third)
{
    enum { COMMON = 300 };
    static const char *const runners[] = {"mock-state", "mock-hybrid"};
    for (int r = 0; r < 2; r++) {
        struct nano_engine_params params = mock_params();
        params.runner = runners[r];
        nano_engine *engine = harness_engine(NULL, &params);
        struct client clients[5];
        system_prompt_clients(clients, 5, COMMON);
        for (int i = 0; i < 5; i++) {
            harness_submit(&clients[i], engine);
            nano_engine_wait_idle(engine);
            cr_assert_eq(clients[i].completions[0].num_cached_tokens, i < 2 ? 0 : COMMON / 32 * 32);
            client_deinit(&clients[i]);
        }
        nano_engine_destroy(engine);
    }
}

Test(engine, requests_that_come_at_once_wait_for_a_common_state)
{
    enum { NUM = 16, COMMON = 1000 };
    struct nano_engine_params params = mock_params();
    params.runner = "mock-hybrid";
    nano_engine *engine = harness_engine(NULL, &params);
    struct client clients[NUM];
    system_prompt_clients(clients, NUM, COMMON);
    for (int i = 0; i < NUM; i++)
        harness_submit(&clients[i], engine);
    nano_engine_wait_idle(engine);
    int num_hits = 0;
    for (int i = 0; i < NUM; i++) {
        num_hits += clients[i].completions[0].num_cached_tokens == COMMON / 32 * 32;
        client_deinit(&clients[i]);
    }
    cr_assert_eq(num_hits, NUM - 2, "%d of %d began with the common state", num_hits, NUM);
    nano_engine_destroy(engine);
}

Test(engine, completions_share_the_state_of_their_prompt)
{
    enum { PROMPT = 100, OUTPUT = 5, N = 4 };
    struct nano_engine_params params = mock_params();
    params.runner = "mock-state";
    params.enable_prefix_caching = false;
    params.block_size = 16;
    nano_engine *engine = harness_engine(NULL, &params);
    struct client client;
    client_init(&client, PROMPT, 1000, 5, 9);
    client.request.sampling.n = N;
    client.request.sampling.max_tokens = OUTPUT;
    harness_submit(&client, engine);
    nano_engine_wait_idle(engine);
    cr_assert_eq(stats_of(engine).computed_tokens_total,
                 PROMPT + (N - 1) * (PROMPT % 16) + N * (OUTPUT - 1));
    client_deinit(&client);
    nano_engine_destroy(engine);
}

Test(engine, states_are_part_of_the_plan)
{
    struct nano_engine_params params = mock_params();
    struct nano_memory_plan plan, smaller;
    params.runner = "mock-hybrid";
    params.max_num_seqs = 64;
    cr_assert_eq(nano_engine_plan(NULL, &params, &plan, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(plan.max_num_seqs, 64);
    cr_assert_gt(plan.num_states, 64);
    cr_assert_eq(plan.states_bytes, plan.state_bytes * (uint64_t)plan.num_states);
    params.num_blocks = plan.num_blocks;
    params.mem_budget_bytes = plan.total_bytes - plan.states_bytes;
    cr_assert_eq(nano_engine_plan(NULL, &params, &smaller, &err), NANO_OK, "%s", err.message);
    cr_assert_leq(smaller.total_bytes, params.mem_budget_bytes);
    cr_assert(smaller.num_states > smaller.max_num_seqs && smaller.num_states < plan.num_states);
    params.num_speculative_tokens = 2;
    cr_assert_eq(nano_engine_plan(NULL, &params, &smaller, &err), NANO_ERR_UNSUPPORTED);
    cr_assert(strstr(err.message, "num_speculative_tokens"), "%s", err.message);
}

/* ---- Scheduling ------------------------------------------------------------------------------ */

struct step_log {
    int num_steps, num_mixed, num_preempted, most_tokens, num_stalls;
    uint64_t first_order[64];
    int num_first;
};

static void on_step(const struct nano_step *step, void *user_data)
{
    struct step_log *log = user_data;
    log->num_steps++;
    log->num_mixed += step->num_prefill_tokens > 0 && step->num_decode_tokens > 0;
    log->num_preempted += step->num_preempted;
    int total = 0;
    for (int i = 0; i < step->num_entries; i++) {
        const struct nano_step_entry *e = &step->entries[i];
        total += e->num_scheduled_tokens;
        if (e->is_prefill && e->num_computed_tokens == 0 && log->num_first < 64)
            log->first_order[log->num_first++] = e->request_id;
    }
    cr_assert_eq(total, step->num_prefill_tokens + step->num_decode_tokens);
    cr_assert_leq(step->num_blocks_used, step->num_blocks);
    /* Whoever runs has computed something, unless a longer prompt ahead took the budget. */
    log->num_stalls += step->num_entries < step->num_running;
    if (total > log->most_tokens)
        log->most_tokens = total;
}

Test(engine, a_long_prompt_does_not_stop_the_others)
{
    struct step_log log = {0};
    struct nano_engine_params params = mock_params();
    params.max_num_batched_tokens = 64;
    params.on_step = on_step;
    params.on_step_user_data = &log;
    nano_engine *engine = harness_engine(NULL, &params);
    struct client clients[5];
    for (int i = 0; i < 5; i++) {
        client_init(&clients[i], i < 4 ? 8 : 1000, 1000, (uint64_t)i, (uint64_t)i);
        clients[i].request.sampling.max_tokens = 30;
        clients[i].request.priority = i < 4 ? 0 : -1; /* the long one even goes first */
    }
    for (int i = 0; i < 4; i++)
        harness_submit(&clients[i], engine);
    bool has_work;
    nano_engine_step(engine, &has_work, &err);
    harness_submit(&clients[4], engine);
    for (int step = 0; step < 16; step++) {
        int before = clients[0].completions[0].num_tokens;
        nano_engine_step(engine, &has_work, &err);
        for (int i = 0; i < 4; i++)
            cr_assert_eq(clients[i].completions[0].num_tokens, before + 1,
                         "every decode gets its token each step");
    }
    nano_engine_wait_idle(engine);
    cr_assert_gt(log.num_mixed, 10);
    cr_assert_leq(log.most_tokens, 64);
    cr_assert_eq(log.num_stalls, 0);
    for (int i = 0; i < 5; i++)
        client_deinit(&clients[i]);
    nano_engine_destroy(engine);
}

Test(engine, priority_then_arrival)
{
    struct step_log log = {0};
    struct nano_engine_params params = mock_params();
    params.max_num_seqs = 1;
    params.enable_prefix_caching = false;
    params.on_step = on_step;
    params.on_step_user_data = &log;
    nano_engine *engine = harness_engine(NULL, &params);
    static const int priorities[6] = {5, 0, 5, -2, 0, 9};
    static const uint64_t expected[6] = {4, 2, 5, 1, 3, 6};
    struct client clients[6];
    for (int i = 0; i < 6; i++) {
        client_init(&clients[i], 20, 1000, (uint64_t)i, (uint64_t)i);
        clients[i].request.sampling.max_tokens = 3;
        clients[i].request.priority = priorities[i];
        harness_submit(&clients[i], engine);
    }
    nano_engine_wait_idle(engine);
    cr_assert_eq(log.num_first, 6);
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(log.first_order[i], expected[i]);
        client_deinit(&clients[i]);
    }
    nano_engine_destroy(engine);
}

/* Block size 4, 8 blocks, 7 tokens a step: everything is always short. */
Test(engine, hostile_configuration)
{
    enum { NUM = 12 };
    struct step_log log = {0};
    struct nano_engine_params params = mock_params(), alone = mock_params();
    params.block_size = 4;
    params.num_blocks = 8;
    params.max_num_batched_tokens = 7;
    params.max_model_len = 32;
    params.on_step = on_step;
    params.on_step_user_data = &log;
    nano_engine *engine = harness_engine(NULL, &params);
    struct client clients[NUM], expected[NUM];
    for (int i = 0; i < NUM; i++) {
        for (int k = 0; k < 2; k++) {
            struct client *c = k ? &expected[i] : &clients[i];
            client_init(c, 5 + i % 9, 1000, (uint64_t)(i % 2), (uint64_t)i);
            c->request.sampling.max_tokens = 8 + i % 10;
        }
        harness_submit(&clients[i], engine);
    }
    bool has_work = true;
    while (has_work) {
        cr_assert_eq(nano_engine_step(engine, &has_work, &err), NANO_OK);
        cr_assert(nano_scheduler_check(&engine->scheduler));
    }
    cr_assert_gt(log.num_preempted, 0);
    cr_assert_leq(log.most_tokens, 7);
    cr_assert_gt(stats_of(engine).prefix_cache_hits_total, 0);
    nano_engine_destroy(engine);
    for (int i = 0; i < NUM; i++) {
        engine = harness_engine(NULL, &alone);
        harness_submit(&expected[i], engine);
        nano_engine_wait_idle(engine);
        client_compare(&clients[i], &expected[i], false);
        client_deinit(&clients[i]);
        client_deinit(&expected[i]);
        nano_engine_destroy(engine);
    }
}

/* ---- Ends ------------------------------------------------------------------------------------ */

Test(engine, lengths)
{
    struct nano_engine_params params = mock_params();
    params.max_model_len = 50;
    nano_engine *engine = harness_engine(NULL, &params);
    struct client to_the_end, none, one;
    client_init(&to_the_end, 20, 1000, 1, 1);
    client_init(&none, 50, 1000, 2, 2);
    client_init(&one, 49, 1000, 3, 3);
    none.request.sampling.max_tokens = 0;
    none.request.sampling.prompt_logprobs = 1;
    harness_submit(&to_the_end, engine);
    harness_submit(&none, engine);
    harness_submit(&one, engine);
    nano_engine_wait_idle(engine);
    cr_assert_eq(to_the_end.completions[0].num_tokens, 30);
    cr_assert_eq(to_the_end.completions[0].reason, NANO_FINISH_LENGTH);
    cr_assert_eq(none.completions[0].num_tokens, 0);
    cr_assert_eq(none.completions[0].reason, NANO_FINISH_LENGTH);
    cr_assert_eq(none.num_prompt_logprobs, 50);
    cr_assert_eq(one.completions[0].num_tokens, 1);
    client_deinit(&to_the_end);
    client_deinit(&none);
    client_deinit(&one);
    nano_engine_destroy(engine);
}

Test(engine, stop_token_ids_and_min_tokens)
{
    struct nano_engine_params params = mock_params();
    nano_engine *engine = harness_engine(NULL, &params);
    struct client plain, stopped, longer;
    client_init(&plain, 20, 1000, 1, 1);
    plain.request.sampling.max_tokens = 20;
    plain.request.sampling.temperature = 0.0f;
    harness_submit(&plain, engine);
    nano_engine_wait_idle(engine);
    int32_t stop = plain.completions[0].tokens[6];
    client_init(&stopped, 20, 1000, 1, 1);
    stopped.request.sampling = plain.request.sampling;
    stopped.request.sampling.stop_token_ids = &stop;
    stopped.request.sampling.num_stop_token_ids = 1;
    client_init(&longer, 20, 1000, 1, 1);
    longer.request.sampling = stopped.request.sampling;
    longer.request.sampling.min_tokens = 10;
    harness_submit(&stopped, engine);
    harness_submit(&longer, engine);
    nano_engine_wait_idle(engine);
    cr_assert_eq(stopped.completions[0].num_tokens, 7);
    cr_assert_eq(stopped.completions[0].reason, NANO_FINISH_STOP);
    cr_assert_geq(longer.completions[0].num_tokens, 10);
    cr_assert_neq(longer.completions[0].tokens[6], stop,
                  "the stop token is banned until min_tokens");
    client_deinit(&plain);
    client_deinit(&stopped);
    client_deinit(&longer);
    nano_engine_destroy(engine);
}

Test(engine, stop_strings_across_tokens)
{
    nano_model *model = harness_model();
    struct nano_engine_params params = nano_engine_params_default();
    params.manual_step = true;
    nano_engine *engine = harness_engine(model, &params);
    struct nano_sampling_params sampling = nano_sampling_params_default();
    sampling.temperature = 0.0f;
    sampling.max_tokens = 40;
    char *whole, *text;
    cr_assert_eq(nano_generate(engine, "Once upon a time", &sampling, &whole, &err), NANO_OK, "%s",
                 err.message);
    size_t length = strlen(whole);
    cr_assert_gt(length, 60);
    /* Whatever the place and the length of the string, the text ends right before its first
     * occurrence. */
    for (size_t begin = 0; begin < 40; begin += 3) {
        for (size_t size = 1; size <= 12; size += 4) {
            char stop[16];
            snprintf(stop, sizeof stop, "%.*s", (int)size, whole + begin);
            const char *stops[] = {"never in this text", stop};
            sampling.stop = stops;
            sampling.num_stop = 2;
            cr_assert_eq(nano_generate(engine, "Once upon a time", &sampling, &text, &err),
                         NANO_OK);
            size_t expected = (size_t)(strstr(whole, stop) - whole);
            cr_assert(strlen(text) == expected && memcmp(text, whole, expected) == 0,
                      "stop '%s' gave '%s'", stop, text);
            nano_free(text);
        }
    }
    sampling.include_stop_str_in_output = true;
    const char *stops[] = {"."};
    sampling.stop = stops;
    sampling.num_stop = 1;
    cr_assert_eq(nano_generate(engine, "Once upon a time", &sampling, &text, &err), NANO_OK);
    cr_assert_eq(text[strlen(text) - 1], '.');
    nano_free(text);
    nano_free(whole);
    nano_engine_destroy(engine);
    nano_model_close(model);
}

Test(engine, cancel_waiting_running_and_from_the_callback)
{
    struct nano_engine_params params = mock_params();
    params.max_num_seqs = 1;
    nano_engine *engine = harness_engine(NULL, &params);
    struct client clients[3];
    for (int i = 0; i < 3; i++) {
        client_init(&clients[i], 40, 1000, (uint64_t)i, (uint64_t)i);
        clients[i].request.sampling.max_tokens = 100;
        harness_submit(&clients[i], engine);
    }
    clients[2].cancel_after = 5;
    bool has_work;
    for (int i = 0; i < 4; i++)
        nano_engine_step(engine, &has_work, &err);
    nano_engine_cancel(engine, clients[0].id);
    nano_engine_cancel(engine, clients[1].id);
    nano_engine_cancel(engine, clients[1].id);
    nano_engine_cancel(engine, 123456);
    nano_engine_step(engine, &has_work, &err);
    cr_assert_eq(clients[0].completions[0].reason, NANO_FINISH_CANCELLED);
    cr_assert_eq(clients[0].completions[0].num_tokens, 4);
    cr_assert_eq(clients[1].completions[0].reason, NANO_FINISH_CANCELLED);
    cr_assert_eq(clients[1].completions[0].num_tokens, 0);
    nano_engine_wait_idle(engine);
    cr_assert_eq(clients[2].completions[0].reason, NANO_FINISH_CANCELLED);
    cr_assert_eq(clients[2].completions[0].num_tokens, 5);
    cr_assert_eq(stats_of(engine).num_requests_cancelled, 3);
    cr_assert_eq(stats_of(engine).num_blocks_used, 0);
    for (int i = 0; i < 3; i++)
        client_deinit(&clients[i]);
    nano_engine_destroy(engine);
}

Test(engine, destroy_ends_what_is_running)
{
    for (int manual = 0; manual < 2; manual++) {
        struct nano_engine_params params = mock_params();
        params.manual_step = manual == 1;
        nano_engine *engine = harness_engine(NULL, &params);
        struct client clients[8];
        for (int i = 0; i < 8; i++) {
            client_init(&clients[i], 40, 1000, (uint64_t)i, (uint64_t)i);
            clients[i].request.sampling.max_tokens = 2000;
            clients[i].request.sampling.n = 2;
            clients[i].id = (uint64_t)i + 1;
            harness_submit(&clients[i], engine);
        }
        nano_engine_destroy(engine);
        for (int i = 0; i < 8; i++) {
            for (int k = 0; k < 2; k++)
                cr_assert_eq(clients[i].completions[k].num_finishes, 1);
            client_deinit(&clients[i]);
        }
    }
}

/* ---- Limits and errors ----------------------------------------------------------------------- */

Test(engine, full_queue_is_refused)
{
    struct nano_engine_params params = mock_params();
    params.max_num_queued_reqs = 2;
    params.max_num_seqs = 1;
    nano_engine *engine = harness_engine(NULL, &params);
    struct client clients[4];
    for (int i = 0; i < 4; i++) {
        client_init(&clients[i], 40, 1000, (uint64_t)i, (uint64_t)i);
        clients[i].request.sampling.max_tokens = 10;
    }
    harness_submit(&clients[0], engine);
    bool has_work;
    nano_engine_step(engine, &has_work, &err); /* it runs now and is no longer in the queue */
    harness_submit(&clients[1], engine);
    harness_submit(&clients[2], engine);
    cr_assert_eq(client_submit(&clients[3], engine, &err), NANO_ERR_QUEUE_FULL);
    cr_assert(strstr(err.message, "2"), "%s", err.message);
    nano_engine_wait_idle(engine);
    harness_submit(&clients[3], engine);
    nano_engine_wait_idle(engine);
    cr_assert_eq(clients[3].completions[0].num_tokens, 10);
    for (int i = 0; i < 4; i++)
        client_deinit(&clients[i]);
    nano_engine_destroy(engine);
}

Test(engine, bad_requests_name_the_parameter)
{
    struct nano_engine_params params = mock_params();
    params.max_model_len = 100;
    nano_engine *engine = harness_engine(NULL, &params);
    struct client c;
    client_init(&c, 50, 1000, 1, 1);
    const struct nano_request good = c.request;
    const int32_t bad_token = NANO_MOCK_VOCAB_SIZE;
    const char *const empty_stop[] = {""};
    const struct nano_logit_bias bad_bias = {.token_id = -1};
#define REFUSED(change, word)                                                     \
    do {                                                                          \
        c.request = good;                                                         \
        change;                                                                   \
        cr_assert_eq(client_submit(&c, engine, &err), NANO_ERR_INVALID_ARGUMENT); \
        cr_assert(strstr(err.message, word), "%s", err.message);                  \
    } while (0)
    REFUSED(c.request.sampling.n = 0, "n is 0");
    REFUSED(c.request.sampling.n = 65, "n is 65");
    REFUSED(c.request.sampling.max_tokens = -2, "max_tokens");
    REFUSED(c.request.sampling.temperature = -1.0f, "temperature");
    REFUSED(c.request.sampling.temperature = 0.0f / 0.0f, "temperature");
    REFUSED(c.request.sampling.top_p = 0.0f, "top_p");
    REFUSED(c.request.sampling.min_p = 1.5f, "min_p");
    REFUSED(c.request.sampling.top_k = -5, "top_k");
    REFUSED(c.request.sampling.repetition_penalty = 0.0f, "repetition_penalty");
    REFUSED(c.request.sampling.logprobs = 1 << 30, "logprobs");
    REFUSED((c.request.sampling.max_tokens = 5, c.request.sampling.min_tokens = 6), "min_tokens");
    REFUSED(
        (c.request.sampling.stop_token_ids = &bad_token, c.request.sampling.num_stop_token_ids = 1),
        "stop_token_ids");
    REFUSED((c.request.sampling.logit_bias = &bad_bias, c.request.sampling.num_logit_bias = 1),
            "logit_bias");
    REFUSED((c.request.sampling.stop = empty_stop, c.request.sampling.num_stop = 1), "stop");
    REFUSED(c.request.sampling.detokenize = true, "tokenizer");
    REFUSED(c.request.num_prompt_token_ids = 0, "empty");
    REFUSED((c.request.prompt_token_ids = &bad_token, c.request.num_prompt_token_ids = 1),
            "token id");
    REFUSED(
        (c.request.prompt_token_ids = NULL, c.request.prompt = "text", c.request.prompt_bytes = 4),
        "tokenizer");
#undef REFUSED
    struct client longer;
    client_init(&longer, 100, 1000, 1, 1);
    cr_assert_eq(client_submit(&longer, engine, &err), NANO_ERR_INVALID_ARGUMENT);
    cr_assert(strstr(err.message, "100 tokens"), "%s", err.message);
    client_deinit(&longer);
    client_deinit(&c);
    nano_engine_destroy(engine);
}

Test(engine, bad_parameters_and_budgets)
{
    nano_model *model = harness_model();
    nano_engine *engine;
    struct nano_engine_params params = nano_engine_params_default();
    params.runner = "abacus";
    cr_assert_eq(nano_engine_create(&engine, model, &params, &err), NANO_ERR_INVALID_ARGUMENT);
    cr_assert(strstr(err.message, "abacus") && strstr(err.message, "cpu"), "%s", err.message);
    cr_assert_null(engine);
    params = nano_engine_params_default();
    cr_assert_eq(nano_engine_create(&engine, NULL, &params, &err), NANO_ERR_INVALID_ARGUMENT);
    params.block_size = 0;
    cr_assert_eq(nano_engine_create(&engine, model, &params, &err), NANO_ERR_INVALID_ARGUMENT);
    params = nano_engine_params_default();
    params.max_model_len = 1 << 20;
    cr_assert_eq(nano_engine_create(&engine, model, &params, &err), NANO_ERR_INVALID_ARGUMENT);
    params = nano_engine_params_default();
    params.num_blocks = 1;
    params.max_model_len = 100;
    cr_assert_eq(nano_engine_create(&engine, model, &params, &err), NANO_ERR_INVALID_ARGUMENT);

    struct nano_memory_plan plan;
    params = nano_engine_params_default();
    params.mem_budget_bytes = 1 << 20;
    cr_assert_eq(nano_engine_plan(model, &params, &plan, &err), NANO_ERR_NO_MEMORY);
    cr_assert(strstr(err.message, "1.0 MiB") && !strchr(err.message, '\n'), "%s", err.message);
    cr_assert_gt(plan.total_bytes, params.mem_budget_bytes);
    params.mem_budget_bytes = 100 << 20;
    cr_assert_eq(nano_engine_plan(model, &params, &plan, &err), NANO_OK, "%s", err.message);
    cr_assert_leq(plan.total_bytes, params.mem_budget_bytes);
    uint64_t parts = plan.weight_bytes + plan.mapped_bytes + plan.kv_bytes + plan.states_bytes +
                     plan.activation_bytes + plan.engine_bytes;
    cr_assert_eq(plan.total_bytes, parts);
    cr_assert_eq(plan.kv_bytes, plan.kv_block_bytes * (uint64_t)plan.num_blocks);
    nano_model_close(model);
}

static void *submit_many(void *argument)
{
    nano_engine *engine = argument;
    for (int i = 0; i < 50; i++) {
        struct nano_sampling_params sampling = nano_sampling_params_default();
        char *text = NULL;
        sampling.max_tokens = 3;
        cr_assert_eq(nano_generate(engine, "The cat", &sampling, &text, NULL), NANO_OK);
        cr_assert_not_null(text);
        nano_free(text);
    }
    return NULL;
}

Test(engine, several_threads_submit_at_once)
{
    nano_model *model = harness_model();
    struct nano_engine_params params = nano_engine_params_default();
    params.num_threads = 1;
    nano_engine *engine = harness_engine(model, &params);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, submit_many, engine);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    nano_engine_wait_idle(engine);
    cr_assert_eq(stats_of(engine).num_requests_finished, 200);
    nano_engine_destroy(engine);
    nano_model_close(model);
}

static void ignore_output(const struct nano_output *output, void *user_data)
{
    int *num_finished = user_data;
    *num_finished += output->finish_reason != NANO_FINISH_NONE;
}

/* Every allocation of opening, creating and submitting fails once; a run after each is clean. */
Test(engine, every_allocation_may_fail)
{
    static const char *const stops[] = {"x"};
    for (uint64_t n = 1;; n++) {
        nano_model *model = NULL;
        nano_engine *engine = NULL;
        int num_finished = 0;
        struct nano_engine_params params = nano_engine_params_default();
        params.manual_step = true;
        params.num_threads = 1;
        params.num_blocks = 64;
        params.on_step = NULL;
        params.num_speculative_tokens = 3;
        struct nano_request request = nano_request_default();
        request.prompt = "Once upon a time";
        request.prompt_bytes = strlen(request.prompt);
        request.on_output = ignore_output;
        request.user_data = &num_finished;
        request.sampling.max_tokens = 2;
        request.sampling.stop = stops;
        request.sampling.num_stop = 1;
        request.sampling.prompt_logprobs = 2;
        request.sampling.logprobs = 1;
        nano_mem_fail_after(n);
        enum nano_status status = nano_model_open(&model, NULL, &err);
        if (status == NANO_OK)
            status = nano_engine_create(&engine, model, &params, &err);
        if (status == NANO_OK)
            status = nano_engine_submit(engine, &request, NULL, &err);
        uint64_t count = nano_mem_fail_after(0);
        if (engine)
            nano_engine_wait_idle(engine);
        cr_assert_eq(num_finished, status == NANO_OK ? 1 : 0);
        nano_engine_destroy(engine);
        nano_model_close(model);
        if (count < n)
            break; /* nothing was left to fail */
        cr_assert_neq(status, NANO_OK, "allocation %llu of %llu failed unnoticed",
                      (unsigned long long)n, (unsigned long long)count);
    }
}

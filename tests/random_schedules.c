/* Same tokens whatever the batch: random schedules against every request run alone.
 *
 * A schedule is a choice of engine parameters (threads, chunk size, block size, pool size, cache,
 * latency target, speculation) and of requests, submitted and cancelled in the middle of each
 * other. Token ids, texts and the bits of all logprobs must be those of the request alone in an
 * engine of its own. */
#include "random_schedules.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_state.h"
#include "engine_harness.h"

enum { NUM_CLIENTS = 20 };

struct workload {
    nano_model *model; /* NULL: a mock runner that remembers */
    bool has_state;
    bool is_device;  /* batches may be begun while others compute */
    float tolerance; /* of logprobs; 0: all bits count */
    struct client clients[NUM_CLIENTS];
    struct nano_engine_params params;
};

/* Most requests of a device's leave the choice to it, and some stop early: with a few clients that
 * look at logits there would hardly be a step that another one could follow at once. */
static void leave_the_choice(struct nano_sampling_params *p, int index)
{
    static int32_t stop_token_ids[40];
    for (int i = 0; i < 40; i++)
        stop_token_ids[i] = i * 12; /* the smallest vocabulary has 512 */
    p->stop_token_ids = stop_token_ids;
    p->num_stop_token_ids = index % 3 == 0 ? 40 : 0;
    if (index % 7 == 1)
        return;
    p->logprobs = p->prompt_logprobs = -1;
    p->num_logit_bias = p->min_tokens = 0;
    p->presence_penalty = p->frequency_penalty = 0.0f;
    p->repetition_penalty = 1.0f;
}

static void workload_init(struct workload *w, const struct random_schedules *r)
{
    static const char *const stops[] = {" the", "."};
    /* A few tokens win most draws, so that the output repeats itself, but not surely. */
    static const struct nano_logit_bias bias[] = {{3, 40.0f}, {5, 41.0f}, {7, 41.0f}};
    uint64_t random = 11;
    nano_model *model = r->model;
    *w = (struct workload){.model = model, .params = nano_engine_params_default()};
    if (model && model->weights.onnx)
        w->tolerance = 1e-3f;
    w->params.runner = r->runner;
    w->params.kv_cache_dtype = NANO_KV_F16;
    w->params.max_model_len = r->longest_prompt + r->longest_output;
    w->params.loras = r->loras;
    w->params.num_loras = r->num_loras;
    struct nano_memory_plan plan;
    cr_assert_eq(nano_engine_plan(model, &w->params, &plan, NULL), NANO_OK);
    w->has_state = plan.state_bytes > 0;
    w->is_device = strncmp(r->runner, "mock-device", 11) == 0 || strcmp(r->runner, "cuda") == 0;
    int32_t vocab_size = model ? (int32_t)nano_model_get_info(model)->vocab_size : 1000;
    for (int i = 0; i < NUM_CLIENTS; i++) {
        struct client *c = &w->clients[i];
        int num_tokens = 1 + (int)harness_random(&random, (uint32_t)r->longest_prompt);
        client_init(c, num_tokens, vocab_size, harness_random(&random, 3), (uint64_t)i + 100);
        c->request.lora = r->num_loras && i % 3 ? r->loras[i % 3 - 1].name : NULL;
        struct nano_sampling_params *p = &c->request.sampling;
        p->max_tokens =
            i % 5 == 0
                ? (int)harness_random(&random, 5)
                : r->longest_output - (int)harness_random(&random, (uint32_t)r->longest_output / 3);
        p->temperature = i % 3 == 0 ? 0.0f : 0.9f;
        p->top_p = i % 4 == 1 ? 0.9f : 1.0f;
        p->top_k = i % 5 == 2 ? 20 : 0;
        p->logprobs = i % 2 ? MAX_TOP : -1;
        p->prompt_logprobs = i % 6 == 1 ? 2 : -1;
        p->n = i % 7 == 3 ? 3 : 1;
        p->repetition_penalty = i % 8 == 5 ? 1.2f : 1.0f;
        if (i % 3 == 2) {
            p->logit_bias = bias;
            p->num_logit_bias = 3;
        }
        p->presence_penalty = i % 6 == 2 ? 0.5f : 0.0f;
        p->frequency_penalty = i % 6 == 5 ? 0.1f : 0.0f;
        p->min_tokens = i % 9 == 4 ? p->max_tokens / 2 : 0;
        p->detokenize = model != NULL;
        if (model && i % 4 == 2) {
            p->stop = stops;
            p->num_stop = 2;
        }
        p->ignore_eos = i % 10 != 7;
        if (w->is_device)
            leave_the_choice(p, i);
        c->request.priority = (int)harness_random(&random, 3) - 1;
    }
}

static void run_alone(struct workload *w)
{
    struct nano_engine_params params = w->params;
    params.num_threads = 1;
    params.manual_step = true;
    params.enable_prefix_caching = false;
    params.async_scheduling = false;
    if (!w->model) /* the others must give the same */
        params.runner = w->is_device ? "mock-device-kv" : "mock-kv";
    for (int i = 0; i < NUM_CLIENTS; i++) {
        nano_engine *engine;
        struct nano_error err = {0};
        cr_assert_eq(nano_engine_create(&engine, w->model, &params, &err), NANO_OK, "%s",
                     err.message);
        cr_assert_eq(client_submit(&w->clients[i], engine, &err), NANO_OK, "%s", err.message);
        nano_engine_wait_idle(engine);
        nano_engine_destroy(engine);
    }
}

/* What the schedules have met. */
struct tally {
    uint64_t num_preemptions, num_hits, num_accepted, num_rejected, num_ahead;
};

/* What steps take on this machine must not decide how much is speculated. */
static bool step(nano_engine *engine)
{
    struct nano_error err = {0};
    bool has_work;
    engine->step_time = (struct nano_step_time){0};
    cr_assert_eq(nano_engine_step(engine, &has_work, &err), NANO_OK, "%s", err.message);
    cr_assert(nano_scheduler_check(&engine->scheduler));
    return has_work;
}

/* Blocks that one sequence of max_model_len needs. */
static int blocks_of_one_sequence(const struct workload *w, const struct nano_engine_params *params)
{
    struct nano_program *program = NULL;
    struct nano_engine_setup setup;
    struct nano_error err = {0};
    if (w->model && !w->model->weights.onnx)
        cr_assert_eq(nano_program_create(&program, &w->model->weights, &err), NANO_OK);
    cr_assert_eq(nano_engine_setup_make(&setup, w->model, program, NULL, params, &err), NANO_OK,
                 "%s", err.message);
    nano_program_destroy(program);
    return (int)nano_kv_sequence_blocks(&setup.scheduler_config.kv, params->max_model_len);
}

/* Leaves slots for `num_kept` kept states beside the live ones. */
static void limit_states(nano_engine *engine, int num_kept)
{
    struct nano_scheduler *s = &engine->scheduler;
    int num_states = s->config.max_num_seqs + num_kept;
    if (num_states >= s->config.kv.num_states)
        return;
    nano_state_slots_deinit(&s->blocks.states);
    cr_assert_eq(nano_state_slots_init(&s->blocks.states, num_states, NULL), NANO_OK);
    s->config.kv.num_states = num_states;
}

static void run_schedule(struct workload *w, uint64_t seed, struct tally *tally)
{
    static const int block_sizes[] = {1, 3, 4, 8, 16, 32, 64};
    static const int chunk_sizes[] = {1, 2, 7, 16, 50, 512};
    uint64_t random = seed;
    struct nano_engine_params params = w->params;
    params.block_size = block_sizes[harness_random(&random, 7)];
    params.max_num_batched_tokens = chunk_sizes[harness_random(&random, 6)];
    params.max_num_seqs = 1 + (int)harness_random(&random, 12);
    params.num_threads = 1 + (int)harness_random(&random, 4);
    params.enable_prefix_caching = harness_random(&random, 3) > 0;
    params.manual_step = harness_random(&random, 4) > 0;
    params.itl_target_ms = harness_random(&random, 3) ? 0.0f : 0.001f;
    if (harness_random(&random, 2) && !w->has_state) {
        params.num_speculative_tokens = 1 + (int)harness_random(&random, 8);
        params.prompt_lookup_min = 1 + (int)harness_random(&random, 2);
        params.prompt_lookup_max = params.prompt_lookup_min + (int)harness_random(&random, 3);
    }
    if (w->is_device) {
        params.async_scheduling = harness_random(&random, 8) > 0;
        params.num_speculative_tokens *= harness_random(&random, 2) > 0;
    }
    int one_sequence = blocks_of_one_sequence(w, &params);
    params.num_blocks = one_sequence + (int)harness_random(&random, (uint32_t)one_sequence);
    if (params.num_speculative_tokens > 0 && harness_random(&random, 2))
        params.num_blocks += 4 * one_sequence; /* nobody waits, so there is room for proposals */

    nano_engine *engine;
    struct nano_error err = {0};
    struct client running[NUM_CLIENTS] = {0};
    bool may_be_cut[NUM_CLIENTS] = {false};
    int expected[NUM_CLIENTS], count = 0;
    cr_assert_eq(nano_engine_create(&engine, w->model, &params, &err), NANO_OK, "%s", err.message);
    if (w->has_state && params.manual_step)
        limit_states(engine, 1 + (int)harness_random(&random, 12));
    for (int i = 0; i < NUM_CLIENTS; i++) {
        if (harness_random(&random, 2))
            continue;
        struct client *c = &running[count];
        c->request = w->clients[i].request;
        expected[count] = i;
        if (harness_random(&random, 8) == 0) {
            c->cancel_after = 1 + (int)harness_random(&random, 5);
            may_be_cut[count] = true;
        }
        count++;
        cr_assert_eq(client_submit(c, engine, &err), NANO_OK, "%s", err.message);
        bool has_work = params.manual_step;
        for (uint32_t steps = harness_random(&random, 6); steps > 0 && has_work; steps--)
            has_work = step(engine);
        if (harness_random(&random, 10) == 0) {
            uint32_t victim = harness_random(&random, (uint32_t)count);
            nano_engine_cancel(engine, running[victim].id);
            may_be_cut[victim] = true;
        }
    }
    while (params.manual_step && step(engine))
        continue;
    nano_engine_wait_idle(engine);
    struct nano_stats stats;
    nano_engine_get_stats(engine, &stats);
    cr_assert(nano_scheduler_check(&engine->scheduler));
    cr_assert_eq(engine->scheduler.blocks.num_free, params.num_blocks, "blocks were lost");
    cr_assert(!engine->has_next);
    tally->num_ahead += engine->num_steps_ahead;
    nano_engine_destroy(engine);
    for (int i = 0; i < count; i++) {
        client_compare_within(&running[i], &w->clients[expected[i]], may_be_cut[i], w->tolerance);
        client_reset(&running[i]);
    }
    tally->num_hits += stats.prefix_cache_hits_total;
    tally->num_preemptions += stats.num_preemptions_total;
    tally->num_accepted += stats.accepted_tokens_total;
    tally->num_rejected += stats.draft_tokens_total - stats.accepted_tokens_total;
}

void random_schedules_run(const struct random_schedules *r)
{
    struct workload *w = calloc(1, sizeof *w);
    struct tally tally = {0};
    int num_schedules = r->num_schedules;
    workload_init(w, r);
    run_alone(w);
    const char *only = getenv("NANOVLLM_TEST_SEED"); /* replays one schedule */
    if (getenv("NANOVLLM_TEST_QUICK"))               /* for builds that are ten times slower */
        num_schedules /= 6;
    for (int i = 0; i < num_schedules; i++) {
        if (only && i != atoi(only))
            continue;
        cr_log_info("schedule %d", i);
        run_schedule(w, (uint64_t)i, &tally);
    }
    cr_log_info("%llu proposals were right, %llu wrong", (unsigned long long)tally.num_accepted,
                (unsigned long long)tally.num_rejected);
    if (!only) {
        cr_assert_gt(tally.num_preemptions, (uint64_t)num_schedules / 4,
                     "%llu preemptions: the pools are too large",
                     (unsigned long long)tally.num_preemptions);
        cr_assert_gt(tally.num_hits, 0, "no prefix was ever shared");
    }
    cr_log_info("%llu steps were ahead", (unsigned long long)tally.num_ahead);
    if (!only && w->is_device)
        cr_assert_gt(tally.num_ahead, (uint64_t)(num_schedules * r->longest_output / 4));
    /* A real model's draws seldom repeat themselves where nobody leans on them. */
    if (!only && !w->has_state && !(w->is_device && w->model)) {
        cr_assert_gt(tally.num_accepted, 0, "no proposal was ever right");
        cr_assert_gt(tally.num_rejected, 0, "no proposal was ever wrong");
    }
    for (int i = 0; i < NUM_CLIENTS; i++)
        client_deinit(&w->clients[i]);
    free(w);
}

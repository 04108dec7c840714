/* Fuzz target: bytes as a program for the engine: its limits, then submissions, cancellations and
 * steps. The mock runner's pool remembers what was stored where, so every token that comes out is
 * known beforehand; the scheduler's invariants must hold after every step, and at the end every
 * request is finished exactly once and every block is free.
 *
 * With libFuzzer: clang -fsanitize=fuzzer,address and this file without replay.c. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_state.h"
#include "runner/mock/mock_runner.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_CLIENTS = 24, MAX_PROMPT = 48, MAX_OUTPUT = 24, MAX_STEPS = 4000 };

struct client {
    uint64_t id;
    int32_t prompt[MAX_PROMPT];
    int num_prompt, max_tokens, n;
    int num_tokens[4], num_finishes[4];
    int32_t last[4];            /* newest token */
    uint32_t hash[4];           /* of the sequence so far, as the mock runner's slots hold it */
    bool cancelled, monotonous; /* its output is one token again and again */
};

struct input {
    const uint8_t *data;
    size_t size, used;
};

static uint8_t next_byte(struct input *in)
{
    return in->used < in->size ? in->data[in->used++] : 0;
}

#define REQUIRE(condition)                                                                \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
            abort();                                                                      \
        }                                                                                 \
    } while (0)

static const struct nano_logit_bias bias = {7, 100.0f};

static void on_output(const struct nano_output *output, void *user_data)
{
    struct client *c = user_data;
    int i = output->index;
    REQUIRE(i >= 0 && i < c->n && c->num_finishes[i] == 0);
    for (int t = 0; t < output->num_tokens; t++) {
        if (c->num_tokens[i] == 0)
            for (int p = 0; p < c->num_prompt; p++)
                c->hash[i] = nano_mock_hash(c->prompt[p], c->hash[i]);
        else
            c->hash[i] = nano_mock_hash(c->last[i], c->hash[i]);
        int32_t expected = c->monotonous ? bias.token_id : nano_mock_token(c->hash[i]);
        REQUIRE(output->token_ids[t] == expected);
        c->last[i] = output->token_ids[t];
        c->num_tokens[i]++;
    }
    REQUIRE(output->num_completion_tokens == c->num_tokens[i]);
    if (output->finish_reason != NANO_FINISH_NONE) {
        c->num_finishes[i]++;
        if (output->finish_reason == NANO_FINISH_LENGTH)
            REQUIRE(c->num_tokens[i] == c->max_tokens);
        else
            REQUIRE(output->finish_reason == NANO_FINISH_CANCELLED && c->cancelled);
    }
}

/* Prompts repeat a few beginnings, so that blocks are shared. */
static void submit(nano_engine *engine, struct client *c, struct input *in)
{
    uint8_t family = next_byte(in), lengths = next_byte(in), options = next_byte(in);
    c->num_prompt = 1 + (family >> 2) % MAX_PROMPT;
    c->max_tokens = lengths % (MAX_OUTPUT + 1);
    c->n = 1 + options % 4;
    for (int p = 0; p < c->num_prompt; p++)
        c->prompt[p] = p < 30 ? (family % 4) * 50 + p : lengths + p;
    struct nano_request request = nano_request_default();
    request.prompt_token_ids = c->prompt;
    request.num_prompt_token_ids = (size_t)c->num_prompt;
    request.sampling.max_tokens = c->max_tokens;
    request.sampling.n = c->n;
    request.sampling.temperature = 0.0f;
    request.sampling.detokenize = false;
    request.priority = (options >> 2) % 3;
    c->monotonous = options >> 6 == 3;
    if (c->monotonous) {
        request.sampling.logit_bias = &bias;
        request.sampling.num_logit_bias = 1;
    }
    request.on_output = on_output;
    request.user_data = c;
    REQUIRE(nano_engine_submit(engine, &request, &c->id, NULL) == NANO_OK);
}

static void step(nano_engine *engine)
{
    bool has_work;
    REQUIRE(nano_engine_step(engine, &has_work, NULL) == NANO_OK);
    REQUIRE(nano_scheduler_check(&engine->scheduler));
}

/* The smallest pool that may be asked for. */
static int blocks_of_one_sequence(const struct nano_engine_params *params)
{
    struct nano_engine_setup setup;
    REQUIRE(nano_engine_setup_make(&setup, NULL, NULL, NULL, params, NULL) == NANO_OK);
    return (int)nano_kv_sequence_blocks(&setup.scheduler_config.kv, params->max_model_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const runners[] = {
        "mock-kv",     "mock-windows",   "mock-window",        "mock-state",
        "mock-hybrid", "mock-device-kv", "mock-device-windows"};
    static struct client clients[MAX_CLIENTS];
    struct input in = {data, size, 0};
    struct nano_engine_params params = nano_engine_params_default();
    params.manual_step = true;
    params.max_model_len = MAX_PROMPT + MAX_OUTPUT;
    uint8_t first = next_byte(&in), more_blocks = next_byte(&in);
    params.block_size = 1 + first % 20;
    params.runner = runners[first / 20 % 7];
    params.max_num_batched_tokens = 1 + next_byte(&in) % 64;
    params.max_num_seqs = 1 + next_byte(&in) % 12;
    params.enable_prefix_caching = next_byte(&in) % 4 > 0;
    uint8_t speculation = next_byte(&in);
    params.num_speculative_tokens = speculation % 8;
    params.prompt_lookup_min = 1 + (speculation >> 3) % 2;
    params.itl_target_ms = speculation >> 7 ? 0.001f : 0.0f;
    if (first / 20 % 7 == 3 || first / 20 % 7 == 4)
        params.num_speculative_tokens = 0; /* a state cannot go back */
    int one_sequence = blocks_of_one_sequence(&params);
    params.num_blocks = one_sequence + more_blocks % (2 * one_sequence);
    nano_engine *engine;
    REQUIRE(nano_engine_create(&engine, NULL, &params, NULL) == NANO_OK);
    memset(clients, 0, sizeof clients);
    int num_clients = 0;
    while (in.used < in.size) {
        uint8_t action = next_byte(&in);
        if (action % 4 == 0 && num_clients < MAX_CLIENTS) {
            submit(engine, &clients[num_clients++], &in);
        } else if (action % 16 == 1 && num_clients > 0) {
            struct client *c = &clients[next_byte(&in) % num_clients];
            c->cancelled = true;
            nano_engine_cancel(engine, c->id);
        } else {
            step(engine);
        }
    }
    int num_steps = 0;
    while (engine->num_live > 0) {
        step(engine);
        REQUIRE(++num_steps < MAX_STEPS);
    }
    REQUIRE(engine->scheduler.blocks.num_free == params.num_blocks);
    nano_engine_destroy(engine);
    for (int i = 0; i < num_clients; i++)
        for (int k = 0; k < clients[i].n; k++)
            REQUIRE(clients[i].num_finishes[k] == 1);
    return 0;
}

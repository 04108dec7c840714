/* Mock runners. */
#include "runner/mock/mock_runner.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/os.h"

/* What a variant keeps of a sequence. */
struct mock_kind {
    int num_groups;
    int windows[NANO_MAX_KV_GROUPS];
    bool has_kv, has_state;
    bool is_device; /* it draws, and batches may be begun */
};

struct slot {
    uint32_t hash; /* of the token and the slot before it */
    int32_t token;
};

/* A batch that is begun: its tokens wait for end. */
struct begun {
    struct nano_batch_output *outputs; /* [max_num_batched_tokens] */
    int num_outputs;
    uint64_t done_ns;
};

struct mock {
    const struct mock_kind *kind;
    struct nano_runner_config config;
    float *logits;
    uint32_t *row_hash; /* [max_num_batched_tokens] */
    struct slot *slots; /* [num_blocks, block_size] */
    uint32_t *states;   /* [num_states] */
    int num_blocks, num_states;

    /* Of devices: */
    struct begun begun[2]; /* the nth in n % 2 */
    uint64_t num_begun, num_ended;
    int32_t *tokens; /* [max_num_batched_tokens], of the batch at hand, all of them known */
    uint64_t step_ns, done_ns; /* what a batch takes, and when the last one is through */
};

static enum nano_status plan(const struct mock_kind *kind, struct nano_runner_memory *out)
{
    *out = (struct nano_runner_memory){.activation_bytes = NANO_MOCK_VOCAB_SIZE * sizeof(float),
                                       .state_bytes = kind->has_state ? sizeof(uint32_t) : 0,
                                       .num_kv_groups = kind->num_groups};
    memcpy(out->kv_windows, kind->windows, sizeof out->kv_windows);
    return NANO_OK;
}

static void mock_close(void *state)
{
    struct mock *mock = state;
    if (!mock)
        return;
    nano_mem_free(mock->logits);
    nano_mem_free(mock->row_hash);
    nano_mem_free(mock->slots);
    nano_mem_free(mock->states);
    nano_mem_free(mock->tokens);
    for (int i = 0; i < 2; i++)
        nano_mem_free(mock->begun[i].outputs);
    nano_mem_free(mock);
}

static bool open_device(struct mock *mock, size_t num_rows)
{
    const char *step_us = getenv("NANOVLLM_MOCK_STEP_US");
    mock->step_ns = step_us ? strtoull(step_us, NULL, 10) * 1000 : 0;
    mock->tokens = nano_mem_alloc(num_rows, sizeof *mock->tokens);
    for (int i = 0; i < 2; i++)
        mock->begun[i].outputs = nano_mem_alloc(num_rows, sizeof *mock->begun[i].outputs);
    return mock->tokens && mock->begun[0].outputs && mock->begun[1].outputs;
}

static enum nano_status open_kind(const struct mock_kind *kind, void **state,
                                  const struct nano_runner_config *config, struct nano_error *err)
{
    struct mock *mock = nano_mem_calloc(1, sizeof *mock);
    const size_t num_rows = (size_t)config->max_num_batched_tokens;
    *state = NULL;
    if (!mock || !(mock->logits = nano_mem_alloc(NANO_MOCK_VOCAB_SIZE, sizeof(float))) ||
        !(mock->row_hash = nano_mem_alloc(num_rows, sizeof *mock->row_hash)) ||
        (kind->is_device && !open_device(mock, num_rows))) {
        mock_close(mock);
        return nano_error_no_memory(err, "the mock runner", NANO_MOCK_VOCAB_SIZE * sizeof(float));
    }
    mock->kind = kind;
    mock->config = *config;
    *state = mock;
    return NANO_OK;
}

static void mock_caps(const void *state, struct nano_runner_caps *out)
{
    const struct mock *mock = state;
    *out = (struct nano_runner_caps){.vocab_size = NANO_MOCK_VOCAB_SIZE,
                                     .hidden_size = NANO_MOCK_HIDDEN_SIZE,
                                     .isa = "none",
                                     .draws = mock->kind->is_device,
                                     .runs_ahead = mock->kind->is_device};
}

static enum nano_status mock_kv_alloc(void *state, int num_blocks, int num_states,
                                      struct nano_error *err)
{
    struct mock *mock = state;
    const size_t num_slots = (size_t)num_blocks * (size_t)mock->config.block_size;
    mock->num_blocks = num_blocks;
    mock->num_states = num_states;
    if (mock->kind->has_kv && !(mock->slots = nano_mem_calloc(num_slots, sizeof *mock->slots)))
        return nano_error_no_memory(err, "the mock pool", num_slots * sizeof *mock->slots);
    if (mock->kind->has_state &&
        !(mock->states = nano_mem_calloc((size_t)num_states, sizeof *mock->states)))
        return nano_error_no_memory(err, "the mock states",
                                    (size_t)num_states * sizeof *mock->states);
    return NANO_OK;
}

static void mock_kv_copy(void *state, int32_t src_block, int32_t dst_block)
{
    struct mock *mock = state;
    size_t block_size = (size_t)mock->config.block_size;
    if (mock->slots)
        memcpy(mock->slots + (size_t)dst_block * block_size,
               mock->slots + (size_t)src_block * block_size, block_size * sizeof *mock->slots);
}

static void mock_state_copy(void *state, int32_t src_state, int32_t dst_state)
{
    struct mock *mock = state;
    if (mock->states)
        mock->states[dst_state] = mock->states[src_state];
}

/* The multipliers are xxHash's 32-bit primes. */
static inline uint32_t mix(int32_t token, uint32_t before)
{
    uint32_t x = (uint32_t)token * 0x9E3779B1u + before * 0x85EBCA77u + 1;
    return (x ^ x >> 15) * 0xC2B2AE3Du;
}

uint32_t nano_mock_hash(int32_t token, uint32_t before)
{
    return mix(token, before);
}

int32_t nano_mock_token(uint32_t hash)
{
    return (int32_t)(hash % NANO_MOCK_VOCAB_SIZE);
}

/* ---- sequences that leave something behind ---- */

/* NULL where the table has no block. */
static struct slot *slot_of(const struct mock *mock, const struct nano_batch_seq *seq, int group,
                            int position)
{
    const int block_size = mock->config.block_size;
    const int32_t block = seq->block_table[group * seq->table_stride + position / block_size];
    if (block < 0 || block >= mock->num_blocks)
        return NULL;
    return &mock->slots[(size_t)block * (size_t)block_size + (size_t)(position % block_size)];
}

/* The first position that the sequence's first token of the batch sees. */
static int first_seen(const struct mock *mock, const struct nano_batch_seq *seq, int group)
{
    const int window = mock->kind->windows[group];
    return window > 0 && seq->first_position >= window ? seq->first_position - window + 1 : 0;
}

static bool store_in_group(const struct mock *mock, const struct nano_batch *batch,
                           const struct nano_batch_seq *seq, int group)
{
    uint32_t before = 0;
    if (seq->first_position > 0) {
        const struct slot *last = slot_of(mock, seq, group, seq->first_position - 1);
        if (!last)
            return false;
        before = last->hash;
    }
    for (int t = 0; t < seq->num_tokens; t++) {
        const int32_t token = batch->tokens[seq->first_token + t];
        struct slot *slot = slot_of(mock, seq, group, seq->first_position + t);
        if (!slot)
            return false;
        before = mix(token, before);
        *slot = (struct slot){before, token};
    }
    return true;
}

/* Whether all that is seen follows from each other, and is what the rows' hashes say. */
static bool check_group(const struct mock *mock, const struct nano_batch_seq *seq, int group)
{
    const int first = first_seen(mock, seq, group);
    const struct slot *before = NULL;
    for (int p = first; p < seq->first_position + seq->num_tokens; p++) {
        const struct slot *slot = slot_of(mock, seq, group, p);
        if (!slot || (p == 0 && slot->hash != mix(slot->token, 0)) ||
            (before && slot->hash != mix(slot->token, before->hash)))
            return false;
        if (p >= seq->first_position &&
            slot->hash != mock->row_hash[seq->first_token + p - seq->first_position])
            return false;
        before = slot;
    }
    return true;
}

static bool advance_state(struct mock *mock, const struct nano_batch *batch,
                          const struct nano_batch_seq *seq)
{
    if (seq->state < 0 || seq->state >= mock->num_states)
        return false;
    uint32_t hash = seq->first_position > 0 ? mock->states[seq->state] : 0;
    for (int t = 0; t < seq->num_tokens; t++) {
        hash = mix(batch->tokens[seq->first_token + t], hash);
        mock->row_hash[seq->first_token + t] = hash;
    }
    mock->states[seq->state] = hash;
    return true;
}

static void read_rows(struct mock *mock, const struct nano_batch_seq *seq)
{
    for (int t = 0; t < seq->num_tokens; t++)
        mock->row_hash[seq->first_token + t] = slot_of(mock, seq, 0, seq->first_position + t)->hash;
}

static bool run_sequences(struct mock *mock, const struct nano_batch *batch)
{
    const struct mock_kind *kind = mock->kind;
    bool ok = true;
    for (int i = 0; ok && i < batch->num_seqs; i++) {
        const struct nano_batch_seq *seq = &batch->seqs[i];
        for (int g = 0; ok && kind->has_kv && g < kind->num_groups; g++)
            ok = store_in_group(mock, batch, seq, g);
        if (ok && kind->has_state)
            ok = advance_state(mock, batch, seq);
        else if (ok)
            read_rows(mock, seq);
    }
    /* After all have stored: who got a block that another one still sees has changed it by now. */
    const bool checks =
        kind->has_kv && (kind->num_groups > 1 || kind->has_state || kind->windows[0]);
    for (int i = 0; ok && checks && i < batch->num_seqs; i++)
        for (int g = 0; ok && g < kind->num_groups; g++)
            ok = check_group(mock, &batch->seqs[i], g);
    return ok;
}

/* ---- a step ---- */

static void give_logits(const struct mock *mock, const struct nano_batch *batch, int output,
                        int32_t token)
{
    for (int i = 0; i < NANO_MOCK_VOCAB_SIZE; i++)
        mock->logits[i] = (float)((i * 37 + token) % 101) * 0.01f;
    mock->logits[token] = 2.0f;
    batch->on_logits(batch->context, output, mock->logits);
}

static void give_hidden(const struct nano_batch *batch, int output, uint32_t hash)
{
    float row[NANO_MOCK_HIDDEN_SIZE];
    for (int i = 0; i < NANO_MOCK_HIDDEN_SIZE; i++)
        row[i] = (float)(mix(i, hash) >> 8) * 0x1p-24f;
    batch->on_hidden(batch->context, output, row, 0, NANO_MOCK_HIDDEN_SIZE);
}

/* Not what the sampler would draw, but another token for another number. */
static int32_t draw_token(const struct nano_draw *draw, uint32_t hash)
{
    return nano_mock_token(mix((int32_t)(draw->uniform * 0x1p31), hash));
}

static enum nano_status mock_run(void *state, struct nano_batch *batch, struct nano_error *err)
{
    struct mock *mock = state;
    const bool remembers = mock->kind->has_kv || mock->kind->has_state;
    if (remembers && !run_sequences(mock, batch))
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "batch: a sequence sees what is not its own");
    const struct nano_batch_seq *seq = batch->seqs;
    int end_row = batch->num_outputs > 0 ? seq->num_tokens : 0;
    for (int i = 0; i < batch->num_outputs; i++) {
        struct nano_batch_output *output = &batch->outputs[i];
        while (output->row >= end_row)
            end_row += (++seq)->num_tokens;
        int position = seq->first_position + output->row - seq->first_token;
        uint32_t hash = remembers ? mock->row_hash[output->row]
                                  : mix(batch->tokens[output->row], (uint32_t)position);
        int32_t token = nano_mock_token(hash);
        if (output->hidden)
            give_hidden(batch, i, hash);
        else if (output->greedy)
            output->token = token;
        else if (output->draws && mock->kind->is_device)
            output->token = draw_token(&output->draw, hash);
        else
            give_logits(mock, batch, i, token);
    }
    return NANO_OK;
}

/* ---- devices ---- */

/* When what is started now will be through. */
static uint64_t start_work(struct mock *mock)
{
    const uint64_t now = mock->step_ns ? nano_os_clock_ns() : 0;
    mock->done_ns = (mock->done_ns > now ? mock->done_ns : now) + mock->step_ns;
    return mock->done_ns;
}

static void wait_until(const struct mock *mock, uint64_t done_ns)
{
    while (mock->step_ns && nano_os_clock_ns() < done_ns)
        continue;
}

static enum nano_status device_run(void *state, struct nano_batch *batch, struct nano_error *err)
{
    struct mock *mock = state;
    if (mock->num_begun > mock->num_ended)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "another batch is begun");
    const uint64_t done_ns = start_work(mock);
    const enum nano_status status = mock_run(state, batch, err);
    wait_until(mock, done_ns);
    return status;
}

/* Makes tokens of what the batch before, if it is not ended, has given. */
static enum nano_status find_tokens(struct mock *mock, const struct nano_batch *batch,
                                    struct nano_error *err)
{
    const bool is_ahead = mock->num_begun > mock->num_ended;
    const struct begun *before = &mock->begun[(mock->num_begun + 1) % 2];
    for (int i = 0; i < batch->num_tokens; i++) {
        const int32_t token = batch->tokens[i];
        if (token < 0 && (!is_ahead || -1 - token >= before->num_outputs))
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "batch: token %d is of no output",
                                  (int)token);
        mock->tokens[i] = token < 0 ? before->outputs[-1 - token].token : token;
    }
    return NANO_OK;
}

static enum nano_status device_begin(void *state, const struct nano_batch *batch,
                                     struct nano_error *err)
{
    struct mock *mock = state;
    struct begun *begun = &mock->begun[mock->num_begun % 2];
    if (mock->num_begun - mock->num_ended == 2)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "two batches are begun");
    enum nano_status status = find_tokens(mock, batch, err);
    if (status != NANO_OK)
        return status;
    struct nano_batch known = *batch;
    known.tokens = mock->tokens;
    known.outputs = begun->outputs;
    for (int i = 0; i < batch->num_outputs; i++) {
        begun->outputs[i] = batch->outputs[i];
        batch->outputs[i].token = -1; /* until end */
        if (!batch->outputs[i].greedy && !batch->outputs[i].draws)
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "batch: output %d is no token",
                                  i);
    }
    status = mock_run(state, &known, err);
    if (status != NANO_OK)
        return status;
    begun->num_outputs = batch->num_outputs;
    begun->done_ns = start_work(mock);
    mock->num_begun++;
    return NANO_OK;
}

static enum nano_status device_end(void *state, struct nano_batch *batch, struct nano_error *err)
{
    struct mock *mock = state;
    const struct begun *begun = &mock->begun[mock->num_ended % 2];
    if (mock->num_begun == mock->num_ended || batch->num_outputs != begun->num_outputs)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT, "this batch is not begun");
    mock->num_ended++;
    wait_until(mock, begun->done_ns);
    for (int i = 0; i < batch->num_outputs; i++)
        batch->outputs[i].token = begun->outputs[i].token;
    return NANO_OK;
}

static uint64_t mock_memory_used(const void *state)
{
    (void)state;
    return NANO_MOCK_VOCAB_SIZE * sizeof(float);
}

static size_t mock_profile(const void *state, struct nano_op_profile *out, size_t capacity)
{
    (void)state, (void)out, (void)capacity;
    return 0;
}

/* ---- the variants ---- */

#define MOCK_KIND(id, ...)                                                                    \
    static const struct mock_kind kind_##id = {__VA_ARGS__};                                  \
    static enum nano_status plan_##id(const struct nano_runner_config *config,                \
                                      struct nano_runner_memory *out, struct nano_error *err) \
    {                                                                                         \
        (void)config, (void)err;                                                              \
        return plan(&kind_##id, out);                                                         \
    }                                                                                         \
    static enum nano_status open_##id(void **state, const struct nano_runner_config *config,  \
                                      struct nano_error *err)                                 \
    {                                                                                         \
        return open_kind(&kind_##id, state, config, err);                                     \
    }

#define MOCK_RUNNER(id, label, ...)                                               \
    const struct nano_runner nano_runner_##id = {.name = (label),                 \
                                                 .plan = plan_##id,               \
                                                 .open = open_##id,               \
                                                 .close = mock_close,             \
                                                 .caps = mock_caps,               \
                                                 .kv_alloc = mock_kv_alloc,       \
                                                 .kv_copy = mock_kv_copy,         \
                                                 .state_copy = mock_state_copy,   \
                                                 .memory_used = mock_memory_used, \
                                                 .profile = mock_profile,         \
                                                 __VA_ARGS__}

#define MOCK_HOST(id, label, ...) \
    MOCK_KIND(id, __VA_ARGS__)    \
    MOCK_RUNNER(id, label, .run = mock_run)

#define MOCK_DEVICE(id, label, ...)               \
    MOCK_KIND(id, __VA_ARGS__, .is_device = true) \
    MOCK_RUNNER(id, label, .run = device_run, .begin = device_begin, .end = device_end)

MOCK_HOST(mock, "mock", .num_groups = 1);
MOCK_HOST(mock_kv, "mock-kv", .num_groups = 1, .has_kv = true);
MOCK_HOST(mock_windows, "mock-windows", .num_groups = 4, .windows = {0, 20, 20, 3}, .has_kv = true);
MOCK_HOST(mock_window, "mock-window", .num_groups = 1, .windows = {24}, .has_kv = true);
MOCK_HOST(mock_state, "mock-state", .num_groups = 1, .has_state = true);
MOCK_HOST(mock_hybrid, "mock-hybrid", .num_groups = 2, .windows = {0, 20}, .has_kv = true,
          .has_state = true);
MOCK_DEVICE(mock_device, "mock-device", .num_groups = 1);
MOCK_DEVICE(mock_device_kv, "mock-device-kv", .num_groups = 1, .has_kv = true);
MOCK_DEVICE(mock_device_windows, "mock-device-windows", .num_groups = 4, .windows = {0, 20, 20, 3},
            .has_kv = true);

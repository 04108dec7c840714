/* Mock runners. */
#include "runner/mock/mock_runner.h"

#include <string.h>

#include "base/memory.h"

struct mock {
    struct nano_runner_config config;
    float *logits;
    uint32_t *slots; /* [num_blocks, block_size], of mock-kv */
};

static enum nano_status mock_plan(const struct nano_runner_config *config,
                                  struct nano_runner_memory *out, struct nano_error *err)
{
    (void)config, (void)err;
    *out = (struct nano_runner_memory){.activation_bytes = NANO_MOCK_VOCAB_SIZE * sizeof(float)};
    return NANO_OK;
}

static void mock_close(void *state)
{
    struct mock *mock = state;
    if (!mock)
        return;
    nano_mem_free(mock->logits);
    nano_mem_free(mock->slots);
    nano_mem_free(mock);
}

static enum nano_status mock_open(void **state, const struct nano_runner_config *config,
                                  struct nano_error *err)
{
    struct mock *mock = nano_mem_calloc(1, sizeof *mock);
    *state = NULL;
    if (!mock || !(mock->logits = nano_mem_alloc(NANO_MOCK_VOCAB_SIZE, sizeof(float)))) {
        mock_close(mock);
        return nano_error_no_memory(err, "the mock runner", NANO_MOCK_VOCAB_SIZE * sizeof(float));
    }
    mock->config = *config;
    *state = mock;
    return NANO_OK;
}

static void mock_caps(const void *state, struct nano_runner_caps *out)
{
    (void)state;
    *out =
        (struct nano_runner_caps){.paged = true, .vocab_size = NANO_MOCK_VOCAB_SIZE, .isa = "none"};
}

static enum nano_status mock_kv_alloc(void *state, int num_blocks, int num_states,
                                      struct nano_error *err)
{
    (void)state, (void)num_blocks, (void)num_states, (void)err;
    return NANO_OK;
}

static enum nano_status mock_kv_kv_alloc(void *state, int num_blocks, int num_states,
                                         struct nano_error *err)
{
    struct mock *mock = state;
    (void)num_states;
    size_t count = (size_t)num_blocks * (size_t)mock->config.block_size;
    mock->slots = nano_mem_calloc(count, sizeof *mock->slots);
    return mock->slots ? NANO_OK
                       : nano_error_no_memory(err, "the mock pool", count * sizeof *mock->slots);
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
    (void)state, (void)src_state, (void)dst_state; /* it has none */
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

static uint32_t *slot_of(const struct mock *mock, const struct nano_batch_seq *seq, int position)
{
    int block_size = mock->config.block_size;
    size_t block = (size_t)seq->block_table[position / block_size];
    return &mock->slots[block * (size_t)block_size + (size_t)(position % block_size)];
}

static void store_tokens(const struct mock *mock, const struct nano_batch *batch)
{
    for (int i = 0; i < batch->num_seqs; i++) {
        const struct nano_batch_seq *seq = &batch->seqs[i];
        for (int t = 0; t < seq->num_tokens; t++) {
            int position = seq->first_position + t;
            uint32_t before = position > 0 ? *slot_of(mock, seq, position - 1) : 0;
            *slot_of(mock, seq, position) = mix(batch->tokens[seq->first_token + t], before);
        }
    }
}

static void give_logits(const struct mock *mock, const struct nano_batch *batch, int output,
                        int32_t token)
{
    for (int i = 0; i < NANO_MOCK_VOCAB_SIZE; i++)
        mock->logits[i] = (float)((i * 37 + token) % 101) * 0.01f;
    mock->logits[token] = 2.0f;
    batch->on_logits(batch->context, output, mock->logits);
}

static enum nano_status mock_run(void *state, struct nano_batch *batch, struct nano_error *err)
{
    const struct mock *mock = state;
    (void)err;
    if (mock->slots)
        store_tokens(mock, batch);
    const struct nano_batch_seq *seq = batch->seqs;
    int end_row = batch->num_outputs > 0 ? seq->num_tokens : 0;
    for (int i = 0; i < batch->num_outputs; i++) {
        struct nano_batch_output *output = &batch->outputs[i];
        while (output->row >= end_row)
            end_row += (++seq)->num_tokens;
        int position = seq->first_position + output->row - seq->first_token;
        uint32_t hash = mock->slots ? *slot_of(mock, seq, position)
                                    : mix(batch->tokens[output->row], (uint32_t)position);
        int32_t token = nano_mock_token(hash);
        if (output->greedy)
            output->token = token;
        else
            give_logits(mock, batch, i, token);
    }
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

const struct nano_runner nano_runner_mock = {
    .name = "mock",
    .plan = mock_plan,
    .open = mock_open,
    .close = mock_close,
    .caps = mock_caps,
    .kv_alloc = mock_kv_alloc,
    .kv_copy = mock_kv_copy,
    .state_copy = mock_state_copy,
    .run = mock_run,
    .memory_used = mock_memory_used,
    .profile = mock_profile,
};

const struct nano_runner nano_runner_mock_kv = {
    .name = "mock-kv",
    .plan = mock_plan,
    .open = mock_open,
    .close = mock_close,
    .caps = mock_caps,
    .kv_alloc = mock_kv_kv_alloc,
    .kv_copy = mock_kv_copy,
    .state_copy = mock_state_copy,
    .run = mock_run,
    .memory_used = mock_memory_used,
    .profile = mock_profile,
};

/* What every runner of programs expects of a batch. */
#include "runner/batch_check.h"

static enum nano_status check_seq(const struct nano_batch_limits *limits,
                                  const struct nano_batch *batch, int index, int next_token,
                                  struct nano_error *err)
{
    const struct nano_runner_config *c = limits->config;
    const struct nano_program *p = c->program;
    const struct nano_batch_seq *seq = &batch->seqs[index];
    const int64_t end_position = (int64_t)seq->first_position + seq->num_tokens;
    if (seq->first_token != next_token || seq->num_tokens < 1 ||
        seq->num_tokens > batch->num_tokens - next_token)
        return nano_error_set(
            err, NANO_ERR_INVALID_ARGUMENT,
            "batch: sequence %d has tokens %d … %d, expected to begin at %d and end by %d", index,
            seq->first_token, seq->first_token + seq->num_tokens, next_token, batch->num_tokens);
    if (p->bidirectional && seq->first_position != 0)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "batch: sequence %d begins at position %d, expected a whole one",
                              index, seq->first_position);
    if (seq->first_position < 0 || end_position > c->max_model_len)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "batch: sequence %d ends at position %lld, expected at most %d",
                              index, (long long)end_position, c->max_model_len);
    uint32_t largest = 0; /* a negative id becomes one; no branch, for tables may be long */
    for (int g = 0; g < p->num_kv_groups; g++) {
        const int window = p->kv_groups[g].window;
        const int64_t first = window && seq->first_position >= window
                                  ? (seq->first_position - window + 1) / c->block_size
                                  : 0;
        const int32_t *table = seq->block_table + g * seq->table_stride;
        for (int64_t b = first; b * c->block_size < end_position; b++)
            largest = (uint32_t)table[b] > largest ? (uint32_t)table[b] : largest;
    }
    if (p->state_floats && (uint32_t)seq->state >= (uint32_t)limits->num_states)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "batch: sequence %d has state %d, expected 0 … %d", index,
                              (int)seq->state, limits->num_states - 1);
    if ((uint32_t)seq->adapter > (uint32_t)c->num_adapters)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "batch: sequence %d has adapter %d, expected 0 … %d", index,
                              (int)seq->adapter, c->num_adapters);
    if (largest >= (uint32_t)limits->num_blocks)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "batch: sequence %d has block %d, expected 0 … %d", index,
                              (int)largest, limits->num_blocks - 1);
    return NANO_OK;
}

enum nano_status nano_batch_check(const struct nano_batch *batch,
                                  const struct nano_batch_limits *limits, struct nano_error *err)
{
    const struct nano_runner_config *c = limits->config;
    const struct nano_program *p = c->program;
    if (batch->num_tokens < 0 || batch->num_tokens > c->max_num_batched_tokens ||
        batch->num_seqs < 0 || batch->num_seqs > c->max_num_seqs || batch->num_outputs < 0 ||
        batch->num_outputs > batch->num_tokens)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "batch of %d tokens, %d sequences, %d outputs, expected at most %d "
                              "tokens, %d sequences",
                              batch->num_tokens, batch->num_seqs, batch->num_outputs,
                              c->max_num_batched_tokens, c->max_num_seqs);
    for (int t = 0; t < batch->num_tokens; t++)
        if (batch->tokens[t] < -limits->num_coming_tokens ||
            batch->tokens[t] >= p->config.vocab_size)
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                                  "batch: token %d, expected %d … %lld", (int)batch->tokens[t],
                                  -limits->num_coming_tokens, (long long)p->config.vocab_size - 1);
    enum nano_status status = NANO_OK;
    int next_token = 0;
    for (int s = 0; s < batch->num_seqs && status == NANO_OK; s++) {
        status = check_seq(limits, batch, s, next_token, err);
        next_token += batch->seqs[s].num_tokens;
    }
    if (status == NANO_OK && next_token != batch->num_tokens)
        return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                              "batch: sequences have %d tokens, expected %d", next_token,
                              batch->num_tokens);
    for (int i = 0; i < batch->num_outputs && status == NANO_OK; i++) {
        const struct nano_batch_output *out = &batch->outputs[i];
        if (out->row < (i ? batch->outputs[i - 1].row + 1 : 0) || out->row >= batch->num_tokens)
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                                  "batch: output %d is row %d, expected ascending rows below %d", i,
                                  (int)out->row, batch->num_tokens);
        if (!out->hidden && p->logits_buffer < 0)
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                                  "batch: output %d wants logits, this program makes none", i);
        if (out->hidden ? !batch->on_hidden : !out->greedy && !out->draws && !batch->on_logits)
            return nano_error_set(err, NANO_ERR_INVALID_ARGUMENT,
                                  "batch: output %d has no receiver", i);
    }
    return status;
}

/* Harness: batches, block tables and the collection of logits. */
#include "tests/runner_harness.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runner/cpu/cpu_runner.h"
#include "runner/cuda/cuda_device.h"
#include "runner/cuda/cuda_runner.h"
#include "tests/tiny_model.h"

/* The runner that programs run on: other builds of the same tests have others. */
#ifndef HARNESS_RUNNER
#define HARNESS_RUNNER nano_runner_cpu
#endif

/* Learned positions end where their table does. */
static int max_len(const struct nano_program *program)
{
    int64_t most = HARNESS_MAX_LEN;
    for (int i = 0; i < program->num_ops; i++)
        if (program->ops[i].kind == NANO_OP_POSITION_EMBED &&
            program->ops[i].weight[0]->dims[1] < most)
            most = program->ops[i].weight[0]->dims[1];
    return (int)most;
}

int64_t harness_row_size(const struct nano_program *p)
{
    return p->logits_buffer >= 0 ? p->config.vocab_size : p->buffers[p->hidden_buffer].width;
}

static void open_with(struct harness *h, const struct nano_runner_config *runner_config)
{
    struct nano_error err;
    const struct harness_config *config = &h->config;
    cr_assert_eq(h->runner->open(&h->state, runner_config, &err), NANO_OK, "%s", err.message);
    h->num_blocks =
        h->num_kv_groups * config->max_num_seqs * (HARNESS_MAX_LEN / config->block_size + 1);
    cr_assert_eq(h->runner->kv_alloc(h->state, h->num_blocks, h->config.max_num_seqs, &err),
                 NANO_OK, "%s", err.message);
    h->block_ids = malloc((size_t)h->num_blocks * sizeof *h->block_ids);
    cr_assert_not_null(h->block_ids);
    uint64_t random = config->shuffle;
    for (int i = 0; i < h->num_blocks; i++) {
        const int j = (int)(tiny_random(&random) % (uint64_t)(i + 1));
        h->block_ids[i] = h->block_ids[j];
        h->block_ids[j] = i;
    }
}

static struct nano_runner_config runner_config(const struct harness_config *config)
{
    return (struct nano_runner_config){.num_threads = config->num_threads,
                                       .max_num_batched_tokens = config->max_num_batched_tokens,
                                       .max_num_seqs = config->max_num_seqs,
                                       .block_size = config->block_size,
                                       .kv_format = config->kv_format,
                                       .batch_invariant = true,
                                       .on_linear_input = config->on_linear_input,
                                       .on_linear_input_context = config->on_linear_input_context,
                                       .adapters = config->adapters,
                                       .num_adapters = config->num_adapters};
}

void harness_open(struct harness *h, const struct nano_program *program,
                  const struct harness_config *config)
{
#ifdef HARNESS_GPU
    struct nano_cuda_device_info gpu;
    struct nano_error gpu_err;
    if (nano_cuda_device_query(&gpu, 0, &gpu_err) != NANO_OK)
        cr_skip_test("%s", gpu_err.message);
#endif
    *h = (struct harness){.runner = &HARNESS_RUNNER,
                          .config = *config,
                          .num_kv_groups = program->num_kv_groups,
                          .vocab_size = harness_row_size(program),
                          .hidden = program->logits_buffer < 0};
    struct nano_runner_config c = runner_config(config);
    c.program = program;
    c.max_model_len = max_len(program);
    open_with(h, &c);
}

void harness_open_onnx(struct harness *h, const struct nano_onnx_graph *graph, int64_t vocab_size,
                       int max_model_len, const struct harness_config *config)
{
    struct nano_error err;
    *h = (struct harness){.config = *config, .num_kv_groups = 1, .vocab_size = vocab_size};
    cr_assert_eq(nano_runner_find(&h->runner, "onnx", &err), NANO_OK, "%s", err.message);
    struct nano_runner_config c = runner_config(config);
    c.onnx = graph;
    c.max_model_len = max_model_len;
    open_with(h, &c);
}

void harness_close(struct harness *h)
{
    h->runner->close(h->state);
    free(h->block_ids);
}

void harness_seq_begin(struct harness *h, struct harness_seq *seq, const int32_t *tokens,
                       int num_tokens)
{
    const int blocks = (num_tokens + h->config.block_size - 1) / h->config.block_size;
    const int num_ids = h->num_kv_groups * blocks;
    cr_assert_leq(h->next_block + num_ids, h->num_blocks);
    *seq = (struct harness_seq){.tokens = tokens,
                                .num_tokens = num_tokens,
                                .table_stride = blocks,
                                .state = h->num_states++};
    seq->block_table = malloc((size_t)num_ids * sizeof *seq->block_table);
    seq->logits = calloc((size_t)num_tokens * (size_t)h->vocab_size, sizeof *seq->logits);
    cr_assert(seq->block_table && seq->logits);
    memcpy(seq->block_table, h->block_ids + h->next_block,
           (size_t)num_ids * sizeof *seq->block_table);
    h->next_block += num_ids;
}

void harness_seq_end(struct harness_seq *seq)
{
    free(seq->block_table);
    free(seq->logits);
}

struct receiver {
    float **rows; /* [outputs] */
    int64_t vocab_size;
};

static void on_logits(void *context, int output, float *logits)
{
    const struct receiver *receiver = context;
    memcpy(receiver->rows[output], logits, (size_t)receiver->vocab_size * sizeof *logits);
    memset(logits, 0xFF, (size_t)receiver->vocab_size * sizeof *logits); /* it may change them */
}

static void on_hidden(void *context, int output, const float *row, int64_t first_column,
                      int64_t end_column)
{
    const struct receiver *receiver = context;
    memcpy(receiver->rows[output] + first_column, row + first_column,
           (size_t)(end_column - first_column) * sizeof *row);
}

void harness_step(struct harness *h, struct harness_seq *seqs, const int *counts, int num_seqs)
{
    int32_t tokens[HARNESS_MAX_LEN * 2];
    struct nano_batch_seq batch_seqs[64];
    struct nano_batch_output outputs[HARNESS_MAX_LEN * 2];
    float *rows[HARNESS_MAX_LEN * 2];
    struct receiver receiver = {rows, h->vocab_size};
    struct nano_batch batch = {.tokens = tokens,
                               .seqs = batch_seqs,
                               .outputs = outputs,
                               .on_logits = on_logits,
                               .on_hidden = on_hidden,
                               .context = &receiver};
    for (int s = 0; s < num_seqs; s++) {
        struct harness_seq *seq = &seqs[s];
        if (!counts[s])
            continue;
        batch_seqs[batch.num_seqs++] = (struct nano_batch_seq){.first_token = batch.num_tokens,
                                                               .num_tokens = counts[s],
                                                               .first_position = seq->num_computed,
                                                               .block_table = seq->block_table,
                                                               .table_stride = seq->table_stride,
                                                               .state = seq->state,
                                                               .adapter = seq->adapter};
        for (int i = 0; i < counts[s]; i++, batch.num_tokens++, seq->num_computed++) {
            tokens[batch.num_tokens] = seq->tokens[seq->num_computed];
            outputs[batch.num_tokens] =
                (struct nano_batch_output){.row = batch.num_tokens, .hidden = h->hidden};
            rows[batch.num_tokens] = seq->logits + (int64_t)seq->num_computed * h->vocab_size;
        }
    }
    batch.num_outputs = batch.num_tokens;
    struct nano_error err;
    cr_assert_eq(h->runner->run(h->state, &batch, &err), NANO_OK, "%s", err.message);
}

float *harness_logits(const struct nano_program *program, const struct harness_config *config,
                      const int32_t *tokens, int num_tokens, int chunk)
{
    struct harness h;
    struct harness_seq seq;
    harness_open(&h, program, config);
    harness_seq_begin(&h, &seq, tokens, num_tokens);
    while (seq.num_computed < num_tokens) {
        const int left = num_tokens - seq.num_computed;
        harness_step(&h, &seq, &(int){left < chunk ? left : chunk}, 1);
    }
    harness_close(&h);
    free(seq.block_table);
    return seq.logits;
}

double harness_difference(const float *a, const double *b, size_t count)
{
    double difference = 0, largest = 0;
    for (size_t i = 0; i < count; i++) {
        difference = fmax(difference, fabs((double)a[i] - b[i]));
        largest = fmax(largest, fabs(b[i]));
        if (isnan(a[i]))
            return INFINITY;
    }
    return difference / largest;
}

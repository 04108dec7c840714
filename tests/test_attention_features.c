/* What models add to attention, in the runner: windows, soft caps, sinks, V inside K, both
 * directions. Programs of small models are changed to have them, and compared with plain loops and,
 * bit by bit, with themselves in other chunks, blocks, threads and company. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/passes.h"
#include "runner/cpu/cpu_runner.h"
#include "tests/grown_model.h"
#include "tests/naive_program.h"
#include "tests/runner_harness.h"
#include "tests/tiny_model.h"

#define LENGTH 300
#define LONG 900

struct features {
    const char *spec;
    int window[2]; /* of the two layers */
    float softcap;
    bool sinks, bidirectional;
};

static const struct features cases[] = {
    {"llama", {1, 0}, 0, false, false},
    {"llama", {40, 0}, 0, true, false},
    {"llama", {0, 257}, 3, true, false},
    {"qwen3", {17, 17}, 0, false, false},
    {"qwen3", {5, 64}, 1.5f, true, false},
    {"qwen2", {0, 0}, 0, true, true},
    {"gpt2", {0, 0}, 2, false, true},
    {"deepseek2, dense", {0, 0}, 0, false, false},
    {"deepseek2, dense", {70, 0}, 2, true, false},
    {"deepseek2, many heads", {0, 0}, 0, true, false},
};
enum { NUM_CASES = sizeof cases / sizeof *cases };

struct model {
    struct nano_weights weights;
    struct nano_program *program;
    float sinks[40];
    struct nano_tensor sinks_tensor;
};

static void model_open(struct model *m, const struct features *f)
{
    int spec = 0;
    while (spec < num_grown_specs && strcmp(grown_specs[spec].name, f->spec) != 0)
        spec++;
    cr_assert_lt(spec, num_grown_specs, "no spec %s", f->spec);
    grown_model_make(&m->weights, &grown_specs[spec]);
    cr_assert_eq(nano_program_build(&m->program, &m->weights, NULL), NANO_OK);
    struct nano_program *p = m->program;
    cr_assert_eq(p->num_kv_layers, 2);
    for (int i = 0; i < 40; i++)
        m->sinks[i] = (float)(i % 5) - 2;
    m->sinks_tensor =
        (struct nano_tensor){.format = NANO_FORMAT_F32,
                             .num_dims = 1,
                             .dims = {p->config.num_heads, 1, 1, 1},
                             .data = m->sinks,
                             .num_bytes = (size_t)p->config.num_heads * sizeof(float)};
    for (int i = 0; i < 2; i++)
        p->kv_layers[i].window = f->window[i];
    p->bidirectional = f->bidirectional;
    for (int i = 0; i < p->num_ops; i++) {
        struct nano_op *op = &p->ops[i];
        if (op->kind != NANO_OP_ATTENTION)
            continue;
        op->softcap = f->softcap;
        op->bidirectional = f->bidirectional;
        op->weight[0] = f->sinks ? &m->sinks_tensor : NULL;
    }
    cr_assert_eq(nano_program_group_kv(p, NULL), NANO_OK);
    cr_assert_eq(nano_program_check(p, NULL), NANO_OK);
}

static void model_close(struct model *m)
{
    nano_program_destroy(m->program);
    nano_weights_close(&m->weights);
}

static void make_tokens(int32_t *tokens, int count, int64_t vocab_size, uint64_t seed)
{
    for (int i = 0; i < count; i++)
        tokens[i] = (int32_t)(tiny_random(&seed) % (uint64_t)vocab_size);
}

static struct harness_config config_of(int num_threads, int block_size,
                                       enum nano_kv_format kv_format)
{
    return (struct harness_config){.num_threads = num_threads,
                                   .block_size = block_size,
                                   .max_num_batched_tokens = LONG,
                                   .max_num_seqs = 4,
                                   .kv_format = kv_format,
                                   .shuffle = (uint64_t)block_size};
}

/* Blocks that a sequence's windows have left behind belong to others. */
static void forget_blocks(const struct nano_program *p, int block_size, struct harness_seq *seq)
{
    for (int g = 0; g < p->num_kv_groups; g++) {
        const int window = p->kv_groups[g].window,
                  first = window ? seq->num_computed - window + 1 : 0;
        for (int b = 0; (b + 1) * block_size <= first; b++)
            seq->block_table[g * seq->table_stride + b] = -1;
    }
}

static float *logits_in_chunks(const struct nano_program *p, const struct harness_config *config,
                               const int32_t *tokens, int num_tokens, int chunk)
{
    struct harness h;
    struct harness_seq seq;
    harness_open(&h, p, config);
    harness_seq_begin(&h, &seq, tokens, num_tokens);
    while (seq.num_computed < num_tokens) {
        const int left = num_tokens - seq.num_computed;
        forget_blocks(p, config->block_size, &seq);
        harness_step(&h, &seq, &(int){left < chunk ? left : chunk}, 1);
    }
    harness_close(&h);
    free(seq.block_table);
    return seq.logits;
}

static void for_each_tier(void (*check)(void))
{
#ifdef HARNESS_RUNNER /* whose kernels are the same on every processor */
    check();
    return;
#endif
    for (int tier = 0; tier < NANO_NUM_CPU_TIERS; tier++) {
        if (!nano_cpu_supports((enum nano_cpu_tier)tier))
            continue;
        setenv("NANOVLLM_CPU", nano_cpu_tier_name((enum nano_cpu_tier)tier), 1);
        check();
    }
}

static void check_values(void)
{
    for (int i = 0; i < NUM_CASES; i++) {
        struct model m;
        int32_t tokens[LENGTH];
        model_open(&m, &cases[i]);
        const int64_t vocab = m.program->config.vocab_size;
        make_tokens(tokens, LENGTH, vocab, 3);
        const struct harness_config config = config_of(2, 16, NANO_KV_FORMAT_F32);
        float *got = logits_in_chunks(m.program, &config, tokens, LENGTH, LENGTH);
        double *want = naive_logits(m.program, tokens, LENGTH), worst = 0;
        for (int t = 0; t < LENGTH; t++)
            worst =
                fmax(worst, harness_difference(got + t * vocab, want + t * vocab, (size_t)vocab));
        cr_expect(worst <= 2e-5, "case %d: worst relative difference %g", i, worst);
        free(got);
        free(want);
        model_close(&m);
    }
}

Test(attention_features, equal_plain_loops)
{
    for_each_tier(check_values);
}

#ifdef HARNESS_RUNNER /* an emulated one is slow, and has tests of its own for these */
#define BITS_CASE_STEP 7
#else
#define BITS_CASE_STEP 1
#endif

static void check_bits(void)
{
    static const struct {
        int chunk, block_size, num_threads;
    } ways[] = {{LENGTH, 16, 1}, {1, 16, 3}, {7, 5, 2}, {100, 32, 4}, {LENGTH, 1, 3}};
    for (int i = 0; i < NUM_CASES; i += BITS_CASE_STEP) {
        struct model m;
        int32_t tokens[LENGTH];
        float *first = NULL;
        model_open(&m, &cases[i]);
        make_tokens(tokens, LENGTH, m.program->config.vocab_size, 4);
        for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
            if (cases[i].bidirectional && ways[k].chunk < LENGTH)
                continue;
            const struct harness_config config =
                config_of(ways[k].num_threads, ways[k].block_size,
                          (enum nano_kv_format)(i % NANO_NUM_KV_FORMATS));
            float *got = logits_in_chunks(m.program, &config, tokens, LENGTH, ways[k].chunk);
            first = first ? first : got;
            cr_expect_eq(
                memcmp(got, first, LENGTH * (size_t)m.program->config.vocab_size * sizeof *got), 0,
                "case %d, way %d", i, (int)k);
            if (got != first)
                free(got);
        }
        free(first);
        model_close(&m);
    }
}

Test(attention_features, chunks_blocks_and_threads_change_no_bit)
{
    for_each_tier(check_bits);
}

/* Sequences with common blocks in each group, that decode together: ranges that all windows have
 * whole are computed once, the others each on its own. */
static void check_shared(const struct features *f, enum nano_kv_format kv_format)
{
    enum { NUM = 4, SHARED = 832, BLOCK = 32 };
    struct model m;
    struct harness h;
    struct harness_seq seqs[NUM];
    int32_t tokens[NUM][LONG];
    model_open(&m, f);
    const struct nano_program *p = m.program;
    const struct harness_config config = config_of(2, BLOCK, kv_format),
                                alone = config_of(1, 16, kv_format);
    harness_open(&h, p, &config);
    for (int s = 0; s < NUM; s++) {
        make_tokens(tokens[s], LONG, p->config.vocab_size, (uint64_t)s + 1);
        memcpy(tokens[s], tokens[0], SHARED * sizeof(int32_t));
        harness_seq_begin(&h, &seqs[s], tokens[s], LONG);
    }
    harness_step(&h, seqs, (int[]){SHARED, 0, 0, 0}, NUM);
    for (int s = 1; s < NUM; s++) {
        for (int g = 0; g < p->num_kv_groups; g++)
            memcpy(seqs[s].block_table + g * seqs[s].table_stride,
                   seqs[0].block_table + g * seqs[0].table_stride,
                   SHARED / BLOCK * sizeof(int32_t));
        seqs[s].num_computed = SHARED;
    }
    for (int step = 0; step < 30; step++) {
        for (int s = 0; s < NUM; s++)
            forget_blocks(p, BLOCK, &seqs[s]);
        harness_step(&h, seqs, (int[]){1, 1, step % 4 ? 1 : 3, step % 7 == 6 ? 0 : 1}, NUM);
    }
    for (int s = 0; s < NUM; s++) {
        const size_t vocab_size = (size_t)p->config.vocab_size, from = SHARED * vocab_size,
                     count = (size_t)seqs[s].num_computed * vocab_size - from;
        float *want = logits_in_chunks(p, &alone, tokens[s], seqs[s].num_computed, LONG);
        cr_expect_eq(memcmp(want + from, seqs[s].logits + from, count * sizeof *want), 0,
                     "%s, windows %d and %d: sequence %d", f->spec, f->window[0], f->window[1], s);
        free(want);
        harness_seq_end(&seqs[s]);
    }
    harness_close(&h);
    model_close(&m);
}

static void check_shared_all(void)
{
#ifdef HARNESS_RUNNER
    cr_skip_test("only the CPU runner computes shared ranges once");
#endif
    check_shared(&(struct features){"llama", {700, 0}, 3, true, false}, NANO_KV_FORMAT_F16);
    check_shared(&(struct features){"qwen3", {30, 400}, 0, true, false}, NANO_KV_FORMAT_F32);
    check_shared(&(struct features){"deepseek2, dense", {0, 600}, 0, false, false},
                 NANO_KV_FORMAT_Q8_0);
}

Test(attention_features, shared_blocks_change_no_bit)
{
    for_each_tier(check_shared_all);
}

/* ---- V inside K ---- */

Test(attention_features, latent_blocks_are_small_and_can_be_copied)
{
    for (int format = 0; format < NANO_NUM_KV_FORMATS; format++) {
        struct model m;
        struct harness h;
        struct harness_seq seqs[2];
        int32_t tokens[60];
        const enum nano_kv_format kv_format = (enum nano_kv_format)format;
        struct harness_config config = config_of(2, 8, kv_format);
        model_open(&m, &(struct features){.spec = "deepseek2, dense"});
        const struct nano_runner_config c = {.program = m.program,
                                             .num_threads = 1,
                                             .max_num_batched_tokens = 8,
                                             .max_num_seqs = 1,
                                             .max_model_len = 64,
                                             .block_size = 8,
                                             .kv_format = kv_format};
        struct nano_runner_memory memory;
        static const uint64_t value_bytes[] = {4, 2, 2, 1, 1};
        cr_assert_eq(nano_runner_cpu.plan(&c, &memory, NULL), NANO_OK);
        /* two layers, 8 tokens of 16 + 4 values, V nowhere else */
        cr_expect_eq(memory.kv_block_bytes,
                     2 * 8 *
                         (20 * value_bytes[format] +
                          (kv_format == NANO_KV_FORMAT_Q8_0 ? sizeof(float) : 0)));
        make_tokens(tokens, 60, m.program->config.vocab_size, 8);
        harness_open(&h, m.program, &config);
        harness_seq_begin(&h, &seqs[0], tokens, 60);
        harness_seq_begin(&h, &seqs[1], tokens, 60);
        harness_step(&h, seqs, (int[]){20, 0}, 2);
        for (int b = 0; b < 3; b++)
            h.runner->kv_copy(h.state, seqs[0].block_table[b], seqs[1].block_table[b]);
        seqs[1].num_computed = 20;
        harness_step(&h, seqs, (int[]){40, 40}, 2);
        const size_t from = 20 * (size_t)h.vocab_size, count = 40 * (size_t)h.vocab_size;
        cr_expect_eq(memcmp(seqs[0].logits + from, seqs[1].logits + from, count * sizeof(float)),
                     0);
        harness_seq_end(&seqs[0]);
        harness_seq_end(&seqs[1]);
        harness_close(&h);
        model_close(&m);
    }
}

/* The tensor of old files, where both matrices are in one. */
Test(attention_features, joined_latent_matrices_equal_split_ones)
{
    struct model joined, split;
    int32_t tokens[60];
    model_open(&joined, &(struct features){.spec = "deepseek2, kv_b"});
    model_open(&split, &(struct features){.spec = "deepseek2, kv_b"});
    const struct harness_config config = config_of(2, 16, NANO_KV_FORMAT_F32);
    make_tokens(tokens, 60, joined.program->config.vocab_size, 5);
    for (int i = 0; i < split.program->num_ops; i++) {
        struct nano_op *op = &split.program->ops[i];
        if (op->kind != NANO_OP_HEAD_LINEAR)
            continue;
        /* The loops of the reference read the same numbers from memory. */
        struct nano_tensor *tensor = calloc(1, sizeof *tensor);
        const struct nano_tensor_source *source = op->weight[0]->source;
        const float *from = source->part_of->data;
        float *data = malloc(op->weight[0]->num_bytes);
        *tensor = *op->weight[0];
        tensor->data = data;
        tensor->source = NULL;
        for (int64_t head = 0; head < tensor->dims[2]; head++)
            for (int64_t r = 0; r < tensor->dims[1]; r++)
                for (int64_t k = 0; k < tensor->dims[0]; k++)
                    data[(head * tensor->dims[1] + r) * tensor->dims[0] + k] =
                        source->transposed ? from[(head * 17 + k) * 16 + r]
                                           : from[(head * 17 + 8 + r) * 16 + k];
        float *read = malloc(tensor->num_bytes);
        nano_tensor_read_rows_f32(op->weight[0], 0, tensor->dims[1] * tensor->dims[2], read);
        cr_expect_eq(memcmp(read, data, tensor->num_bytes), 0);
        free(read);
        op->weight[0] = tensor;
    }
    double *want = naive_logits(split.program, tokens, 60);
    float *got = logits_in_chunks(joined.program, &config, tokens, 60, 60);
    cr_expect_lt(harness_difference(got, want, 60 * (size_t)joined.program->config.vocab_size),
                 1e-5);
    for (int i = 0; i < split.program->num_ops; i++)
        if (split.program->ops[i].kind == NANO_OP_HEAD_LINEAR) {
            free((void *)(uintptr_t)split.program->ops[i].weight[0]->data);
            free((void *)(uintptr_t)split.program->ops[i].weight[0]);
        }
    free(got);
    free(want);
    model_close(&joined);
    model_close(&split);
}

/* ---- what cannot be ---- */

Test(attention_features, a_sequence_that_looks_ahead_comes_whole)
{
    struct model m;
    struct harness h;
    struct harness_seq seq;
    struct nano_error err;
    int32_t tokens[40];
    model_open(&m, &(struct features){.spec = "gpt2", .bidirectional = true});
    make_tokens(tokens, 40, m.program->config.vocab_size, 2);
    const struct harness_config config = config_of(2, 16, NANO_KV_FORMAT_F32);
    harness_open(&h, m.program, &config);
    harness_seq_begin(&h, &seq, tokens, 40);
    const struct nano_batch_seq second = {.num_tokens = 20,
                                          .first_position = 20,
                                          .block_table = seq.block_table,
                                          .table_stride = seq.table_stride};
    struct nano_batch batch = {
        .num_tokens = 20, .tokens = tokens + 20, .num_seqs = 1, .seqs = &second};
    cr_expect_eq(h.runner->run(h.state, &batch, &err), NANO_ERR_INVALID_ARGUMENT);
    cr_expect(strstr(err.message, "whole"), "%s", err.message);
    harness_seq_end(&seq);
    harness_close(&h);
    m.program->kv_layers[1].window = 8;
    cr_expect_eq(nano_program_check(m.program, &err), NANO_ERR_INTERNAL);
    cr_expect(strstr(err.message, "looks ahead"), "%s", err.message);
    model_close(&m);
}

/* cpu runner: against a naive model, and the promise that what else is in a batch, how it is cut
 * and how many threads work change no bit. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "models/passes.h"
#include "runner/cpu/cpu_runner.h"
#include "runner/cpu/cpu_state.h"
#include "tests/leak_check.h"
#include "tests/runner_harness.h"
#include "tests/tiny_model.h"

#define LENGTH 75

struct model {
    struct nano_weights weights;
    struct nano_program *program;
};

static void model_open(struct model *m, const struct tiny_shape *shape, enum nano_format format)
{
    struct nano_error err;
    tiny_model_make(&m->weights, shape, NULL);
    tiny_model_quantize(&m->weights, format);
    cr_assert_eq(nano_program_create(&m->program, &m->weights, &err), NANO_OK, "%s", err.message);
}

static void model_close(struct model *m)
{
    nano_program_destroy(m->program);
    nano_weights_close(&m->weights);
}

static void random_tokens(int32_t *tokens, int count, int64_t vocab_size, uint64_t seed)
{
    for (int i = 0; i < count; i++)
        tokens[i] = (int32_t)(tiny_random(&seed) % (uint64_t)vocab_size);
}

static const struct harness_config plain_config = {.num_threads = 2,
                                                   .block_size = 16,
                                                   .max_num_batched_tokens = 2 * LENGTH,
                                                   .max_num_seqs = 6,
                                                   .kv_format = NANO_KV_FORMAT_F32};

/* ---- values ---- */

static double difference_from_naive(const struct tiny_shape *shape, enum nano_format format,
                                    enum nano_kv_format kv_format)
{
    struct model m;
    int32_t tokens[LENGTH];
    model_open(&m, shape, format);
    random_tokens(tokens, LENGTH, shape->vocab_size, shape->seed);
    struct harness_config config = plain_config;
    config.kv_format = kv_format;
    float *got = harness_logits(m.program, &config, tokens, LENGTH, LENGTH);
    const size_t count = (size_t)LENGTH * (size_t)shape->vocab_size;
    double *want = calloc(count, sizeof *want);
    tiny_model_dequantize(&m.weights);
    tiny_model_forward(&m.weights, shape, tokens, LENGTH, want);
    const double difference = harness_difference(got, want, count);
    free(want);
    free(got);
    model_close(&m);
    return difference;
}

static void check_naive(void)
{
    for (int i = 0; i < num_tiny_shapes; i++) {
        const struct tiny_shape *shape = &tiny_shapes[i];
        const double f32 = difference_from_naive(shape, NANO_FORMAT_F32, NANO_KV_FORMAT_F32);
        const double f16 = difference_from_naive(shape, NANO_FORMAT_F32, NANO_KV_FORMAT_F16);
        const double bf16 = difference_from_naive(shape, NANO_FORMAT_F32, NANO_KV_FORMAT_BF16);
        const double q8_0 = difference_from_naive(shape, NANO_FORMAT_F32, NANO_KV_FORMAT_Q8_0);
        const double fp8 = difference_from_naive(shape, NANO_FORMAT_F32, NANO_KV_FORMAT_FP8);
        cr_expect_lt(f32, 1e-5, "%s %d: %g", shape->architecture, i, f32);
        cr_expect(f16 > f32 && f16 < 2e-3, "%s %d, F16 KV: %g", shape->architecture, i, f16);
        cr_expect(bf16 > f16 && bf16 < 2e-2, "%s %d, BF16 KV: %g", shape->architecture, i, bf16);
        cr_expect(q8_0 > f16 && q8_0 < 4e-2, "%s %d, Q8_0 KV: %g", shape->architecture, i, q8_0);
        cr_expect(fp8 > q8_0 && fp8 < 0.2, "%s %d, FP8 KV: %g", shape->architecture, i, fp8);
    }
}

/* The environment variable that nano_cpu_detect looks at, for each tier of this machine. */
static void for_each_tier(void (*check)(void))
{
    for (int tier = 0; tier < NANO_NUM_CPU_TIERS; tier++) {
        if (!nano_cpu_supports((enum nano_cpu_tier)tier))
            continue;
        setenv("NANOVLLM_CPU", nano_cpu_tier_name((enum nano_cpu_tier)tier), 1);
        check();
    }
}

Test(cpu_runner, equals_the_naive_model)
{
    for_each_tier(check_naive);
}

static void check_quantised(void)
{
    const struct tiny_shape *shape = &tiny_shapes[num_tiny_shapes - 1];
    static const enum nano_format exact[] = {NANO_FORMAT_F16, NANO_FORMAT_BF16};
    static const enum nano_format rounded[] = {
        NANO_FORMAT_Q4_0, NANO_FORMAT_Q4_1,  NANO_FORMAT_Q5_0,  NANO_FORMAT_Q5_1,
        NANO_FORMAT_Q8_0, NANO_FORMAT_MXFP4, NANO_FORMAT_NVFP4, NANO_FORMAT_Q2_0};
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++) {
        const double d = difference_from_naive(shape, exact[i], NANO_KV_FORMAT_F32);
        cr_expect_lt(d, 1e-5, "%s: %g", nano_format_traits(exact[i])->name, d);
    }
    for (size_t i = 0; i < sizeof rounded / sizeof *rounded; i++) {
        const double d = difference_from_naive(shape, rounded[i], NANO_KV_FORMAT_F32);
        cr_expect(d > 1e-6 && d < 4e-2, "%s: %g", nano_format_traits(rounded[i])->name, d);
    }
}

Test(cpu_runner, quantised_weights_stay_near)
{
    for_each_tier(check_quantised);
}

/* ---- invariance ---- */

Test(cpu_runner, chunks_blocks_and_threads_change_no_bit)
{
    static const struct {
        int chunk, block_size, num_threads, max_tokens;
    } ways[] = {{LENGTH, 16, 1, LENGTH},
                {LENGTH, 1, 4, 2 * LENGTH},
                {3, 4, 2, 3},
                {1, 32, 3, 1},
                {40, 5, 3, 64},
                {17, 1, 2, 17}};
    static const enum nano_format formats[] = {NANO_FORMAT_F32, NANO_FORMAT_Q4_0, NANO_FORMAT_Q8_0,
                                               NANO_FORMAT_F16, NANO_FORMAT_NVFP4};
    for (int i = 0; i < num_tiny_shapes; i++) {
        for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
            struct model m;
            int32_t tokens[LENGTH];
            float *first = NULL;
            model_open(&m, &tiny_shapes[i], formats[f]);
            random_tokens(tokens, LENGTH, tiny_shapes[i].vocab_size, 77);
            for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
                const struct harness_config config = {
                    .num_threads = ways[k].num_threads,
                    .block_size = ways[k].block_size,
                    .max_num_batched_tokens = ways[k].max_tokens,
                    .max_num_seqs = 1 + (int)k,
                    .kv_format = (enum nano_kv_format)(f % NANO_NUM_KV_FORMATS),
                    .shuffle = k * 31 + 1};
                float *got = harness_logits(m.program, &config, tokens, LENGTH, ways[k].chunk);
                first = first ? first : got;
                cr_expect_eq(
                    memcmp(got, first, LENGTH * (size_t)tiny_shapes[i].vocab_size * sizeof *got), 0,
                    "shape %d, format %d, way %d", i, (int)formats[f], (int)k);
                if (got != first)
                    free(got);
            }
            free(first);
            model_close(&m);
        }
    }
}

Test(cpu_runner, fusion_changes_no_bit)
{
    for (int i = 0; i < num_tiny_shapes; i++) {
        for (int quantised = 0; quantised < 2; quantised++) {
            struct model m;
            struct nano_program *plain;
            int32_t tokens[LENGTH];
            model_open(&m, &tiny_shapes[i], quantised ? NANO_FORMAT_Q8_0 : NANO_FORMAT_F32);
            cr_assert_eq(nano_program_build(&plain, &m.weights, NULL), NANO_OK);
            random_tokens(tokens, LENGTH, tiny_shapes[i].vocab_size, 3);
            float *a = harness_logits(m.program, &plain_config, tokens, LENGTH, 50);
            float *b = harness_logits(plain, &plain_config, tokens, LENGTH, 50);
            cr_expect_eq(memcmp(a, b, LENGTH * (size_t)tiny_shapes[i].vocab_size * sizeof *a), 0,
                         "shape %d", i);
            free(a);
            free(b);
            nano_program_destroy(plain);
            model_close(&m);
        }
    }
}

/* Sequences of all lengths at all stages in the same steps: each as when it is alone. */
static void check_mixed(const struct tiny_shape *shape, enum nano_format format, uint64_t seed)
{
    enum { NUM = 6 };
    struct model m;
    struct harness h;
    struct harness_seq seqs[NUM];
    int32_t tokens[NUM][LENGTH];
    struct harness_config config = plain_config;
    config.num_threads = 1 + (int)(seed % 4);
    config.block_size = 1 + (int)(tiny_random(&seed) % 9);
    config.shuffle = seed;
    model_open(&m, shape, format);
    harness_open(&h, m.program, &config);
    for (int s = 0; s < NUM; s++) {
        const int length = 1 + (int)(tiny_random(&seed) % LENGTH);
        random_tokens(tokens[s], length, shape->vocab_size,
                      seed + (uint64_t)s / 2); /* pairs share a prefix */
        harness_seq_begin(&h, &seqs[s], tokens[s], length);
    }
    for (bool more = true; more;) {
        int counts[NUM], budget = config.max_num_batched_tokens;
        more = false;
        for (int s = 0; s < NUM; s++) {
            const int left = seqs[s].num_tokens - seqs[s].num_computed;
            const int wanted = tiny_random(&seed) % 2 ? 1 : (int)(tiny_random(&seed) % 30);
            counts[s] = left < wanted ? left : wanted;
            counts[s] = budget < counts[s] ? budget : counts[s];
            budget -= counts[s];
            more |= left > counts[s];
        }
        harness_step(&h, seqs, counts, NUM);
    }
    for (int s = 0; s < NUM; s++) {
        float *alone =
            harness_logits(m.program, &plain_config, tokens[s], seqs[s].num_tokens, LENGTH);
        cr_expect_eq(memcmp(alone, seqs[s].logits,
                            (size_t)(seqs[s].num_tokens * shape->vocab_size) * sizeof *alone),
                     0, "sequence %d of %d tokens, seed %d", s, seqs[s].num_tokens, (int)seed);
        free(alone);
        harness_seq_end(&seqs[s]);
    }
    harness_close(&h);
    model_close(&m);
}

Test(cpu_runner, mixed_batches_equal_each_sequence_alone)
{
    for (int i = 0; i < num_tiny_shapes; i++)
        for (uint64_t seed = 0; seed < 3; seed++)
            check_mixed(&tiny_shapes[i], seed % 2 ? NANO_FORMAT_Q4_0 : NANO_FORMAT_F32,
                        100 * seed + (uint64_t)i);
}

/* Sequences that begin in the same blocks and go on together, some token by token: each as when it
 * is alone. Long enough that positions are cut into ranges. */
static void check_shared(int block_size, int num_threads, enum nano_kv_format kv_format,
                         uint64_t seed)
{
    enum { NUM = 5, LONG = 800, SHARED = 2 * NANO_ATTENTION_SPLIT + 20 };
    const struct tiny_shape *shape = &tiny_shapes[seed % (uint64_t)num_tiny_shapes];
    struct model m;
    struct harness h;
    struct harness_seq seqs[NUM];
    int32_t tokens[NUM][LONG];
    struct harness_config config = plain_config, alone_config = plain_config;
    config.num_threads = num_threads;
    config.block_size = block_size;
    config.kv_format = alone_config.kv_format = kv_format;
    config.max_num_batched_tokens = alone_config.max_num_batched_tokens = LONG;
    alone_config.num_threads = 1;
    model_open(&m, shape, NANO_FORMAT_F32);
    harness_open(&h, m.program, &config);
    const int num_shared = SHARED / block_size * block_size;
    for (int s = 0; s < NUM; s++) {
        random_tokens(tokens[s], LONG, shape->vocab_size, seed + (uint64_t)s);
        /* The last one has blocks of its own. */
        memcpy(tokens[s], tokens[0], (size_t)num_shared * sizeof(int32_t));
        harness_seq_begin(&h, &seqs[s], tokens[s], s == 1 ? num_shared + 40 : LONG);
    }
    harness_step(&h, seqs, (int[]){num_shared, 0, 0, 0, 0}, NUM);
    harness_step(&h, seqs, (int[]){0, 0, 0, 0, num_shared + 1}, NUM);
    for (int s = 1; s < NUM - 1; s++) {
        memcpy(seqs[s].block_table, seqs[0].block_table,
               (size_t)(num_shared / block_size) * sizeof(int32_t));
        seqs[s].num_computed = num_shared;
    }
    for (int step = 0; step < 40; step++)
        harness_step(&h, seqs, (int[]){1, 1, step % 3 ? 1 : 7, step % 9 == 8 ? 0 : 1, 1}, NUM);
    for (int s = 0; s < NUM; s++) {
        float *alone =
            harness_logits(m.program, &alone_config, tokens[s], seqs[s].num_computed, LONG);
        const size_t vocab_size = (size_t)shape->vocab_size;
        const size_t from = (size_t)num_shared * vocab_size;
        const size_t count = (size_t)(seqs[s].num_computed - num_shared) * vocab_size;
        cr_expect_eq(memcmp(alone + from, seqs[s].logits + from, count * sizeof *alone), 0,
                     "sequence %d, block size %d, %d threads, KV format %d", s, block_size,
                     num_threads, (int)kv_format);
        free(alone);
        harness_seq_end(&seqs[s]);
    }
    harness_close(&h);
    model_close(&m);
}

static void check_shared_all(void)
{
    check_shared(16, 1, NANO_KV_FORMAT_F16, 0);
    check_shared(32, 3, NANO_KV_FORMAT_Q8_0, 1);
    check_shared(7, 2, NANO_KV_FORMAT_F32, 2);
    check_shared(16, 4, NANO_KV_FORMAT_BF16, 3);
}

Test(cpu_runner, shared_blocks_change_no_bit)
{
    for_each_tier(check_shared_all);
}

/* ---- outputs ---- */

struct received {
    int calls[LENGTH];
    float *logits; /* [LENGTH, vocab] */
    int64_t vocab_size;
};

static void on_logits(void *context, int output, float *logits)
{
    struct received *received = context;
    received->calls[output]++;
    memcpy(received->logits + output * received->vocab_size, logits,
           (size_t)received->vocab_size * sizeof *logits);
}

/* Some rows greedy, some not, some not at all; more than go through in one pass. */
Test(cpu_runner, outputs_are_the_wanted_rows)
{
    struct model m;
    struct harness h;
    struct harness_seq seq;
    int32_t tokens[LENGTH];
    model_open(&m, &tiny_shapes[0], NANO_FORMAT_F32);
    const int64_t vocab = m.program->config.vocab_size;
    random_tokens(tokens, LENGTH, vocab, 9);
    float *all = harness_logits(m.program, &plain_config, tokens, LENGTH, LENGTH);
    harness_open(&h, m.program, &plain_config);
    harness_seq_begin(&h, &seq, tokens, LENGTH);

    struct nano_batch_output outputs[LENGTH];
    struct received received = {.logits = calloc((size_t)(LENGTH * vocab), sizeof(float)),
                                .vocab_size = vocab};
    struct nano_batch_seq batch_seq = {.num_tokens = LENGTH, .block_table = seq.block_table};
    struct nano_batch batch = {.num_tokens = LENGTH,
                               .tokens = tokens,
                               .num_seqs = 1,
                               .seqs = &batch_seq,
                               .outputs = outputs,
                               .on_logits = on_logits,
                               .context = &received};
    for (int row = 0; row < LENGTH; row++)
        if (row % 4 != 1)
            outputs[batch.num_outputs++] =
                (struct nano_batch_output){.row = row, .greedy = row % 3 == 0, .token = -7};
    cr_assert_eq(h.runner->run(h.state, &batch, NULL), NANO_OK);
    for (int i = 0; i < batch.num_outputs; i++) {
        const float *row = all + outputs[i].row * vocab;
        int32_t best = 0;
        for (int32_t k = 1; k < vocab; k++)
            best = row[k] > row[best] ? k : best;
        cr_expect_eq(outputs[i].token, outputs[i].greedy ? best : -7);
        cr_expect_eq(received.calls[i], outputs[i].greedy ? 0 : 1);
        if (!outputs[i].greedy)
            cr_expect_eq(memcmp(received.logits + i * vocab, row, (size_t)vocab * sizeof *row), 0,
                         "output %d", i);
    }
    batch.num_outputs = 0;
    cr_expect_eq(h.runner->run(h.state, &batch, NULL), NANO_OK);
    batch.num_tokens = batch.num_seqs = 0;
    cr_expect_eq(h.runner->run(h.state, &batch, NULL), NANO_OK);
    free(received.logits);
    free(all);
    harness_seq_end(&seq);
    harness_close(&h);
    model_close(&m);
}

Test(cpu_runner, weights_that_are_not_numbers_do_no_harm)
{
    struct model m;
    model_open(&m, &tiny_shapes[5], NANO_FORMAT_Q8_0);
    for (size_t i = 0; i < m.weights.num_tensors; i++)
        if (m.weights.tensors[i].format == NANO_FORMAT_F32 && m.weights.tensors[i].num_dims == 1) {
            float *data = (float *)(uintptr_t)m.weights.tensors[i].data;
            data[0] = i % 2 ? NAN : INFINITY;
        }
    int32_t tokens[LENGTH];
    random_tokens(tokens, LENGTH, m.program->config.vocab_size, 1);
    free(harness_logits(m.program, &plain_config, tokens, LENGTH, 20));
    model_close(&m);
}

/* ---- KV ---- */

Test(cpu_runner, a_copied_block_continues_as_the_original)
{
    for (int kv = 0; kv < NANO_NUM_KV_FORMATS; kv++) {
        struct model m;
        struct harness h;
        struct harness_seq seqs[2];
        int32_t tokens[LENGTH];
        struct harness_config config = plain_config;
        config.kv_format = (enum nano_kv_format)kv;
        config.block_size = 8;
        model_open(&m, &tiny_shapes[4], NANO_FORMAT_F32);
        random_tokens(tokens, LENGTH, m.program->config.vocab_size, 21);
        harness_open(&h, m.program, &config);
        harness_seq_begin(&h, &seqs[0], tokens, LENGTH);
        harness_seq_begin(&h, &seqs[1], tokens, LENGTH);
        harness_step(&h, seqs, (int[]){20, 0}, 2);
        for (int b = 0; b < 3; b++)
            h.runner->kv_copy(h.state, seqs[0].block_table[b], seqs[1].block_table[b]);
        seqs[1].num_computed = 20;
        harness_step(&h, seqs, (int[]){LENGTH - 20, LENGTH - 20}, 2);
        const size_t from = 20 * (size_t)h.vocab_size, count = (LENGTH - 20) * (size_t)h.vocab_size;
        cr_expect_eq(memcmp(seqs[0].logits + from, seqs[1].logits + from, count * sizeof(float)),
                     0);
        harness_seq_end(&seqs[0]);
        harness_seq_end(&seqs[1]);
        harness_close(&h);
        model_close(&m);
    }
}

/* ---- refusals ---- */

Test(cpu_runner, bad_batches_are_refused_and_change_nothing)
{
    struct model m;
    struct harness h;
    struct harness_seq seq;
    int32_t tokens[LENGTH];
    model_open(&m, &tiny_shapes[0], NANO_FORMAT_F32);
    random_tokens(tokens, LENGTH, m.program->config.vocab_size, 2);
    harness_open(&h, m.program, &plain_config);
    harness_seq_begin(&h, &seq, tokens, LENGTH);
    struct nano_batch_seq good_seq = {.num_tokens = 5, .block_table = seq.block_table};
    struct nano_batch_output good_output[2] = {{.row = 1, .greedy = true},
                                               {.row = 3, .greedy = true}};
    for (int fault = 0; fault < 12; fault++) {
        struct nano_batch_seq batch_seq = good_seq;
        struct nano_batch_output outputs[2] = {good_output[0], good_output[1]};
        int32_t bad_tokens[5], bad_table[1];
        memcpy(bad_tokens, tokens, sizeof bad_tokens);
        struct nano_batch batch = {.num_tokens = 5,
                                   .tokens = bad_tokens,
                                   .num_seqs = 1,
                                   .seqs = &batch_seq,
                                   .num_outputs = 2,
                                   .outputs = outputs};
        bad_table[0] = fault == 0 ? -1 : h.num_blocks;
        if (fault <= 1)
            batch_seq.block_table = bad_table;
        bad_tokens[2] = fault == 2   ? -1
                        : fault == 3 ? (int32_t)m.program->config.vocab_size
                                     : bad_tokens[2];
        batch_seq.first_token = fault == 4 ? 1 : 0;
        batch_seq.num_tokens = fault == 5 ? 4 : fault == 6 ? 0 : 5;
        batch_seq.first_position = fault == 7 ? -1 : fault == 8 ? HARNESS_MAX_LEN - 4 : 0;
        outputs[1].row = fault == 9 ? 5 : fault == 10 ? 1 : 3;
        outputs[0].greedy = fault != 11;
        struct nano_error err = {0};
        cr_expect_eq(h.runner->run(h.state, &batch, &err), NANO_ERR_INVALID_ARGUMENT, "fault %d",
                     fault);
        cr_expect(err.message[0]);
    }
    struct nano_batch batch = {.num_tokens = plain_config.max_num_batched_tokens + 1,
                               .tokens = tokens};
    cr_expect_eq(h.runner->run(h.state, &batch, NULL), NANO_ERR_INVALID_ARGUMENT);
    harness_step(&h, &seq, &(int){LENGTH}, 1);
    float *fresh = harness_logits(m.program, &plain_config, tokens, LENGTH, LENGTH);
    cr_expect_eq(memcmp(fresh, seq.logits, LENGTH * (size_t)h.vocab_size * sizeof *fresh), 0);
    cr_expect_eq(h.runner->kv_alloc(h.state, 1, 1, NULL), NANO_ERR_INVALID_ARGUMENT, "a second pool");
    free(fresh);
    harness_seq_end(&seq);
    harness_close(&h);
    model_close(&m);
}

static struct nano_runner_config runner_config(const struct nano_program *program)
{
    return (struct nano_runner_config){.program = program,
                                       .num_threads = 2,
                                       .max_num_batched_tokens = 48,
                                       .max_num_seqs = 4,
                                       .max_model_len = 128,
                                       .block_size = 8,
                                       .kv_format = NANO_KV_FORMAT_F16};
}

Test(cpu_runner, bad_configurations_are_refused)
{
    struct model m;
    model_open(&m, &tiny_shapes[0], NANO_FORMAT_F32);
    for (int fault = 0; fault < 8; fault++) {
        struct nano_runner_config c = runner_config(m.program);
        c.program = fault == 0 ? NULL : c.program;
        c.num_threads = fault == 1 ? 0 : fault == 2 ? 1 << 20 : 2;
        c.max_num_batched_tokens = fault == 3 ? 0 : 48;
        c.max_num_seqs = fault == 4 ? 0 : 4;
        c.max_model_len = fault == 5 ? 0 : 128;
        c.block_size = fault == 6 ? 0 : 8;
        c.kv_format = fault == 7 ? NANO_NUM_KV_FORMATS : NANO_KV_FORMAT_F16;
        void *state = &c;
        struct nano_runner_memory memory;
        struct nano_error err = {0};
        cr_expect_eq(nano_runner_cpu.open(&state, &c, &err), NANO_ERR_INVALID_ARGUMENT, "fault %d",
                     fault);
        cr_expect_null(state);
        cr_expect(err.message[0]);
        cr_expect_eq(nano_runner_cpu.plan(&c, &memory, NULL), NANO_ERR_INVALID_ARGUMENT);
    }
    nano_runner_cpu.close(NULL);
    model_close(&m);
}

/* ---- memory and profile ---- */

Test(cpu_runner, the_plan_is_what_is_used)
{
    for (int i = 0; i < num_tiny_shapes; i++) {
        for (int k = 0; k < 6; k++) {
            struct model m;
            model_open(&m, &tiny_shapes[i], k % 2 ? NANO_FORMAT_Q8_0 : NANO_FORMAT_F32);
            struct nano_runner_config c = runner_config(m.program);
            c.num_threads = 1 + k;
            c.max_num_batched_tokens = 1 + 37 * k;
            c.max_num_seqs = 1 + 3 * k;
            c.kv_format = (enum nano_kv_format)(k % NANO_NUM_KV_FORMATS);
            struct nano_runner_memory plan;
            void *state;
            cr_assert_eq(nano_runner_cpu.plan(&c, &plan, NULL), NANO_OK);
            cr_assert_eq(nano_runner_cpu.open(&state, &c, NULL), NANO_OK);
            cr_expect_eq(nano_runner_cpu.memory_used(state),
                         plan.weight_bytes + plan.activation_bytes);
            cr_assert_eq(nano_runner_cpu.kv_alloc(state, 7, 1, NULL), NANO_OK);
            cr_expect_eq(nano_runner_cpu.memory_used(state),
                         plan.weight_bytes + plan.activation_bytes + 7 * plan.kv_block_bytes);
            cr_expect_gt(plan.weight_bytes + plan.mapped_bytes, 0);
            struct nano_runner_caps caps;
            nano_runner_cpu.caps(state, &caps);
            cr_expect(caps.vocab_size == tiny_shapes[i].vocab_size && caps.isa);
            nano_runner_cpu.close(state);
            model_close(&m);
        }
    }
}

static size_t fake_packed_bytes(int64_t rows, int64_t cols)
{
    return (size_t)(rows * cols) * sizeof(float) + 64;
}

/* Rows in reverse order. */
static void fake_pack(void *packed, const void *src, int64_t rows, int64_t cols, int64_t row_begin,
                      int64_t row_end)
{
    for (int64_t row = row_begin; row < row_end; row++)
        memcpy((float *)packed + (rows - 1 - row) * cols, (const float *)src + row * cols,
               (size_t)cols * sizeof(float));
}

/* Every matrix that is multiplied with is packed once; norms, biases and a matrix that is only
 * looked up stay where they are. */
Test(cpu_runner, weights_are_packed_once)
{
    static struct nano_kernels kernels;
    nano_kernels_init_ref(&kernels);
    kernels.linear[NANO_FORMAT_F32].packed_bytes = fake_packed_bytes;
    kernels.linear[NANO_FORMAT_F32].pack = fake_pack;
    kernels.linear[NANO_FORMAT_F32].row_align = 2;
    for (int i = 0; i < 2; i++) { /* shape 1 is tied */
        struct model m;
        struct nano_cpu_weights weights;
        struct nano_cpu_pool pool;
        cr_assert_eq(nano_cpu_pool_open(&pool, 3, NULL), NANO_OK);
        model_open(&m, &tiny_shapes[i], NANO_FORMAT_F32);
        cr_assert_eq(nano_cpu_weights_collect(&weights, m.program, &kernels, NULL), NANO_OK);
        cr_assert_eq(nano_cpu_weights_pack(&weights, &m.weights, &kernels, &pool, NULL), NANO_OK);
        nano_cpu_pool_close(&pool);
        uint64_t packed = 0, mapped = 0;
        for (size_t k = 0; k < m.weights.num_tensors; k++) {
            const struct nano_tensor *t = &m.weights.tensors[k];
            const bool looked_up =
                strcmp(t->name.bytes, "token_embd.weight") == 0 && !tiny_shapes[i].tied;
            const struct nano_cpu_weight *weight = nano_cpu_weights_find(&weights, t);
            if (strcmp(t->name.bytes, "rope_freqs.weight") == 0) {
                cr_expect_null(weight);
                continue;
            }
            cr_assert_not_null(weight, "%s", t->name.bytes);
            cr_expect_eq(weight->packed != NULL, t->num_dims == 2 && !looked_up, "%s",
                         t->name.bytes);
            if (!weight->packed) {
                mapped += t->num_bytes;
                continue;
            }
            packed += (t->num_bytes + 64 + 63) / 64 * 64;
            const int64_t rows = t->dims[1], cols = t->dims[0];
            for (int64_t row = 0; row < rows; row++)
                cr_assert_eq(memcmp((const float *)weight->packed + (rows - 1 - row) * cols,
                                    (const float *)t->data + row * cols,
                                    (size_t)cols * sizeof(float)),
                             0, "%s row %d", t->name.bytes, (int)row);
        }
        cr_expect_eq(weights.packed_bytes, packed);
        cr_expect_eq(weights.mapped_bytes, mapped);
        nano_cpu_weights_deinit(&weights);
        model_close(&m);
    }
}

Test(cpu_runner, every_failing_allocation_is_survived)
{
    struct model m;
    model_open(&m, &tiny_shapes[6], NANO_FORMAT_Q4_0);
    const struct nano_runner_config c = runner_config(m.program);
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        void *state = NULL;
        struct nano_error err = {0};
        struct nano_runner_memory plan;
        nano_mem_fail_after(n);
        enum nano_status status = nano_runner_cpu.open(&state, &c, &err);
        if (status == NANO_OK)
            status = nano_runner_cpu.kv_alloc(state, 10, 1, &err);
        if (status == NANO_OK)
            status = nano_runner_cpu.plan(&c, &plan, &err);
        done = nano_mem_fail_after(0) < n;
        cr_expect_eq(status, done ? NANO_OK : NANO_ERR_NO_MEMORY, "allocation %d: %s", (int)n,
                     err.message);
        nano_runner_cpu.close(state);
    }
    model_close(&m);
    cr_expect_not(leak_check_found());
}

Test(cpu_runner, profile_counts_the_work)
{
    struct model m;
    struct harness h;
    struct harness_seq seq;
    int32_t tokens[LENGTH];
    const struct tiny_shape *s = &tiny_shapes[6];
    model_open(&m, s, NANO_FORMAT_F32);
    random_tokens(tokens, LENGTH, m.program->config.vocab_size, 2);
    harness_open(&h, m.program, &plain_config);
    harness_seq_begin(&h, &seq, tokens, LENGTH);
    harness_step(&h, &seq, &(int){20}, 1);
    harness_step(&h, &seq, &(int){1}, 1);

    struct nano_op_profile profile[64];
    const size_t num = h.runner->profile(h.state, profile, 64);
    cr_assert(num > 5 && num < 64);
    const uint64_t d = (uint64_t)s->hidden_size, q = (uint64_t)(s->num_heads * s->head_dim);
    const uint64_t kv = (uint64_t)(s->num_kv_heads * s->head_dim), layers = (uint64_t)s->num_layers;
    const uint64_t pairs = 20 * 21 / 2 + 21;
    int found = 0;
    for (size_t i = 0; i < num; i++) {
        cr_expect_gt(profile[i].total_ns, 0, "%s", profile[i].name);
        for (size_t k = 0; k < i; k++)
            cr_expect_str_neq(profile[i].name, profile[k].name);
        if (strcmp(profile[i].name, "linear attn_norm+attn_q+attn_k+attn_v") == 0) {
            found++;
            cr_expect_eq(profile[i].count, 2 * layers);
            cr_expect_eq(profile[i].num_macs, 21 * layers * d * (q + 2 * kv));
            cr_expect_eq(profile[i].weight_bytes, 2 * layers * d * (q + 2 * kv) * sizeof(float));
        }
        if (strcmp(profile[i].name, "attention attention") == 0) {
            found++;
            cr_expect_eq(profile[i].num_macs, 2 * layers * pairs * q);
        }
    }
    cr_expect_eq(found, 2);
    cr_expect_eq(h.runner->profile(h.state, NULL, 0), num);
    harness_seq_end(&seq);
    harness_close(&h);
    model_close(&m);
}

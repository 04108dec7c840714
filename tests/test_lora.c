/* LoRA in the CPU runner: equal to a model with the adapter merged in, and no row feels what others
 * run with. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "lora_fixture.h"
#include "runner/cpu/cpu_runner.h"
#include "tests/grown_model.h"
#include "tests/leak_check.h"
#include "tests/runner_harness.h"
#include "tests/tiny_model.h"

#define LENGTH 70
#define MAX_ADAPTERS 3

static struct nano_error err;

/* A model with adapters from files. */
struct rig {
    struct nano_weights weights;
    struct nano_program *program;
    struct nano_lora_file files[MAX_ADAPTERS];
    struct nano_adapter adapters[MAX_ADAPTERS];
    int num_adapters;
    struct harness_config config;
};

/* Makes the program and the adapters of a model that is in rig->weights. */
static void rig_finish(struct rig *rig, const struct lora_spec *specs, int num_specs)
{
    rig->num_adapters = num_specs;
    cr_assert_eq(nano_program_create(&rig->program, &rig->weights, &err), NANO_OK, "%s",
                 err.message);
    for (int i = 0; i < num_specs; i++) {
        char path[LORA_PATH_BYTES];
        struct lora_spec spec = specs[i];
        spec.program = rig->program;
        lora_write(path, &rig->weights, &spec);
        cr_assert_eq(nano_lora_file_open(&rig->files[i], path, &err), NANO_OK, "%s", err.message);
        cr_assert_eq(nano_lora_file_check(&rig->files[i], &rig->weights, &err), NANO_OK, "%s",
                     err.message);
        unlink(path);
        rig->adapters[i] = lora_adapter(&rig->files[i], &rig->weights, 1);
        for (size_t k = 0; k < rig->adapters[i].num_parts; k++)
            cr_assert_eq(nano_adapter_part_check(&rig->adapters[i].parts[k], rig->program, &err),
                         NANO_OK, "%s", err.message);
    }
    rig->config = (struct harness_config){.num_threads = 2,
                                          .block_size = 16,
                                          .max_num_batched_tokens = 4 * LENGTH,
                                          .max_num_seqs = 6,
                                          .kv_format = NANO_KV_FORMAT_F32,
                                          .adapters = rig->adapters,
                                          .num_adapters = num_specs};
}

static void rig_open(struct rig *rig, const struct tiny_shape *shape, enum nano_format format,
                     const struct lora_spec *specs, int num_specs)
{
    *rig = (struct rig){0};
    tiny_model_make(&rig->weights, shape, NULL);
    tiny_model_quantize(&rig->weights, format);
    rig_finish(rig, specs, num_specs);
}

static void rig_close(struct rig *rig)
{
    nano_program_destroy(rig->program);
    nano_weights_close(&rig->weights);
    for (int i = 0; i < rig->num_adapters; i++) {
        free((void *)(uintptr_t)rig->adapters[i].parts);
        nano_lora_file_close(&rig->files[i]);
    }
}

static void random_tokens(int32_t *tokens, int count, int64_t vocab_size, uint64_t seed)
{
    for (int i = 0; i < count; i++)
        tokens[i] = (int32_t)(tiny_random(&seed) % (uint64_t)vocab_size);
}

/* Logits of one sequence with one adapter; to be freed. */
static float *logits_with(const struct rig *rig, int adapter, const int32_t *tokens, int num_tokens,
                          int chunk)
{
    struct harness h;
    struct harness_seq seq;
    harness_open(&h, rig->program, &rig->config);
    harness_seq_begin(&h, &seq, tokens, num_tokens);
    seq.adapter = adapter;
    while (seq.num_computed < num_tokens) {
        const int left = num_tokens - seq.num_computed;
        harness_step(&h, &seq, &(int){left < chunk ? left : chunk}, 1);
    }
    harness_close(&h);
    free(seq.block_table);
    return seq.logits;
}

/* ---- values ---- */

static void expect_merged(const struct tiny_shape *shape, const struct lora_spec *spec)
{
    struct rig rig;
    struct nano_weights merged;
    int32_t tokens[LENGTH];
    rig_open(&rig, shape, NANO_FORMAT_F32, spec, 1);
    tiny_model_make(&merged, shape, NULL);
    lora_merge(&merged, spec, 1);
    random_tokens(tokens, LENGTH, shape->vocab_size, 7);
    const size_t count = (size_t)(LENGTH * shape->vocab_size);
    double *expected = malloc(count * sizeof *expected);
    double *base = malloc(count * sizeof *base);
    cr_assert(expected && base);
    tiny_model_forward(&merged, shape, tokens, LENGTH, expected);
    tiny_model_forward(&rig.weights, shape, tokens, LENGTH, base);
    for (int chunk = 1; chunk <= LENGTH; chunk = chunk == 1   ? 9
                                                 : chunk == 9 ? LENGTH
                                                              : LENGTH + 1) {
        float *got = logits_with(&rig, 1, tokens, LENGTH, chunk);
        const double difference = harness_difference(got, expected, count);
        cr_expect_leq(difference, 1e-5, "%s of %d, rank %d, chunk %d: off by %g",
                      shape->architecture, shape->hidden_size, spec->rank, chunk, difference);
        cr_expect_geq(harness_difference(got, base, count), 1e-2, "the adapter changes little");
        free(got);
    }
    free(expected);
    free(base);
    nano_weights_close(&merged);
    rig_close(&rig);
}

Test(lora, equals_the_merged_model)
{
    static const int ranks[] = {1, 3, 8, 16, 17, 40, 64};
    for (int i = 0; i < num_tiny_shapes; i++) {
        const struct lora_spec spec = {
            .rank = ranks[i % 7], .alpha = i % 2 ? (float)ranks[i % 7] : 0.7f, .seed = (uint64_t)i};
        expect_merged(&tiny_shapes[i], &spec);
    }
}

Test(lora, one_matrix_alone_and_no_alpha)
{
    static const char *const names[] = {"attn_q.weight", "attn_k.weight",   "attn_v.weight",
                                        "attn_output",   "ffn_gate.weight", "ffn_up.weight",
                                        "ffn_down",      "output.weight"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        expect_merged(&tiny_shapes[0], &(struct lora_spec){.rank = 5, .only = names[i], .seed = i});
}

Test(lora, of_the_embedding_is_stored_the_other_way_round)
{
    for (int i = 0; i < num_tiny_shapes; i++)
        if (!tiny_shapes[i].tied)
            expect_merged(&tiny_shapes[i],
                          &(struct lora_spec){.rank = 6, .alpha = 9, .lookup = true, .seed = 3});
}

/* F16 and BF16 stay as they are, others become F32; both are exact. */
Test(lora, in_other_formats)
{
    static const enum nano_format formats[] = {NANO_FORMAT_F16, NANO_FORMAT_BF16, NANO_FORMAT_Q8_0,
                                               NANO_FORMAT_Q4_0};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        expect_merged(
            &tiny_shapes[6],
            &(struct lora_spec){.rank = 32, .alpha = 30, .format = formats[i], .seed = i});
    }
}

/* ---- every architecture ---- */

/* Whatever ops stand around the linears: parallel branches, activations in them, experts' routers,
 * recurrences. */
Test(lora, of_every_architecture_equals_the_merged_model)
{
    for (int i = 0; i < num_grown_specs; i++) {
        struct rig rig = {0}, merged = {0};
        struct lora_spec spec = {.rank = 6, .alpha = 4, .seed = (uint64_t)i};
        int32_t tokens[LENGTH];
        grown_model_make(&rig.weights, &grown_specs[i]);
        rig_finish(&rig, &spec, 1);
        grown_model_make(&merged.weights, &grown_specs[i]);
        spec.program = rig.program;
        lora_merge(&merged.weights, &spec, 1);
        rig_finish(&merged, NULL, 0);
        const struct nano_program *p = rig.program;
        const int64_t vocab_size = p->config.vocab_size;
        const int64_t width =
            p->logits_buffer >= 0 ? vocab_size : p->buffers[p->hidden_buffer].width;
        const size_t count = (size_t)(LENGTH * width);
        const int chunk = p->bidirectional ? LENGTH : 11;
        random_tokens(tokens, LENGTH, vocab_size, 7);
        float *got = logits_with(&rig, 1, tokens, LENGTH, chunk);
        float *base = logits_with(&rig, 0, tokens, LENGTH, chunk);
        float *wanted = logits_with(&merged, 0, tokens, LENGTH, chunk);
        double *expected = malloc(count * sizeof *expected);
        cr_assert_not_null(expected);
        for (size_t k = 0; k < count; k++)
            expected[k] = (double)wanted[k];
        const double difference = harness_difference(got, expected, count);
        cr_expect_leq(difference, 5e-5, "%s: off by %g", grown_specs[i].name, difference);
        cr_expect_geq(harness_difference(base, expected, count), 1e-2,
                      "%s: the adapter changes little", grown_specs[i].name);
        free(got);
        free(base);
        free(wanted);
        free(expected);
        rig_close(&rig);
        rig_close(&merged);
    }
}

/* ---- bits ---- */

static const struct lora_spec mixed_specs[MAX_ADAPTERS] = {
    {.rank = 4, .alpha = 5, .seed = 1},
    {.rank = 24, .alpha = 24, .seed = 2, .format = NANO_FORMAT_F16},
    {.rank = 9, .seed = 3, .only = "ffn_"},
};

static void expect_same_bits(const struct tiny_shape *shape, enum nano_format format,
                             int num_threads, uint64_t seed)
{
    enum { SEQS = 6 };
    struct rig rig;
    struct harness h;
    struct harness_seq seqs[SEQS];
    int32_t tokens[SEQS][LENGTH];
    rig_open(&rig, shape, format, mixed_specs, MAX_ADAPTERS);
    struct rig plain = rig;
    plain.config.num_adapters = 0;
    rig.config.num_threads = num_threads;
    harness_open(&h, rig.program, &rig.config);
    for (int s = 0; s < SEQS; s++) {
        random_tokens(tokens[s], LENGTH, shape->vocab_size, seed + (uint64_t)s / 2);
        harness_seq_begin(&h, &seqs[s], tokens[s], LENGTH - 7 * s);
        seqs[s].adapter = s % 4; /* 0 1 2 3 0 1 */
    }
    for (bool more = true; more;) {
        int counts[SEQS];
        more = false;
        for (int s = 0; s < SEQS; s++) {
            const int left = seqs[s].num_tokens - seqs[s].num_computed;
            const int most = (int[]){1, 2, 40}[tiny_random(&seed) % 3];
            counts[s] = (int)(tiny_random(&seed) % (uint64_t)(most + 1));
            counts[s] = counts[s] < left ? counts[s] : left;
            more |= counts[s] < left;
        }
        harness_step(&h, seqs, counts, SEQS);
    }
    rig.config.num_threads = 1;
    for (int s = 0; s < SEQS; s++) {
        const struct rig *alone = seqs[s].adapter ? &rig : &plain;
        float *expected =
            logits_with(alone, seqs[s].adapter, tokens[s], seqs[s].num_tokens, LENGTH);
        cr_expect_arr_eq(seqs[s].logits, expected,
                         (size_t)(seqs[s].num_tokens * shape->vocab_size) * sizeof *expected,
                         "%s, sequence %d with adapter %d", shape->architecture, s,
                         seqs[s].adapter);
        free(expected);
        harness_seq_end(&seqs[s]);
    }
    harness_close(&h);
    rig_close(&rig);
}

Test(lora, no_row_feels_the_others)
{
    for (int i = 0; i < num_tiny_shapes; i++)
        expect_same_bits(&tiny_shapes[i], NANO_FORMAT_F32, 1 + i % 3, (uint64_t)i * 100 + 1);
    expect_same_bits(&tiny_shapes[6], NANO_FORMAT_Q8_0, 3, 5);
    expect_same_bits(&tiny_shapes[6], NANO_FORMAT_Q4_0, 2, 6);
}

/* ---- limits ---- */

Test(lora, an_adapter_that_is_not_there_is_refused)
{
    struct rig rig;
    rig_open(&rig, &tiny_shapes[0], NANO_FORMAT_F32, mixed_specs, 1);
    const struct nano_runner_config c = {.program = rig.program,
                                         .num_threads = 1,
                                         .max_num_batched_tokens = 4,
                                         .max_num_seqs = 1,
                                         .max_model_len = 16,
                                         .block_size = 16,
                                         .adapters = rig.adapters,
                                         .num_adapters = 1};
    void *state;
    cr_assert_eq(nano_runner_cpu.open(&state, &c, &err), NANO_OK, "%s", err.message);
    cr_assert_eq(nano_runner_cpu.kv_alloc(state, 1, 1, &err), NANO_OK);
    for (int adapter = -1; adapter <= 2; adapter++) {
        const struct nano_batch_seq seq = {
            .num_tokens = 1, .block_table = &(int32_t){0}, .adapter = adapter};
        struct nano_batch batch = {
            .num_tokens = 1, .tokens = &(int32_t){1}, .num_seqs = 1, .seqs = &seq};
        const bool fine = adapter == 0 || adapter == 1;
        cr_expect_eq(nano_runner_cpu.run(state, &batch, &err),
                     fine ? NANO_OK : NANO_ERR_INVALID_ARGUMENT);
        if (adapter == 2)
            cr_expect_str_eq(err.message, "batch: sequence 0 has adapter 2, expected 0 … 1");
    }
    nano_runner_cpu.close(state);
    rig_close(&rig);
}

Test(lora, every_allocation_may_fail)
{
    struct rig rig;
    rig_open(&rig, &tiny_shapes[0], NANO_FORMAT_F32, mixed_specs, 2);
    const struct nano_runner_config c = {.program = rig.program,
                                         .num_threads = 1,
                                         .max_num_batched_tokens = 4,
                                         .max_num_seqs = 1,
                                         .max_model_len = 16,
                                         .block_size = 16,
                                         .adapters = rig.adapters,
                                         .num_adapters = 2};
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        void *state = NULL;
        struct nano_runner_memory plan;
        nano_mem_fail_after(n);
        enum nano_status status = nano_runner_cpu.open(&state, &c, &err);
        if (status == NANO_OK)
            status = nano_runner_cpu.plan(&c, &plan, &err);
        done = nano_mem_fail_after(0) < n;
        cr_expect_eq(status, done ? NANO_OK : NANO_ERR_NO_MEMORY, "allocation %d: %s", (int)n,
                     err.message);
        if (done)
            cr_expect_eq(plan.weight_bytes + plan.activation_bytes,
                         nano_runner_cpu.memory_used(state));
        nano_runner_cpu.close(state);
    }
    rig_close(&rig);
    cr_expect_not(leak_check_found());
}

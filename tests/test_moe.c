/* Experts in the CPU runner, beyond their values (tests/test_op_values.c): many rows, few rows,
 * any threads and formats give the same bits; and what importance matrices see of them. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "engine/imatrix_collect.h"
#include "tests/grown_model.h"
#include "tests/runner_harness.h"
#include "tests/tiny_model.h"

#define LENGTH 620 /* more rows than go through in a pass */

#define KEYS                                                 \
    "context_length=1024 embedding_length=64 block_count=1 " \
    "attention.layer_norm_rms_epsilon=1e-5 attention.head_count=2 feed_forward_length=96 "

static const struct grown_spec few = {"few", "llama", KEYS "expert_count=8 expert_used_count=2",
                                      "token_embd.weight=64x70"},
                               one = {"one", "llama", KEYS "expert_count=1 expert_used_count=1",
                                      "token_embd.weight=64x70"},
                               many = {"many", "llama", KEYS "expert_count=40 expert_used_count=7",
                                       "token_embd.weight=64x70"};

static struct nano_program *make(struct nano_weights *weights, const struct grown_spec *spec,
                                 enum nano_format format)
{
    struct nano_program *program;
    struct nano_error err;
    grown_model_make(weights, spec);
    tiny_model_quantize(weights, format);
    cr_assert_eq(nano_program_create(&program, weights, &err), NANO_OK, "%s", err.message);
    return program;
}

static void make_tokens(int32_t tokens[LENGTH])
{
    uint64_t random = 3;
    for (int i = 0; i < LENGTH; i++)
        tokens[i] = (int32_t)(tiny_random(&random) % 70);
}

static void check_bits(const struct grown_spec *spec, enum nano_format format)
{
    static const struct {
        int chunk, num_threads;
    } ways[] = {{LENGTH, 1}, {LENGTH, 4}, {1, 3}, {5, 2}, {16, 3}, {17, 2}, {513, 2}};
    struct nano_weights weights;
    struct nano_program *program = make(&weights, spec, format);
    int32_t tokens[LENGTH];
    float *first = NULL;
    make_tokens(tokens);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        const struct harness_config config = {.num_threads = ways[i].num_threads,
                                              .block_size = 16,
                                              .max_num_batched_tokens = ways[i].chunk,
                                              .max_num_seqs = 1,
                                              .kv_format = NANO_KV_FORMAT_F32};
        float *got = harness_logits(program, &config, tokens, LENGTH, ways[i].chunk);
        first = first ? first : got;
        cr_expect_eq(memcmp(first, got, LENGTH * 70 * sizeof *got), 0,
                     "%s, format %d: %d threads, chunks of %d", spec->name, (int)format,
                     ways[i].num_threads, ways[i].chunk);
        if (got != first)
            free(got);
    }
    free(first);
    nano_program_destroy(program);
    nano_weights_close(&weights);
}

Test(moe, rows_threads_and_passes_change_no_bit)
{
    static const enum nano_format formats[] = {NANO_FORMAT_F32, NANO_FORMAT_F16, NANO_FORMAT_Q4_0,
                                               NANO_FORMAT_MXFP4};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        check_bits(&few, formats[i]);
    check_bits(&many, NANO_FORMAT_Q8_0);
    check_bits(&one, NANO_FORMAT_Q8_0);
}

static void collect(struct nano_importance *out, const struct nano_program *program,
                    int num_threads, int chunk)
{
    struct nano_imatrix_collector collector;
    struct nano_error err;
    int32_t tokens[LENGTH];
    make_tokens(tokens);
    cr_assert_eq(nano_imatrix_collector_init(&collector, program, false, &err), NANO_OK);
    cr_assert_eq(nano_importance_init(out, LENGTH, &err), NANO_OK);
    const struct harness_config config = {.num_threads = num_threads,
                                          .block_size = 16,
                                          .max_num_batched_tokens = LENGTH,
                                          .max_num_seqs = 1,
                                          .kv_format = NANO_KV_FORMAT_F32,
                                          .on_linear_input = nano_imatrix_on_linear_input,
                                          .on_linear_input_context = &collector};
    free(harness_logits(program, &config, tokens, LENGTH, chunk));
    cr_assert_eq(nano_imatrix_collector_give(&collector, out, &err), NANO_OK, "%s", err.message);
    nano_imatrix_collector_deinit(&collector);
}

static const struct nano_importance_entry *entry_of(const struct nano_importance *importance,
                                                    const char *name)
{
    const struct nano_string string = {name, strlen(name)};
    const struct nano_importance_entry *entry = nano_importance_lookup(importance, &string);
    cr_assert_not_null(entry, "%s", name);
    return entry;
}

/* Every expert counts its own tokens; the experts' inputs together are the router's, once per slot.
 */
Test(moe, an_importance_matrix_has_every_expert)
{
    struct nano_weights weights;
    struct nano_program *program = make(&weights, &few, NANO_FORMAT_F32);
    struct nano_importance importance, other;
    collect(&importance, program, 1, LENGTH);
    const struct nano_importance_entry *router = entry_of(&importance, "blk.0.ffn_gate_inp.weight"),
                                       *gate = entry_of(&importance, "blk.0.ffn_gate_exps.weight"),
                                       *down = entry_of(&importance, "blk.0.ffn_down_exps.weight");
    cr_assert(gate->num_values == 8 * 64 && gate->num_counts == 8);
    cr_assert(down->num_values == 8 * 96 && down->num_counts == 8);
    int64_t total = 0;
    for (int e = 0; e < 8; e++) {
        cr_expect_eq(gate->counts[e], down->counts[e]);
        cr_expect_lt(gate->counts[e], LENGTH);
        total += gate->counts[e];
    }
    cr_expect_eq(total, 2 * LENGTH);
    for (int c = 0; c < 64; c++) {
        double sum = 0;
        for (int e = 0; e < 8; e++)
            sum += gate->sums[64 * e + c];
        cr_expect_float_eq(sum / router->sums[c], 2, 1e-9, "column %d: %g", c, sum);
    }
    collect(&other, program, 3, 7);
    cr_expect_eq(memcmp(entry_of(&other, "blk.0.ffn_down_exps.weight")->sums, down->sums,
                        down->num_values * sizeof(double)),
                 0);
    nano_importance_close(&other);
    nano_importance_close(&importance);
    nano_program_destroy(program);
    nano_weights_close(&weights);
}

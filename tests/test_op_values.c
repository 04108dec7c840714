/* What the ops compute, and that passes change nothing of it: small models of every architecture
 * through the runner, against their unfused programs in plain loops. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/passes.h"
#include "tests/grown_model.h"
#include "tests/naive_program.h"
#include "tests/runner_harness.h"
#include "tests/tiny_model.h"

#define NUM_TOKENS 40

static const struct harness_config config = {.num_threads = 2,
                                             .block_size = 8,
                                             .max_num_batched_tokens = NUM_TOKENS,
                                             .max_num_seqs = 1,
                                             .kv_format = NANO_KV_FORMAT_F32};

static void check_model(const struct grown_spec *spec, int *num_checked)
{
    struct nano_weights weights;
    struct nano_program *plain, *fused;
    int32_t tokens[NUM_TOKENS];
    uint64_t random = 9;
    grown_model_make(&weights, spec);
    cr_assert_eq(nano_program_build(&plain, &weights, NULL), NANO_OK);
    cr_assert_eq(nano_program_create(&fused, &weights, NULL), NANO_OK);
    if (naive_knows(plain)) {
        const int64_t vocab = plain->config.vocab_size, size = harness_row_size(plain);
        for (int i = 0; i < NUM_TOKENS; i++)
            tokens[i] = (int32_t)(tiny_random(&random) % (uint64_t)vocab);
        double *want = naive_logits(plain, tokens, NUM_TOKENS);
        float *got = harness_logits(fused, &config, tokens, NUM_TOKENS, NUM_TOKENS);
        double worst = 0;
        for (int t = 0; t < NUM_TOKENS; t++)
            worst = fmax(worst, harness_difference(got + t * size, want + t * size, (size_t)size));
        /* a delta net normalises vectors that may be short, their errors with them */
        cr_expect(worst <= 5e-5, "%s: worst relative difference %g", spec->name, worst);
        free(want);
        free(got);
        ++*num_checked;
    }
    nano_program_destroy(plain);
    nano_program_destroy(fused);
    nano_weights_close(&weights);
}

Test(op_values, runner_equals_plain_loops)
{
    int num_checked = 0;
    for (int i = 0; i < num_grown_specs; i++)
        check_model(&grown_specs[i], &num_checked);
    cr_expect_geq(num_checked, 15);
}

/* ---- what passes leave ---- */

static const struct grown_spec *find_spec(const char *name)
{
    for (int i = 0; i < num_grown_specs; i++)
        if (strcmp(grown_specs[i].name, name) == 0)
            return &grown_specs[i];
    cr_assert_fail("no spec %s", name);
    return NULL;
}

Test(op_values, layer_norms_and_acts_go_into_linears)
{
    static const struct {
        const char *spec;
        int num_norms, num_activate, num_add; /* that stay ops in the layers */
    } expected[] = {
        {"gpt2", 0, 0, 0},       {"gptneox", 0, 0, 0},
        {"falcon 7b", 2, 0, 0}, /* attention and feed-forward share a layer's norm */
        {"falcon 40b", 0, 0, 0}, {"starcoder2", 0, 0, 0},
        {"stablelm", 0, 0, 0},   {"granite", 0, 0, 4}, /* scaled residuals */
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        struct nano_weights weights;
        struct nano_program *p;
        int num_norms = 0, num_activate = 0, num_add = 0;
        grown_model_make(&weights, find_spec(expected[i].spec));
        cr_assert_eq(nano_program_create(&p, &weights, NULL), NANO_OK);
        for (int k = 0; k < p->num_ops; k++) {
            const struct nano_op *op = &p->ops[k];
            if (op->layer < 0)
                continue;
            num_norms += op->kind == NANO_OP_LAYER_NORM || op->kind == NANO_OP_RMS_NORM;
            num_activate += op->kind == NANO_OP_ACTIVATE;
            num_add += op->kind == NANO_OP_ADD;
        }
        cr_expect_eq(num_norms, expected[i].num_norms, "%s: %d norms", expected[i].spec, num_norms);
        cr_expect_eq(num_activate, expected[i].num_activate, "%s: %d acts", expected[i].spec,
                     num_activate);
        cr_expect_eq(num_add, expected[i].num_add, "%s: %d adds", expected[i].spec, num_add);
        nano_program_destroy(p);
        nano_weights_close(&weights);
    }
}

/* ---- limits ---- */

Test(op_values, no_sequence_is_longer_than_learned_positions)
{
    struct nano_weights weights;
    struct nano_program *p;
    struct nano_error err = {0};
    struct nano_runner_memory memory;
    grown_model_make(&weights, find_spec("gpt2"));
    cr_assert_eq(nano_program_create(&p, &weights, NULL), NANO_OK);
    struct nano_runner_config c = {.program = p,
                                   .num_threads = 1,
                                   .max_num_batched_tokens = 8,
                                   .max_num_seqs = 1,
                                   .max_model_len = 512,
                                   .block_size = 16};
    const struct nano_runner *runner;
    cr_assert_eq(nano_runner_find(&runner, "cpu", &err), NANO_OK);
    cr_expect_eq(runner->plan(&c, &memory, &err), NANO_OK, "%s", err.message);
    c.max_model_len = 513;
    cr_expect_eq(runner->plan(&c, &memory, &err), NANO_ERR_INVALID_ARGUMENT);
    cr_expect(strstr(err.message, "513") && strstr(err.message, "position_embd.weight"), "%s",
              err.message);
    nano_program_destroy(p);
    nano_weights_close(&weights);
}

/* LongRoPE: a runner whose sequences stay in the original context has the short factors. */
Test(op_values, longrope_goes_by_the_longest_sequence)
{
    struct nano_weights weights;
    struct nano_program *p;
    int32_t tokens[NUM_TOKENS] = {1, 2, 3};
    grown_model_make(&weights, find_spec("phi3, longrope"));
    cr_assert_eq(nano_program_create(&p, &weights, NULL), NANO_OK);
    struct nano_rope *rope = &p->ropes[0];
    cr_assert_not_null(rope->short_inv_freq);
    cr_assert_neq(rope->short_inv_freq[0], rope->inv_freq[0]);
    cr_expect_eq(rope->short_context, 64);
    float *far = harness_logits(p, &config, tokens, NUM_TOKENS, NUM_TOKENS);
    rope->short_context = HARNESS_MAX_LEN;
    float *near = harness_logits(p, &config, tokens, NUM_TOKENS, NUM_TOKENS);
    rope->inv_freq = rope->short_inv_freq;
    rope->short_inv_freq = NULL;
    float *only = harness_logits(p, &config, tokens, NUM_TOKENS, NUM_TOKENS);
    const size_t bytes = (size_t)(NUM_TOKENS * p->config.vocab_size) * sizeof *far;
    cr_expect_neq(memcmp(far, near, bytes), 0, "both have the same factors");
    cr_expect_eq(memcmp(near, only, bytes), 0, "the short factors are not those of short runs");
    free(far);
    free(near);
    free(only);
    nano_program_destroy(p);
    nano_weights_close(&weights);
}

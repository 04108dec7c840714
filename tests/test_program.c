/* models: hyper-parameters and their errors, the passes, the planner, printing. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "models/passes.h"
#include "models/program.h"
#include "tests/leak_check.h"
#include "tests/tiny_model.h"

/* ---- errors ---- */

static void expect_refused(const struct tiny_shape *shape, const struct tiny_fault *fault,
                           enum nano_status status, const char *part_a, const char *part_b)
{
    struct nano_weights weights;
    struct nano_program *program = (void *)1;
    struct nano_error err = {0};
    tiny_model_make(&weights, shape, fault);
    cr_expect_eq(nano_program_create(&program, &weights, &err), status, "%s: %s", part_a,
                 err.message);
    cr_expect_null(program);
    cr_expect(strstr(err.message, part_a) && strstr(err.message, part_b),
              "'%s' has no '%s' or '%s'", err.message, part_a, part_b);
    cr_expect_eq(nano_program_create(&program, &weights, NULL), status);
    nano_weights_close(&weights);
}

Test(program, missing_tensors_and_shapes_are_named)
{
    static const char *const names[] = {
        "token_embd.weight",     "output_norm.weight",      "blk.0.attn_norm.weight",
        "blk.1.attn_q.weight",   "blk.2.attn_k.weight",     "blk.0.attn_v.weight",
        "blk.2.ffn_norm.weight", "blk.1.ffn_gate.weight",   "blk.0.ffn_up.weight",
        "blk.2.ffn_down.weight", "blk.0.attn_output.weight"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        expect_refused(&tiny_shapes[0], &(struct tiny_fault){.omit = names[i]}, NANO_ERR_FORMAT,
                       names[i], "missing");
        expect_refused(&tiny_shapes[0], &(struct tiny_fault){.bad_shape = names[i]},
                       NANO_ERR_FORMAT, names[i], "expected");
    }
    expect_refused(&tiny_shapes[4], &(struct tiny_fault){.omit = "blk.1.attn_k.bias"},
                   NANO_ERR_FORMAT, "blk.1.attn_k.bias", "missing");
    expect_refused(&tiny_shapes[5], &(struct tiny_fault){.omit = "blk.2.attn_q_norm.weight"},
                   NANO_ERR_FORMAT, "blk.2.attn_q_norm.weight", "missing");
    expect_refused(&tiny_shapes[0], &(struct tiny_fault){.bad_format = "blk.1.ffn_norm.weight"},
                   NANO_ERR_UNSUPPORTED, "blk.1.ffn_norm.weight", "F32");
    expect_refused(&tiny_shapes[0], &(struct tiny_fault){.extra = "blk.0.attn_q_norm.weight"},
                   NANO_ERR_UNSUPPORTED, "blk.0.attn_q_norm.weight", "llama");
}

Test(program, absurd_hyper_parameters_are_refused)
{
    static const struct {
        const char *key;
        int64_t value;
    } cases[] = {
        {"block_count", 0},
        {"block_count", 1025},
        {"block_count", -1},
        {"embedding_length", 0},
        {"embedding_length", 1 << 21},
        {"feed_forward_length", 0},
        {"feed_forward_length", 1 << 23},
        {"context_length", 0},
        {"context_length", INT64_MAX},
        {"attention.head_count", 0},
        {"attention.head_count", 4096},
        {"attention.head_count_kv", 0},
        {"attention.head_count_kv", 4},
        {"attention.key_length", 0},
        {"attention.key_length", 5000},
        {"attention.value_length", 7},
        {"rope.dimension_count", 0},
        {"rope.dimension_count", 3},
        {"rope.dimension_count", 8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct tiny_fault fault = {.bad_key = cases[i].key, .bad_value = cases[i].value};
        const bool unsupported = strcmp(cases[i].key, "attention.value_length") == 0;
        const char *last = strrchr(cases[i].key, '.');
        expect_refused(&tiny_shapes[0], &fault,
                       unsupported ? NANO_ERR_UNSUPPORTED : NANO_ERR_FORMAT,
                       last ? last + 1 : cases[i].key, "");
    }
    static const char *const required[] = {
        "block_count",    "embedding_length",     "feed_forward_length",
        "context_length", "attention.head_count", "attention.layer_norm_rms_epsilon"};
    for (size_t i = 0; i < sizeof required / sizeof *required; i++)
        expect_refused(&tiny_shapes[0], &(struct tiny_fault){.omit = required[i]}, NANO_ERR_FORMAT,
                       required[i], "missing");
    static const double bad_floats[] = {-1, NAN, INFINITY, 1e9};
    for (size_t i = 0; i < sizeof bad_floats / sizeof *bad_floats; i++)
        expect_refused(&tiny_shapes[0],
                       &(struct tiny_fault){.float_key = "rope.scaling.attn_factor",
                                            .float_value = bad_floats[i]},
                       NANO_ERR_FORMAT, "rope.scaling.attn_factor", "expected");
}

Test(program, unknown_architectures_and_scalings_are_refused)
{
    struct tiny_shape shape = tiny_shapes[0];
    shape.architecture = "llamas";
    expect_refused(&shape, NULL, NANO_ERR_UNSUPPORTED, "'llamas'", " llama ");
    expect_refused(&tiny_shapes[0], &(struct tiny_fault){.omit = "!general.architecture"},
                   NANO_ERR_FORMAT, "general.architecture", "missing");
    shape = tiny_shapes[2];
    shape.scaling = "su";
    expect_refused(&shape, NULL, NANO_ERR_UNSUPPORTED, "rope.scaling.type", "'su'");
}

Test(program, config_of_files_without_tensors)
{
    const uint32_t per_layer[] = {0, 8, 2};
    struct nano_meta metadata[] = {
        {.key = {"general.architecture", 20},
         .type = NANO_META_STRING,
         .value.string = {"other", 5}},
        {.key = {"other.block_count", 17}, .type = NANO_META_U32, .value.u = 3},
        {.key = {"other.embedding_length", 22}, .type = NANO_META_U32, .value.u = 96},
        {.key = {"other.attention.head_count", 26}, .type = NANO_META_U32, .value.u = 8},
        {.key = {"other.attention.head_count_kv", 29},
         .type = NANO_META_ARRAY,
         .element_type = NANO_META_U32,
         .num_elements = 3,
         .elements = per_layer},
    };
    const struct nano_weights weights = {.metadata = metadata, .num_metadata = 5};
    struct nano_model_config config;
    struct nano_error err = {0};
    cr_assert_eq(nano_model_config_read(&config, &weights, &err), NANO_OK, "%s", err.message);
    cr_expect_str_eq(config.architecture, "other");
    cr_expect_eq(config.num_layers, 3);
    cr_expect_eq(config.num_kv_heads, 8);
    cr_expect_eq(config.head_dim, 12);
    cr_expect_eq(config.vocab_size, 0);

    metadata[0].value.string = (struct nano_string){"llama", 5};
    struct nano_program *program;
    cr_expect_eq(nano_program_create(&program, &weights, &err), NANO_ERR_FORMAT);
    cr_expect(strstr(err.message, "llama.block_count"), "%s", err.message);
}

/* ---- rotary embeddings ---- */

static struct nano_rope rope_of(const struct tiny_shape *shape, const struct tiny_fault *fault,
                                float *inv_freq)
{
    struct nano_weights weights;
    struct nano_program *program;
    struct nano_error err = {0};
    tiny_model_make(&weights, shape, fault);
    cr_assert_eq(nano_program_create(&program, &weights, &err), NANO_OK, "%s", err.message);
    struct nano_rope rope = program->ropes[0];
    memcpy(inv_freq, rope.inv_freq, (size_t)rope.num_pairs * sizeof *inv_freq);
    nano_program_destroy(program);
    nano_weights_close(&weights);
    return rope;
}

/* The formulas themselves are compared by the runner's tests, against the naive model. */
Test(program, rope_magnitudes_and_old_keys)
{
    float scaled[16], plain[16];
    struct nano_rope rope = rope_of(&tiny_shapes[3], NULL, scaled);
    cr_expect_float_eq(rope.magnitude, 0.1 * log(8) + 1, 1e-6);
    cr_expect(rope.adjacent);
    rope = rope_of(
        &tiny_shapes[3],
        &(struct tiny_fault){.float_key = "rope.scaling.yarn_log_multiplier", .float_value = 0.7},
        scaled);
    cr_expect_float_eq(rope.magnitude, (0.1 * log(8) + 1) / (0.1 * 0.7 * log(8) + 1), 1e-6);
    rope = rope_of(
        &tiny_shapes[3],
        &(struct tiny_fault){.float_key = "rope.scaling.attn_factor", .float_value = 1.5}, scaled);
    cr_expect_float_eq(rope.magnitude, 1.5 * (0.1 * log(8) + 1), 1e-6);

    struct tiny_shape shape = tiny_shapes[2];
    shape.scaling = NULL;
    rope_of(&shape, NULL, plain);
    rope = rope_of(&shape, &(struct tiny_fault){.float_key = "rope.scale_linear", .float_value = 4},
                   scaled);
    cr_expect_eq(rope.magnitude, 1);
    for (int i = 0; i < rope.num_pairs; i++)
        cr_expect_float_eq(scaled[i] * 4, plain[i], 1e-6);
    rope = rope_of(&tiny_shapes[4], NULL, plain);
    cr_expect_not(rope.adjacent);
}

/* ---- passes ---- */

static int count_ops(const struct nano_program *p, enum nano_op_kind kind)
{
    int count = 0;
    for (int i = 0; i < p->num_ops; i++)
        count += p->ops[i].kind == kind;
    return count;
}

Test(program, fusion_joins_linears_and_residuals)
{
    for (int i = 0; i < num_tiny_shapes; i++) {
        struct nano_weights weights;
        struct nano_program *plain, *fused;
        tiny_model_make(&weights, &tiny_shapes[i], NULL);
        cr_assert_eq(nano_program_build(&plain, &weights, NULL), NANO_OK);
        cr_assert_eq(nano_program_create(&fused, &weights, NULL), NANO_OK);
        const int layers = tiny_shapes[i].num_layers;
        cr_expect_eq(count_ops(plain, NANO_OP_LINEAR), 7 * layers + 1);
        cr_expect_eq(count_ops(plain, NANO_OP_ADD), 2 * layers);
        cr_expect_eq(count_ops(fused, NANO_OP_LINEAR), 4 * layers + 1);
        cr_expect_eq(count_ops(fused, NANO_OP_ADD), 0);
        cr_expect_eq(count_ops(fused, NANO_OP_GLU), 0);
        cr_expect_eq(count_ops(fused, NANO_OP_GATHER), 1);
        cr_expect_eq(fused->ops[fused->gather_op - 1].kind, NANO_OP_ATTENTION,
                     "the gather follows the last attention");
        cr_expect_eq(fused->ops[fused->gather_op].num_in, 2);
        cr_expect_eq(plain->ops[plain->gather_op].num_in, 1);
        int with_three = 0, with_norm = 0, gated = 0;
        for (int k = 0; k < fused->num_ops; k++) {
            with_three += fused->ops[k].kind == NANO_OP_LINEAR && fused->ops[k].num_out == 3;
            with_norm += fused->ops[k].kind == NANO_OP_LINEAR && fused->ops[k].norm;
            gated += fused->ops[k].kind == NANO_OP_LINEAR && fused->ops[k].glu;
        }
        cr_expect_eq(with_three, layers);
        cr_expect_eq(with_norm, 2 * layers); /* but not the last one: its rows are results */
        cr_expect_eq(gated, layers);
        nano_program_destroy(plain);
        nano_program_destroy(fused);
        nano_weights_close(&weights);
    }
}

Test(program, check_finds_broken_programs)
{
    struct nano_weights weights;
    struct nano_program *p;
    tiny_model_make(&weights, &tiny_shapes[0], NULL);
    cr_assert_eq(nano_program_create(&p, &weights, NULL), NANO_OK);
    for (int i = 0; i < p->num_ops; i++) {
        const struct nano_op saved = p->ops[i];
        struct nano_error err = {0};
        if (saved.num_out) {
            p->ops[i].out[0].width++;
            cr_expect_eq(nano_program_check(p, &err), NANO_ERR_INTERNAL,
                         "op %d with a wider output", i);
            p->ops[i] = saved;
            p->ops[i].out[0].buffer = p->num_buffers;
            cr_expect_eq(nano_program_check(p, &err), NANO_ERR_INTERNAL,
                         "op %d with an unknown output", i);
            p->ops[i] = saved;
        }
        if (saved.num_in) {
            p->ops[i].in[0].buffer = p->logits_buffer;
            cr_expect_eq(nano_program_check(p, &err), NANO_ERR_INTERNAL,
                         "op %d reads what nothing wrote", i);
            p->ops[i] = saved;
        }
        if (saved.kind == NANO_OP_LINEAR || saved.kind == NANO_OP_ATTENTION) {
            p->ops[i].out[0] = saved.in[0];
            cr_expect_eq(nano_program_check(p, &err), NANO_ERR_INTERNAL, "op %d writes its input",
                         i);
            p->ops[i] = saved;
        }
        cr_assert_eq(nano_program_check(p, &err), NANO_OK, "%s", err.message);
    }
    nano_program_destroy(p);
    nano_weights_close(&weights);
}

/* ---- planner ---- */

static size_t buffer_bytes(const struct nano_program *p, int buffer, int64_t tokens,
                           int64_t outputs)
{
    const struct nano_buffer *b = &p->buffers[buffer];
    const int64_t rows = b->domain == NANO_ROWS_TOKENS ? tokens : outputs;
    return (size_t)(nano_buffer_stride(b) * rows) * sizeof(float);
}

/* Buffers that are alive at the same time must not overlap, and the whole must be near the least
 * that is possible: what is alive at the busiest op. */
static void check_plan(const struct nano_program *p, int64_t tokens, int64_t outputs)
{
    size_t *offsets = calloc((size_t)p->num_buffers, sizeof *offsets), total, sum = 0, busiest = 0;
    cr_assert_eq(nano_program_plan(p, tokens, outputs, offsets, &total, NULL), NANO_OK);
    for (int i = 0; i < p->num_buffers; i++) {
        const struct nano_buffer *a = &p->buffers[i];
        if (a->first_op < 0)
            continue;
        const size_t a_bytes = buffer_bytes(p, i, tokens, outputs);
        cr_expect_eq(offsets[i] % NANO_CACHE_LINE, 0);
        cr_expect_leq(offsets[i] + a_bytes, total);
        sum += a_bytes;
        for (int k = 0; k < i; k++) {
            const struct nano_buffer *b = &p->buffers[k];
            if (b->first_op < 0 || a->first_op > b->last_op || b->first_op > a->last_op)
                continue;
            cr_expect(offsets[i] + a_bytes <= offsets[k] ||
                          offsets[k] + buffer_bytes(p, k, tokens, outputs) <= offsets[i],
                      "buffers %d and %d overlap", i, k);
        }
    }
    for (int op = 0; op < p->num_ops; op++) {
        size_t alive = 0;
        for (int i = 0; i < p->num_buffers; i++)
            if (p->buffers[i].first_op >= 0 && p->buffers[i].first_op <= op &&
                p->buffers[i].last_op >= op)
                alive += buffer_bytes(p, i, tokens, outputs);
        busiest = alive > busiest ? alive : busiest;
    }
    cr_expect_geq(total, busiest);
    cr_expect_leq(total, busiest + busiest / 4, "%zu bytes, %zu at the busiest op", total, busiest);
    if (p->config.num_layers > 1)
        cr_expect_lt(total, sum * 2 / 3, "%zu bytes, %zu without sharing", total, sum);
    free(offsets);
}

Test(program, plan_shares_memory_and_never_overlaps)
{
    for (int i = 0; i < num_tiny_shapes; i++) {
        struct nano_weights weights;
        struct nano_program *plain, *fused;
        tiny_model_make(&weights, &tiny_shapes[i], NULL);
        cr_assert_eq(nano_program_build(&plain, &weights, NULL), NANO_OK);
        cr_assert_eq(nano_program_create(&fused, &weights, NULL), NANO_OK);
        check_plan(plain, 1, 1);
        check_plan(plain, 64, 32);
        check_plan(fused, 1, 1);
        check_plan(fused, 64, 32);
        check_plan(fused, 512, 1);
        size_t total;
        struct nano_error err;
        cr_expect_eq(nano_program_plan(fused, INT64_MAX / 4, 1, NULL, &total, &err),
                     NANO_ERR_NO_MEMORY);
        nano_program_destroy(plain);
        nano_program_destroy(fused);
        nano_weights_close(&weights);
    }
}

/* ---- printing ---- */

Test(program, print_is_one_op_per_line)
{
    struct nano_weights weights;
    struct nano_program *p;
    char *text;
    tiny_model_make(&weights, &tiny_shapes[1], NULL);
    cr_assert_eq(nano_program_create(&p, &weights, NULL), NANO_OK);
    cr_assert_eq(nano_program_print(p, &text, NULL), NANO_OK);
    int lines = 0;
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    cr_expect_eq(lines, p->num_ops + 1);
    cr_expect(strstr(text, "attn_q+attn_k+attn_v"), "%s", text);
    cr_expect(strstr(text, "ffn_gate+ffn_up"));
    cr_expect(strstr(text, "blk.1.attn_q.weight F32 [24, 40] + blk.1.attn_q.bias F32 [40]"), "%s",
              text);
    cr_expect(strstr(text, "4 heads on 1 of 10"));
    cr_expect(strstr(text, "-> x.0[0:24] += blk.0.attn_output.weight F32 [40, 24]"), "%s", text);
    nano_mem_free(text);
    nano_program_destroy(p);
    cr_assert_eq(nano_program_build(&p, &weights, NULL), NANO_OK);
    cr_assert_eq(nano_program_print(p, &text, NULL), NANO_OK);
    cr_expect(strstr(text, "x.0[0:24] += attn_output."), "%s", text);
    nano_mem_free(text);
    nano_program_destroy(p);
    nano_weights_close(&weights);
}

/* ---- memory ---- */

Test(program, every_failing_allocation_is_survived)
{
    struct nano_weights weights;
    tiny_model_make(&weights, &tiny_shapes[1], NULL);
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        struct nano_program *p = NULL;
        struct nano_error err = {0};
        char *text = NULL;
        size_t total;
        nano_mem_fail_after(n);
        enum nano_status status = nano_program_create(&p, &weights, &err);
        if (status == NANO_OK)
            status = nano_program_plan(p, 8, 8, NULL, &total, &err);
        if (status == NANO_OK)
            status = nano_program_print(p, &text, &err);
        const uint64_t count = nano_mem_fail_after(0);
        done = count < n;
        cr_expect_eq(status, done ? NANO_OK : NANO_ERR_NO_MEMORY, "allocation %d: %s", (int)n,
                     err.message);
        cr_expect(done || err.message[0]);
        nano_mem_free(text);
        nano_program_destroy(p);
    }
    nano_weights_close(&weights);
    cr_expect_not(leak_check_found());
}

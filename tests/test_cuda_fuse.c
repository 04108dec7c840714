/* Ops in a row that one launch does: which are found, what it costs of launches, and that nothing
 * is different to the bit from a launch for each. */
#include "runner/cuda/cuda_fuse.h"

#include <stdio.h>

#include "models/program.h"
#include "runner/cuda/cuda_attention.h"
#include "runner/cuda/cuda_elementwise.h"
#include "runner/cuda/cuda_norm.h"
#include "tests/cuda/cuda_fixture.h"
#include "tests/grown_model.h"
#include "tests/runner_harness.h"
#include "tests/tiny_model.h"

TestSuite(cuda_fuse, .init = fixture_open, .fini = fixture_close);

/* ---- the kernel ---- */

struct part_case {
    int num_heads, head_dim;
    enum nano_cuda_norm_kind norm;
    bool has_bias, weight_per_head;
    int num_pairs, rope_offset; /* no pairs: not turned */
    bool adjacent, is_stored;
};

struct heads_case {
    struct part_case parts[NANO_CUDA_HEAD_PARTS];
    int num_parts, rows, block_size;
};

enum { MAX_ROWS = 300 };

static float *make_floats(int64_t count)
{
    float *floats = fixture_alloc((size_t)count * sizeof *floats);
    for (int64_t i = 0; i < count; i++)
        floats[i] = random_float();
    return floats;
}

static size_t pool_bytes(const struct heads_case *c, const struct part_case *part,
                         enum nano_kv_format format)
{
    const int blocks = MAX_ROWS / c->block_size + 2;
    return (size_t)blocks *
           nano_cuda_kv_block_bytes(format, part->num_heads, part->head_dim, c->block_size);
}

/* The launches that one stands for. */
static void run_apart(const struct nano_cuda_heads_args *args)
{
    for (int i = 0; i < args->num_parts; i++) {
        const struct nano_cuda_head_part *part = &args->parts[i];
        if (part->norm != NANO_CUDA_NORM_NONE) {
            const struct nano_cuda_norm_args norm = {.kind = part->norm,
                                                     .in = part->x,
                                                     .width = part->head_dim,
                                                     .group_stride = part->head_dim,
                                                     .out_group_stride = part->head_dim,
                                                     .num_groups = part->num_heads,
                                                     .rows = args->rows,
                                                     .weight = part->weight,
                                                     .bias = part->bias,
                                                     .weight_stride = part->weight_stride,
                                                     .eps = part->eps,
                                                     .out = part->x};
            nano_cuda_norm(device, &norm);
        }
        if (part->inv_freq) {
            const struct nano_cuda_rope_args rope = {.x = part->x,
                                                     .positions = args->positions,
                                                     .inv_freq = part->inv_freq,
                                                     .magnitude = part->magnitude,
                                                     .num_pairs = part->num_pairs,
                                                     .num_heads = part->num_heads,
                                                     .head_dim = part->head_dim,
                                                     .rope_offset = part->rope_offset,
                                                     .adjacent = part->adjacent,
                                                     .rows = args->rows};
            nano_cuda_rope(device, &rope);
        }
        if (part->pool) {
            const struct nano_cuda_kv_store_args store = {.format = args->format,
                                                          .num_kv_heads = part->num_heads,
                                                          .head_dim = part->head_dim,
                                                          .block_size = args->block_size,
                                                          .v_in_k = true,
                                                          .k = part->x,
                                                          .slots = args->slots,
                                                          .k_pool = part->pool,
                                                          .rows = args->rows};
            nano_cuda_kv_store(device, &store);
        }
    }
}

static void check_heads(const struct heads_case *c, enum nano_kv_format format, int order)
{
    struct rows apart[NANO_CUDA_HEAD_PARTS], fused[NANO_CUDA_HEAD_PARTS];
    void *apart_pools[NANO_CUDA_HEAD_PARTS], *fused_pools[NANO_CUDA_HEAD_PARTS];
    int32_t *positions = fixture_alloc((size_t)c->rows * sizeof *positions),
            *slots = fixture_alloc((size_t)c->rows * sizeof *slots);
    for (int r = 0; r < c->rows; r++) {
        positions[r] = random_below(r % 2 ? 100 : 100000);
        slots[r] = r % 5 == 3 ? -1 : (r * 7 + 3) % MAX_ROWS;
    }
    struct nano_cuda_heads_args args = {.num_parts = c->num_parts,
                                        .positions = positions,
                                        .slots = slots,
                                        .format = format,
                                        .block_size = c->block_size,
                                        .rows = c->rows};
    struct nano_cuda_heads_args apart_args = args;
    for (int i = 0; i < c->num_parts; i++) {
        const struct part_case *part = &c->parts[i];
        const int64_t width = part->num_heads * part->head_dim;
        apart[i] = rows_make(c->rows, width, i);
        fused[i] = rows_make(c->rows, width, i);
        rows_fill(&apart[i], 3);
        rows_copy(&fused[i], &apart[i]);
        struct nano_cuda_head_part *to = &args.parts[i];
        *to = (struct nano_cuda_head_part){.x = fused[i].view,
                                           .num_heads = part->num_heads,
                                           .head_dim = part->head_dim,
                                           .norm = part->norm,
                                           .eps = 1e-5f,
                                           .weight_stride =
                                               part->weight_per_head ? part->head_dim : 0,
                                           .num_pairs = part->num_pairs,
                                           .rope_offset = part->rope_offset,
                                           .magnitude = 1.1f,
                                           .adjacent = part->adjacent};
        if (part->norm != NANO_CUDA_NORM_L2)
            to->weight = make_floats(width);
        if (part->has_bias)
            to->bias = make_floats(width);
        if (part->num_pairs)
            to->inv_freq = make_floats(part->num_pairs);
        apart_pools[i] = fused_pools[i] = NULL;
        if (part->is_stored) {
            fused_pools[i] = fixture_alloc(pool_bytes(c, part, format));
            apart_pools[i] = fixture_alloc(pool_bytes(c, part, format));
        }
        to->pool = fused_pools[i];
        apart_args.parts[i] = *to;
        apart_args.parts[i].x = apart[i].view;
        apart_args.parts[i].pool = apart_pools[i];
    }
    run_apart(&apart_args);
    nano_emulated_set_order(order);
    const uint64_t before = fake_device.num_launches;
    nano_cuda_heads(device, &args);
    cr_assert_eq(fake_device.num_launches, before + 1);
    nano_emulated_set_order(0);
    for (int i = 0; i < c->num_parts; i++) {
        cr_assert(rows_equal(&apart[i], &fused[i]), "part %d, format %d", i, (int)format);
        if (apart_pools[i])
            cr_assert_eq(
                memcmp(apart_pools[i], fused_pools[i], pool_bytes(c, &c->parts[i], format)), 0,
                "stored part %d, format %d", i, (int)format);
        rows_free(&apart[i]);
        rows_free(&fused[i]);
        fixture_free(apart_pools[i]);
        fixture_free(fused_pools[i]);
        fixture_free((void *)(uintptr_t)args.parts[i].weight);
        fixture_free((void *)(uintptr_t)args.parts[i].bias);
        fixture_free((void *)(uintptr_t)args.parts[i].inv_freq);
    }
    fixture_free(positions);
    fixture_free(slots);
}

Test(cuda_fuse, one_launch_has_the_bits_of_several)
{
    static const struct heads_case cases[] = {
        {{{16, 128, NANO_CUDA_NORM_RMS, .num_pairs = 64},
          {8, 128, NANO_CUDA_NORM_RMS, .num_pairs = 64, .is_stored = true},
          {8, 128, .is_stored = true}},
         3,
         3,
         16},
        {{{5, 64, .num_pairs = 32, .adjacent = true},
          {1, 64, .num_pairs = 32, .adjacent = true, .is_stored = true},
          {1, 80, .is_stored = true}},
         3,
         9,
         8},
        {{{3, 9, NANO_CUDA_NORM_LAYER, .has_bias = true, .weight_per_head = true, .num_pairs = 3,
           .rope_offset = 1},
          {2, 9, NANO_CUDA_NORM_L2, .num_pairs = 3, .rope_offset = 2, .adjacent = true}},
         2,
         17,
         16},
        {{{4, 576, .num_pairs = 32, .rope_offset = 512, .adjacent = true},
          {1, 576, NANO_CUDA_NORM_RMS, .has_bias = true, .num_pairs = 288, .is_stored = true}},
         2,
         2,
         16},
        {{{9, 20, NANO_CUDA_NORM_RMS, .weight_per_head = true, .num_pairs = 10},
          {3, 20, NANO_CUDA_NORM_RMS, .num_pairs = 10, .is_stored = true},
          {3, 12, NANO_CUDA_NORM_RMS, .is_stored = true}},
         3,
         260,
         16},
        {{{1, 33, NANO_CUDA_NORM_NONE, .is_stored = true}}, 1, 1, 16},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int format = 0; format < NANO_NUM_KV_FORMATS; format++)
            check_heads(&cases[i], (enum nano_kv_format)format, (format + (int)i) % 3);
}

/* ---- which ops ---- */

static struct nano_program *program_of(const struct nano_weights *weights)
{
    struct nano_program *program;
    struct nano_error err;
    cr_assert_eq(nano_program_create(&program, weights, &err), NANO_OK, "%s", err.message);
    return program;
}

/* Kinds of the ops of the longest run of a model. */
static void print_longest(const char *name, char *out, size_t out_bytes)
{
    struct nano_weights weights;
    for (int s = 0; s < num_grown_specs; s++) {
        if (strcmp(grown_specs[s].name, name) != 0)
            continue;
        grown_model_make(&weights, &grown_specs[s]);
        struct nano_program *program = program_of(&weights);
        int best = 0, best_ops = 0;
        for (int i = 0; i < program->num_ops; i++) {
            const int num_ops = nano_cuda_find_head_run(program, i).num_ops;
            cr_assert(num_ops == 0 || num_ops >= 2);
            cr_assert_leq(i + num_ops, program->num_ops);
            if (num_ops > best_ops)
                best = i, best_ops = num_ops;
        }
        *out = 0;
        for (int i = best; i < best + best_ops; i++) {
            strncat(out, i > best ? " " : "", out_bytes - strlen(out) - 1);
            strncat(out, nano_op_kind_name(program->ops[i].kind), out_bytes - strlen(out) - 1);
        }
        nano_program_destroy(program);
        nano_weights_close(&weights);
        return;
    }
    cr_assert_fail("no model %s", name);
}

Test(cuda_fuse, runs_are_found)
{
    static const char *const expected[][2] = {
        {"qwen3", "rms_norm rms_norm rope rope kv_store"},
        {"gemma3", "rms_norm rms_norm rope rope kv_store"},
        {"llama", "rope rope kv_store"},
        {"gpt2", ""},
        {"stablelm 12b", "layer_norm layer_norm rope rope kv_store"},
        {"deepseek2", "rms_norm rope"},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        char found[256];
        print_longest(expected[i][0], found, sizeof found);
        cr_expect_str_eq(found, expected[i][1], "%s: %s", expected[i][0], found);
    }
}

/* Ops that are in each other's way end a run. */
Test(cuda_fuse, a_run_ends_where_order_would_change)
{
    struct nano_op ops[4] = {0};
    struct nano_kv_layer layer = {.num_kv_heads = 2, .head_dim = 8, .v_head_dim = 8};
    struct nano_program program = {
        .ops = ops, .num_ops = 4, .gather_op = 4, .kv_layers = &layer, .num_kv_layers = 1};
    const struct nano_view q = {0, 0, 32}, k = {0, 32, 16}, v = {0, 48, 16};
    ops[0] = (struct nano_op){.kind = NANO_OP_RMS_NORM, .in = {q}, .out = {q}, .group_width = 8};
    ops[1] = (struct nano_op){
        .kind = NANO_OP_ROPE, .in = {q}, .out = {q}, .num_heads = 4, .head_dim = 8};
    ops[2] = (struct nano_op){
        .kind = NANO_OP_ROPE, .in = {k}, .out = {k}, .num_heads = 2, .head_dim = 8};
    ops[3] = (struct nano_op){.kind = NANO_OP_KV_STORE, .in = {k, v}};
    struct nano_cuda_head_run run = nano_cuda_find_head_run(&program, 0);
    cr_expect_eq(run.num_ops, 4);
    cr_expect_eq(run.num_parts, 3);
    cr_expect_eq(run.parts[0].norm, 0);
    cr_expect_eq(run.parts[0].rope, 1);
    cr_expect_eq(run.parts[0].store, -1);
    cr_expect_eq(run.parts[1].rope, 2);
    cr_expect_eq(run.parts[1].store, 3);
    cr_expect_not(run.parts[1].is_v);
    cr_expect_eq(run.parts[2].rope, -1);
    cr_expect(run.parts[2].is_v);
    cr_expect_eq(nano_cuda_find_head_run(&program, 3).num_ops, 0, "alone");

    program.gather_op = 2;
    cr_expect_eq(nano_cuda_find_head_run(&program, 0).num_ops, 2);
    program.gather_op = 4;
    ops[0].out[0].offset = 100; /* not in place */
    cr_expect_eq(nano_cuda_find_head_run(&program, 0).num_ops, 0);
    ops[0].out[0].offset = 0;
    ops[0].group_width = 16; /* heads of the norm are not the rope's */
    cr_expect_eq(nano_cuda_find_head_run(&program, 0).num_ops, 0);
    ops[0].group_width = 8;
    ops[2].in[0].offset = ops[2].out[0].offset = 31; /* overlaps q */
    cr_expect_eq(nano_cuda_find_head_run(&program, 0).num_ops, 2);
    ops[2].in[0] = ops[2].out[0] = q; /* turned twice */
    ops[2].num_heads = 4;
    cr_expect_eq(nano_cuda_find_head_run(&program, 0).num_ops, 2);
    const struct nano_op norm = ops[0];
    ops[0] = ops[1];
    ops[1] = norm; /* turned, then normalised */
    cr_expect_eq(nano_cuda_find_head_run(&program, 0).num_ops, 0);
    ops[2].kind = NANO_OP_SCALE;
    cr_expect_eq(nano_cuda_find_head_run(&program, 1).num_ops, 0);
}

/* ---- launches ---- */

static struct nano_program *open_model(struct nano_weights *weights, const char *architecture,
                                       int num_layers, enum nano_format format)
{
    char metadata[512];
    snprintf(metadata, sizeof metadata,
             "context_length=256 embedding_length=64 block_count=%d "
             "attention.layer_norm_rms_epsilon=1e-5 attention.head_count=4 "
             "attention.head_count_kv=2 feed_forward_length=96 attention.key_length=32 "
             "attention.value_length=32",
             num_layers);
    const struct grown_spec spec = {architecture, architecture, metadata,
                                    "token_embd.weight=64x80"};
    grown_model_make(weights, &spec);
    tiny_model_quantize(weights, format);
    return program_of(weights);
}

static const struct harness_config config = {.num_threads = 1,
                                             .block_size = 16,
                                             .max_num_batched_tokens = 16,
                                             .max_num_seqs = 2,
                                             .kv_format = NANO_KV_FORMAT_F16};

/* Of a step of one token. */
static uint64_t launches_of_step(const char *architecture, int num_layers, enum nano_format format)
{
    struct nano_weights weights;
    struct nano_program *program = open_model(&weights, architecture, num_layers, format);
    struct harness h;
    struct harness_seq seq;
    const int32_t tokens[3] = {5, 6, 7};
    const int one = 1;
    uint64_t launches = 0;
    harness_open(&h, program, &config);
    harness_seq_begin(&h, &seq, tokens, 3);
    for (int i = 0; i < 3; i++) {
        const uint64_t before = fake_device.num_launches;
        fake_device.num_early_launches = 0;
        harness_step(&h, &seq, &one, 1);
        cr_expect(i == 0 || fake_device.num_launches - before == launches);
        launches = fake_device.num_launches - before;
        cr_expect_eq(fake_device.num_early_launches, launches, "all kernels may start early");
    }
    harness_seq_end(&seq);
    harness_close(&h);
    nano_program_destroy(program);
    nano_weights_close(&weights);
    return launches;
}

static uint64_t launches_of_layer(const char *architecture, enum nano_format format)
{
    return launches_of_step(architecture, 3, format) - launches_of_step(architecture, 2, format);
}

Test(cuda_fuse, launches_per_layer)
{
    cr_expect_eq(launches_of_layer("qwen3", NANO_FORMAT_F16), 7, "%d",
                 (int)launches_of_layer("qwen3", NANO_FORMAT_F16));
    cr_expect_eq(launches_of_layer("llama", NANO_FORMAT_Q8_0), 7);
}

/* Of one row, whose linears make their input, and of many, for which a launch does. */
Test(cuda_fuse, few_rows_have_the_bits_of_many)
{
    static const enum nano_format formats[] = {NANO_FORMAT_F16, NANO_FORMAT_Q8_0, NANO_FORMAT_Q4_0};
    enum { LENGTH = 21 };
    int32_t tokens[LENGTH];
    for (int i = 0; i < LENGTH; i++)
        tokens[i] = random_below(80);
    for (int i = 0; i < 6; i++) {
        struct nano_weights weights;
        struct nano_program *program =
            open_model(&weights, i % 2 ? "llama" : "qwen3", 2, formats[i / 2]);
        float *many = harness_logits(program, &config, tokens, LENGTH, 16);
        for (int chunk = 1; chunk < 6; chunk++) {
            float *few = harness_logits(program, &config, tokens, LENGTH, chunk);
            cr_expect_eq(memcmp(few, many, sizeof(float) * LENGTH * 80), 0, "%d, %d rows", i,
                         chunk);
            free(few);
        }
        free(many);
        nano_program_destroy(program);
        nano_weights_close(&weights);
    }
}

/* A run is one entry of the profile, with all its labels and counted once. */
Test(cuda_fuse, a_run_has_a_name_of_its_own)
{
    struct nano_weights weights;
    struct nano_program *program = open_model(&weights, "qwen3", 2, NANO_FORMAT_F16);
    struct harness h;
    struct harness_seq seq;
    const int32_t tokens[3] = {5, 6, 7};
    const int count = 3;
    struct nano_op_profile profile[64];
    harness_open(&h, program, &config);
    harness_seq_begin(&h, &seq, tokens, 3);
    harness_step(&h, &seq, &count, 1);
    const size_t num = h.runner->profile(h.state, profile, 64);
    int found = 0;
    for (size_t i = 0; i < num; i++) {
        cr_expect_null(strstr(profile[i].name, "kv_store"), "%s", profile[i].name);
        if (!strstr(profile[i].name, "+kv"))
            continue;
        found++;
        cr_expect_str_eq(profile[i].name, "rms_norm attn_q_norm+attn_k_norm+rope_q+rope_k+kv");
        cr_expect_eq(profile[i].count, 2);
    }
    cr_expect_eq(found, 1);
    harness_seq_end(&seq);
    harness_close(&h);
    nano_program_destroy(program);
    nano_weights_close(&weights);
}

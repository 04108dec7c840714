/* bench_kernels [FILTER]: the speed of each slot of the kernel checker on one core, for those whose
 * "tier slot format" contains the filter. NANOVLLM_CPU limits the tiers to one. */
#include "tests/check_kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "simd/fp_mode.h"
#include "simd/kv_layout.h"
#include "simd/quantize.h"

/* Processor time, because the machine may have other work. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* One call to be timed: how many bytes it reads and multiplications it makes. */
struct work {
    void (*run)(void *context);
    void *context;
    double num_bytes, num_macs;
};

/* The best of what 100 ms allow; short calls are timed many at a time. */
static void report(const struct nano_kernels *kernels, const char *slot, const char *format,
                   const char *filter, struct work work)
{
    char name[128];
    snprintf(name, sizeof name, "%s %s %s", kernels->name, slot, format);
    if (!strstr(name, filter))
        return;
    double begin = now(), best;
    work.run(work.context);
    best = now() - begin;
    int calls = best < 1e-4 ? (int)(1e-4 / (best + 1e-9)) + 1 : 1;
    for (double start = begin = now(), end; begin - start < 0.1; begin = end) {
        for (int i = 0; i < calls; i++)
            work.run(work.context);
        end = now();
        best = fmin(best, (end - begin) / calls);
    }
    printf("%-40s %10.2f us %8.2f GB/s", name, best * 1e6, work.num_bytes / best * 1e-9);
    if (work.num_macs > 0)
        printf(" %8.2f GMAC/s", work.num_macs / best * 1e-9);
    printf("\n");
    fflush(stdout);
}

struct linear_call {
    nano_linear_fn *linear;
    struct nano_linear_args args;
};

static void run_linear(void *context)
{
    struct linear_call *c = context;
    c->linear(&c->args);
}

/* 1 token: a matrix of 64 MiB, more than the private caches. Many: rows enough to amortise. */
static void bench_linear(const struct nano_kernels *kernels, const char *filter,
                         enum nano_format format, int num_tokens)
{
    const struct nano_format_traits *traits = nano_format_traits(format);
    char slot[32], name[128];
    snprintf(slot, sizeof slot, "linear x%d", num_tokens);
    snprintf(name, sizeof name, "%s %s %s", kernels->name, slot, traits->name);
    if (!strstr(name, filter))
        return;
    const int64_t cols = 2048;
    size_t row_bytes = nano_format_row_bytes(format, cols);
    bool slow = strcmp(kernels->name, "ref") == 0;
    int64_t rows = slow ? 64 : num_tokens == 1 ? (int64_t)(((size_t)64 << 20) / row_bytes) : 512;
    struct matrix m = matrix_make(kernels, format, rows, cols, PATTERN_RANDOM);
    const struct nano_activation_kernels *activation = &kernels->activation[traits->activation];
    struct input x = input_alloc(activation->bytes(num_tokens, cols));
    float *row = malloc((size_t)cols * 4);
    for (int t = 0; t < num_tokens; t++) {
        fill_floats(row, cols, PATTERN_RANDOM);
        activation->quantize(x.data, t, row, cols);
    }
    struct linear_call c = {kernels->linear[format].linear,
                            {.y = malloc((size_t)(rows * num_tokens) * 4),
                             .y_stride = rows,
                             .weights = m.weights,
                             .rows = rows,
                             .cols = cols,
                             .row_end = rows,
                             .x = x.data,
                             .x_stride = (size_t)cols * 4,
                             .token_end = num_tokens}};
    report(kernels, slot, traits->name, filter,
           (struct work){run_linear, &c, (double)rows * (double)row_bytes,
                         (double)(rows * cols) * num_tokens});
    free(c.args.y);
    free(row);
    input_free(&x);
    matrix_free(&m);
}

struct pack_call {
    const struct nano_linear_kernels *linear;
    struct matrix m;
};

static void run_pack(void *context)
{
    struct pack_call *c = context;
    c->linear->pack(c->m.packed.data, c->m.stored.data, c->m.rows, c->m.cols, 0, c->m.rows);
}

static void bench_pack(const struct nano_kernels *kernels, const char *filter,
                       enum nano_format format)
{
    struct pack_call c = {.linear = &kernels->linear[format]};
    if (!c.linear->pack)
        return;
    c.m = matrix_make(kernels, format, 1024, 2048, PATTERN_RANDOM);
    report(kernels, "pack", nano_format_traits(format)->name, filter,
           (struct work){run_pack, &c, 1024 * (double)nano_format_row_bytes(format, 2048), 0});
    matrix_free(&c.m);
}

struct quantize_call {
    const struct nano_activation_kernels *activation;
    float *x;
    struct output out;
    int64_t cols;
};

static void run_quantize(void *context)
{
    struct quantize_call *c = context;
    c->activation->quantize(c->out.data, 0, c->x, c->cols);
}

/* From f32 to the formats of files, which no tier has a body of its own for. */
struct store_call {
    enum nano_format format;
    float *x;
    unsigned char *stored;
};

enum { STORE_ROWS = 8, STORE_COLS = 1024 };

static void run_store(void *context)
{
    struct store_call *c = context;
    nano_quantize_rows(c->format, c->x, c->stored, STORE_ROWS, STORE_COLS, NULL);
}

static void bench_store(const struct nano_kernels *kernels, const char *filter)
{
    static float x[STORE_ROWS * STORE_COLS];
    static unsigned char stored[sizeof x];
    for (int k = 0; k < STORE_ROWS * STORE_COLS; k++)
        x[k] = random_float() + random_float() + random_float();
    for (int i = 0; i < NANO_NUM_FORMATS; i++) {
        struct store_call c = {(enum nano_format)i, x, stored};
        report(kernels, "store", nano_format_traits(c.format)->name, filter,
               (struct work){run_store, &c, sizeof x, 0});
    }
}

static void bench_quantize(const struct nano_kernels *kernels, const char *filter)
{
    static const char *const names[NANO_NUM_ACTIVATIONS] = {"F32", "Q8_32", "Q8_256"};
    for (int i = 0; i < NANO_NUM_ACTIVATIONS; i++) {
        struct quantize_call c = {&kernels->activation[i], .cols = 4096};
        c.x = malloc((size_t)c.cols * 4);
        c.out = output_alloc(c.activation->bytes(1, c.cols), 0);
        fill_floats(c.x, c.cols, PATTERN_RANDOM);
        report(kernels, "quantize", names[i], filter,
               (struct work){run_quantize, &c, (double)c.cols * 4, 0});
        output_free(&c.out);
        free(c.x);
    }
}

struct attention_call {
    const struct nano_kv_kernels *slots;
    struct nano_attention_args args;
};

static void run_attention(void *context)
{
    struct attention_call *c = context;
    c->slots->attention(&c->args);
}

struct attention_shape {
    int dim, heads, positions, queries, window, v_in_k; /* v_in_k: so many elements; 0: none */
};

/* A group of heads at the end of a context; 1 query is decode, 64 are prefill. */
static void bench_attention(const struct nano_kernels *kernels, const char *filter,
                            enum nano_kv_format format, const struct attention_shape *shape)
{
    const int dim = shape->dim, heads = shape->heads, positions = shape->positions,
              queries = shape->queries;
    char slot[64], name[128];
    snprintf(slot, sizeof slot, "attention %dx%d @%d x%d%s%s", heads, dim, positions, queries,
             shape->window ? " window" : "", shape->v_in_k ? " v in k" : "");
    snprintf(name, sizeof name, "%s %s %s", kernels->name, slot, kv_format_names[format]);
    if (!strstr(name, filter))
        return;
    const int64_t kv_floats = (int64_t)positions * dim, q_floats = (int64_t)queries * heads * dim;
    const int v_dim = shape->v_in_k ? shape->v_in_k : dim;
    const struct nano_kv_layout layout = {.format = format,
                                          .num_kv_heads = 1,
                                          .head_dim = dim,
                                          .v_head_dim = v_dim,
                                          .block_size = 32,
                                          .v_in_k = shape->v_in_k != 0};
    float *k = malloc((size_t)kv_floats * 4), *v = malloc((size_t)kv_floats * 4);
    float *q = malloc((size_t)q_floats * 4), *out = malloc((size_t)q_floats * 4);
    fill_floats(k, kv_floats, PATTERN_RANDOM);
    fill_floats(v, kv_floats, PATTERN_RANDOM);
    fill_floats(q, q_floats, PATTERN_RANDOM);
    struct kv_case kv = kv_case_make(kernels, layout, positions, k, v);
    struct output scratch = output_alloc(kernels->attention_scratch_floats(dim, v_dim) * 4, 0);
    struct attention_call c = {
        .slots = &kernels->kv[format],
        .args =
            {
                .kv = layout,
                .k_pool = kv.k_pool.data,
                .v_pool = kv.v_pool.data,
                .block_table = kv.block_table,
                .num_q_heads = heads,
                .num_queries = queries,
                .first_position = positions - queries,
                .window = shape->window,
                .q = q,
                .q_stride = (int64_t)heads * dim,
                .out = out,
                .out_stride = (int64_t)heads * v_dim,
                .scale = 1 / sqrtf((float)dim),
                .scratch = scratch.data,
            },
    };
    const int seen = shape->window ? shape->window + queries - 1 : positions;
    const double num_bytes =
        (double)seen * (double)(nano_kv_token_bytes(&layout, dim) +
                                (layout.v_in_k ? 0 : nano_kv_token_bytes(&layout, v_dim)));
    const double pairs = shape->window /* (query, position) */
                             ? (double)shape->window * queries
                             : (positions - (queries - 1) / 2.0) * queries;
    report(kernels, slot, kv_format_names[format], filter,
           (struct work){run_attention, &c, num_bytes, pairs * (dim + v_dim) * heads});
    output_free(&scratch);
    kv_case_free(&kv);
    free(k);
    free(v);
    free(q);
    free(out);
}

static void bench_attentions(const struct nano_kernels *kernels, const char *filter)
{
    static const struct attention_shape shapes[] = {
        {64, 4, 1024, 1, 0, 0},     {64, 4, 4096, 1, 0, 0},     {64, 7, 4096, 1, 0, 0},
        {128, 4, 4096, 1, 0, 0},    {64, 7, 4096, 4, 0, 0},     {64, 7, 4096, 16, 0, 0},
        {64, 4, 4096, 30, 0, 0},    {64, 4, 1024, 64, 0, 0},    {64, 4, 4096, 64, 0, 0},
        {64, 7, 4096, 64, 0, 0},    {128, 4, 4096, 64, 0, 0},   {64, 7, 512, 512, 0, 0},
        {128, 4, 512, 512, 0, 0},   {64, 4, 4096, 1, 128, 0},   {64, 4, 4096, 64, 128, 0},
        {576, 16, 4096, 1, 0, 512}, {576, 16, 4096, 7, 0, 512}, {576, 128, 4096, 1, 0, 512},
    };
    const bool slow = strcmp(kernels->name, "ref") == 0;
    for (int format = 0; format < NANO_NUM_KV_FORMATS; format++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            if (!slow || shapes[i].queries == 1)
                bench_attention(kernels, filter, (enum nano_kv_format)format, &shapes[i]);
}

enum { VECTOR_N = 4096, VOCABULARY = 151936 };

struct vector_call {
    const struct nano_kernels *kernels;
    float *x, *y, *z;
    int32_t *found;
    enum nano_act act;
};

static volatile double sink; /* keeps results of reductions alive */

static void run_rms_norm(void *context)
{
    struct vector_call *c = context;
    c->kernels->rms_norm(c->y, c->x, c->z, VECTOR_N, 1e-5f);
}

static void run_rope(void *context)
{
    struct vector_call *c = context;
    c->kernels->rope(c->y, c->z, VECTOR_N / 2, false);
}

static void run_layer_norm(void *context)
{
    struct vector_call *c = context;
    c->kernels->layer_norm(c->y, c->x, c->z, c->z, VECTOR_N, 1e-5f);
}

static void run_glu(void *context)
{
    struct vector_call *c = context;
    c->kernels->glu[c->act](c->y, c->x, c->z, VECTOR_N);
}

static void run_add_scaled(void *context)
{
    struct vector_call *c = context;
    c->kernels->add_scaled(c->y, c->z, VECTOR_N, 0.22f);
}

static void run_softcap(void *context)
{
    struct vector_call *c = context;
    c->kernels->softcap(c->y, c->x, VECTOR_N, 30);
}

static void run_add(void *context)
{
    struct vector_call *c = context;
    c->kernels->add(c->y, c->z, VECTOR_N);
}

static void run_argmax(void *context)
{
    struct vector_call *c = context;
    sink = (double)c->kernels->argmax(c->x, VOCABULARY);
}

static void run_collect(void *context)
{
    struct vector_call *c = context;
    sink = (double)c->kernels->collect(c->found, c->x, VOCABULARY, 0.999f);
}

static void run_sum_exp(void *context)
{
    struct vector_call *c = context;
    sink = c->kernels->sum_exp(c->x, VOCABULARY, 1, 1.25f);
}

static void run_log_sum_exp(void *context)
{
    struct vector_call *c = context;
    sink = c->kernels->log_sum_exp(c->x, VOCABULARY);
}

static void bench_vectors(const struct nano_kernels *kernels, const char *filter)
{
    static const char *const acts[NANO_NUM_ACTS] = {"none",         "silu",       "gelu",
                                                    "gelu_erf",     "gelu_quick", "relu",
                                                    "relu_squared", "sigmoid",    "clamped"};
    struct vector_call c = {.kernels = kernels,
                            .x = malloc(VOCABULARY * 4),
                            .y = malloc(VECTOR_N * 4),
                            .z = malloc(VECTOR_N * 4),
                            .found = malloc(VOCABULARY * 4)};
    fill_floats(c.x, VOCABULARY, PATTERN_RANDOM);
    fill_floats(c.y, VECTOR_N, PATTERN_RANDOM);
    for (int i = 0; i < VECTOR_N; i++)
        c.z[i] = i % 2 ? 0.6f : 0.8f; /* as cos and sin: rope in place must not grow */
    report(kernels, "rms_norm", "", filter, (struct work){run_rms_norm, &c, VECTOR_N * 4, 0});
    report(kernels, "rope", "", filter, (struct work){run_rope, &c, VECTOR_N * 4, 0});
    report(kernels, "layer_norm", "", filter, (struct work){run_layer_norm, &c, VECTOR_N * 4, 0});
    for (int act = 0; act < NANO_NUM_ACTS; act++) {
        c.act = (enum nano_act)act;
        report(kernels, "glu", acts[act], filter, (struct work){run_glu, &c, VECTOR_N * 8, 0});
    }
    report(kernels, "add_scaled", "", filter, (struct work){run_add_scaled, &c, VECTOR_N * 8, 0});
    report(kernels, "softcap", "", filter, (struct work){run_softcap, &c, VECTOR_N * 4, 0});
    report(kernels, "add", "", filter, (struct work){run_add, &c, VECTOR_N * 8, 0});
    report(kernels, "argmax", "", filter, (struct work){run_argmax, &c, VOCABULARY * 4, 0});
    report(kernels, "collect", "", filter, (struct work){run_collect, &c, VOCABULARY * 4, 0});
    report(kernels, "sum_exp", "", filter, (struct work){run_sum_exp, &c, VOCABULARY * 4, 0});
    report(kernels, "log_sum_exp", "", filter,
           (struct work){run_log_sum_exp, &c, VOCABULARY * 4, 0});
    free(c.found);
    free(c.x);
    free(c.y);
    free(c.z);
}

/* ---- recurrences: a head of a usual shape ---- */

enum { HEAD_DIM = 128, STATE_SIZE = 128, CONV_KERNEL = 4, CONV_COLUMNS = 512, MAX_TOKENS = 256 };

struct recurrent_call {
    const struct nano_kernels *kernels;
    struct nano_short_conv_args short_conv;
    struct nano_mamba2_args mamba2;
    struct nano_delta_net_args delta_net;
};

static void run_short_conv(void *context)
{
    const struct recurrent_call *c = context;
    c->kernels->short_conv(&c->short_conv);
}

static void run_mamba2(void *context)
{
    const struct recurrent_call *c = context;
    c->kernels->mamba2(&c->mamba2);
}

static void run_delta_net(void *context)
{
    const struct recurrent_call *c = context;
    c->kernels->delta_net(&c->delta_net);
}

static void bench_recurrent(const struct nano_kernels *kernels, const char *filter, int num_tokens)
{
    enum { STRIDE = 3 * HEAD_DIM > CONV_COLUMNS ? 3 * HEAD_DIM : CONV_COLUMNS };
    float *in = malloc((size_t)MAX_TOKENS * STRIDE * sizeof *in),
          *out = malloc((size_t)MAX_TOKENS * STRIDE * sizeof *out),
          *state = calloc((size_t)STATE_SIZE * STRIDE, sizeof *state),
          *weight = malloc((size_t)CONV_KERNEL * CONV_COLUMNS * sizeof *weight),
          *scratch = malloc(NANO_DELTA_NET_SCRATCH(STATE_SIZE) * sizeof *scratch);
    fill_floats(in, (int64_t)MAX_TOKENS * STRIDE, PATTERN_RANDOM);
    fill_floats(weight, CONV_KERNEL * CONV_COLUMNS, PATTERN_RANDOM);
    struct recurrent_call c = {.kernels = kernels};
    c.short_conv = (struct nano_short_conv_args){.out = out,
                                                 .in = in,
                                                 .out_stride = STRIDE,
                                                 .in_stride = STRIDE,
                                                 .num_rows = num_tokens,
                                                 .kernel = CONV_KERNEL,
                                                 .num_columns = CONV_COLUMNS,
                                                 .weight = weight,
                                                 .weight_stride = CONV_COLUMNS,
                                                 .state = state,
                                                 .state_stride = CONV_COLUMNS,
                                                 .silu = true};
    c.mamba2 = (struct nano_mamba2_args){.state = state,
                                         .state_stride = HEAD_DIM,
                                         .x = in,
                                         .b = in + HEAD_DIM,
                                         .c = in + HEAD_DIM + STATE_SIZE,
                                         .in_stride = STRIDE,
                                         .dt = in,
                                         .dt_stride = STRIDE,
                                         .a = -1,
                                         .out = out,
                                         .out_stride = STRIDE,
                                         .num_rows = num_tokens,
                                         .num_columns = HEAD_DIM,
                                         .state_size = STATE_SIZE};
    c.delta_net = (struct nano_delta_net_args){.state = state,
                                               .state_stride = HEAD_DIM,
                                               .q = in,
                                               .k = in + STATE_SIZE,
                                               .v = in + 2 * STATE_SIZE,
                                               .in_stride = STRIDE,
                                               .alpha = in,
                                               .beta = in,
                                               .alpha_stride = STRIDE,
                                               .beta_stride = STRIDE,
                                               .a = -1,
                                               .eps = 1e-6f,
                                               .out = out,
                                               .out_stride = STRIDE,
                                               .num_rows = num_tokens,
                                               .num_columns = HEAD_DIM,
                                               .state_size = STATE_SIZE,
                                               .scratch = scratch};
    char slot[32];
    const double state_bytes = 2.0 * STATE_SIZE * HEAD_DIM * sizeof(float),
                 macs = (double)STATE_SIZE * HEAD_DIM * num_tokens;
    snprintf(slot, sizeof slot, "short_conv x%d", num_tokens);
    report(kernels, slot, "", filter,
           (struct work){run_short_conv, &c, (double)num_tokens * CONV_COLUMNS * 8,
                         (double)num_tokens * CONV_COLUMNS * CONV_KERNEL});
    snprintf(slot, sizeof slot, "mamba2 x%d", num_tokens);
    report(kernels, slot, "", filter, (struct work){run_mamba2, &c, state_bytes, 2 * macs});
    snprintf(slot, sizeof slot, "delta_net x%d", num_tokens);
    report(kernels, slot, "", filter, (struct work){run_delta_net, &c, state_bytes, 3 * macs});
    free(in);
    free(out);
    free(state);
    free(weight);
    free(scratch);
}

static void bench_tier(const struct nano_kernels *kernels, const char *filter)
{
    const uint64_t fp_mode = nano_fp_mode_flush_denormals(); /* as in a step */
    for (int i = 0; i < NANO_NUM_FORMATS; i++) {
        bench_pack(kernels, filter, (enum nano_format)i);
        bench_linear(kernels, filter, (enum nano_format)i, 1);
        bench_linear(kernels, filter, (enum nano_format)i, 64);
    }
    bench_quantize(kernels, filter);
    bench_attentions(kernels, filter);
    bench_vectors(kernels, filter);
    bench_recurrent(kernels, filter, 1);
    bench_recurrent(kernels, filter, MAX_TOKENS);
    nano_fp_mode_restore(fp_mode);
}

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fprintf(stderr, "usage: bench_kernels [FILTER]\n");
        return 2;
    }
    for (int tier = 0; tier < NANO_NUM_CPU_TIERS; tier++) {
        struct nano_kernels kernels;
        if (!check_wants((enum nano_cpu_tier)tier))
            continue;
        nano_kernels_init(&kernels, (enum nano_cpu_tier)tier);
        if (tier == NANO_CPU_REF)
            bench_store(&kernels, argc == 2 ? argv[1] : "");
        bench_tier(&kernels, argc == 2 ? argv[1] : "");
    }
    return 0;
}

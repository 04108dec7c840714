/* bench_kernels [FILTER]: the speed of each slot of the kernel checker on one core, for those whose
 * "tier slot format" contains the filter. NANOVLLM_CPU limits the tiers to one. */
#include "tests/check_kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
    printf("%-36s %10.2f us %8.2f GB/s", name, best * 1e6, work.num_bytes / best * 1e-9);
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

/* A group of 4 heads of 64 at the end of 1024 positions; 1 query is decode, 64 are prefill. */
static void bench_attention(const struct nano_kernels *kernels, const char *filter,
                            enum nano_kv_format format, int num_queries)
{
    enum { DIM = 64, HEADS = 4, POSITIONS = 1024 };
    static const char *const names[NANO_NUM_KV_FORMATS] = {"F32", "F16", "BF16"};
    struct nano_kv_layout layout = {format, 1, DIM, 32};
    float *k = malloc(POSITIONS * DIM * 4), *v = malloc(POSITIONS * DIM * 4);
    float *q = malloc((size_t)(num_queries * HEADS * DIM) * 4),
          *out = malloc((size_t)(num_queries * HEADS * DIM) * 4);
    fill_floats(k, POSITIONS * DIM, PATTERN_RANDOM);
    fill_floats(v, POSITIONS * DIM, PATTERN_RANDOM);
    fill_floats(q, num_queries * HEADS * DIM, PATTERN_RANDOM);
    struct kv_case kv = kv_case_make(kernels, layout, POSITIONS, k, v);
    struct attention_call c = {.slots = &kernels->kv[format]};
    struct output scratch = output_alloc(c.slots->attention_scratch_floats(DIM, HEADS) * 4, 0);
    c.args = (struct nano_attention_args){
        .kv = layout,
        .k_pool = kv.k_pool.data,
        .v_pool = kv.v_pool.data,
        .block_table = kv.block_table,
        .num_q_heads = HEADS,
        .num_queries = num_queries,
        .first_position = POSITIONS - num_queries,
        .q = q,
        .q_stride = HEADS * DIM,
        .out = out,
        .out_stride = HEADS * DIM,
        .scale = 0.125f,
        .scratch = scratch.data,
    };
    char slot[32];
    snprintf(slot, sizeof slot, "attention x%d", num_queries);
    double num_bytes = 2.0 * POSITIONS * DIM * (format == NANO_KV_FORMAT_F32 ? 4 : 2);
    report(
        kernels, slot, names[format], filter,
        (struct work){run_attention, &c, num_bytes, 2.0 * POSITIONS * DIM * HEADS * num_queries});
    output_free(&scratch);
    kv_case_free(&kv);
    free(k);
    free(v);
    free(q);
    free(out);
}

enum { VECTOR_N = 4096, VOCABULARY = 151936 };

struct vector_call {
    const struct nano_kernels *kernels;
    float *x, *y, *z;
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

static void run_silu_mul(void *context)
{
    struct vector_call *c = context;
    c->kernels->silu_mul(c->y, c->x, c->z, VECTOR_N);
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

static void run_log_sum_exp(void *context)
{
    struct vector_call *c = context;
    sink = c->kernels->log_sum_exp(c->x, VOCABULARY);
}

static void bench_vectors(const struct nano_kernels *kernels, const char *filter)
{
    struct vector_call c = {kernels, malloc(VOCABULARY * 4), malloc(VECTOR_N * 4),
                            malloc(VECTOR_N * 4)};
    fill_floats(c.x, VOCABULARY, PATTERN_RANDOM);
    fill_floats(c.y, VECTOR_N, PATTERN_RANDOM);
    for (int i = 0; i < VECTOR_N; i++)
        c.z[i] = i % 2 ? 0.6f : 0.8f; /* as cos and sin: rope in place must not grow */
    report(kernels, "rms_norm", "", filter, (struct work){run_rms_norm, &c, VECTOR_N * 4, 0});
    report(kernels, "rope", "", filter, (struct work){run_rope, &c, VECTOR_N * 4, 0});
    report(kernels, "silu_mul", "", filter, (struct work){run_silu_mul, &c, VECTOR_N * 8, 0});
    report(kernels, "add", "", filter, (struct work){run_add, &c, VECTOR_N * 8, 0});
    report(kernels, "argmax", "", filter, (struct work){run_argmax, &c, VOCABULARY * 4, 0});
    report(kernels, "log_sum_exp", "", filter,
           (struct work){run_log_sum_exp, &c, VOCABULARY * 4, 0});
    free(c.x);
    free(c.y);
    free(c.z);
}

static void bench_tier(const struct nano_kernels *kernels, const char *filter)
{
    for (int i = 0; i < NANO_NUM_FORMATS; i++) {
        bench_pack(kernels, filter, (enum nano_format)i);
        bench_linear(kernels, filter, (enum nano_format)i, 1);
        bench_linear(kernels, filter, (enum nano_format)i, 64);
    }
    bench_quantize(kernels, filter);
    for (int i = 0; i < NANO_NUM_KV_FORMATS; i++) {
        bench_attention(kernels, filter, (enum nano_kv_format)i, 1);
        bench_attention(kernels, filter, (enum nano_kv_format)i, 64);
    }
    bench_vectors(kernels, filter);
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
        bench_tier(&kernels, argc == 2 ? argv[1] : "");
    }
    return 0;
}

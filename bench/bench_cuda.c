/* What the GPU does at best - memory copied, BF16 products by cuBLASLt on random data - and what
 * the CUDA runner's linears make of it. Times are of the device, medians of some rounds.
 *
 *   bench_cuda [ROUNDS] */
#include <stdio.h>
#include <stdlib.h>

#include "runner/cuda/cuda_gemm.h"
#include "runner/cuda/cuda_linear.h"

#define MIB ((uint64_t)1 << 20)
#define POOL_BYTES (3072 * MIB) /* several times any cache */

struct bench {
    struct nano_cuda_device *device;
    struct nano_cuda_gemm *gemm; /* NULL: cuBLASLt is not there */
    unsigned char *pool;         /* on the device: random halves of a small range */
    int rounds;
    double copy_gbps, bf16_tflops;
};

static void fail(const struct nano_error *err)
{
    fprintf(stderr, "bench_cuda: %s\n", err->message);
    exit(err->status == NANO_ERR_UNSUPPORTED ? 77 : 1);
}

static void check(enum nano_status status, const struct nano_error *err)
{
    if (status != NANO_OK)
        fail(err);
}

static void *device_alloc(const struct bench *b, uint64_t num_bytes)
{
    struct nano_error err;
    void *memory;
    check(nano_cuda_device_alloc(b->device, &memory, num_bytes, "bench", &err), &err);
    return memory;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Median nanoseconds of `run`, which is told the round: inputs should take turns. */
static double time_of(const struct bench *b, void (*run)(const struct bench *, void *, int),
                      void *context)
{
    enum { MOST = 100 };
    uint64_t ns[MOST];
    struct nano_error err;
    const int rounds = b->rounds < MOST ? b->rounds : MOST;
    for (int i = 0; i < 3; i++)
        run(b, context, i);
    for (int i = 0; i < rounds; i++) {
        nano_cuda_mark(b->device, 0);
        run(b, context, i);
        nano_cuda_mark(b->device, 1);
        check(nano_cuda_device_synchronize(b->device, &err), &err);
        ns[i] = nano_cuda_marked_ns(b->device, 0, 1);
    }
    qsort(ns, (size_t)rounds, sizeof *ns, by_value);
    return (double)ns[rounds / 2];
}

static void fill_pool(struct bench *b)
{
    struct nano_error err;
    const uint64_t chunk = 64 * MIB;
    void *memory;
    check(nano_cuda_host_alloc(b->device, &memory, chunk, "bench", &err), &err);
    uint32_t *words = memory;
    uint64_t state = 88172645463325252u;
    for (uint64_t i = 0; i < chunk / sizeof *words; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        /* Both halves of a word have an exponent that is a small number in F16 and in BF16. */
        words[i] = ((uint32_t)(state >> 16) & 0x83ff83ffu) | 0x30003000u;
    }
    b->pool = device_alloc(b, POOL_BYTES);
    for (uint64_t offset = 0; offset < POOL_BYTES; offset += chunk)
        nano_cuda_copy_in(b->device, b->pool + offset, words, chunk);
    check(nano_cuda_device_synchronize(b->device, &err), &err);
    nano_cuda_host_free(b->device, memory);
}

/* ---- ceilings ---- */

static void run_copy(const struct bench *b, void *context, int round)
{
    (void)context, (void)round;
    nano_cuda_copy(b->device, b->pool + POOL_BYTES / 2, b->pool, POOL_BYTES / 2);
}

static void run_gemm(const struct bench *b, void *context, int round)
{
    (void)round;
    nano_cuda_gemm_run(b->gemm, b->device, context);
}

static void measure_ceilings(struct bench *b)
{
    enum { SIZE = 8192 };
    b->copy_gbps = (double)POOL_BYTES / time_of(b, run_copy, NULL);
    printf("copy: %.0f GB/s, read and written\n", b->copy_gbps);
    if (!b->gemm)
        return;
    struct nano_cuda_gemm_args args = {
        .bf16 = true,
        .weight = b->pool,
        .weight_stride = SIZE,
        .rows = SIZE,
        .input = (const uint16_t *)(void *)(b->pool + 512 * MIB),
        .input_stride = SIZE,
        .inputs = SIZE,
        .cols = SIZE,
        .out = {(float *)(void *)device_alloc(b, (uint64_t)SIZE * SIZE * 4), SIZE},
        .workspace = device_alloc(b, NANO_CUDA_GEMM_BYTES)};
    const double flops = 2.0 * SIZE * SIZE * SIZE;
    b->bf16_tflops = flops / time_of(b, run_gemm, &args) / 1e3;
    printf("BF16 product by cuBLASLt, 8192 x 8192 x 8192: %.0f TFLOP/s\n", b->bf16_tflops);
    nano_cuda_device_free(b->device, args.out.data);
    nano_cuda_device_free(b->device, args.workspace);
}

/* ---- linears ---- */

struct linear_bench {
    struct nano_cuda_linear_args args;
    uint64_t weight_bytes;
};

static void run_linear(const struct bench *b, void *context, int round)
{
    struct linear_bench *l = context;
    const uint64_t step = (l->weight_bytes + 255) / 256 * 256;
    const uint64_t places = (POOL_BYTES - 512 * MIB) / step;
    l->args.segments[0].weight = b->pool + 512 * MIB + (uint64_t)round % places * step;
    nano_cuda_linear(b->device, &l->args);
}

static void measure_linear(const struct bench *b, enum nano_format format, int rows, int cols,
                           int inputs, float *out, const float *scales)
{
    const struct nano_format_traits *traits = nano_format_traits(format);
    struct linear_bench l = {
        .args = {.format = format,
                 .segments = {{.row_bytes = (int64_t)nano_format_row_bytes(format, cols),
                               .scale = 1,
                               .out = {out, rows},
                               .rows = rows}},
                 .num_segments = 1,
                 .cols = cols,
                 .half = (const uint16_t *)(void *)b->pool,
                 .half_stride = cols,
                 .scales = scales,
                 .rows = inputs,
                 .num_heads = 1}};
    l.weight_bytes = (uint64_t)l.args.segments[0].row_bytes * (uint64_t)rows;
    const double ns = time_of(b, run_linear, &l);
    const double gbps = (double)l.weight_bytes / ns;
    const double tflops = 2.0 * rows * cols * inputs / ns / 1e3;
    printf("%-6s %6d x %-6d %5d rows %9.1f us %6.0f GB/s (%3.0f %%) %7.1f TFLOP/s (%3.0f %%)\n",
           traits->name, rows, cols, inputs, ns / 1e3, gbps, 100 * gbps / b->copy_gbps, tflops,
           b->bf16_tflops > 0 ? 100 * tflops / b->bf16_tflops : 0);
}

static void measure_linears(const struct bench *b)
{
    static const int shapes[][2] = {{4096, 1024}, {6144, 1024},  {1024, 3072},
                                    {6144, 4096}, {28672, 4096}, {4096, 14336}};
    static const enum nano_format formats[] = {NANO_FORMAT_F16, NANO_FORMAT_Q8_0, NANO_FORMAT_Q4_0,
                                               NANO_FORMAT_Q4_K, NANO_FORMAT_Q6_K};
    static const int inputs[] = {1, 8, 16, 32, 64, 128, 256, 2048};
    float *out = device_alloc(b, (uint64_t)28672 * 2048 * sizeof *out);
    float *scales = device_alloc(b, 2048 * sizeof *scales);
    nano_cuda_fill(b->device, scales, 0, 2048 * sizeof *scales);
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
                if (inputs[i] <= 128 || formats[f] == NANO_FORMAT_F16) /* others are unpacked */
                    measure_linear(b, formats[f], shapes[s][0], shapes[s][1], inputs[i], out,
                                   scales);
    nano_cuda_device_free(b->device, out);
    nano_cuda_device_free(b->device, scales);
}

int main(int argc, char **argv)
{
    struct nano_error err;
    struct nano_cuda_device_info info;
    struct bench b = {.rounds = argc > 1 ? atoi(argv[1]) : 20};
    b.rounds = b.rounds < 1 ? 1 : b.rounds;
    check(nano_cuda_device_query(&info, 0, &err), &err);
    check(nano_cuda_device_open(&b.device, 0, &err), &err);
    printf("%s, compute capability %d.%d, %d multiprocessors, %.0f GiB\n", info.name,
           info.compute_major, info.compute_minor, info.num_multiprocessors,
           (double)info.total_bytes / (1024.0 * 1024.0 * 1024.0));
    if (nano_cuda_gemm_open(&b.gemm, &err) != NANO_OK)
        printf("%s\n", err.message);
    fill_pool(&b);
    measure_ceilings(&b);
    measure_linears(&b);
    nano_cuda_gemm_close(b.gemm);
    nano_cuda_device_free(b.device, b.pool);
    nano_cuda_device_close(b.device);
    return 0;
}

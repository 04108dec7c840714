/* The emulated GPU itself: what other tests of the CUDA runner stand on. */
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>

#include "runner/cuda/cuda_lang.h"
#include "tests/cuda/fake_device.h"

namespace
{
struct sum_args {
    float *out;
};

/* Thread i of each block gives i, and gets the block's sum. */
__global__ void sum_kernel(struct sum_args args)
{
    __shared__ float sums[4];
    const float sum = nano_warp_sum(static_cast<float>(threadIdx.x));
    if (threadIdx.x % NANO_WARP == 0)
        sums[threadIdx.x / NANO_WARP] = sum;
    __syncthreads();
    args.out[blockIdx.x * blockDim.x + threadIdx.x] = sums[0] + sums[1] + sums[2] + sums[3];
    __syncthreads();
}

struct mma_args {
    const float *a, *b; /* [16, 16], [16, 8] */
    float *d;           /* [16, 8] */
    bool bf16;
};

__global__ void mma_kernel(struct mma_args args)
{
    const int g = threadIdx.x / 4, t = threadIdx.x % 4;
    uint32_t a[4], b[2];
    float d[4] = {0, 0, 0, 0};
    for (int i = 0; i < 4; i++) {
        const float *from = args.a + (g + i % 2 * 8) * 16 + 2 * t + i / 2 * 8;
        a[i] = args.bf16 ? nano_bf16x2_from_f32(from[0], from[1])
                         : nano_f16x2_from_f32(from[0], from[1]);
    }
    for (int i = 0; i < 2; i++) {
        const float *from = args.b + (2 * t + i * 8) * 8 + g;
        b[i] = args.bf16 ? nano_bf16x2_from_f32(from[0], from[8])
                         : nano_f16x2_from_f32(from[0], from[8]);
    }
    if (args.bf16)
        nano_mma_bf16(d, a, b);
    else
        nano_mma_f16(d, a, b);
    for (int i = 0; i < 4; i++)
        args.d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

struct copy_args {
    const float *in; /* [128], 16-byte aligned */
    float *early, *late;
};

__global__ void copy_kernel(struct copy_args args)
{
    __shared__ __align__(16) float shared[128];
    shared[threadIdx.x] = -1;
    __syncthreads();
    if (threadIdx.x % 4 == 0)
        nano_cp_async16(shared + threadIdx.x, args.in + threadIdx.x, threadIdx.x < 64);
    nano_cp_async_commit();
    __syncthreads();
    args.early[threadIdx.x] = shared[threadIdx.x];
    __syncthreads();
    nano_cp_async_wait<0>();
    __syncthreads();
    args.late[threadIdx.x] = shared[threadIdx.x];
}

struct nano_cuda_device *open_device(void)
{
    struct nano_cuda_device *device;
    struct nano_error err;
    cr_assert_eq(nano_cuda_device_open(&device, 0, &err), NANO_OK);
    return device;
}

float *alloc_floats(struct nano_cuda_device *device, size_t count)
{
    void *memory;
    struct nano_error err;
    cr_assert_eq(nano_cuda_device_alloc(device, &memory, count * sizeof(float), "test", &err),
                 NANO_OK);
    return static_cast<float *>(memory);
}
} // namespace

Test(cuda_emulation, threads_wait_for_each_other_in_any_order)
{
    struct nano_cuda_device *device = open_device();
    struct sum_args args = {alloc_floats(device, 3 * 128)};
    for (int order = 0; order < 3; order++) {
        nano_emulated_set_order(order);
        nano_cuda_fill(device, args.out, 0xff, 3 * 128 * sizeof(float));
        nano_launch(device, sum_kernel, dim3(3), dim3(128), 0, args);
        for (int i = 0; i < 3 * 128; i++)
            cr_assert_eq(args.out[i], 127 * 128 / 2);
    }
    nano_cuda_device_free(device, args.out);
    nano_cuda_device_close(device);
    cr_expect_eq(fake_device.live_allocations, 0);
}

/* Half of the threads do not wait. */
__global__ void hasty_kernel(struct sum_args args)
{
    if (threadIdx.x < 64)
        nano_wait_for_earlier();
    args.out[threadIdx.x] = 1;
}

Test(cuda_emulation, kernels_that_start_early_wait)
{
    struct nano_cuda_device *device = open_device();
    struct sum_args args = {alloc_floats(device, 128)};
    nano_launch_early(device, hasty_kernel, dim3(1), dim3(64), 0, args);
    nano_launch(device, hasty_kernel, dim3(1), dim3(128), 0, args);
    cr_expect_eq(fake_device.num_launches, 2);
    cr_expect_eq(fake_device.num_early_launches, 1);
    nano_cuda_device_free(device, args.out);
    nano_cuda_device_close(device);
}

Test(cuda_emulation, kernels_that_start_early_and_do_not_wait_fail, .signal = SIGABRT)
{
    struct nano_cuda_device *device = open_device();
    struct sum_args args = {alloc_floats(device, 128)};
    nano_launch_early(device, hasty_kernel, dim3(1), dim3(128), 0, args);
}

Test(cuda_emulation, matrices_multiply)
{
    struct nano_cuda_device *device = open_device();
    float *a = alloc_floats(device, 256), *b = alloc_floats(device, 128),
          *d = alloc_floats(device, 128);
    for (int i = 0; i < 256; i++)
        a[i] = static_cast<float>(i * 7 % 31 - 15);
    for (int i = 0; i < 128; i++)
        b[i] = static_cast<float>(i * 11 % 29 - 14) / 4;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct mma_args args = {a, b, d, bf16 == 1};
        nano_launch(device, mma_kernel, dim3(1), dim3(32), 0, args);
        for (int i = 0; i < 16; i++)
            for (int j = 0; j < 8; j++) {
                float sum = 0;
                for (int k = 0; k < 16; k++)
                    sum += a[i * 16 + k] * b[k * 8 + j];
                cr_assert_eq(d[i * 8 + j], sum, "%d %d", i, j);
            }
    }
    nano_cuda_device_free(device, a);
    nano_cuda_device_free(device, b);
    nano_cuda_device_free(device, d);
    nano_cuda_device_close(device);
}

Test(cuda_emulation, asynchronous_copies_arrive_when_they_are_waited_for)
{
    struct nano_cuda_device *device = open_device();
    struct copy_args args = {alloc_floats(device, 128), alloc_floats(device, 128),
                             alloc_floats(device, 128)};
    float *in = const_cast<float *>(args.in);
    for (int i = 0; i < 128; i++)
        in[i] = static_cast<float>(i);
    nano_launch(device, copy_kernel, dim3(1), dim3(128), 0, args);
    for (int i = 0; i < 128; i++) {
        cr_assert_eq(args.early[i], -1);
        cr_assert_eq(args.late[i], i < 64 ? i : 0);
    }
    nano_cuda_device_free(device, in);
    nano_cuda_device_free(device, args.early);
    nano_cuda_device_free(device, args.late);
    nano_cuda_device_close(device);
}

Test(cuda_emulation, halves_round_to_even)
{
    static const struct {
        float value;
        uint16_t f16, bf16;
    } cases[] = {{1, 0x3c00, 0x3f80},
                 {-2, 0xc000, 0xc000},
                 {65504, 0x7bff, 0x4780},
                 {65520, 0x7c00, 0x4780},
                 {5.9604645e-8f, 1, 0x3380},
                 {2.98e-8f, 0, 0x3300},
                 {1.00048828125f, 0x3c00, 0x3f80},
                 {1.00146484375f, 0x3c02, 0x3f80},
                 {INFINITY, 0x7c00, 0x7f80},
                 {6.1035156e-5f, 0x0400, 0x3880}};
    for (const auto &c : cases) {
        cr_expect_eq(nano_f16x2_from_f32(c.value, 0), c.f16, "%g", static_cast<double>(c.value));
        cr_expect_eq(nano_bf16x2_from_f32(0, c.value) >> 16, c.bf16, "%g",
                     static_cast<double>(c.value));
    }
    for (uint32_t bits = 0; bits < 0x7c00; bits++)
        cr_assert_eq(nano_f16x2_from_f32(nano_f32_from_f16(static_cast<uint16_t>(bits)), 0), bits);
}

Test(cuda_emulation, pairs_of_halves_are_rounded_once)
{
    const uint32_t a = nano_f16x2_from_f32(1024, 0.1f), b = nano_f16x2_from_f32(-1.5f, 3);
    cr_expect_eq(nano_add_f16x2(a, b), nano_f16x2_from_f32(1022.5f, 3.099976f));
    cr_expect_eq(nano_mul_f16x2(a, b), nano_f16x2_from_f32(-1536, 0.29992676f));
    const uint32_t tiny = nano_f16x2_from_f32(6e-8f, 65504), two = nano_f16x2_from_f32(0.5f, 2);
    cr_expect_eq(nano_mul_f16x2(tiny, two), 0x7c000000);
    cr_expect_eq(nano_f32x2_from_f16x2(b).x, -1.5f);
    cr_expect_eq(nano_f32x2_from_f16x2(b).y, 3);
}

Test(cuda_emulation, bytes_are_picked_and_words_shifted)
{
    const uint32_t a = 0x33221100, b = 0x77665584;
    cr_expect_eq(nano_byte_perm(a, b, 0x3210), a);
    cr_expect_eq(nano_byte_perm(a, b, 0xabcd7054), 0x77005584);
    cr_expect_eq(nano_byte_perm(a, b, 0x8c0f), 0x00ff0000);
    cr_expect_eq(__funnelshift_l(a, b, 8), 0x66558433);
    cr_expect_eq(__funnelshift_r(a, b, 8), 0x84332211);
    cr_expect_eq(__funnelshift_l(a, b, 32), b);
    cr_expect_eq(__funnelshift_r(a, b, 32), a);
}

Test(cuda_emulation, a_graph_does_again_what_was_recorded)
{
    struct nano_cuda_device *device = open_device();
    struct nano_cuda_graph *graph;
    struct nano_error err;
    struct sum_args args = {alloc_floats(device, 128)};
    args.out[5] = 1;
    cr_assert_eq(nano_cuda_graph_begin(device, &err), NANO_OK);
    nano_launch(device, sum_kernel, dim3(1), dim3(128), 0, args);
    cr_assert_eq(nano_cuda_graph_end(device, &graph, &err), NANO_OK);
    cr_assert_eq(args.out[5], 1);
    nano_cuda_graph_launch(device, graph);
    cr_assert_eq(args.out[5], 127 * 128 / 2);
    nano_cuda_graph_destroy(graph);
    nano_cuda_device_free(device, args.out);
    nano_cuda_device_close(device);
    cr_expect_eq(fake_device.live_allocations, 0);
}

/* The language of the kernels: CUDA C++, and what of a GPU's instructions they use, by name.
 *
 * A kernel is a __global__ function of one argument, a struct passed by value, started with
 * nano_launch. Kernel files include this header and plain C ones only. So they also compile as
 * ordinary C++, where tests/cuda/cuda_emulation.h stands in for the compiler: each thread of a
 * block becomes a fiber of the test program, and a machine without a GPU can run the kernels.
 *
 * Half-precision numbers are held as their bits, uint16_t, and pairs of them as uint32_t with the
 * first in the low half. */
#ifndef NANO_RUNNER_CUDA_CUDA_LANG_H
#define NANO_RUNNER_CUDA_CUDA_LANG_H

#include <stdint.h>

#include "runner/cuda/cuda_device.h"

enum {
    NANO_WARP = 32,
    /* Shared memory of a block: of all kernels, and dynamic of some that ask for more, which every
     * GPU of compute capability 8.0 or newer has. */
    NANO_SHARED_BYTES = 48 * 1024,
    NANO_MAX_SHARED_BYTES = 99 * 1024
};

#ifndef __CUDACC__
#include <cuda_emulation.h>
#else

#include <cuda_runtime.h>

/* The block's dynamic shared memory, whose size nano_launch is given. */
#define NANO_DYNAMIC_SHARED(type, name)                                  \
    extern __shared__ __align__(16) unsigned char nano_dynamic_shared[]; \
    type *name = reinterpret_cast<type *>(nano_dynamic_shared)

/* What a kernel is given without asking includes its static shared memory and what the system keeps
 * for itself, 1 KiB on newer GPUs: those that come near it ask. */
static inline void nano_ask_for_shared(struct nano_cuda_device *device, const void *kernel,
                                       size_t shared_bytes)
{
    if (shared_bytes > NANO_SHARED_BYTES / 2 &&
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(shared_bytes)) != cudaSuccess)
        nano_cuda_device_fail(device, "a kernel's shared memory");
}

template <typename Args>
static inline void nano_launch(struct nano_cuda_device *device, void (*kernel)(Args), dim3 grid,
                               dim3 block, size_t shared_bytes, const Args &args)
{
    if (grid.x == 0 || grid.y == 0 || grid.z == 0)
        return;
    nano_ask_for_shared(device, reinterpret_cast<const void *>(kernel), shared_bytes);
    kernel<<<grid, block, shared_bytes,
             static_cast<cudaStream_t>(nano_cuda_device_stream(device))>>>(args);
}

/* The same of a kernel that may start while the one before it is at work, so that it is there when
 * that one is over: where the device can (compute capability 9.0). Each of its threads calls
 * nano_wait_for_earlier before it reads or writes anything that kernels write, and before it ends:
 * a kernel is over when its threads are, so what waits for it has waited for all before it. */
template <typename Args>
static inline void nano_launch_early(struct nano_cuda_device *device, void (*kernel)(Args),
                                     dim3 grid, dim3 block, size_t shared_bytes, const Args &args)
{
    if (grid.x == 0 || grid.y == 0 || grid.z == 0)
        return;
    nano_ask_for_shared(device, reinterpret_cast<const void *>(kernel), shared_bytes);
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = static_cast<cudaStream_t>(nano_cuda_device_stream(device));
    config.attrs = &attribute;
    config.numAttrs = nano_cuda_device_overlaps(device) ? 1 : 0;
    (void)cudaLaunchKernelEx(&config, kernel, args); /* an error shows at synchronize */
}

/* Lets the next kernel start, and waits until those before are over and what they wrote is there.
 * Memory that kernels write must not be read by nano_load, which the compiler may put before it. */
static __device__ inline void nano_wait_for_earlier(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

template <typename T> static __device__ inline T nano_shfl_xor(T value, int mask)
{
    return __shfl_xor_sync(0xffffffffu, value, mask);
}

template <typename T> static __device__ inline T nano_shfl(T value, int lane)
{
    return __shfl_sync(0xffffffffu, value, lane);
}

/* Every lane gets the sum of the warp's, added in one order. */
static __device__ inline float nano_warp_sum(float value)
{
    for (int mask = NANO_WARP / 2; mask; mask /= 2)
        value += nano_shfl_xor(value, mask);
    return value;
}

static __device__ inline float nano_warp_max(float value)
{
    for (int mask = NANO_WARP / 2; mask; mask /= 2)
        value = fmaxf(value, nano_shfl_xor(value, mask));
    return value;
}

static __device__ inline unsigned nano_ballot(bool predicate)
{
    return __ballot_sync(0xffffffffu, predicate);
}

/* The lanes whose value is this one's. */
static __device__ inline unsigned nano_match(int value)
{
    return __match_any_sync(0xffffffffu, value);
}

static __device__ inline uint32_t nano_f16x2_from_f32(float first, float second)
{
    uint32_t bits;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
    return bits;
}

static __device__ inline uint32_t nano_bf16x2_from_f32(float first, float second)
{
    uint32_t bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
    return bits;
}

static __device__ inline float nano_f32_from_f16(uint16_t bits)
{
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

static __device__ inline float2 nano_f32x2_from_f16x2(uint32_t pair)
{
    float2 values;
    asm("{.reg .b16 first, second;\n"
        "mov.b32 {first, second}, %2;\n"
        "cvt.f32.f16 %0, first;\n"
        "cvt.f32.f16 %1, second;}"
        : "=f"(values.x), "=f"(values.y)
        : "r"(pair));
    return values;
}

static __device__ inline uint32_t nano_add_f16x2(uint32_t a, uint32_t b)
{
    uint32_t sum;
    asm("add.rn.f16x2 %0, %1, %2;" : "=r"(sum) : "r"(a), "r"(b));
    return sum;
}

static __device__ inline uint32_t nano_mul_f16x2(uint32_t a, uint32_t b)
{
    uint32_t product;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(product) : "r"(a), "r"(b));
    return product;
}

/* Byte i of the result is the byte of b:a that nibble i of `selector` says, 0-3 in a, 4-7 in b. */
static __device__ inline uint32_t nano_byte_perm(uint32_t a, uint32_t b, uint32_t selector)
{
    uint32_t bytes;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(bytes) : "r"(a), "r"(b), "r"(selector));
    return bytes;
}

/* D += A x B for A [16, 16] and B [16, 8]. With g = lane / 4 and t = lane % 4, a lane holds of A
 * (g, 2t..2t+1), (g + 8, 2t..), (g, 2t + 8..), (g + 8, 2t + 8..), of B (2t..2t+1, g), (2t + 8.., g)
 * and of D (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1): PTX ISA, mma.m16n8k16. */
static __device__ inline void nano_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ inline void nano_mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                 "{%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Four 8 x 8 matrices of half-precision numbers from shared memory: lane l gives the 16-byte
 * aligned address of row l % 8 of matrix l / 8, and gets of each matrix (lane / 4, 2 * (lane % 4))
 * and the one after it; transposed, (2 * (lane % 4), lane / 4) and the one below. */
static __device__ inline void nano_ldmatrix4(uint32_t out[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
                 : "memory");
}

static __device__ inline void nano_ldmatrix4_transposed(uint32_t out[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
                 : "memory");
}

/* Begins to copy 16 bytes from device to shared memory, both aligned; zeros unless `valid`. They
 * are there for the thread itself after nano_cp_async_wait, for others after a barrier too. */
static __device__ inline void nano_cp_async16(void *shared, const void *global, bool valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                     static_cast<uint32_t>(__cvta_generic_to_shared(shared))),
                 "l"(global), "r"(valid ? 16 : 0)
                 : "memory");
}

/* The same of 4 bytes. */
static __device__ inline void nano_cp_async4(void *shared, const void *global, bool valid)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(
                     static_cast<uint32_t>(__cvta_generic_to_shared(shared))),
                 "l"(global), "r"(valid ? 4 : 0)
                 : "memory");
}

static __device__ inline void nano_cp_async_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Until at most `Pending` of the groups committed are under way. */
template <int Pending> static __device__ inline void nano_cp_async_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

/* exp(x), off by a few units in the last place and some more for large x. */
static __device__ inline float nano_fast_exp(float x)
{
    return __expf(x);
}

/* A number, uint2 or uint4, aligned to its size, of memory that no kernel writes to meanwhile. */
template <typename T> static __device__ inline T nano_load(const void *p)
{
    return __ldg(static_cast<const T *>(p));
}

/* The same of memory that kernels write, before this one reads it. */
template <typename T> static __device__ inline T nano_load_written(const void *p)
{
    return *static_cast<const T *>(p);
}

/* Begins to bring bytes, 16-byte aligned and a multiple of 16, into the cache that all
 * multiprocessors share. */
static __device__ inline void nano_prefetch(const void *p, int num_bytes)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(__cvta_generic_to_global(p)),
                 "r"(num_bytes));
#else
    for (int i = 0; i < num_bytes; i += 128)
        asm volatile("prefetch.global.L2 [%0];" ::"l"(
            __cvta_generic_to_global(static_cast<const uint8_t *>(p) + i)));
#endif
}

/* The same value, but the compiler cannot know: what is computed from it is computed anew instead
 * of kept in registers since it was computed before. */
static __device__ inline int nano_hidden(int value)
{
    asm volatile("" : "+r"(value));
    return value;
}

/* A value that nobody looks at: no instruction makes it. */
static __device__ inline uint32_t nano_unused(void)
{
    uint32_t value;
    asm volatile("" : "=r"(value));
    return value;
}

/* 16 bytes that are read once: they should not push others out of the cache. */
static __device__ inline uint4 nano_load_once(const void *p)
{
    uint4 v;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
        : "l"(p));
    return v;
}

#endif

/* ---- in both ---- */

static __device__ inline float nano_f32_from_bits(uint32_t bits)
{
    union {
        uint32_t bits;
        float value;
    } u;
    u.bits = bits;
    return u.value;
}

static __device__ inline uint32_t nano_bits_from_f32(float value)
{
    union {
        uint32_t bits;
        float value;
    } u;
    u.value = value;
    return u.bits;
}

static __device__ inline float nano_f32_from_bf16(uint16_t bits)
{
    return nano_f32_from_bits(static_cast<uint32_t>(bits) << 16);
}

#endif

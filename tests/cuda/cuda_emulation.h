/* CUDA C++ as ordinary C++: what runner/cuda/cuda_lang.h takes from the compiler and the hardware.
 *
 * A launch runs its blocks one after the other. The threads of a block are fibers that take turns
 * where the hardware would make them wait for each other: at barriers of the block, and at what a
 * warp does together (shuffles, votes, matrix instructions). NANO_CUDA_ORDER says in which order
 * they take turns, so that a missing barrier shows as another result; what is waited for by some
 * threads of a warp and never reached by others ends the program with a message.
 *
 * Device memory is ordinary memory filled with NaN, so that reading too much is found by
 * AddressSanitizer, and too early by the results. Asynchronous copies arrive when they are waited
 * for, not before. One launch at a time in a process. */
#ifndef TESTS_CUDA_CUDA_EMULATION_H
#define TESTS_CUDA_CUDA_EMULATION_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
static inline float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}
static inline float2 make_float2(float x, float y)
{
    return {x, y};
}
static inline uint2 make_uint2(unsigned x, unsigned y)
{
    return {x, y};
}
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return {x, y, z, w};
}

struct nano_emulated_thread {
    dim3 thread, block, block_size, grid_size;
    unsigned char *dynamic_shared;
};
extern struct nano_emulated_thread *nano_emulated;
#define threadIdx (nano_emulated->thread)
#define blockIdx (nano_emulated->block)
#define blockDim (nano_emulated->block_size)
#define gridDim (nano_emulated->grid_size)

#define NANO_DYNAMIC_SHARED(type, name) \
    type *name = reinterpret_cast<type *>(nano_emulated->dynamic_shared)

void nano_emulated_sync_block(void);
void nano_emulated_sync_warp(void);
/* Every lane gives 32 bytes and, after the call, may read those of all lanes until the next. */
const unsigned char (*nano_emulated_exchange(const void *bytes, size_t num_bytes))[32];

static inline void __syncthreads(void)
{
    nano_emulated_sync_block();
}
static inline void __syncwarp(unsigned = 0xffffffffu)
{
    nano_emulated_sync_warp();
}
static inline void __threadfence(void)
{
}
template <typename T> static inline T atomicMax(T *p, T value)
{
    const T old = *p;
    *p = old < value ? value : old;
    return old;
}
template <typename T> static inline T atomicAdd(T *p, T value)
{
    const T old = *p;
    *p += value;
    return old;
}

void nano_emulated_launch(struct nano_cuda_device *device, dim3 grid, dim3 block,
                          size_t shared_bytes, bool early, const std::function<void()> &kernel);

template <typename Args>
static inline void nano_launch(struct nano_cuda_device *device, void (*kernel)(Args), dim3 grid,
                               dim3 block, size_t shared_bytes, const Args &args)
{
    if (grid.x == 0 || grid.y == 0 || grid.z == 0)
        return;
    nano_emulated_launch(device, grid, block, shared_bytes, false,
                         [kernel, args] { kernel(args); });
}

/* Runs when the kernel before it is over, but fails if a thread ends that has not waited for it. */
template <typename Args>
static inline void nano_launch_early(struct nano_cuda_device *device, void (*kernel)(Args),
                                     dim3 grid, dim3 block, size_t shared_bytes, const Args &args)
{
    if (grid.x == 0 || grid.y == 0 || grid.z == 0)
        return;
    nano_emulated_launch(device, grid, block, shared_bytes, true, [kernel, args] { kernel(args); });
}

void nano_wait_for_earlier(void);

static inline int nano_emulated_lane(void)
{
    return static_cast<int>(threadIdx.x % 32);
}

template <typename T> static inline T nano_shfl(T value, int lane)
{
    T out;
    memcpy(&out, nano_emulated_exchange(&value, sizeof value)[lane & 31], sizeof out);
    return out;
}
template <typename T> static inline T nano_shfl_xor(T value, int mask)
{
    return nano_shfl(value, nano_emulated_lane() ^ mask);
}
/* As by shuffles with masks 16, 8, 4, 2, 1, whose sums are the same in all lanes. */
template <typename Combine> static inline float nano_emulated_reduce(float value, Combine combine)
{
    const unsigned char(*all)[32] = nano_emulated_exchange(&value, sizeof value);
    float values[32];
    for (int i = 0; i < 32; i++)
        memcpy(&values[i], all[i], sizeof values[i]);
    for (int count = 16; count; count /= 2)
        for (int i = 0; i < count; i++)
            values[i] = combine(values[i], values[i + count]);
    return values[0];
}
static inline float nano_warp_sum(float value)
{
    return nano_emulated_reduce(value, [](float a, float b) { return a + b; });
}
static inline float nano_warp_max(float value)
{
    return nano_emulated_reduce(value, [](float a, float b) { return fmaxf(a, b); });
}
static inline unsigned nano_ballot(bool predicate)
{
    unsigned char byte = predicate;
    const unsigned char(*all)[32] = nano_emulated_exchange(&byte, 1);
    unsigned bits = 0;
    for (int i = 0; i < 32; i++)
        bits |= static_cast<unsigned>(all[i][0]) << i;
    return bits;
}

static inline unsigned nano_match(int value)
{
    const unsigned char(*all)[32] = nano_emulated_exchange(&value, sizeof value);
    unsigned bits = 0;
    for (int i = 0; i < 32; i++)
        bits |= static_cast<unsigned>(!memcmp(all[i], &value, sizeof value)) << i;
    return bits;
}

/* Intrinsics that say how a sum is rounded. */
static inline float __fmaf_rn(float a, float b, float c)
{
    return fmaf(a, b, c);
}
static inline float __fmul_rn(float a, float b)
{
    return a * b;
}
static inline float __fadd_rn(float a, float b)
{
    return a + b;
}
static inline float nano_fast_exp(float x)
{
    return expf(x);
}
static inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}
static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
template <typename T> static inline T min(T a, T b)
{
    return b < a ? b : a;
}
template <typename T> static inline T max(T a, T b)
{
    return a < b ? b : a;
}
static inline unsigned __umulhi(unsigned a, unsigned b)
{
    return static_cast<unsigned>((static_cast<uint64_t>(a) * b) >> 32);
}
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift)
{
    return shift & 31 ? high << (shift & 31) | low >> (32 - (shift & 31)) : high;
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift)
{
    return shift & 31 ? high << (32 - (shift & 31)) | low >> (shift & 31) : low;
}
/* With the hardware's meaning of a nibble's bit 3: eight times the sign of the byte. */
static inline uint32_t nano_byte_perm(uint32_t a, uint32_t b, uint32_t selector)
{
    uint32_t bytes = 0;
    for (int i = 0; i < 4; i++) {
        const uint32_t nibble = selector >> 4 * i & 15, from = nibble & 4 ? b : a;
        const uint32_t byte = from >> (nibble & 3) * 8 & 255;
        bytes |= (nibble & 8 ? (byte & 128 ? 255 : 0) : byte) << 8 * i;
    }
    return bytes;
}

uint16_t nano_emulated_f16_from_f32(float value);
float nano_emulated_f32_from_f16(uint16_t bits);
uint16_t nano_emulated_bf16_from_f32(float value);

static inline uint32_t nano_f16x2_from_f32(float first, float second)
{
    return nano_emulated_f16_from_f32(first) |
           static_cast<uint32_t>(nano_emulated_f16_from_f32(second)) << 16;
}
static inline uint32_t nano_bf16x2_from_f32(float first, float second)
{
    return nano_emulated_bf16_from_f32(first) |
           static_cast<uint32_t>(nano_emulated_bf16_from_f32(second)) << 16;
}
static inline float nano_f32_from_f16(uint16_t bits)
{
    return nano_emulated_f32_from_f16(bits);
}
static inline float2 nano_f32x2_from_f16x2(uint32_t pair)
{
    return {nano_f32_from_f16(static_cast<uint16_t>(pair)),
            nano_f32_from_f16(static_cast<uint16_t>(pair >> 16))};
}
/* float has more than twice the digits: rounded twice is rounded once. */
static inline uint32_t nano_add_f16x2(uint32_t a, uint32_t b)
{
    const float2 x = nano_f32x2_from_f16x2(a), y = nano_f32x2_from_f16x2(b);
    return nano_f16x2_from_f32(x.x + y.x, x.y + y.y);
}
static inline uint32_t nano_mul_f16x2(uint32_t a, uint32_t b)
{
    const float2 x = nano_f32x2_from_f16x2(a), y = nano_f32x2_from_f16x2(b);
    return nano_f16x2_from_f32(x.x * y.x, x.y * y.y);
}

void nano_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]);
void nano_mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2]);

void nano_ldmatrix4(uint32_t out[4], const void *row);
void nano_ldmatrix4_transposed(uint32_t out[4], const void *row);

void nano_cp_async16(void *shared, const void *global, bool valid);
void nano_cp_async4(void *shared, const void *global, bool valid);
void nano_cp_async_commit(void);
void nano_emulated_cp_async_wait(int pending);
template <int Pending> static inline void nano_cp_async_wait(void)
{
    nano_emulated_cp_async_wait(Pending);
}

void nano_emulated_check_aligned(const void *p, size_t alignment);

static inline int nano_hidden(int value)
{
    return value;
}

static inline uint32_t nano_unused(void)
{
    return 0x7FFF7FFFu; /* as F16, not numbers */
}

template <typename T> static inline T nano_load(const void *p)
{
    T v;
    nano_emulated_check_aligned(p, sizeof v);
    memcpy(&v, p, sizeof v);
    return v;
}

template <typename T> static inline T nano_load_written(const void *p)
{
    return nano_load<T>(p);
}

/* Looks at the first and the last byte. */
static inline void nano_prefetch(const void *p, int num_bytes)
{
    nano_emulated_check_aligned(p, 16);
    (void)*static_cast<const volatile unsigned char *>(p);
    (void)*(static_cast<const volatile unsigned char *>(p) + num_bytes - 1);
}

static inline uint4 nano_load_once(const void *p)
{
    return nano_load<uint4>(p);
}

#endif

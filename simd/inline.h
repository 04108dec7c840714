/* How the bodies of kernels are put together from small functions. */
#ifndef NANO_SIMD_INLINE_H
#define NANO_SIMD_INLINE_H

#define NANO_INLINE static inline __attribute__((always_inline))

/* Before a loop of constant length over accumulators, so that they become registers. */
#ifdef __clang__
#define NANO_UNROLL _Pragma("unroll")
#else
#define NANO_UNROLL _Pragma("GCC unroll 16")
#endif

#endif

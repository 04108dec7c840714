/* The vector of 4 floats that the bodies in simd/vec are written for, in ARMv8.0's NEON. "_part"
 * loads and stores touch n lanes, 0 <= n <= 4, and load zeros into the rest. */
#ifndef NANO_SIMD_NEON_VEC_NEON_H
#define NANO_SIMD_NEON_VEC_NEON_H

#include <arm_neon.h>
#include <string.h>

#include "simd/inline.h"

#ifndef VEC_NAME
#define VEC_NAME(name) name##_neon
#endif
enum { VEC_LANES = 4, VEC_REGISTERS = 32 };

typedef float32x4_t vec;

NANO_INLINE vec vec_zero(void)
{
    return vdupq_n_f32(0);
}

NANO_INLINE vec vec_set1(float x)
{
    return vdupq_n_f32(x);
}

NANO_INLINE vec vec_load(const float *p)
{
    return vld1q_f32(p);
}

NANO_INLINE vec vec_load_part(const float *p, int n)
{
    float values[4] = {0};
    if (n == VEC_LANES)
        return vec_load(p);
    if (n > 0)
        memcpy(values, p, (size_t)n * 4);
    return vld1q_f32(values);
}

NANO_INLINE void vec_store(float *p, vec x)
{
    vst1q_f32(p, x);
}

NANO_INLINE void vec_store_part(float *p, vec x, int n)
{
    float values[4];
    if (n == VEC_LANES) {
        vec_store(p, x);
        return;
    }
    vst1q_f32(values, x);
    if (n > 0)
        memcpy(p, values, (size_t)n * 4);
}

/* n 16-bit values at any address, zeros above. */
NANO_INLINE uint16x4_t vec_load_u16_part(const void *p, int n)
{
    uint16_t values[4] = {0};
    if (n > 0)
        memcpy(values, p, (size_t)n * 2);
    return vld1_u16(values);
}

NANO_INLINE void vec_store_u16_part(void *p, uint16x4_t x, int n)
{
    uint16_t values[4];
    vst1_u16(values, x);
    if (n > 0)
        memcpy(p, values, (size_t)n * 2);
}

NANO_INLINE vec vec_load_f16_part(const void *p, int n)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vec_load_u16_part(p, n)));
}

NANO_INLINE vec vec_load_f16(const void *p)
{
    return vec_load_f16_part(p, VEC_LANES);
}

NANO_INLINE void vec_store_f16_part(void *p, vec x, int n)
{
    vec_store_u16_part(p, vreinterpret_u16_f16(vcvt_f16_f32(x)), n);
}

NANO_INLINE vec vec_load_bf16_part(const void *p, int n)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vec_load_u16_part(p, n), 16));
}

NANO_INLINE vec vec_load_bf16(const void *p)
{
    return vec_load_bf16_part(p, VEC_LANES);
}

/* As nano_f32_to_bf16: a NaN keeps its upper bits and becomes quiet, the rest rounds to even. */
NANO_INLINE void vec_store_bf16_part(void *p, vec x, int n)
{
    uint32x4_t bits = vreinterpretq_u32_f32(x);
    uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7FFF)));
    uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
    uint32x4_t is_number = vceqq_f32(x, x);
    vec_store_u16_part(p, vshrn_n_u32(vbslq_u32(is_number, rounded, quiet), 16), n);
}

NANO_INLINE vec vec_load_s8(const void *p)
{
    int32_t word;
    memcpy(&word, p, sizeof word);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(word))))));
}

/* Nearest integers, those beyond an int8 saturated. */
NANO_INLINE void vec_store_s8(void *p, vec x)
{
    const int16x4_t n = vqmovn_s32(vcvtnq_s32_f32(x));
    const int8x8_t bytes = vqmovn_s16(vcombine_s16(n, n));
    const int32_t word = vget_lane_s32(vreinterpret_s32_s8(bytes), 0);
    memcpy(p, &word, sizeof word);
}

/* As nano_e4m3_to_f32, whether or not denormal numbers are flushed. */
NANO_INLINE vec vec_load_e4m3(const void *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    const uint8x8_t codes = vreinterpret_u8_u32(vdup_n_u32(word));
    const uint16x4_t h =
        vget_low_u16(vorrq_u16(vshll_n_u8(vand_u8(codes, vdup_n_u8(0x7F)), 7),
                               vshlq_n_u16(vmovl_u8(vand_u8(codes, vdup_n_u8(0x80))), 8)));
    return vmulq_n_f32(vcvt_f32_f16(vreinterpret_f16_u16(h)), 256);
}

/* As nano_f32_to_e4m3. Added to 2^14, what is below 2^-6 is rounded to units of 2^-9. */
NANO_INLINE void vec_store_e4m3(void *p, vec x)
{
    const uint32x4_t bits = vreinterpretq_u32_f32(x), big = vdupq_n_u32(0x46800000);
    const uint32x4_t m =
        vminq_u32(vandq_u32(bits, vdupq_n_u32(0x7FFFFFFF)), vdupq_n_u32(0x43E00000));
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(m, 20), vdupq_n_u32(1));
    const uint32x4_t rounded = vshrq_n_u32(
        vsubq_u32(vaddq_u32(vaddq_u32(m, odd), vdupq_n_u32(0x7FFFF)), vdupq_n_u32(0x3C000000)), 20);
    const uint32x4_t sum =
        vreinterpretq_u32_f32(vaddq_f32(vreinterpretq_f32_u32(m), vreinterpretq_f32_u32(big)));
    const uint32x4_t code =
        vbslq_u32(vcgeq_u32(m, vdupq_n_u32(0x3C800000)), rounded, vsubq_u32(sum, big));
    const uint32x4_t sign = vandq_u32(vshrq_n_u32(bits, 24), vdupq_n_u32(0x80));
    const uint16x4_t n = vmovn_u32(vandq_u32(vorrq_u32(code, sign), vceqq_f32(x, x)));
    const uint32_t word = vget_lane_u32(vreinterpret_u32_u8(vmovn_u16(vcombine_u16(n, n))), 0);
    memcpy(p, &word, sizeof word);
}

NANO_INLINE vec vec_add(vec a, vec b)
{
    return vaddq_f32(a, b);
}

NANO_INLINE vec vec_sub(vec a, vec b)
{
    return vsubq_f32(a, b);
}

NANO_INLINE vec vec_mul(vec a, vec b)
{
    return vmulq_f32(a, b);
}

NANO_INLINE vec vec_div(vec a, vec b)
{
    return vdivq_f32(a, b);
}

/* a * b + c */
NANO_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return vfmaq_f32(c, a, b);
}

/* The larger; b where either is NaN. */
NANO_INLINE vec vec_max(vec a, vec b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

/* The first n lanes of a, the others of b; n may be beyond both ends. */
NANO_INLINE vec vec_first_lanes(int n, vec a, vec b)
{
    static const int32_t numbers[4] = {0, 1, 2, 3};
    return vbslq_f32(vcgtq_s32(vdupq_n_s32(n), vld1q_s32(numbers)), a, b);
}

/* Bit i is set where lane i is. */
NANO_INLINE unsigned vec_mask_bits(uint32x4_t lanes)
{
    static const uint32_t bits[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(lanes, vld1q_u32(bits)));
}

/* Bit i is set where lane i of a equals lane i of b. */
NANO_INLINE unsigned vec_equal(vec a, vec b)
{
    return vec_mask_bits(vceqq_f32(a, b));
}

/* The same for a >= b. */
NANO_INLINE unsigned vec_at_least(vec a, vec b)
{
    return vec_mask_bits(vcgeq_f32(a, b));
}

/* Sum of all lanes, by pairs. */
NANO_INLINE float vec_sum(vec x)
{
    return vaddvq_f32(x);
}

NANO_INLINE float vec_max_lane(vec x)
{
    vec y = vec_max(vextq_f32(x, x, 2), x);
    return vgetq_lane_f32(vec_max(vextq_f32(y, y, 1), y), 0);
}

/* sum += all lanes of x, in double: lane i of either half goes to lane i. */
typedef float64x2_t vec_double;

NANO_INLINE vec_double vec_double_zero(void)
{
    return vdupq_n_f64(0);
}

NANO_INLINE vec_double vec_double_add(vec_double sum, vec x)
{
    sum = vaddq_f64(sum, vcvt_f64_f32(vget_low_f32(x)));
    return vaddq_f64(sum, vcvt_high_f64_f32(x));
}

NANO_INLINE vec_double vec_double_add_squares(vec_double sum, vec x)
{
    float64x2_t low = vcvt_f64_f32(vget_low_f32(x)), high = vcvt_high_f64_f32(x);
    return vfmaq_f64(vfmaq_f64(sum, low, low), high, high);
}

NANO_INLINE double vec_double_sum(vec_double x)
{
    return vaddvq_f64(x);
}

/* Nearest integer, and x * 2^n for integers |n| <= 200: in two steps, because 2^n may not be a
 * float where the product is. */
NANO_INLINE vec vec_round(vec x)
{
    return vrndnq_f32(x);
}

NANO_INLINE vec vec_power_of_two(int32x4_t n)
{
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}

NANO_INLINE vec vec_scale(vec x, vec n)
{
    int32x4_t whole = vcvtnq_s32_f32(n), half = vshrq_n_s32(whole, 1);
    x = vmulq_f32(x, vec_power_of_two(half));
    return vmulq_f32(x, vec_power_of_two(vsubq_s32(whole, half)));
}

/* x[i][k] and x[k][i] change places. */
NANO_INLINE void vec_transpose(vec x[VEC_LANES])
{
    const float32x4x2_t a = vtrnq_f32(x[0], x[1]), b = vtrnq_f32(x[2], x[3]);
    x[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
    x[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
    x[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
    x[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}

/* ---- Rotation of pairs (a, b) by (cos, sin) ----------------------------------------------------
 */

/* x: VEC_LANES / 2 pairs side by side; cs: their (cos, sin). */
NANO_INLINE vec vec_rotate_adjacent(vec x, vec cs)
{
    static const float signs[4] = {-1, 1, -1, 1};
    vec crossed = vmulq_f32(vrev64q_f32(x), vtrn2q_f32(cs, cs));
    return vfmaq_f32(vmulq_f32(crossed, vld1q_f32(signs)), x, vtrn1q_f32(cs, cs));
}

/* The VEC_LANES pairs at cs to one vector of cos and one of sin. */
NANO_INLINE void vec_load_cos_sin(const float *cs, vec *cos, vec *sin)
{
    float32x4x2_t pairs = vld2q_f32(cs);
    *cos = pairs.val[0];
    *sin = pairs.val[1];
}

#endif

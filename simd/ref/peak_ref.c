/* Peak loops in portable C. Operands come from arrays and shift by a place each round, so that a
 * compiler may vectorise a round but not do it only once. */
#include "simd/ref/ref.h"

enum { LANES = 64 };

static uint64_t peak_int8(uint64_t num_rounds)
{
    int8_t x[LANES], y[2 * LANES];
    int32_t sums[LANES] = {0};
    for (int i = 0; i < LANES; i++) {
        x[i] = (int8_t)(i - 32);
        y[i] = y[i + LANES] = (int8_t)(3 * i - 96);
    }
    for (uint64_t round = 0; round < num_rounds; round++) {
        const int8_t *shifted = y + round % LANES;
        for (int i = 0; i < LANES; i++)
            sums[i] = (int32_t)((uint32_t)sums[i] + (uint32_t)(x[i] * shifted[i]));
    }
    uint64_t result = 0;
    for (int i = 0; i < LANES; i++)
        result += (uint32_t)sums[i];
    return result;
}

static uint64_t peak_f32(uint64_t num_rounds)
{
    float x[LANES], y[2 * LANES], sums[LANES] = {0};
    for (int i = 0; i < LANES; i++) {
        x[i] = (float)(i - 32) * 0.25f;
        y[i] = y[i + LANES] = (float)(48 - i) * 0.125f;
    }
    for (uint64_t round = 0; round < num_rounds; round++) {
        const float *shifted = y + round % LANES;
        for (int i = 0; i < LANES; i++)
            sums[i] += x[i] * shifted[i];
    }
    uint64_t result = 0;
    for (int i = 0; i < LANES; i++)
        result += nano_f32_bits(sums[i]);
    return result;
}

static uint64_t peak_read(const void *data, size_t num_bytes)
{
    const uint64_t *w = data;
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (size_t i = 0; i < num_bytes / sizeof *w; i += 8) {
        a += w[i] + w[i + 1];
        b += w[i + 2] + w[i + 3];
        c += w[i + 4] + w[i + 5];
        d += w[i + 6] + w[i + 7];
    }
    return a + b + c + d;
}

void nano_peak_init_ref(struct nano_peak_kernels *peak)
{
    *peak = (struct nano_peak_kernels){
        .int8 = {peak_int8, LANES}, .f32 = {peak_f32, LANES}, .read = peak_read};
}

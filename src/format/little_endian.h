/* Little-endian numbers in byte arrays, at any alignment and on any host. */
#ifndef NANO_FORMAT_LITTLE_ENDIAN_H
#define NANO_FORMAT_LITTLE_ENDIAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The unsigned integer in `num_bytes` (1 … 8) bytes. */
static inline uint64_t nano_le_load(const void *bytes, size_t num_bytes)
{
    const unsigned char *p = bytes;
    uint64_t value = 0;
    for (size_t i = 0; i < num_bytes; i++)
        value |= (uint64_t)p[i] << (8 * i);
    return value;
}

/* The same, sign-extended from its `num_bytes`. */
static inline int64_t nano_le_load_signed(const void *bytes, size_t num_bytes)
{
    uint64_t value = nano_le_load(bytes, num_bytes);
    uint64_t sign = UINT64_C(1) << (8 * num_bytes - 1);
    return (int64_t)((value ^ sign) - sign);
}

static inline float nano_le_load_f32(const void *bytes)
{
    uint32_t bits = (uint32_t)nano_le_load(bytes, 4);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline double nano_le_load_f64(const void *bytes)
{
    uint64_t bits = nano_le_load(bytes, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void nano_le_store(void *bytes, uint64_t value, size_t num_bytes)
{
    unsigned char *p = bytes;
    for (size_t i = 0; i < num_bytes; i++)
        p[i] = (unsigned char)(value >> (8 * i));
}

static inline uint32_t nano_le_bits_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline uint64_t nano_le_bits_f64(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

#endif

/* Panels: weights as the SIMD tiers read them, for one token and for many.
 *
 * A panel is 16 rows, zero-padded. Its quantised weights lie in units of 32 columns, and a unit in
 * lines of 64 bytes, in which 4 bytes belong to each row: a line is what one multiply-add
 * instruction of 16 lanes takes, and every lane is a row, so that no sum crosses lanes.
 *
 *   panel    │ header │ unit 0 │ unit 1 │ …        formats in blocks of 256: a header per 8 units
 *   unit     lines of levels, one column group (4 columns k = 4 g … 4 g + 3) or more in a line:
 *            8 bits   line g is group g
 *            4 bits   line j: group j in the low nibbles, group j + 4 in the high ones
 *            2 bits   line h: group 4 h + i in bits 2 i, 2 i + 1
 *            1 bit    one line: group g in bit g
 *            5 bits are the upper 4 and the lowest 1, 6 are 4 and 2, 3 are 2 and 1
 *   header   d[16] f16, mins m[16] f16 if the format has them; then for blocks of 256
 *            8 or 16 x [16] scale bytes, and 8 x [16] min bytes (Q2_K: in the scales' high nibbles)
 *            f32_scales: d[16] f32 for each part, nothing else; is_fp4: bf16 instead
 *
 * A level is unsigned: w = d * (level - zero_point) or d * level + m. The bytes of a panel are
 * those of the file plus what the 6-bit scales of the K formats grow by when they become bytes
 * (Q4_K 2.8
 * %, Q3_K 3.6 %).
 *
 * FP4 formats have scales of few bits, which a bf16 holds exactly. Formats of codewords and the
 * small ones of ternary weights are integers of at most a byte with one exact f32 scale per 16 or
 * 32 columns. They are unpacked to that, two to six times their file's bytes, and share one loop.
 *
 * F32, F16 and BF16 panels are [cols][16]. */
#ifndef NANO_SIMD_PANELS_H
#define NANO_SIMD_PANELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "simd/formats.h"
#include "simd/linear.h"

struct nano_kernels;

enum { NANO_PANEL_ROWS = 16, NANO_LINE_BYTES = 64, NANO_UNIT_COLS = 32 };

struct nano_panel_traits {
    int value_bytes; /* of F32, F16 and BF16; else 0 and what follows counts */
    int bits;        /* of a level */
    int zero_point;  /* the level of weight 0; 0 where the format has mins */
    bool is_table;   /* levels are indices into nano_iq4_values; */
    bool is_fp4;     /* into nano_fp4_values, and the header is a scale d[16] bf16 per part */
    bool has_mins;
    int units;       /* that share a header */
    int parts;       /* of a unit that have a scale each */
    bool f32_scales; /* the header is a scale d[16] f32 per part */
};

static inline struct nano_panel_traits nano_panel_traits(enum nano_format format)
{
    switch (format) {
    case NANO_FORMAT_F32:
        return (struct nano_panel_traits){.value_bytes = 4};
    case NANO_FORMAT_F16:
    case NANO_FORMAT_BF16:
        return (struct nano_panel_traits){.value_bytes = 2};
    case NANO_FORMAT_Q4_0:
        return (struct nano_panel_traits){.bits = 4, .zero_point = 8, .units = 1, .parts = 1};
    case NANO_FORMAT_Q4_1:
        return (struct nano_panel_traits){.bits = 4, .has_mins = true, .units = 1, .parts = 1};
    case NANO_FORMAT_Q5_0:
        return (struct nano_panel_traits){.bits = 5, .zero_point = 16, .units = 1, .parts = 1};
    case NANO_FORMAT_Q5_1:
        return (struct nano_panel_traits){.bits = 5, .has_mins = true, .units = 1, .parts = 1};
    case NANO_FORMAT_Q8_0:
        return (struct nano_panel_traits){.bits = 8, .zero_point = 128, .units = 1, .parts = 1};
    case NANO_FORMAT_IQ4_NL:
        return (struct nano_panel_traits){.bits = 4, .is_table = true, .units = 1, .parts = 1};
    case NANO_FORMAT_Q2_K:
        return (struct nano_panel_traits){.bits = 2, .has_mins = true, .units = 8, .parts = 2};
    case NANO_FORMAT_Q3_K:
        return (struct nano_panel_traits){.bits = 3, .zero_point = 4, .units = 8, .parts = 2};
    case NANO_FORMAT_Q4_K:
        return (struct nano_panel_traits){.bits = 4, .has_mins = true, .units = 8, .parts = 1};
    case NANO_FORMAT_Q5_K:
        return (struct nano_panel_traits){.bits = 5, .has_mins = true, .units = 8, .parts = 1};
    case NANO_FORMAT_Q6_K:
        return (struct nano_panel_traits){.bits = 6, .zero_point = 32, .units = 8, .parts = 2};
    case NANO_FORMAT_IQ4_XS:
        return (struct nano_panel_traits){.bits = 4, .is_table = true, .units = 8, .parts = 1};
    case NANO_FORMAT_MXFP4:
        return (struct nano_panel_traits){
            .bits = 4, .is_table = true, .is_fp4 = true, .units = 1, .parts = 1};
    case NANO_FORMAT_NVFP4:
        return (struct nano_panel_traits){
            .bits = 4, .is_table = true, .is_fp4 = true, .units = 1, .parts = 2};
    case NANO_FORMAT_IQ1_M:
    case NANO_FORMAT_IQ2_XS:
    case NANO_FORMAT_IQ2_S:
        return (struct nano_panel_traits){
            .bits = 8, .zero_point = 128, .units = 1, .parts = 2, .f32_scales = true};
    case NANO_FORMAT_Q1_0:
    case NANO_FORMAT_Q2_0:
    case NANO_FORMAT_TQ1_0:
    case NANO_FORMAT_TQ2_0:
    case NANO_FORMAT_IQ1_S:
    case NANO_FORMAT_IQ2_XXS:
    case NANO_FORMAT_IQ3_XXS:
    case NANO_FORMAT_IQ3_S:
        return (struct nano_panel_traits){
            .bits = 8, .zero_point = 128, .units = 1, .parts = 1, .f32_scales = true};
    case NANO_NUM_FORMATS:
        break;
    }
    return (struct nano_panel_traits){0};
}

/* Where the scale bytes begin in a header. */
static inline size_t nano_panel_scales_offset(struct nano_panel_traits t)
{
    return 2 * NANO_PANEL_ROWS * (t.has_mins ? 2 : 1);
}

static inline size_t nano_panel_header_bytes(struct nano_panel_traits t)
{
    if (t.f32_scales || t.is_fp4)
        return (size_t)((t.is_fp4 ? 2 : 4) * NANO_PANEL_ROWS * t.parts);
    size_t scale_bytes = t.units == 1 ? 0 : (size_t)(NANO_PANEL_ROWS * t.units * t.parts);
    if (t.has_mins && t.parts == 1)
        scale_bytes *= 2;
    return nano_panel_scales_offset(t) + scale_bytes;
}

/* Bytes of `units` units and their header. */
static inline size_t nano_panel_group_bytes(struct nano_panel_traits t)
{
    return nano_panel_header_bytes(t) + (size_t)(t.units * t.bits * NANO_LINE_BYTES);
}

static inline size_t nano_panel_bytes(enum nano_format format, int64_t cols)
{
    const struct nano_panel_traits t = nano_panel_traits(format);
    if (t.value_bytes)
        return (size_t)(cols * NANO_PANEL_ROWS * t.value_bytes);
    return (size_t)(cols / NANO_UNIT_COLS / t.units) * nano_panel_group_bytes(t);
}

/* The slots packed_bytes, pack and get_row of every format, and row_align. */
void nano_panels_init(struct nano_kernels *kernels);

#endif

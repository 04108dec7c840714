/* Packing of weights into panels, and rows back out of them.
 *
 * Four weights at a time: a 32-bit word of the file holds the bits of four neighbouring columns in
 * its bytes, and so does a word of a line. */
#include "simd/panels.h"

#include <string.h>

#include "simd/block_scales.h"
#include "simd/blocks.h"
#include "simd/inline.h"
#include "simd/kernel_params.h"
#include "simd/ref/ref.h"

/* ---- Levels of 32 columns of a stored block, 4 in a word ---------------------------------------
 */

static inline void split_nibbles(uint32_t levels[8], const uint8_t nibbles[16])
{
    for (int g = 0; g < 4; g++) {
        uint32_t word = nano_load_u32(nibbles + 4 * g);
        levels[g] = word & 0x0F0F0F0F;
        levels[g + 4] = word >> 4 & 0x0F0F0F0F;
    }
}

static inline void add_fifth_bits(uint32_t levels[8], const uint8_t high[4])
{
    uint32_t bits = nano_load_u32(high);
    for (int g = 0; g < 8; g++)
        levels[g] |= ((bits >> 4 * g & 15) * 0x00204081 & 0x01010101) << 4;
}

/* `at` + 4 g: bits [shift, shift + num_bits) of every byte. */
static inline uint32_t field(const uint8_t *at, int g, int shift, int num_bits)
{
    return nano_load_u32(at + 4 * g) >> shift & ((1u << num_bits) - 1) * 0x01010101;
}

NANO_INLINE void load_levels(enum nano_format format, uint32_t levels[8], const uint8_t *block,
                             int unit)
{
    const int half = unit / 4, j = unit % 4; /* of 128 columns; the unit in it */
    const union {
        const uint8_t *bytes;
        const struct nano_block_q4_0 *q4_0;
        const struct nano_block_q4_1 *q4_1;
        const struct nano_block_q5_0 *q5_0;
        const struct nano_block_q5_1 *q5_1;
        const struct nano_block_q8_0 *q8_0;
        const struct nano_block_q2_k *q2_k;
        const struct nano_block_q3_k *q3_k;
        const struct nano_block_q4_k *q4_k;
        const struct nano_block_q5_k *q5_k;
        const struct nano_block_q6_k *q6_k;
        const struct nano_block_iq4_xs *iq4_xs;
    } b = {block};
    if (format == NANO_FORMAT_Q4_0 || format == NANO_FORMAT_IQ4_NL) {
        split_nibbles(levels, b.q4_0->nibbles);
    } else if (format == NANO_FORMAT_Q4_1) {
        split_nibbles(levels, b.q4_1->nibbles);
    } else if (format == NANO_FORMAT_Q5_0) {
        split_nibbles(levels, b.q5_0->nibbles);
        add_fifth_bits(levels, b.q5_0->high);
    } else if (format == NANO_FORMAT_Q5_1) {
        split_nibbles(levels, b.q5_1->nibbles);
        add_fifth_bits(levels, b.q5_1->high);
    } else if (format == NANO_FORMAT_IQ4_XS) {
        split_nibbles(levels, b.iq4_xs->nibbles + 16 * unit);
    } else {
        for (int g = 0; g < 8; g++) {
            if (format == NANO_FORMAT_Q8_0)
                levels[g] = nano_load_u32((const uint8_t *)b.q8_0->q + 4 * g) ^ 0x80808080;
            else if (format == NANO_FORMAT_Q2_K)
                levels[g] = field(b.q2_k->q + 32 * half, g, 2 * j, 2);
            else if (format == NANO_FORMAT_Q3_K)
                levels[g] = field(b.q3_k->low + 32 * half, g, 2 * j, 2) |
                            field(b.q3_k->high, g, unit, 1) << 2;
            else if (format == NANO_FORMAT_Q4_K)
                levels[g] = field(b.q4_k->nibbles + unit / 2 * 32, g, unit % 2 * 4, 4);
            else if (format == NANO_FORMAT_Q5_K)
                levels[g] = field(b.q5_k->nibbles + unit / 2 * 32, g, unit % 2 * 4, 4) |
                            field(b.q5_k->high, g, unit, 1) << 4;
            else
                levels[g] = field(b.q6_k->low + 64 * half + unit % 2 * 32, g, j / 2 * 4, 4) |
                            field(b.q6_k->high + 32 * half, g, 2 * j, 2) << 4;
        }
    }
}

/* ---- Lines ------------------------------------------------------------------------------------
 */

NANO_INLINE void store_word(uint8_t *line, int lane, uint32_t word)
{
    uint8_t *at = line + 4 * lane;
    at[0] = (uint8_t)word;
    at[1] = (uint8_t)(word >> 8);
    at[2] = (uint8_t)(word >> 16);
    at[3] = (uint8_t)(word >> 24);
}

/* Bits [shift, shift + num_bits) of the levels, num_bits 1, 2 or 4, to num_bits lines. */
NANO_INLINE void store_fields(uint8_t *lines, int lane, const uint32_t levels[8], int shift,
                              int num_bits)
{
    const uint32_t mask = ((1u << num_bits) - 1) * 0x01010101;
    for (int line = 0; line < num_bits; line++) {
        uint32_t word = 0;
        for (int i = 0; i < 8 / num_bits; i++) {
            int g = num_bits == 4 ? line + 4 * i : 8 / num_bits * line + i;
            word |= (levels[g] >> shift & mask) << num_bits * i;
        }
        store_word(lines + line * NANO_LINE_BYTES, lane, word);
    }
}

NANO_INLINE void store_levels(int bits, uint8_t *lines, int lane, const uint32_t levels[8])
{
    const int upper = bits == 3 ? 2 : bits == 5 || bits == 6 ? 4 : bits;
    if (bits == 8) {
        for (int g = 0; g < 8; g++)
            store_word(lines + g * NANO_LINE_BYTES, lane, levels[g]);
        return;
    }
    store_fields(lines, lane, levels, bits - upper, upper);
    if (bits > upper)
        store_fields(lines + upper * NANO_LINE_BYTES, lane, levels, 0, bits - upper);
}

/* Bits of column k in the fields that store_fields made. */
static int load_field(const uint8_t *lines, int lane, int k, int num_bits)
{
    const int g = k / 4, per_line = 8 / num_bits;
    const int line = num_bits == 4 ? g % 4 : g / per_line, i = num_bits == 4 ? g / 4 : g % per_line;
    return lines[line * NANO_LINE_BYTES + 4 * lane + k % 4] >> num_bits * i & ((1 << num_bits) - 1);
}

static int load_level(int bits, const uint8_t *lines, int lane, int k)
{
    const int upper = bits == 3 ? 2 : bits == 5 || bits == 6 ? 4 : bits;
    if (bits == 8)
        return lines[k / 4 * NANO_LINE_BYTES + 4 * lane + k % 4];
    int level = load_field(lines, lane, k, upper);
    if (bits > upper)
        level = level << (bits - upper) |
                load_field(lines + upper * NANO_LINE_BYTES, lane, k, bits - upper);
    return level;
}

/* ---- Headers ----------------------------------------------------------------------------------
 */

static void store_bytes(uint8_t *at, int lane, const void *bytes, int count)
{
    const uint8_t *from = bytes;
    for (int i = 0; i < count; i++)
        at[i * NANO_PANEL_ROWS + lane] = from[i];
}

/* The 6-bit scales of a block as bytes, signed where they have an offset; mins where not empty. */
NANO_INLINE void store_scales(enum nano_format format, uint8_t *at, int lane, const uint8_t *block)
{
    uint32_t scales[4], mins[2];
    if (format == NANO_FORMAT_Q4_K || format == NANO_FORMAT_Q5_K) {
        nano_scales_k4(scales, mins, ((const struct nano_block_q4_k *)(const void *)block)->scales);
        store_bytes(at, lane, scales, 8);
        store_bytes(at + 8 * NANO_PANEL_ROWS, lane, mins, 8);
    } else if (format == NANO_FORMAT_Q3_K) {
        nano_scales_q3_k(scales, ((const struct nano_block_q3_k *)(const void *)block)->scales);
        for (int i = 0; i < 16; i++)
            at[i * NANO_PANEL_ROWS + lane] = (uint8_t)((scales[i / 4] >> i % 4 * 8 & 63) - 32);
    } else if (format == NANO_FORMAT_IQ4_XS) {
        uint64_t all = nano_scales_iq4_xs((const void *)block);
        for (int i = 0; i < 8; i++)
            at[i * NANO_PANEL_ROWS + lane] = (uint8_t)((all >> 8 * i & 63) - 32);
    } else if (format == NANO_FORMAT_Q6_K) {
        store_bytes(at, lane, ((const struct nano_block_q6_k *)(const void *)block)->scales, 16);
    } else {
        store_bytes(at, lane, ((const struct nano_block_q2_k *)(const void *)block)->scales, 16);
    }
}

/* Where d and the second f16 field are in a stored block. */
NANO_INLINE void field_offsets(enum nano_format format, size_t *d, size_t *m)
{
    *d = format == NANO_FORMAT_Q2_K   ? offsetof(struct nano_block_q2_k, d)
         : format == NANO_FORMAT_Q3_K ? offsetof(struct nano_block_q3_k, d)
         : format == NANO_FORMAT_Q6_K ? offsetof(struct nano_block_q6_k, d)
                                      : 0;
    *m = *d + 2;
}

NANO_INLINE void pack_block(enum nano_format format, uint8_t *group, int lane, const uint8_t *block)
{
    const struct nano_panel_traits t = nano_panel_traits(format);
    size_t d, m;
    field_offsets(format, &d, &m);
    memcpy(group + 2 * lane, block + d, 2);
    if (t.has_mins)
        memcpy(group + 2 * NANO_PANEL_ROWS + 2 * lane, block + m, 2);
    if (t.units > 1)
        store_scales(format, group + nano_panel_scales_offset(t), lane, block);
    uint8_t *lines = group + nano_panel_header_bytes(t);
    for (int u = 0; u < t.units; u++, lines += t.bits * NANO_LINE_BYTES) {
        uint32_t levels[8];
        load_levels(format, levels, block, u);
        store_levels(t.bits, lines, lane, levels);
    }
}

/* ---- Formats of f32_scales, and FP4
 * ---------------------------------------------------------------------
 */

typedef void unpack_fn(struct nano_unpacked_unit *out, const void *block, int unit);

static unpack_fn *unpack_of(enum nano_format format)
{
    switch (format) {
    case NANO_FORMAT_MXFP4:
        return nano_unpack_mxfp4;
    case NANO_FORMAT_NVFP4:
        return nano_unpack_nvfp4;
    case NANO_FORMAT_Q1_0:
        return nano_unpack_q1_0;
    case NANO_FORMAT_Q2_0:
        return nano_unpack_q2_0;
    case NANO_FORMAT_TQ1_0:
        return nano_unpack_tq1_0;
    case NANO_FORMAT_TQ2_0:
        return nano_unpack_tq2_0;
    case NANO_FORMAT_IQ1_S:
        return nano_unpack_iq1_s;
    case NANO_FORMAT_IQ1_M:
        return nano_unpack_iq1_m;
    case NANO_FORMAT_IQ2_XXS:
        return nano_unpack_iq2_xxs;
    case NANO_FORMAT_IQ2_XS:
        return nano_unpack_iq2_xs;
    case NANO_FORMAT_IQ2_S:
        return nano_unpack_iq2_s;
    case NANO_FORMAT_IQ3_XXS:
        return nano_unpack_iq3_xxs;
    case NANO_FORMAT_IQ3_S:
        return nano_unpack_iq3_s;
    default:
        return NULL;
    }
}

/* Scales have so few bits that the lower half of an f32 is 0. */
static void pack_fp4_unit(struct nano_panel_traits t, uint8_t *group, uint8_t *lines, int lane,
                          const struct nano_unpacked_unit *w)
{
    static const uint8_t level_of[] = {15, 0, 0, 0, 14, 0, 13, 0, 12, 11, 10, 9, 0,
                                       1,  2, 3, 4, 0,  5, 0,  6, 0,  0,  0,  7}; /* -12 … 12 */
    uint32_t levels[8] = {0};
    for (int part = 0; part < t.parts; part++)
        nano_store_u16(group + 2 * (NANO_PANEL_ROWS * part + lane), nano_f32_to_bf16(w->d[part]));
    for (int k = 0; k < NANO_UNIT_COLS; k++)
        levels[k / 4] |= (uint32_t)level_of[w->q[k] + 12] << 8 * (k % 4);
    store_levels(t.bits, lines, lane, levels);
}

static void pack_unit(enum nano_format format, uint8_t *group, int lane, const uint8_t *row,
                      int64_t index)
{
    const struct nano_panel_traits t = nano_panel_traits(format);
    const struct nano_format_traits *traits = nano_format_traits(format);
    const int units = traits->block_length / NANO_UNIT_COLS;
    struct nano_unpacked_unit w;
    unpack_of(format)(&w, row + (size_t)(index / units * traits->block_bytes),
                      (int)(index % units));
    uint8_t *lines = group + nano_panel_header_bytes(t);
    if (t.is_fp4) {
        pack_fp4_unit(t, group, lines, lane, &w);
        return;
    }
    for (int part = 0; part < t.parts; part++)
        memcpy(group + 4 * (NANO_PANEL_ROWS * part + lane), &w.d[part], 4);
    for (int k = 0; k < NANO_UNIT_COLS; k++)
        lines[k / 4 * NANO_LINE_BYTES + 4 * lane + k % 4] = (uint8_t)(w.q[k] + t.zero_point);
}

static void get_f32_scaled_unit(struct nano_panel_traits t, float *dst, const uint8_t *group,
                                int lane)
{
    const uint8_t *lines = group + nano_panel_header_bytes(t);
    for (int k = 0; k < NANO_UNIT_COLS; k++) {
        const int part = k / (NANO_UNIT_COLS / t.parts);
        const int at = NANO_PANEL_ROWS * part + lane, level = load_level(t.bits, lines, lane, k);
        dst[k] = t.is_fp4 ? nano_load_bf16(group + 2 * at) * (float)nano_fp4_values[level]
                          : nano_load_f32(group + 4 * at) * (float)(level - t.zero_point);
    }
}

/* ---- The slots ---------------------------------------------------------------------------------
 */

NANO_INLINE void pack_panel(enum nano_format format, uint8_t *panel, const uint8_t *src,
                            int num_rows, int64_t cols)
{
    const struct nano_panel_traits t = nano_panel_traits(format);
    const size_t row_bytes = nano_format_row_bytes(format, cols);
    if (num_rows < NANO_PANEL_ROWS)
        memset(panel, 0, nano_panel_bytes(format, cols));
    if (t.value_bytes) {
        for (int64_t k = 0; k < cols; k++)
            for (int r = 0; r < num_rows; r++)
                memcpy(panel + (size_t)((k * NANO_PANEL_ROWS + r) * t.value_bytes),
                       src + (size_t)r * row_bytes + (size_t)(k * t.value_bytes),
                       (size_t)t.value_bytes);
        return;
    }
    if (t.f32_scales || t.is_fp4) {
        for (int64_t i = 0; i < cols / NANO_UNIT_COLS; i++)
            for (int r = 0; r < num_rows; r++)
                pack_unit(format, panel + (size_t)i * nano_panel_group_bytes(t), r,
                          src + (size_t)r * row_bytes, i);
        return;
    }
    const size_t block_bytes = row_bytes / (size_t)(cols / NANO_UNIT_COLS / t.units);
    for (int64_t i = 0; i < cols / NANO_UNIT_COLS / t.units; i++) {
        uint8_t *group = panel + (size_t)i * nano_panel_group_bytes(t);
        for (int r = 0; r < num_rows; r++)
            pack_block(format, group, r, src + (size_t)r * row_bytes + (size_t)i * block_bytes);
    }
}

NANO_INLINE void pack_rows(enum nano_format format, uint8_t *packed, const uint8_t *src,
                           int64_t rows, int64_t cols, int64_t row_begin, int64_t row_end)
{
    const size_t row_bytes = nano_format_row_bytes(format, cols);
    const size_t panel_bytes = nano_panel_bytes(format, cols);
    if (cols == 0)
        return;
    for (int64_t row = row_begin; row < row_end; row += NANO_PANEL_ROWS) {
        int64_t left = rows - row;
        pack_panel(format, packed + (size_t)(row / NANO_PANEL_ROWS) * panel_bytes,
                   src + (size_t)row * row_bytes,
                   left < NANO_PANEL_ROWS ? (int)left : NANO_PANEL_ROWS, cols);
    }
}

static void get_float_row(enum nano_format format, float *dst, const uint8_t *panel, int lane,
                          int64_t cols)
{
    for (int64_t k = 0; k < cols; k++) {
        const uint8_t *at =
            panel + (size_t)((k * NANO_PANEL_ROWS + lane) * nano_panel_traits(format).value_bytes);
        dst[k] = format == NANO_FORMAT_F32   ? nano_load_f32(at)
                 : format == NANO_FORMAT_F16 ? nano_load_f16(at)
                                             : nano_load_bf16(at);
    }
}

/* The arithmetic of the reference's get_row, in its order. */
static void get_unit(struct nano_panel_traits t, float *dst, const uint8_t *header,
                     const uint8_t *lines, int unit, int lane)
{
    const float d = nano_load_f16(header + 2 * lane);
    const float m = t.has_mins ? nano_load_f16(header + 2 * NANO_PANEL_ROWS + 2 * lane) : 0;
    const uint8_t *scales = header + nano_panel_scales_offset(t) + lane;
    for (int k = 0; k < NANO_UNIT_COLS; k++) {
        const int part = unit * t.parts + k / (NANO_UNIT_COLS / t.parts);
        const int level = load_level(t.bits, lines, lane, k);
        const int q = t.is_table ? nano_iq4_values[level] : level - t.zero_point;
        if (t.units == 1) {
            dst[k] = t.has_mins ? d * (float)q + m : d * (float)q;
            continue;
        }
        const int byte = scales[part * NANO_PANEL_ROWS];
        const int scale = !t.has_mins ? (int8_t)byte : t.parts == 2 ? byte & 15 : byte;
        const int min = !t.has_mins    ? 0
                        : t.parts == 2 ? byte >> 4
                                       : scales[(t.units + part) * NANO_PANEL_ROWS];
        const float value = d * (float)scale * (float)q;
        dst[k] = t.has_mins ? value - m * (float)min : value;
    }
}

static void get_row(enum nano_format format, NANO_GET_ROW_PARAMS)
{
    const struct nano_panel_traits t = nano_panel_traits(format);
    const int lane = (int)(row % NANO_PANEL_ROWS);
    const uint8_t *group =
        (const uint8_t *)weights + (size_t)(row / NANO_PANEL_ROWS) * nano_panel_bytes(format, cols);
    (void)rows;
    if (t.value_bytes) {
        get_float_row(format, dst, group, lane, cols);
        return;
    }
    for (int64_t i = 0; i < cols / NANO_UNIT_COLS; i++) {
        const int unit = (int)(i % t.units);
        if (t.f32_scales || t.is_fp4) {
            get_f32_scaled_unit(t, dst + i * NANO_UNIT_COLS, group, lane);
            group += nano_panel_group_bytes(t);
            continue;
        }
        get_unit(t, dst + i * NANO_UNIT_COLS, group,
                 group + nano_panel_header_bytes(t) + (size_t)(unit * t.bits * NANO_LINE_BYTES),
                 unit, lane);
        if (unit == t.units - 1)
            group += nano_panel_group_bytes(t);
    }
}

#define NANO_FORMAT(NAME, name, gguf_id, length, bytes, activation)                    \
    static size_t packed_bytes_##name(int64_t rows, int64_t cols)                      \
    {                                                                                  \
        return (size_t)((rows + NANO_PANEL_ROWS - 1) / NANO_PANEL_ROWS) *              \
               nano_panel_bytes(NANO_FORMAT_##NAME, cols);                             \
    }                                                                                  \
                                                                                       \
    static void pack_##name(void *packed, const void *src, int64_t rows, int64_t cols, \
                            int64_t row_begin, int64_t row_end)                        \
    {                                                                                  \
        pack_rows(NANO_FORMAT_##NAME, packed, src, rows, cols, row_begin, row_end);    \
    }                                                                                  \
                                                                                       \
    static void get_row_##name(NANO_GET_ROW_PARAMS)                                    \
    {                                                                                  \
        get_row(NANO_FORMAT_##NAME, dst, weights, rows, cols, row);                    \
    }
#include "simd/quant.def"
#undef NANO_FORMAT

void nano_panels_init(struct nano_kernels *kernels)
{
#define NANO_FORMAT(NAME, name, gguf_id, length, bytes, activation)         \
    kernels->linear[NANO_FORMAT_##NAME].packed_bytes = packed_bytes_##name; \
    kernels->linear[NANO_FORMAT_##NAME].pack = pack_##name;                 \
    kernels->linear[NANO_FORMAT_##NAME].get_row = get_row_##name;           \
    kernels->linear[NANO_FORMAT_##NAME].row_align = NANO_PANEL_ROWS;
#include "simd/quant.def"
#undef NANO_FORMAT
}

/* linear over panels (panels.h) for any instruction set with a vec_<isa>.h and a veci_<isa>.h,
 * which come first. Included by one file of each folder.
 *
 * A tile is up to VECI_TILE_VECTORS vectors of rows (a vector is a panel or a part of one) times up
 * to VECI_TOKENS_0 tokens. Every output
 * is a lane of its own accumulator: per unit of 32 columns an exact integer sum, then one fused
 * multiply-add (two where parts of 16 have their own scales, one more for each where the format has
 * mins), unit after unit; for blocks of 256 with the block's scale of x at its end. That order is
 * the same in every shape of tile, so neither the number of tokens nor the division of rows changes
 * a bit.
 *
 * Integers: VECI_LEVELS says what veci_dot takes.
 *   TOP      the level in the uppermost bits of an unsigned byte, e.g. 16 times a level of 4 bits.
 *            So the zero point is 128 in every format, and the activations' offset starts the sum.
 *   NATURAL  the level as it is, and offsets that are shifted to it: where sums of two products
 *            must fit 16 bits. Levels of 8 bits are signed then, and have no offset.
 *   SIGNED   the weight as it is: level - zero_point. */
#include "simd/blocks.h"
#include "simd/panels.h"

enum level_kind { VECI_TOP, VECI_NATURAL, VECI_SIGNED };
enum {
    GROUPS = 8, /* of 4 columns in a unit */
    PANELS_PER_PASS = 8,
    /* Weights come from memory in one long stream, but the processor's own prefetching ends at
     * every page. Measured: from 4 KiB on this makes one token 25 % faster and 8 of them 50 %. */
    PREFETCH_BYTES = 8192,
    MAX_VECTORS = VECI_TILE_VECTORS,
    MAX_TOKENS = VECI_TOKENS_0
};

/* ---- Levels -----------------------------------------------------------------------------------
 */

/* The field of num_bits bits that lies at bit `at` of every byte, moved to bit `to`. */
NANO_INLINE veci move_field(veci line, int at, int to, int num_bits)
{
    veci moved = to > at ? veci_shift_left(line, to - at) : veci_shift_right(line, at - to);
    return veci_and(moved, veci_set1_u8(((1 << num_bits) - 1) << to));
}

/* The levels of column group g, with their lowest bit at bit `low`. */
NANO_INLINE veci levels_at(int bits, const uint8_t *lines, int g, int low)
{
    const int upper = bits == 3 ? 2 : bits == 5 || bits == 6 ? 4 : bits;
    const int per_line = 8 / upper;
    if (bits == 8)
        return veci_load(lines + g * NANO_LINE_BYTES);
    const int line = upper == 4 ? g % 4 : g / per_line, i = upper == 4 ? g / 4 : g % per_line;
    veci levels =
        move_field(veci_load(lines + line * NANO_LINE_BYTES), upper * i, low + bits - upper, upper);
    if (bits > upper) {
        const int rest = bits - upper, fields = 8 / rest;
        veci more = veci_load(lines + (upper + g / fields) * NANO_LINE_BYTES);
        levels = veci_or(levels, move_field(more, rest * (g % fields), low, rest));
    }
    return levels;
}

/* What veci_dot takes. */
NANO_INLINE veci weights_of(struct nano_panel_traits t, const uint8_t *lines, int g)
{
    if (t.is_table)
        return veci_lookup(t.is_fp4 ? nano_fp4_values : nano_iq4_values, levels_at(4, lines, g, 0));
    if (VECI_LEVELS == VECI_TOP)
        return levels_at(t.bits, lines, g, 8 - t.bits);
    veci levels = levels_at(t.bits, lines, g, 0);
    const bool is_signed = VECI_LEVELS == VECI_SIGNED || t.bits == 8;
    return is_signed && t.zero_point ? veci_minus(levels, t.zero_point) : levels;
}

/* What the products are too large by. */
NANO_INLINE float top_factor(struct nano_panel_traits t)
{
    return VECI_LEVELS == VECI_TOP && !t.is_table ? 1 / (float)(1 << (8 - t.bits)) : 1;
}

/* The integer that a sum begins with. `offset` is -128 times the sum of the part's x. */
NANO_INLINE veci first_sum(struct nano_panel_traits t, const int32_t *offset)
{
    if (VECI_LEVELS == VECI_SIGNED || (!t.zero_point && !t.is_table))
        return veci_zero();
    if (VECI_LEVELS == VECI_TOP)
        return veci_broadcast(offset);
    return t.is_table || t.bits == 8 ? veci_zero() : veci_set1(*offset >> (8 - t.bits));
}

/* ---- A tile -----------------------------------------------------------------------------------
 */

/* One of a tile's vectors of rows, on its way through the columns. */
struct row_group {
    const uint8_t *group; /* header and units */
    const uint8_t *lines; /* of the unit */
    const uint8_t *scales;
    vec d, m, scale, min, next_min;
};

/* Reads the header of a group of units. Mins of blocks of 256 are subtracted. */
NANO_INLINE void begin_group(struct nano_panel_traits t, struct row_group *r, int lane)
{
    const uint8_t *header = r->group;
    r->group += nano_panel_group_bytes(t);
    r->lines = header + nano_panel_header_bytes(t) + 4 * lane;
    if (t.f32_scales || t.is_fp4) {
        r->scales = header + (t.is_fp4 ? 2 : 4) * lane;
        return;
    }
    r->scales = header + nano_panel_scales_offset(t) + lane;
    r->d = vec_mul(vec_load_f16(header + 2 * lane), vec_set1(top_factor(t)));
    r->m = t.has_mins ? vec_load_f16(header + 2 * NANO_PANEL_ROWS + 2 * lane) : r->d;
    if (t.has_mins && t.units > 1)
        r->m = vec_sub(vec_zero(), r->m);
}

NANO_INLINE void next_scale(struct nano_panel_traits t, struct row_group *r, vec *scale, vec *min)
{
    if (t.f32_scales) {
        *scale = vec_load((const float *)(const void *)r->scales);
        r->scales += 4 * NANO_PANEL_ROWS;
        return;
    }
    if (t.is_fp4) {
        *scale = vec_load_bf16(r->scales);
        r->scales += 2 * NANO_PANEL_ROWS;
        return;
    }
    *scale = r->d;
    *min = r->m;
    if (t.units == 1)
        return;
    if (!t.has_mins) {
        *scale = vec_mul(r->d, vec_load_s8(r->scales));
    } else if (t.parts == 1) {
        *scale = vec_mul(r->d, vec_load_s8(r->scales));
        *min = vec_mul(r->m, vec_load_s8(r->scales + t.units * NANO_PANEL_ROWS));
    } else {
        *scale = vec_mul(r->d, vec_load_low_nibbles(r->scales));
        *min = vec_mul(r->m, vec_load_high_nibbles(r->scales));
    }
    r->scales += NANO_PANEL_ROWS;
}

/* sums[r][c] += the products of part `part` of a unit. An instruction set that takes more than a
 * column group and a token at once defines it itself, behind this file. */
NANO_INLINE void part_dots(struct nano_panel_traits t, const struct row_group *rows,
                           const struct nano_q8_unit *x, int part, int num_vectors, int num_tokens,
                           veci sums[MAX_VECTORS][MAX_TOKENS]);

#ifndef VECI_OWN_DOTS
NANO_INLINE void part_dots(struct nano_panel_traits t, const struct row_group *rows,
                           const struct nano_q8_unit *x, int part, int num_vectors, int num_tokens,
                           veci sums[MAX_VECTORS][MAX_TOKENS])
{
    const int num_groups = GROUPS / t.parts, first = part * num_groups;
    NANO_UNROLL
    for (int i = 0; i < num_groups; i++) {
        /* pairs of groups that share a line are neighbours here */
        const int g = t.parts == 1 && t.bits < 8 && t.bits > 3 ? i / 2 + i % 2 * 4 : first + i;
        veci w[MAX_VECTORS];
        NANO_UNROLL
        for (int r = 0; r < num_vectors; r++)
            w[r] = weights_of(t, rows[r].lines, g);
        NANO_UNROLL
        for (int c = 0; c < num_tokens; c++) {
            NANO_UNROLL
            for (int r = 0; r < num_vectors; r++)
                sums[r][c] = veci_dot(sums[r][c], w[r], x[c].q + 4 * g, t.is_table || t.bits == 8);
        }
    }
}
#endif

/* A part of a unit with the rows' current scales. */
NANO_INLINE void tile_part(struct nano_panel_traits t, const struct row_group *rows,
                           const struct nano_q8_unit *x, int part, int num_vectors, int num_tokens,
                           vec acc[MAX_VECTORS][MAX_TOKENS])
{
    veci sums[MAX_VECTORS][MAX_TOKENS];
    NANO_UNROLL
    for (int c = 0; c < num_tokens; c++) {
        NANO_UNROLL
        for (int r = 0; r < num_vectors; r++)
            sums[r][c] = first_sum(t, t.parts == 1 ? &x[c].offset
                                      : part       ? &x[c].offset_high
                                                   : &x[c].offset_low);
    }
    part_dots(t, rows, x, part, num_vectors, num_tokens, sums);
    NANO_UNROLL
    for (int c = 0; c < num_tokens; c++) {
        NANO_UNROLL
        for (int r = 0; r < num_vectors; r++) {
            const vec scale =
                t.units == 1 ? vec_mul(rows[r].scale, vec_broadcast(&x[c].d)) : rows[r].scale;
            acc[r][c] = vec_fma(vec_from_veci(sums[r][c]), scale, acc[r][c]);
        }
    }
}

NANO_INLINE void tile_unit(struct nano_panel_traits t, struct row_group *rows,
                           const struct nano_q8_unit *x, int num_vectors, int num_tokens,
                           vec acc[MAX_VECTORS][MAX_TOKENS])
{
    NANO_UNROLL
    for (int r = 0; r < num_vectors; r++) {
        NANO_UNROLL
        for (int i = 0; i < t.bits; i++)
            __builtin_prefetch(rows[r].lines + PREFETCH_BYTES + i * NANO_LINE_BYTES);
    }
    NANO_UNROLL
    for (int r = 0; r < num_vectors; r++)
        next_scale(t, &rows[r], &rows[r].scale, &rows[r].min);
    tile_part(t, rows, x, 0, num_vectors, num_tokens, acc);
    if (t.parts == 2) {
        NANO_UNROLL
        for (int r = 0; r < num_vectors; r++)
            next_scale(t, &rows[r], &rows[r].scale, &rows[r].next_min);
        tile_part(t, rows, x, 1, num_vectors, num_tokens, acc);
    }
    NANO_UNROLL
    for (int r = 0; r < num_vectors; r++)
        rows[r].lines += t.bits * NANO_LINE_BYTES;
    if (!t.has_mins)
        return;
    NANO_UNROLL
    for (int c = 0; c < num_tokens; c++) {
        NANO_UNROLL
        for (int r = 0; r < num_vectors; r++) {
            acc[r][c] = vec_fma(rows[r].min, vec_broadcast(&x[c].sum), acc[r][c]);
            if (t.parts == 2)
                acc[r][c] = vec_fma(vec_sub(rows[r].next_min, rows[r].min),
                                    vec_broadcast(&x[c].sum_high), acc[r][c]);
        }
    }
}

/* Writes VEC_LANES rows of one token, or what is left of them. */
NANO_INLINE void finish_token(const struct nano_linear_args *args, int64_t row, int64_t token,
                              vec sum)
{
    const int64_t left = args->row_end - row;
    const int n = left < VEC_LANES ? (int)left : VEC_LANES;
    float *y = args->y + token * args->y_stride + row;
    if (args->bias)
        sum = vec_add(sum, n == VEC_LANES ? vec_load(args->bias + row)
                                          : vec_load_part(args->bias + row, n));
    if (n == VEC_LANES)
        vec_store(y, args->accumulate ? vec_add(vec_load(y), sum) : sum);
    else
        vec_store_part(y, args->accumulate ? vec_add(vec_load_part(y, n), sum) : sum, n);
}

NANO_INLINE void tile(enum nano_format format, const struct nano_linear_args *args, int64_t row,
                      int64_t token, int num_vectors, int num_tokens)
{
    const struct nano_panel_traits t = nano_panel_traits(format);
    const int lane = (int)(row % NANO_PANEL_ROWS);
    const struct nano_q8_unit *x =
        (const struct nano_q8_unit *)args->x + nano_q8_index(token, args->cols);
    const int64_t num_groups = args->cols / NANO_UNIT_COLS / t.units;
    struct row_group rows[MAX_VECTORS];
    vec acc[MAX_VECTORS][MAX_TOKENS], total[MAX_VECTORS][MAX_TOKENS];
    NANO_UNROLL
    for (int r = 0; r < num_vectors; r++) {
        const int64_t panel = (row + r * VEC_LANES) / NANO_PANEL_ROWS;
        rows[r].group =
            (const uint8_t *)args->weights + (size_t)panel * nano_panel_bytes(format, args->cols);
        NANO_UNROLL
        for (int c = 0; c < num_tokens; c++)
            acc[r][c] = total[r][c] = vec_zero();
    }
    for (int64_t i = 0; i < num_groups; i++) {
        NANO_UNROLL
        for (int r = 0; r < num_vectors; r++)
            begin_group(t, &rows[r], (lane + r * VEC_LANES) % NANO_PANEL_ROWS);
        for (int u = 0; u < t.units; u++, x += NANO_X_TILE)
            tile_unit(t, rows, x, num_vectors, num_tokens, acc);
        if (t.units == 1)
            continue;
        NANO_UNROLL
        for (int c = 0; c < num_tokens; c++) {
            NANO_UNROLL
            for (int r = 0; r < num_vectors; r++) {
                total[r][c] =
                    vec_fma(acc[r][c], vec_broadcast(&(x - NANO_X_TILE)[c].d), total[r][c]);
                acc[r][c] = vec_zero();
            }
        }
    }
    NANO_UNROLL
    for (int c = 0; c < num_tokens; c++) {
        NANO_UNROLL
        for (int r = 0; r < num_vectors; r++)
            finish_token(args, row + r * VEC_LANES, token + c,
                         t.units == 1 ? acc[r][c] : total[r][c]);
    }
}

/* ---- The walk over rows and tokens -------------------------------------------------------------
 *
 * Tokens outside, so that a tile's activations stay in the first cache while the panels of a pass,
 * which the second cache holds, go by. */

typedef void tile_fn(const struct nano_linear_args *args, int64_t row, int64_t token);

/* The widths of tiles. Those of one token have one vector of rows, the others VECI_TILE_VECTORS. */
enum { NUM_SHAPES = 4 };
static const int shape_tokens[NUM_SHAPES] = {VECI_TOKENS_0, VECI_TOKENS_1, VECI_TOKENS_2, 1};

static void tile_rows(tile_fn *const tiles[NUM_SHAPES], int shape,
                      const struct nano_linear_args *args, int64_t row, int64_t row_end,
                      int64_t token)
{
    const int num_tokens = shape_tokens[shape];
    if (num_tokens > 1)
        for (; row + (VECI_TILE_VECTORS - 1) * VEC_LANES < row_end;
             row += VECI_TILE_VECTORS * VEC_LANES)
            tiles[shape](args, row, token);
    for (; row < row_end; row += VEC_LANES)
        for (int c = 0; c < num_tokens; c++)
            tiles[NUM_SHAPES - 1](args, row, token + c);
}

static void panel_linear(tile_fn *const tiles[NUM_SHAPES], const struct nano_linear_args *args)
{
    const int64_t pass = PANELS_PER_PASS * NANO_PANEL_ROWS;
    for (int64_t row = args->row_begin; row < args->row_end; row += pass) {
        const int64_t row_end = row + pass < args->row_end ? row + pass : args->row_end;
        int shape = 0;
        for (int64_t token = args->token_begin; token < args->token_end;
             token += shape_tokens[shape]) {
            int64_t end = token / NANO_X_TILE * NANO_X_TILE + NANO_X_TILE;
            end = end < args->token_end ? end : args->token_end;
            for (shape = 0; token + shape_tokens[shape] > end;)
                shape++;
            tile_rows(tiles, shape, args, row, row_end, token);
        }
    }
}

/* Functions of their own, because one with all shapes in it compiles for minutes. */
#define DEFINE_TILE(NAME, name, shape, num_vectors, num_tokens)              \
    static __attribute__((noinline)) void tile_##name##_##shape(             \
        const struct nano_linear_args *args, int64_t row, int64_t token)     \
    {                                                                        \
        tile(NANO_FORMAT_##NAME, args, row, token, num_vectors, num_tokens); \
    }

#define DEFINE_LINEAR(NAME, name)                                                     \
    DEFINE_TILE(NAME, name, 0, VECI_TILE_VECTORS, VECI_TOKENS_0)                      \
    DEFINE_TILE(NAME, name, 1, VECI_TILE_VECTORS, VECI_TOKENS_1)                      \
    DEFINE_TILE(NAME, name, 2, VECI_TILE_VECTORS, VECI_TOKENS_2)                      \
    DEFINE_TILE(NAME, name, 3, 1, 1)                                                  \
                                                                                      \
    void VEC_NAME(nano_linear_##name)(const struct nano_linear_args *args)            \
    {                                                                                 \
        static tile_fn *const tiles[NUM_SHAPES] = {tile_##name##_0, tile_##name##_1,  \
                                                   tile_##name##_2, tile_##name##_3}; \
        panel_linear(tiles, args);                                                    \
    }

DEFINE_LINEAR(Q4_0, q4_0)
DEFINE_LINEAR(Q4_1, q4_1)
DEFINE_LINEAR(Q5_0, q5_0)
DEFINE_LINEAR(Q5_1, q5_1)
DEFINE_LINEAR(Q8_0, q8_0)
DEFINE_LINEAR(Q2_K, q2_k)
DEFINE_LINEAR(Q3_K, q3_k)
DEFINE_LINEAR(Q4_K, q4_k)
DEFINE_LINEAR(Q5_K, q5_k)
DEFINE_LINEAR(Q6_K, q6_k)
DEFINE_LINEAR(IQ4_NL, iq4_nl)
DEFINE_LINEAR(IQ4_XS, iq4_xs)

DEFINE_LINEAR(MXFP4, mxfp4)
DEFINE_LINEAR(NVFP4, nvfp4)

/* The panels of the rest differ in nothing but the number of scales. */
DEFINE_LINEAR(IQ1_S, iq1_s)
DEFINE_LINEAR(IQ1_M, iq1_m)

#define DEFINE_LINEAR_LIKE(name, like)                                     \
    void VEC_NAME(nano_linear_##name)(const struct nano_linear_args *args) \
    {                                                                      \
        VEC_NAME(nano_linear_##like)(args);                                \
    }

DEFINE_LINEAR_LIKE(q1_0, iq1_s)
DEFINE_LINEAR_LIKE(q2_0, iq1_s)
DEFINE_LINEAR_LIKE(tq1_0, iq1_s)
DEFINE_LINEAR_LIKE(tq2_0, iq1_s)
DEFINE_LINEAR_LIKE(iq2_xxs, iq1_s)
DEFINE_LINEAR_LIKE(iq3_xxs, iq1_s)
DEFINE_LINEAR_LIKE(iq3_s, iq1_s)
DEFINE_LINEAR_LIKE(iq2_xs, iq1_m)
DEFINE_LINEAR_LIKE(iq2_s, iq1_m)

/* ---- F32, F16, BF16 ---------------------------------------------------------------------------
 *
 * One chain of fused multiply-adds per output, in the order of columns. With one token several
 * panels go side by side, because a chain alone would wait for its own last sum. */

NANO_INLINE vec load_floats(enum nano_format format, const uint8_t *at)
{
    return format == NANO_FORMAT_F32   ? vec_load((const float *)(const void *)at)
           : format == NANO_FORMAT_F16 ? vec_load_f16(at)
                                       : vec_load_bf16(at);
}

enum { FLOAT_MAX_VECTORS = 4, FLOAT_MAX_TOKENS = 6 };

#ifndef VEC_NO_FLOAT_LINEAR
NANO_INLINE void float_tile(enum nano_format format, const struct nano_linear_args *args,
                            int64_t row, int64_t token, int num_vectors, int num_tokens)
{
    const int value_bytes = nano_panel_traits(format).value_bytes;
    const uint8_t *w[FLOAT_MAX_VECTORS];
    const float *x[FLOAT_MAX_TOKENS];
    vec acc[FLOAT_MAX_VECTORS][FLOAT_MAX_TOKENS];
    NANO_UNROLL
    for (int r = 0; r < num_vectors; r++) {
        const int64_t first = row + r * VEC_LANES;
        w[r] = (const uint8_t *)args->weights +
               (size_t)(first / NANO_PANEL_ROWS) * nano_panel_bytes(format, args->cols) +
               (size_t)(first % NANO_PANEL_ROWS * value_bytes);
        NANO_UNROLL
        for (int c = 0; c < num_tokens; c++)
            acc[r][c] = vec_zero();
    }
    NANO_UNROLL
    for (int c = 0; c < num_tokens; c++)
        x[c] = (const void *)((const uint8_t *)args->x + (size_t)(token + c) * args->x_stride);
    for (int64_t k = 0; k < args->cols; k++) {
        vec weights[FLOAT_MAX_VECTORS];
        NANO_UNROLL
        for (int r = 0; r < num_vectors; r++)
            __builtin_prefetch(w[r] + (size_t)(k * NANO_PANEL_ROWS * value_bytes) + PREFETCH_BYTES);
        NANO_UNROLL
        for (int r = 0; r < num_vectors; r++)
            weights[r] = load_floats(format, w[r] + (size_t)(k * NANO_PANEL_ROWS * value_bytes));
        NANO_UNROLL
        for (int c = 0; c < num_tokens; c++) {
            const vec xk = vec_broadcast(x[c] + k);
            NANO_UNROLL
            for (int r = 0; r < num_vectors; r++)
                acc[r][c] = vec_fma(weights[r], xk, acc[r][c]);
        }
    }
    NANO_UNROLL
    for (int r = 0; r < num_vectors; r++) {
        NANO_UNROLL
        for (int c = 0; c < num_tokens; c++)
            finish_token(args, row + r * VEC_LANES, token + c, acc[r][c]);
    }
}

/* Rows in steps of num_vectors vectors, the rest one by one. */
NANO_INLINE void float_rows(enum nano_format format, const struct nano_linear_args *args,
                            int64_t begin, int64_t end, int64_t token, int num_vectors,
                            int num_tokens)
{
    int64_t row = begin;
    for (; row + (num_vectors - 1) * VEC_LANES < end; row += num_vectors * VEC_LANES)
        float_tile(format, args, row, token, num_vectors, num_tokens);
    for (; row < end; row += VEC_LANES)
        float_tile(format, args, row, token, 1, num_tokens);
}

NANO_INLINE void float_linear(enum nano_format format, const struct nano_linear_args *args)
{
    const int64_t pass = PANELS_PER_PASS * NANO_PANEL_ROWS;
    for (int64_t row = args->row_begin; row < args->row_end; row += pass) {
        const int64_t row_end = row + pass < args->row_end ? row + pass : args->row_end;
        int64_t token = args->token_begin;
        for (; token + VEC_FLOAT_TOKENS <= args->token_end; token += VEC_FLOAT_TOKENS)
            float_rows(format, args, row, row_end, token, VEC_FLOAT_VECTORS, VEC_FLOAT_TOKENS);
        for (; token < args->token_end; token++)
            float_rows(format, args, row, row_end, token, FLOAT_MAX_VECTORS, 1);
    }
}

void VEC_NAME(nano_linear_f32)(const struct nano_linear_args *args)
{
    float_linear(NANO_FORMAT_F32, args);
}

void VEC_NAME(nano_linear_f16)(const struct nano_linear_args *args)
{
    float_linear(NANO_FORMAT_F16, args);
}

void VEC_NAME(nano_linear_bf16)(const struct nano_linear_args *args)
{
    float_linear(NANO_FORMAT_BF16, args);
}
#endif

/* Linear kernels, get_row and activation quantisers. */
#include "check_kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "simd/ref/ref.h"

static void put_f16(unsigned char *at, float value)
{
    nano_store_u16(at, nano_f32_to_f16(value));
}

/* Where the f16 fields of a block are: random bytes there could be NaN. */
static int f16_fields(enum nano_format format, int offsets[2])
{
#define FIELD(name, member) (int)offsetof(struct nano_block_##name, member)
    switch (format) {
    case NANO_FORMAT_Q4_1:
    case NANO_FORMAT_Q5_1:
        offsets[0] = FIELD(q4_1, d), offsets[1] = FIELD(q4_1, m);
        return 2;
    case NANO_FORMAT_Q2_K:
        offsets[0] = FIELD(q2_k, d), offsets[1] = FIELD(q2_k, dmin);
        return 2;
    case NANO_FORMAT_Q4_K:
    case NANO_FORMAT_Q5_K:
        offsets[0] = FIELD(q4_k, d), offsets[1] = FIELD(q4_k, dmin);
        return 2;
    case NANO_FORMAT_Q3_K:
        offsets[0] = FIELD(q3_k, d);
        return 1;
    case NANO_FORMAT_TQ1_0:
        offsets[0] = FIELD(tq1_0, d);
        return 1;
    case NANO_FORMAT_TQ2_0:
        offsets[0] = FIELD(tq2_0, d);
        return 1;
    case NANO_FORMAT_Q6_K:
        offsets[0] = FIELD(q6_k, d);
        return 1;
    default:
        offsets[0] = 0;
        return 1;
    }
#undef FIELD
}

static void set_scale_iq1_m(unsigned char *block, float value)
{
    struct nano_block_iq1_m *b = (void *)block;
    unsigned d = nano_f32_to_f16(value);
    for (int i = 0; i < 4; i++)
        nano_store_u16(b->scales[i],
                       (uint16_t)((nano_load_u16(b->scales[i]) & 0xFFF) | (d >> 4 * i & 15) << 12));
}

static void fill_block(unsigned char *block, enum nano_format format, enum pattern pattern)
{
    const struct nano_format_traits *traits = nano_format_traits(format);
    static const float scales[NUM_PATTERNS] = {0, 1, 0.25f, 0.375f, 0, 0x1.8p-22f, 65504};
    for (int i = 0; i < traits->block_bytes; i++) {
        switch (pattern) {
        case PATTERN_MAXIMUM:
            block[i] = format == NANO_FORMAT_Q8_0 ? 0x80 : 0xFF;
            break;
        case PATTERN_ALTERNATING:
            block[i] = i % 2 ? 0xFF : 0;
            break;
        case PATTERN_EQUAL:
            block[i] = 0x77;
            break;
        default:
            block[i] = (unsigned char)random_u64();
        }
    }
    if (format == NANO_FORMAT_MXFP4) {
        static const uint8_t exponents[NUM_PATTERNS] = {0, 128, 126, 127, 0, 0, 190};
        block[0] =
            pattern == PATTERN_RANDOM ? (uint8_t)(120 + random_below(16)) : exponents[pattern];
        return;
    }
    if (format == NANO_FORMAT_IQ1_M) {
        set_scale_iq1_m(block, pattern == PATTERN_RANDOM ? random_float() : scales[pattern]);
        return;
    }
    if (format == NANO_FORMAT_NVFP4)
        return;
    int offsets[2], num_fields = f16_fields(format, offsets);
    for (int i = 0; i < num_fields; i++)
        put_f16(block + offsets[i], pattern == PATTERN_RANDOM ? random_float() : scales[pattern]);
}

static void fill_weights(unsigned char *stored, enum nano_format format, int64_t num_blocks,
                         enum pattern pattern)
{
    const struct nano_format_traits *traits = nano_format_traits(format);
    for (int64_t i = 0; i < num_blocks; i++) {
        unsigned char *block = stored + i * traits->block_bytes;
        float value;
        fill_floats(&value, 1, pattern);
        if (pattern == PATTERN_ALTERNATING && i % 2)
            value = -value;
        if (format == NANO_FORMAT_F32)
            memcpy(block, &value, 4);
        else if (format == NANO_FORMAT_F16)
            put_f16(block, pattern == PATTERN_TINY   ? random_float() * 0x1p-15f
                           : pattern == PATTERN_HUGE ? random_float() * 65504
                                                     : value);
        else if (format == NANO_FORMAT_BF16)
            nano_store_u16(block, nano_f32_to_bf16(value));
        else
            fill_block(block, format, pattern);
    }
}

struct matrix matrix_make(const struct nano_kernels *kernels, enum nano_format format, int64_t rows,
                          int64_t cols, enum pattern pattern)
{
    const struct nano_linear_kernels *linear = &kernels->linear[format];
    struct matrix m = {.rows = rows, .cols = cols};
    m.stored = input_alloc((size_t)rows * nano_format_row_bytes(format, cols));
    fill_weights(m.stored.data, format, rows * (cols / nano_format_traits(format)->block_length),
                 pattern);
    m.weights = m.stored.data;
    if (linear->pack) {
        m.packed = input_alloc((linear->packed_bytes(rows, cols) + 63) / 64 * 64);
        linear->pack(m.packed.data, m.stored.data, rows, cols, 0, rows);
        m.weights = m.packed.data;
    }
    return m;
}

void matrix_free(struct matrix *matrix)
{
    input_free(&matrix->stored);
    input_free(&matrix->packed);
}

/* ---- What the result should be, in double ------------------------------------------------------
 */

static void unpack_32(enum nano_format format, struct nano_unpacked_32 *out, const void *block)
{
    static void (*const unpack[NANO_NUM_FORMATS])(struct nano_unpacked_32 *, const void *) = {
        [NANO_FORMAT_Q4_0] = nano_unpack_q4_0, [NANO_FORMAT_Q4_1] = nano_unpack_q4_1,
        [NANO_FORMAT_Q5_0] = nano_unpack_q5_0, [NANO_FORMAT_Q5_1] = nano_unpack_q5_1,
        [NANO_FORMAT_Q8_0] = nano_unpack_q8_0, [NANO_FORMAT_IQ4_NL] = nano_unpack_iq4_nl,
    };
    unpack[format](out, block);
}

static void unpack_256(enum nano_format format, struct nano_unpacked_256 *out, const void *block)
{
    static void (*const unpack[NANO_NUM_FORMATS])(struct nano_unpacked_256 *, const void *) = {
        [NANO_FORMAT_Q2_K] = nano_unpack_q2_k, [NANO_FORMAT_Q3_K] = nano_unpack_q3_k,
        [NANO_FORMAT_Q4_K] = nano_unpack_q4_k, [NANO_FORMAT_Q5_K] = nano_unpack_q5_k,
        [NANO_FORMAT_Q6_K] = nano_unpack_q6_k, [NANO_FORMAT_IQ4_XS] = nano_unpack_iq4_xs,
    };
    unpack[format](out, block);
}

static bool is_unit_format(enum nano_format format)
{
    return format >= NANO_FORMAT_MXFP4;
}

static void unpack_unit(enum nano_format format, struct nano_unpacked_unit *out, const void *block,
                        int unit)
{
    static void (*const unpack[NANO_NUM_FORMATS])(struct nano_unpacked_unit *, const void *,
                                                  int) = {
        [NANO_FORMAT_MXFP4] = nano_unpack_mxfp4,     [NANO_FORMAT_NVFP4] = nano_unpack_nvfp4,
        [NANO_FORMAT_Q1_0] = nano_unpack_q1_0,       [NANO_FORMAT_Q2_0] = nano_unpack_q2_0,
        [NANO_FORMAT_TQ1_0] = nano_unpack_tq1_0,     [NANO_FORMAT_TQ2_0] = nano_unpack_tq2_0,
        [NANO_FORMAT_IQ1_S] = nano_unpack_iq1_s,     [NANO_FORMAT_IQ1_M] = nano_unpack_iq1_m,
        [NANO_FORMAT_IQ2_XXS] = nano_unpack_iq2_xxs, [NANO_FORMAT_IQ2_XS] = nano_unpack_iq2_xs,
        [NANO_FORMAT_IQ2_S] = nano_unpack_iq2_s,     [NANO_FORMAT_IQ3_XXS] = nano_unpack_iq3_xxs,
        [NANO_FORMAT_IQ3_S] = nano_unpack_iq3_s,
    };
    unpack[format](out, block, unit);
}

/* An exact dot product and how far a float computation of it may be away: half a unit in the last
 * place per addition of the longest allowed chain, of the sum of magnitudes. */
struct expected {
    double value, magnitude;
    int64_t num_additions;
};

static void add_term(struct expected *e, double term)
{
    e->value += term;
    e->magnitude += fabs(term);
}

/* `x` is one token's activations, as a row of floats or as Q8 units. */
static struct expected expect_dot(enum nano_format format, const unsigned char *weights,
                                  const void *x, int64_t cols)
{
    struct expected e = {0, 0, 4};
    const struct nano_format_traits *traits = nano_format_traits(format);
    const int64_t num_blocks = cols / traits->block_length;
    const struct nano_q8_unit *unit = x;
    for (int64_t i = 0; i < num_blocks; i++, weights += traits->block_bytes) {
        if (traits->activation == NANO_ACTIVATION_F32) {
            float w = format == NANO_FORMAT_F32   ? nano_load_f32(weights)
                      : format == NANO_FORMAT_F16 ? nano_load_f16(weights)
                                                  : nano_load_bf16(weights);
            add_term(&e, (double)w * ((const float *)x)[i]);
            e.num_additions += 2;
        } else if (is_unit_format(format)) {
            struct nano_unpacked_unit w;
            for (int u = 0; u < traits->block_length / 32; u++, unit += NANO_X_TILE) {
                unpack_unit(format, &w, weights, u);
                for (int k = 0; k < 32; k++)
                    add_term(&e, (double)w.d[k / 16] * w.q[k] * unit->d * unit->q[k]);
                e.num_additions += 8;
            }
        } else if (traits->block_length == 32) {
            struct nano_unpacked_32 w;
            unpack_32(format, &w, weights);
            for (int k = 0; k < 32; k++) {
                add_term(&e, (double)w.d * w.q[k] * unit->d * unit->q[k]);
                add_term(&e, (double)w.m * unit->d * unit->q[k]);
            }
            unit += NANO_X_TILE;
            e.num_additions += 4;
        } else {
            struct nano_unpacked_256 w;
            unpack_256(format, &w, weights);
            for (int k = 0; k < 256; k++) {
                const struct nano_q8_unit *u = unit + k / 32 * NANO_X_TILE;
                double xk = (double)u->d * u->q[k % 32];
                add_term(&e, (double)w.d * w.scales[k / 16] * w.q[k] * xk);
                add_term(&e, -(double)w.dmin * w.mins[k / 16] * xk);
            }
            unit += 8 * NANO_X_TILE;
            e.num_additions += 48; /* 8 units of two parts, each with a min */
        }
    }
    return e;
}

static bool is_near(float y, struct expected e)
{
    double tolerance = (double)e.num_additions * (e.magnitude * 0x1p-24 + 0x1p-149);
    return fabs((double)y - e.value) <= tolerance;
}

/* ---- linear and get_row ------------------------------------------------------------------------
 */

/* Tokens in the format's activation layout, and where token t begins for expect_dot. */
struct activations {
    struct input memory;
    enum nano_activation layout;
    int64_t cols;
};

static struct activations make_activations(const struct nano_kernels *kernels,
                                           enum nano_format format, const float *x, int64_t cols,
                                           int num_tokens)
{
    struct activations a = {.layout = nano_format_traits(format)->activation, .cols = cols};
    const struct nano_activation_kernels *slots = &kernels->activation[a.layout];
    a.memory = input_alloc(slots->bytes(num_tokens, cols));
    for (int t = 0; t < num_tokens; t++)
        slots->quantize(a.memory.data, t, x + t * cols, cols);
    return a;
}

static const void *token_of(const struct activations *a, int64_t token)
{
    if (a->layout == NANO_ACTIVATION_F32)
        return (const float *)a->memory.data + token * a->cols;
    return (const struct nano_q8_unit *)a->memory.data + nano_q8_index(token, a->cols);
}

static struct nano_linear_args linear_args(const struct matrix *m, const struct activations *x,
                                           float *y, int64_t y_stride, int num_tokens)
{
    return (struct nano_linear_args){.y = y,
                                     .y_stride = y_stride,
                                     .weights = m->weights,
                                     .rows = m->rows,
                                     .cols = m->cols,
                                     .row_end = m->rows,
                                     .x = x->memory.data,
                                     .x_stride = (size_t)m->cols * sizeof(float),
                                     .token_end = num_tokens};
}

/* A call on a part of the rows and tokens: same bits, and nothing else is written. With a bias and
 * something to add to, the sums are those of the whole call, added in this order. */
static void check_part(const struct tiers *tiers, enum nano_format format,
                       struct nano_linear_args args, const float *whole, int64_t whole_stride)
{
    const int64_t num_tokens = args.token_end - args.token_begin;
    args.y_stride = args.rows + random_below(5);
    struct output out =
        output_alloc((size_t)(args.y_stride * num_tokens) * 4, 4 * (size_t)random_below(16));
    float *y = out.data;
    args.y = (float *)((uintptr_t)y - (uintptr_t)(args.token_begin * args.y_stride) * 4);
    for (int64_t t = 0; args.accumulate && t < num_tokens; t++)
        for (int64_t r = args.row_begin; r < args.row_end; r++)
            y[t * args.y_stride + r] = (float)(r - t);
    tiers->test->linear[format].linear(&args);
    bool clean = output_guards_intact(&out), same = true;
    for (int64_t t = 0; t < num_tokens; t++) {
        size_t line = (size_t)(t * args.y_stride) * 4;
        clean = clean && output_untouched(&out, line, line + (size_t)args.row_begin * 4) &&
                output_untouched(&out, line + (size_t)args.row_end * 4,
                                 line + (size_t)args.y_stride * 4);
        for (int64_t r = args.row_begin; r < args.row_end; r++) {
            float expected = whole[(args.token_begin + t) * whole_stride + r];
            if (args.bias)
                expected += args.bias[r];
            if (args.accumulate)
                expected = (float)(r - t) + expected;
            same = same && memcmp(&y[t * args.y_stride + r], &expected, 4) == 0;
        }
    }
    check_that(clean, "[%d, %d]: rows %d-%d tokens %d-%d: wrote outside its range", (int)args.rows,
               (int)args.cols, (int)args.row_begin, (int)args.row_end, (int)args.token_begin,
               (int)args.token_end);
    check_that(same, "[%d, %d]: rows %d-%d tokens %d-%d: not the bits of the whole call",
               (int)args.rows, (int)args.cols, (int)args.row_begin, (int)args.row_end,
               (int)args.token_begin, (int)args.token_end);
    output_free(&out);
}

static int64_t random_row(const struct nano_linear_kernels *linear, int64_t rows)
{
    return random_below((int)rows + 1) / linear->row_align * linear->row_align;
}

static void check_parts(const struct tiers *tiers, enum nano_format format, const struct matrix *m,
                        const struct activations *x, const float *whole, int num_tokens)
{
    struct nano_linear_args args = linear_args(m, x, NULL, 0, num_tokens);
    float *bias = malloc((size_t)m->rows * sizeof *bias);
    fill_floats(bias, m->rows, PATTERN_RANDOM);
    for (int t = 0; t < num_tokens; t++) {
        args.token_begin = t;
        args.token_end = t + 1;
        check_part(tiers, format, args, whole, m->rows);
    }
    for (int i = 0; i < 6; i++) {
        args.row_begin = random_row(&tiers->test->linear[format], m->rows);
        args.row_end = args.row_begin + random_below((int)(m->rows - args.row_begin) + 1);
        args.token_begin = random_below(num_tokens);
        args.token_end = args.token_begin + 1 + random_below(num_tokens - (int)args.token_begin);
        args.bias = i % 2 ? bias : NULL;
        args.accumulate = i % 4 > 1;
        check_part(tiers, format, args, whole, m->rows);
    }
    free(bias);
}

static void check_linear_case(const struct tiers *tiers, enum nano_format format, int64_t rows,
                              int64_t cols, int num_tokens, enum pattern wp, enum pattern xp)
{
    struct matrix m = matrix_make(tiers->test, format, rows, cols, wp);
    float *x = malloc((size_t)(cols * num_tokens) * 4 + 1),
          *y = malloc((size_t)(rows * num_tokens) * 4 + 1);
    fill_floats(x, cols * num_tokens, xp);
    struct activations xq = make_activations(tiers->test, format, x, cols, num_tokens);
    struct activations ref_xq = make_activations(tiers->ref, format, x, cols, num_tokens);
    const struct nano_linear_args args = linear_args(&m, &xq, y, rows, num_tokens);
    tiers->test->linear[format].linear(&args);
    size_t row_bytes = nano_format_row_bytes(format, cols);
    for (int64_t r = 0; r < rows; r++) {
        for (int t = 0; t < num_tokens; t++) {
            struct expected e =
                expect_dot(format, (unsigned char *)m.stored.data + (size_t)r * row_bytes,
                           token_of(&ref_xq, t), cols);
            check_that(
                is_near(y[t * rows + r], e),
                "[%d, %d] x %d tokens, weights %s, x %s: y[%d][%d] = %.9g, expected %.9g of %.3g",
                (int)rows, (int)cols, num_tokens, pattern_name(wp), pattern_name(xp), t, (int)r,
                (double)y[t * rows + r], e.value, e.magnitude);
        }
    }
    check_parts(tiers, format, &m, &xq, y, num_tokens);
    input_free(&xq.memory);
    input_free(&ref_xq.memory);
    matrix_free(&m);
    free(x);
    free(y);
}

static int64_t random_cols(enum nano_format format)
{
    static const int float_cols[] = {1, 5, 16, 32, 33, 47, 64, 100, 172, 256, 513};
    int length = nano_format_traits(format)->block_length;
    return length == 1 ? float_cols[random_below(11)]
                       : (int64_t)length * (1 + random_below(length == 32 ? 13 : 5));
}

static void check_linear_format(const struct tiers *tiers, enum nano_format format)
{
    static const int64_t row_counts[] = {1, 3, 4, 17, 35};
    const bool quick = getenv("NANOVLLM_TEST_QUICK") != NULL;
    check_begin(tiers, "linear", nano_format_traits(format)->name);
    for (int wp = 0; wp < NUM_PATTERNS; wp++) {
        for (int xp = 0; xp < NUM_PATTERNS; xp++)
            if (!quick || wp == xp || xp == PATTERN_RANDOM)
                check_linear_case(tiers, format, row_counts[random_below(5)], random_cols(format),
                                  1 + random_below(30), (enum pattern)wp, (enum pattern)xp);
    }
    for (int i = 0; i < (quick ? 15 : 60); i++)
        check_linear_case(tiers, format, row_counts[i % 5], random_cols(format), 1 + i % 30,
                          PATTERN_RANDOM, PATTERN_RANDOM);
    check_end();
}

/* Dequantised rows are the same bits in every tier. */
static void check_get_row(const struct tiers *tiers, enum nano_format format)
{
    check_begin(tiers, "get_row", nano_format_traits(format)->name);
    for (int wp = 0; wp < NUM_PATTERNS; wp++) {
        int64_t rows = 1 + random_below(20), cols = random_cols(format);
        struct matrix m = matrix_make(tiers->test, format, rows, cols, (enum pattern)wp);
        float *expected = malloc((size_t)cols * 4);
        for (int64_t r = 0; r < rows; r++) {
            struct output out = output_alloc((size_t)cols * 4, 4 * (size_t)random_below(16));
            tiers->ref->linear[format].get_row(expected, m.stored.data, rows, cols, r);
            tiers->test->linear[format].get_row(out.data, m.weights, rows, cols, r);
            check_that(memcmp(out.data, expected, (size_t)cols * 4) == 0 &&
                           output_guards_intact(&out),
                       "[%d, %d] %s: row %d differs", (int)rows, (int)cols,
                       pattern_name((enum pattern)wp), (int)r);
            output_free(&out);
        }
        free(expected);
        matrix_free(&m);
    }
    check_end();
}

void check_linear(const struct tiers *tiers)
{
    for (int i = 0; i < NANO_NUM_FORMATS; i++) {
        check_linear_format(tiers, (enum nano_format)i);
        check_get_row(tiers, (enum nano_format)i);
    }
}

/* ---- Activations -------------------------------------------------------------------------------
 */

/* Levels exactly between two integers, where the kinds of rounding differ. */
static void fill_halves(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = i % 32 == 7 ? -127 : (float)(random_below(254) - 127) + 0.5f;
}

/* The reference's bytes, and nothing of the other tokens' is touched. */
void check_activations(const struct tiers *tiers)
{
    static const char *const names[NANO_NUM_ACTIVATIONS] = {"F32", "Q8_32", "Q8_256"};
    for (int i = 0; i < NANO_NUM_ACTIVATIONS; i++) {
        const struct nano_activation_kernels *test = &tiers->test->activation[i],
                                             *ref = &tiers->ref->activation[i];
        check_begin(tiers, "quantize", names[i]);
        for (int round = 0; round < 5 * (NUM_PATTERNS + 1); round++) {
            int pattern = round % (NUM_PATTERNS + 1), token = random_below(30);
            int64_t cols = i == NANO_ACTIVATION_F32     ? random_below(100)
                           : i == NANO_ACTIVATION_Q8_32 ? 32 * (1 + random_below(30))
                                                        : 256 * (1 + random_below(4));
            struct input x = input_alloc((size_t)cols * 4);
            pattern == NUM_PATTERNS ? fill_halves(x.data, cols)
                                    : fill_floats(x.data, cols, (enum pattern)pattern);
            struct output out = output_alloc(test->bytes(token + 1, cols), 0),
                          expected = output_alloc(ref->bytes(token + 1, cols), 0);
            test->quantize(out.data, token, x.data, cols);
            ref->quantize(expected.data, token, x.data, cols);
            check_that(output_guards_intact(&out), "%d columns: wrote outside", (int)cols);
            check_that(
                out.num_bytes == expected.num_bytes &&
                    (out.num_bytes == 0 || memcmp(out.data, expected.data, out.num_bytes) == 0),
                "%d columns, token %d, pattern %d: bytes differ", (int)cols, token, pattern);
            output_free(&out);
            output_free(&expected);
            input_free(&x);
        }
        check_end();
    }
}

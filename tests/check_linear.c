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
    case NANO_FORMAT_Q6_K:
        offsets[0] = FIELD(q6_k, d);
        return 1;
    default:
        offsets[0] = 0;
        return 1;
    }
#undef FIELD
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

/* `row` is in the reference's activation layout. */
static struct expected expect_dot(enum nano_format format, const unsigned char *weights,
                                  const void *row, int64_t cols)
{
    struct expected e = {0, 0, 4};
    const struct nano_format_traits *traits = nano_format_traits(format);
    const int64_t num_blocks = cols / traits->block_length;
    e.num_additions += num_blocks * 2;
    for (int64_t i = 0; i < num_blocks; i++, weights += traits->block_bytes) {
        if (traits->activation == NANO_ACTIVATION_F32) {
            float w = format == NANO_FORMAT_F32   ? nano_load_f32(weights)
                      : format == NANO_FORMAT_F16 ? nano_load_f16(weights)
                                                  : nano_load_bf16(weights);
            add_term(&e, (double)w * ((const float *)row)[i]);
        } else if (traits->activation == NANO_ACTIVATION_Q8_32) {
            struct nano_q8_32_row x = nano_q8_32_row(row, cols);
            struct nano_unpacked_32 w;
            unpack_32(format, &w, weights);
            for (int k = 0; k < 32; k++) {
                add_term(&e, (double)w.d * w.q[k] * x.d[i] * x.q[i * 32 + k]);
                add_term(&e, (double)w.m * x.d[i] * x.q[i * 32 + k]);
            }
        } else {
            struct nano_q8_256_row x = nano_q8_256_row(row, cols);
            struct nano_unpacked_256 w;
            unpack_256(format, &w, weights);
            for (int k = 0; k < 256; k++) {
                double xk = (double)x.d[i] * x.q[i * 256 + k];
                add_term(&e, (double)w.d * w.scales[k / 16] * w.q[k] * xk);
                add_term(&e, -(double)w.dmin * w.mins[k / 16] * xk);
            }
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

static struct input activation_rows(const struct nano_kernels *kernels, enum nano_format format,
                                    const float *x, int64_t cols, int num_tokens, size_t *stride)
{
    const struct nano_activation_kernels *a =
        &kernels->activation[nano_format_traits(format)->activation];
    *stride = a->row_bytes(cols);
    struct input rows = input_alloc(*stride * (size_t)num_tokens);
    for (int t = 0; t < num_tokens; t++)
        a->quantize((char *)rows.data + (size_t)t * *stride, x + t * cols, cols);
    return rows;
}

/* A second call on a part of the rows and tokens: same bits, and nothing else is written. */
static void check_part(const struct tiers *tiers, enum nano_format format, const struct matrix *m,
                       const char *x, size_t x_stride, const float *whole, int64_t whole_stride,
                       int64_t row_begin, int64_t row_end, int token_begin, int token_end)
{
    int64_t y_stride = m->rows + random_below(5);
    int num_tokens = token_end - token_begin;
    struct output out =
        output_alloc((size_t)(y_stride * num_tokens) * 4, 4 * (size_t)random_below(16));
    float *y = out.data;
    tiers->test->linear[format].linear(y, y_stride, m->weights, m->rows, m->cols, row_begin,
                                       row_end, x + (size_t)token_begin * x_stride, x_stride,
                                       num_tokens);
    bool clean = output_guards_intact(&out), same = true;
    for (int t = 0; t < num_tokens; t++) {
        size_t line = (size_t)(t * y_stride) * 4;
        clean = clean && output_untouched(&out, line, line + (size_t)row_begin * 4) &&
                output_untouched(&out, line + (size_t)row_end * 4, line + (size_t)y_stride * 4);
        same = same && memcmp(y + t * y_stride + row_begin,
                              whole + (token_begin + t) * whole_stride + row_begin,
                              (size_t)(row_end - row_begin) * 4) == 0;
    }
    check_that(clean, "[%d, %d]: rows %d-%d tokens %d-%d: wrote outside its range", (int)m->rows,
               (int)m->cols, (int)row_begin, (int)row_end, token_begin, token_end);
    check_that(same, "[%d, %d]: rows %d-%d tokens %d-%d: not the bits of the whole call",
               (int)m->rows, (int)m->cols, (int)row_begin, (int)row_end, token_begin, token_end);
    output_free(&out);
}

static int64_t random_row(const struct nano_linear_kernels *linear, int64_t rows)
{
    return random_below((int)rows + 1) / linear->row_align * linear->row_align;
}

static void check_linear_case(const struct tiers *tiers, enum nano_format format, int64_t rows,
                              int64_t cols, int num_tokens, enum pattern wp, enum pattern xp)
{
    const struct nano_linear_kernels *linear = &tiers->test->linear[format];
    struct matrix m = matrix_make(tiers->test, format, rows, cols, wp);
    float *x = malloc((size_t)(cols * num_tokens) * 4 + 1),
          *y = malloc((size_t)(rows * num_tokens) * 4 + 1);
    fill_floats(x, cols * num_tokens, xp);
    size_t stride, ref_stride;
    struct input xq = activation_rows(tiers->test, format, x, cols, num_tokens, &stride);
    struct input ref_xq = activation_rows(tiers->ref, format, x, cols, num_tokens, &ref_stride);

    linear->linear(y, rows, m.weights, rows, cols, 0, rows, xq.data, stride, num_tokens);
    size_t row_bytes = nano_format_row_bytes(format, cols);
    for (int64_t r = 0; r < rows; r++) {
        for (int t = 0; t < num_tokens; t++) {
            struct expected e =
                expect_dot(format, (unsigned char *)m.stored.data + (size_t)r * row_bytes,
                           (char *)ref_xq.data + (size_t)t * ref_stride, cols);
            check_that(
                is_near(y[t * rows + r], e),
                "[%d, %d] x %d tokens, weights %s, x %s: y[%d][%d] = %.9g, expected %.9g of %.3g",
                (int)rows, (int)cols, num_tokens, pattern_name(wp), pattern_name(xp), t, (int)r,
                (double)y[t * rows + r], e.value, e.magnitude);
        }
    }
    for (int t = 0; t < num_tokens; t++)
        check_part(tiers, format, &m, xq.data, stride, y, rows, 0, rows, t, t + 1);
    for (int i = 0; i < 4; i++) {
        int64_t begin = random_row(linear, rows),
                end = begin + random_below((int)(rows - begin) + 1);
        int first = random_below(num_tokens);
        check_part(tiers, format, &m, xq.data, stride, y, rows, begin, end, first,
                   first + 1 + random_below(num_tokens - first));
    }
    input_free(&xq);
    input_free(&ref_xq);
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
                              1 + random_below(9), (enum pattern)wp, (enum pattern)xp);
    }
    for (int i = 0; i < (quick ? 15 : 60); i++)
        check_linear_case(tiers, format, row_counts[i % 5], random_cols(format), 1 + i % 9,
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

/* Bytes equal to the reference's wherever the tier has the reference's layout. */
void check_activations(const struct tiers *tiers)
{
    static const char *const names[NANO_NUM_ACTIVATIONS] = {"F32", "Q8_32", "Q8_256"};
    for (int i = 0; i < NANO_NUM_ACTIVATIONS; i++) {
        const struct nano_activation_kernels *test = &tiers->test->activation[i],
                                             *ref = &tiers->ref->activation[i];
        check_begin(tiers, "quantize", names[i]);
        for (int round = 0; round < 3 * (NUM_PATTERNS + 1); round++) {
            int pattern = round % (NUM_PATTERNS + 1);
            int64_t cols =
                i == NANO_ACTIVATION_F32 ? random_below(100) : 256 * (1 + random_below(4));
            struct input x = input_alloc((size_t)cols * 4);
            pattern == NUM_PATTERNS ? fill_halves(x.data, cols)
                                    : fill_floats(x.data, cols, (enum pattern)pattern);
            struct output out = output_alloc(test->row_bytes(cols), 0),
                          expected = output_alloc(ref->row_bytes(cols), 0);
            test->quantize(out.data, x.data, cols);
            ref->quantize(expected.data, x.data, cols);
            check_that(output_guards_intact(&out), "%d columns: wrote outside the row", (int)cols);
            check_that(test->row_bytes != ref->row_bytes || out.num_bytes == 0 ||
                           memcmp(out.data, expected.data, out.num_bytes) == 0,
                       "%d columns, pattern %d: bytes differ", (int)cols, pattern);
            output_free(&out);
            output_free(&expected);
            input_free(&x);
        }
        check_end();
    }
}

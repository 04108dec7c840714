/* Search of codewords, scales and signs.
 *
 * The codeword nearest to a few weights is exact: the cost of a codeword is the sum of the costs of
 * its halves, which are tabulated, and codewords with an equal upper half (neighbours in the grid's
 * order) are skipped together where that half alone costs too much. Scales are tried around what
 * the weights' size suggests and improved by least squares. */
#include "simd/quantize_grid.h"

#include <math.h>
#include <string.h>

#include "simd/half.h"
#include "simd/inline.h"

enum { MAX_RUNS = 96, GROUP = 8, REFINEMENTS = 2 };

/* A grid with its runs of codewords that have one upper half. */
struct book {
    const struct nano_grid *grid;
    int half_bits, num_runs, num_levels;
    float levels[8];
    uint8_t upper[MAX_RUNS], run_of[256]; /* the latter by upper half */
    uint16_t begin[MAX_RUNS + 1];
    float root_mean_square; /* of the levels in the grid */
};

/* The block as codewords see it. */
struct target {
    const struct nano_grid_shape *shape;
    struct book book;
    float x[256], w[256]; /* magnitudes; one with the wrong sign is negative */
    uint8_t signs[32];
};

/* What a part is worth with one scale. */
struct trial {
    float scale, error;
    float xv, vv; /* sums of w x v and w v v */
    uint16_t codes[8];
    uint8_t minus[4]; /* deltas */
};

static void make_book(struct book *book, const struct nano_grid *grid)
{
    const bool wide = grid->length == 8;
    double squares = 0;
    *book = (struct book){.grid = grid, .half_bits = wide ? 8 : 6, .num_levels = wide ? 3 : 8};
    for (int l = 0; l < book->num_levels; l++)
        book->levels[l] = (float)grid->levels[l];
    for (int i = 0; i < grid->num_codes; i++) {
        const uint8_t upper = (uint8_t)(grid->codes[i] >> book->half_bits);
        if (i == 0 || upper != book->upper[book->num_runs - 1]) {
            book->begin[book->num_runs] = (uint16_t)i;
            book->run_of[upper] = (uint8_t)book->num_runs;
            book->upper[book->num_runs++] = upper;
        }
        for (int j = 0; j < grid->length; j++) {
            const int level = grid->levels[nano_grid_digit(grid->length, grid->codes[i], j)];
            squares += level * level;
        }
    }
    book->begin[book->num_runs] = (uint16_t)grid->num_codes;
    book->root_mean_square = (float)sqrt(squares / (grid->num_codes * grid->length));
}

/* table[b << bits | a] = lower[a] + upper[b] */
NANO_INLINE void add_tables(float *table, const float *lower, const float *upper, int bits)
{
    for (int b = 0; b < 1 << bits; b++)
        for (int a = 0; a < 1 << bits; a++)
            table[(b << bits) + a] = upper[b] + lower[a];
}

/* The costs of halves of four digits of 2 bits. */
static void tabulate_4(float table[256], float (*costs)[8])
{
    float lower[16], upper[16];
    add_tables(lower, costs[0], costs[1], 2);
    add_tables(upper, costs[2], costs[3], 2);
    add_tables(table, lower, upper, 4);
}

static void scan_run(const struct book *book, int run, const float *lower, float upper_cost,
                     float *least, uint16_t *code)
{
    const unsigned mask = (1u << book->half_bits) - 1;
    for (int i = book->begin[run]; i < book->begin[run + 1]; i++) {
        const float cost = lower[book->grid->codes[i] & mask] + upper_cost;
        if (cost < *least) {
            *least = cost;
            *code = (uint16_t)i;
        }
    }
}

/* The codeword that minimises the sum of w (x - scale (level + delta))^2; that sum. */
static float find_code(const struct book *book, const float *x, const float *w, float scale,
                       float delta, uint16_t *code)
{
    float costs[8][8], lower[256], upper[256];
    const int length = book->grid->length;
    for (int j = 0; j < length; j++) {
        for (int l = 0; l < (length == 8 ? 4 : 8); l++) {
            const float e = x[j] - scale * (book->levels[l] + delta);
            costs[j][l] = w[j] * e * e;
        }
    }
    if (length == 8) {
        tabulate_4(lower, costs);
        tabulate_4(upper, costs + 4);
    } else {
        add_tables(lower, costs[0], costs[1], 3);
        add_tables(upper, costs[2], costs[3], 3);
    }
    float floor = 0, least = INFINITY; /* floor: no lower half costs less */
    int likely = 0;                    /* the upper half of digits that are each the nearest */
    for (int j = 0; j < length; j++) {
        int nearest = 0;
        for (int l = 1; l < book->num_levels; l++)
            nearest = costs[j][l] < costs[j][nearest] ? l : nearest;
        if (j < length / 2)
            floor += costs[j][nearest];
        else
            likely |= nearest << (length == 8 ? 2 : 3) * (j - length / 2);
    }
    const int first = book->run_of[likely];
    *code = 0;
    scan_run(book, first, lower, upper[book->upper[first]], &least, code);
    for (int run = 0; run < book->num_runs; run++)
        if (upper[book->upper[run]] + floor < least)
            scan_run(book, run, lower, upper[book->upper[run]], &least, code);
    return least;
}

static int digit_level(const struct nano_grid *grid, uint16_t code, int j)
{
    return grid->levels[nano_grid_digit(grid->length, grid->codes[code], j)];
}

/* The codewords of weights [begin, begin + count) with one delta. */
static float find_codes(const struct target *t, int begin, int count, float scale, float delta,
                        uint16_t *codes)
{
    const int length = t->book.grid->length;
    float error = 0;
    for (int k = 0; k < count; k += length)
        error += find_code(&t->book, t->x + begin + k, t->w + begin + k, scale, delta,
                           codes + k / length);
    return error;
}

static void try_scale(const struct target *t, int part, float scale, struct trial *out)
{
    const struct nano_grid_shape *shape = t->shape;
    const int begin = part * shape->part, length = shape->grid->length;
    *out = (struct trial){.scale = scale};
    if (shape->delta_part == 0) {
        out->error = find_codes(t, begin, shape->part, scale, 0, out->codes);
    } else {
        const int step = shape->delta_part < shape->part ? shape->delta_part : shape->part;
        for (int k = 0; k < shape->part; k += step) {
            uint16_t codes[2][8];
            const float plus = find_codes(t, begin + k, step, scale, 0.125f, codes[0]),
                        minus = find_codes(t, begin + k, step, scale, -0.125f, codes[1]);
            memcpy(out->codes + k / length, codes[minus < plus],
                   (size_t)(step / length) * sizeof *codes[0]);
            memset(out->minus + k / GROUP, minus < plus, (size_t)(step / GROUP));
            out->error += minus < plus ? minus : plus;
        }
    }
    for (int k = 0; k < shape->part; k++) {
        float v = (float)digit_level(shape->grid, out->codes[k / length], k % length);
        if (shape->delta_part)
            v += out->minus[k / GROUP] ? -0.125f : 0.125f;
        const float w = t->w[begin + k];
        out->xv += w * t->x[begin + k] * v;
        out->vv += w * v * v;
    }
}

/* The scale of a part alone. */
static float fit_part(const struct target *t, int part)
{
    enum { FIRST_SCALES = 3 };
    const struct nano_grid_shape *shape = t->shape;
    const float top = (float)shape->grid->levels[t->book.num_levels - 1];
    float largest = 0, squares = 0, weights = 0;
    for (int k = part * shape->part; k < (part + 1) * shape->part; k++) {
        largest = fabsf(t->x[k]) > largest ? fabsf(t->x[k]) : largest;
        squares += t->w[k] * t->x[k] * t->x[k];
        weights += t->w[k];
    }
    if (!(squares > 0))
        return 0;
    const float typical = sqrtf(squares / weights) / t->book.root_mean_square;
    const float scales[FIRST_SCALES] = {0.9f * typical, 1.1f * typical, 0.7f * largest / top};
    struct trial best = {.error = INFINITY}, trial;
    for (int i = 0; i < FIRST_SCALES; i++) {
        try_scale(t, part, scales[i], &trial);
        if (trial.error < best.error)
            best = trial;
    }
    for (int i = 0; i < REFINEMENTS && best.vv > 0 && best.xv > 0; i++) {
        try_scale(t, part, best.xv / best.vv, &trial);
        if (!(trial.error < best.error))
            break;
        best = trial;
    }
    return best.scale;
}

/* Magnitudes and signs. Where the number of minus signs must be even, the weight whose sign
 * matters least takes the other one. */
static void load_target(struct target *t, const struct nano_grid_shape *shape,
                        const struct nano_source *source)
{
    t->shape = shape;
    make_book(&t->book, shape->grid);
    memset(t->signs, 0, sizeof t->signs);
    for (int k = 0; k < 256; k++) {
        t->x[k] = source->x[k / 4][k % 4];
        t->w[k] = source->w[k / 4][k % 4];
        if (shape->signs != NANO_GRID_SIGNS_NONE && t->x[k] < 0) {
            t->x[k] = -t->x[k];
            t->signs[k / GROUP] |= (uint8_t)(1 << k % GROUP);
        }
    }
    for (int g = 0; g < 32 && shape->signs == NANO_GRID_SIGNS_EVEN; g++) {
        if (nano_even_signs(t->signs[g] & 127) == t->signs[g])
            continue;
        float *x = t->x + GROUP * g, least = INFINITY;
        int cheapest = 0;
        for (int j = 0; j < GROUP; j++) {
            const float cost = t->w[GROUP * g + j] * x[j] * x[j];
            cheapest = cost < least ? j : cheapest;
            least = cost < least ? cost : least;
        }
        x[cheapest] = -x[cheapest];
        t->signs[g] ^= (uint8_t)(1 << cheapest);
    }
}

/* Finds everything for the choice's d and scales. Returns the error, and what d multiplies: sums of
 * x times that, and of its square. */
static float choose_codes(const struct target *t, struct nano_grid_choice *choice, double *xs,
                          double *ss)
{
    const struct nano_grid_shape *shape = t->shape;
    const int num_codes = shape->part / shape->grid->length, num_groups = shape->part / GROUP;
    float error = 0;
    *xs = *ss = 0;
    for (int part = 0; part < 256 / shape->part; part++) {
        const float multiple = shape->unit * (float)(2 * choice->scales[part] + 1);
        struct trial trial;
        try_scale(t, part, nano_f16_to_f32(choice->d) * multiple, &trial);
        memcpy(choice->codes + part * num_codes, trial.codes,
               (size_t)num_codes * sizeof *trial.codes);
        if (shape->delta_part)
            memcpy(choice->signs + part * num_groups, trial.minus, (size_t)num_groups);
        *xs += (double)(multiple * trial.xv);
        *ss += (double)(multiple * multiple * trial.vv);
        error += trial.error;
    }
    return error;
}

void nano_grid_search(const struct nano_grid_shape *shape, const struct nano_source *source,
                      struct nano_grid_choice *choice)
{
    struct target t;
    float fits[16], largest = 0;
    double xs, ss;
    load_target(&t, shape, source);
    memset(choice, 0, sizeof *choice);
    for (int part = 0; part < 256 / shape->part; part++) {
        fits[part] = fit_part(&t, part);
        largest = fits[part] > largest ? fits[part] : largest;
    }
    struct nano_grid_choice next = {
        .d = nano_scale_f16(largest / shape->unit / (float)(2 * shape->max_scale + 1))};
    if (next.d == 0)
        return;
    for (int part = 0; part < 256 / shape->part; part++) {
        const float scale = (fits[part] / (nano_f16_to_f32(next.d) * shape->unit) - 1) / 2;
        const float limited = scale < (float)shape->max_scale ? scale : (float)shape->max_scale;
        next.scales[part] = (uint8_t)lrintf(limited > 0 ? limited : 0);
    }
    if (!shape->delta_part)
        memcpy(next.signs, t.signs, sizeof next.signs);
    float error = choose_codes(&t, &next, &xs, &ss);
    *choice = next;
    for (int i = 0; i < REFINEMENTS && xs > 0 && ss > 0; i++) {
        next.d = nano_scale_f16((float)(xs / ss));
        if (next.d == 0 || next.d == choice->d)
            return;
        const float next_error = choose_codes(&t, &next, &xs, &ss);
        if (!(next_error < error))
            return;
        error = next_error;
        *choice = next;
    }
}

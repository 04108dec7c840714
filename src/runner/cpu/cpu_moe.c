/* MOE ops: products grouped by expert, so that an expert's weights are read once for all rows that
 * go to it, and those of experts without rows not at all.
 *
 *   rows        0 ─▶ 2, 5    1 ─▶ 5, 0    2 ─▶ 2, 7         routes: num_used slots each
 *   places      │ 1.1 │ …  │ 0.0  2.0 │ …  │ 0.1  1.0 │ …  │ 2.1 │      row.slot
 *   expert         0            2               5             7
 *
 * An expert's places are consecutive and begin with a tile of activations. Through them go the
 * inputs, then act(gate) * up, then the results, of which each row takes its slots' weighted sum in
 * the slots' order: nothing that a row becomes depends on other rows. */
#include <string.h>

#include "runner/cpu/cpu_state.h"
#include "simd/blocks.h"

/* Pairs of a row and a slot in a pass: enough that an expert has some tiles of rows. */
#define MIN_PASS_PAIRS 1024
#define MAX_PASS_PAIRS 8192
#define PASS_PAIRS_PER_EXPERT 32

enum { GATE, UP, DOWN };

struct moe {
    struct nano_cpu_worker *w;
    const struct nano_op *op;
    const struct nano_cpu_op *bound;
    int64_t first_row, num_rows; /* of the pass */
    int num_experts;             /* with rows */
    int64_t num_places;
    const void *x[NANO_NUM_ACTIVATIONS]; /* inputs */
    size_t x_stride;                     /* of F32 */
    const void *hidden_x;                /* what DOWN is multiplied with */
};

static enum nano_activation form_of(const struct nano_op *op, int k)
{
    return nano_format_traits(op->weight[k]->format)->activation;
}

static int64_t padded(int64_t width)
{
    const int64_t line = NANO_CACHE_LINE / sizeof(float);
    return (width + line - 1) / line * line;
}

/* ---- sizes ---- */

static int64_t rows_of_pass(const struct nano_moe *moe, int64_t max_rows)
{
    int64_t pairs = (int64_t)moe->num_experts * PASS_PAIRS_PER_EXPERT;
    pairs = pairs < MIN_PASS_PAIRS ? MIN_PASS_PAIRS : pairs;
    pairs = pairs > MAX_PASS_PAIRS ? MAX_PASS_PAIRS : pairs;
    const int64_t rows = pairs / moe->num_used > 0 ? pairs / moe->num_used : 1;
    return rows < max_rows ? rows : max_rows;
}

struct nano_cpu_moe_size nano_cpu_moe_size(const struct nano_cpu_runner *r,
                                           const struct nano_op *op,
                                           const bool makes[NANO_NUM_ACTIVATIONS], int64_t max_rows)
{
    const struct nano_moe *moe = &op->moe;
    const int64_t pairs = rows_of_pass(moe, max_rows) * moe->num_used;
    const int64_t most = pairs < moe->num_experts ? pairs : moe->num_experts;
    const int64_t places = pairs + most * (NANO_X_TILE - 1);
    const int64_t cols = op->weight[GATE]->dims[0], hidden = op->weight[DOWN]->dims[0];
    struct nano_cpu_moe_size size = {.places = (size_t)pairs,
                                     .hidden_floats = (size_t)places * (size_t)padded(hidden),
                                     .y_floats = (size_t)places *
                                                 (size_t)padded(op->weight[DOWN]->dims[1])};
    for (int a = 0; a < NANO_NUM_ACTIVATIONS; a++)
        if (makes[a]) {
            size.x_bytes += nano_cpu_x_bytes(r, (enum nano_activation)a, places, cols);
            size.x_bytes_of_one += nano_cpu_x_bytes(r, (enum nano_activation)a, 1, cols);
        }
    const enum nano_activation form = form_of(op, DOWN);
    if (form != NANO_ACTIVATION_F32) {
        const size_t all = nano_cpu_x_bytes(r, form, places, hidden),
                     of_one = nano_cpu_x_bytes(r, form, moe->num_used, hidden);
        size.x_bytes = all > size.x_bytes ? all : size.x_bytes;
        size.x_bytes_of_one = of_one > size.x_bytes_of_one ? of_one : size.x_bytes_of_one;
    }
    return size;
}

/* ---- places ---- */

static const struct nano_route *routes_of(const struct moe *m, int64_t row)
{
    return (const void *)nano_cpu_row(m->w->runner, m->op->in[1], m->first_row + row);
}

static int32_t *places_of(const struct moe *m, int64_t row)
{
    return m->w->runner->moe.places + row * m->op->moe.num_used;
}

/* Every thread counts all rows for itself and writes the places of its own, [begin, end). */
static void place_rows(struct moe *m, int64_t begin, int64_t end)
{
    const int num_used = m->op->moe.num_used, num_experts = m->op->moe.num_experts;
    const size_t bytes = (size_t)num_experts * sizeof(int32_t);
    int32_t *next = m->w->scratch->next_place, *counts = next + num_experts;
    struct nano_cpu_expert *experts = m->w->scratch->experts;
    memset(counts, 0, bytes);
    for (int64_t row = 0; row < m->num_rows; row++) {
        if (row == begin)
            memcpy(next, counts, bytes);
        for (int slot = 0; slot < num_used; slot++)
            counts[routes_of(m, row)[slot].expert]++;
    }
    for (int e = 0; e < num_experts; e++) {
        if (!counts[e])
            continue;
        const int32_t first = (int32_t)m->num_places;
        experts[m->num_experts++] = (struct nano_cpu_expert){e, counts[e], first, first};
        next[e] += first;
        m->num_places += (counts[e] + NANO_X_TILE - 1) / NANO_X_TILE * NANO_X_TILE;
    }
    for (int64_t row = begin; row < end; row++)
        for (int slot = 0; slot < num_used; slot++)
            places_of(m, row)[slot] = next[routes_of(m, row)[slot].expert]++;
}

/* A single row is every expert's input; what comes of it has a place per slot. */
static void place_single_row(struct moe *m)
{
    for (int slot = 0; slot < m->op->moe.num_used; slot++)
        m->w->scratch->experts[slot] =
            (struct nano_cpu_expert){routes_of(m, 0)[slot].expert, 1, 0, slot};
    m->num_experts = m->op->moe.num_used;
    m->num_places = 1;
}

/* ---- activations ---- */

static void copy_activations(enum nano_activation form, void *x, int64_t to, int64_t from,
                             int64_t cols)
{
    if (form == NANO_ACTIVATION_F32) {
        memcpy((float *)x + to * cols, (const float *)x + from * cols,
               (size_t)cols * sizeof(float));
        return;
    }
    struct nano_q8_unit *dst = (struct nano_q8_unit *)x + nano_q8_index(to, cols);
    const struct nano_q8_unit *src = (struct nano_q8_unit *)x + nano_q8_index(from, cols);
    for (int64_t i = 0; i < cols / 32; i++)
        dst[i * NANO_X_TILE] = src[i * NANO_X_TILE];
}

/* Inputs of rows [begin, end), made once and copied to the places of their other slots. */
static void prepare_input(struct moe *m, int64_t begin, int64_t end)
{
    const struct nano_cpu_runner *r = m->w->runner;
    const int64_t cols = m->op->in[0].width;
    const bool alone = m->num_rows == 1;
    unsigned char *x = alone ? m->w->scratch->x : r->x;
    m->x_stride = (size_t)cols * sizeof(float);
    for (int a = 0; a < NANO_NUM_ACTIVATIONS; a++) {
        if (!m->bound->makes[a])
            continue;
        m->x[a] = x;
        for (int64_t row = begin; row < end; row++) {
            const int32_t *places = places_of(m, row);
            const int32_t place = alone ? 0 : places[0];
            r->kernels.activation[a].quantize(
                x, place, nano_cpu_row(r, m->op->in[0], m->first_row + row), cols);
            for (int slot = 1; slot < m->op->moe.num_used && !alone; slot++)
                copy_activations((enum nano_activation)a, x, places[slot], place, cols);
        }
        x += nano_cpu_x_bytes(r, (enum nano_activation)a, m->num_places, cols);
    }
}

static float *hidden_row(const struct moe *m, int64_t place)
{
    return m->w->runner->moe.hidden + place * padded(m->op->weight[DOWN]->dims[0]);
}

/* The place of a slot of a row. */
static int64_t place_of(const struct moe *m, int64_t row, int slot)
{
    return m->num_rows == 1 ? slot : places_of(m, row)[slot];
}

/* The same for act(gate) * up of all slots. */
static void prepare_hidden(struct moe *m, int64_t begin, int64_t end)
{
    const struct nano_cpu_runner *r = m->w->runner;
    const enum nano_activation form = form_of(m->op, DOWN);
    if (form == NANO_ACTIVATION_F32) {
        m->hidden_x = r->moe.hidden;
        return;
    }
    unsigned char *x = m->num_rows == 1 ? m->w->scratch->x : r->x;
    m->hidden_x = x;
    for (int64_t row = begin; row < end; row++)
        for (int slot = 0; slot < m->op->moe.num_used; slot++) {
            const int64_t place = place_of(m, row, slot);
            r->kernels.activation[form].quantize(x, place, hidden_row(m, place),
                                                 m->op->weight[DOWN]->dims[0]);
        }
}

/* ---- products ---- */

static struct nano_linear_args args_of(const struct moe *m, const struct nano_cpu_expert *e, int k)
{
    const struct nano_cpu_runner *r = m->w->runner;
    const struct nano_tensor *tensor = m->op->weight[k], *bias = m->op->bias[k];
    const int64_t rows = tensor->dims[1], stride = padded(rows);
    const int64_t first = k == DOWN ? e->first : e->first_x;
    return (struct nano_linear_args){
        .y = (k == DOWN ? r->moe.y : r->moe.hidden) + (e->first - first) * stride,
        .y_stride = stride,
        .weights = (const unsigned char *)m->bound->weight[k] +
                   (size_t)e->expert * m->bound->matrix_bytes[k],
        .rows = rows,
        .cols = tensor->dims[0],
        .x = k == DOWN ? m->hidden_x : m->x[form_of(m->op, k)],
        .x_stride = k == DOWN ? (size_t)padded(tensor->dims[0]) * sizeof(float) : m->x_stride,
        .token_begin = first,
        .token_end = first + e->num_rows,
        .bias = bias ? (const float *)bias->data + e->expert * rows : NULL,
    };
}

/* Rows of an expert's weights: of GATE and UP, or of DOWN. */
static void multiply(const struct moe *m, const struct nano_cpu_expert *e, int k, int64_t row_begin,
                     int64_t row_end)
{
    struct nano_linear_args args[2] = {args_of(m, e, k), args_of(m, e, k == DOWN ? k : UP)};
    args[0].row_begin = row_begin;
    args[0].row_end = row_end;
    if (k == DOWN)
        m->bound->linear[k]->linear(&args[0]);
    else
        nano_cpu_gated_rows(m->w, m->bound->linear, args, m->op->act, NULL);
}

static void multiply_units(const struct moe *m, int expert, int k, int64_t begin, int64_t end)
{
    const int64_t unit = nano_cpu_unit_rows(m->bound->linear[k]), rows = m->op->weight[k]->dims[1];
    multiply(m, &m->w->scratch->experts[expert], k, begin * unit,
             end * unit < rows ? end * unit : rows);
}

static int64_t units_of(const struct moe *m, int k)
{
    const int64_t unit = nano_cpu_unit_rows(m->bound->linear[k]);
    return (m->op->weight[k]->dims[1] + unit - 1) / unit;
}

/* Few rows: all experts' units in a row, in even shares. */
static void multiply_evenly(const struct moe *m, int k)
{
    const int64_t units = units_of(m, k);
    int64_t begin, end;
    nano_cpu_share(m->w, units * m->num_experts, &begin, &end);
    for (int i = 0; i < m->num_experts; i++, begin -= units, end -= units) {
        const int64_t first = begin > 0 ? begin : 0, last = end < units ? end : units;
        if (first < last)
            multiply_units(m, i, k, first, last);
    }
}

/* Many: threads fetch chunks. */
static void multiply_chunks(const struct moe *m, int k)
{
    const int64_t units = units_of(m, k), most = NANO_CPU_CHUNK_ROWS / 16;
    int64_t step = units * m->num_experts / (4 * (int64_t)m->w->num_threads), begin, end;
    step = step < 1 ? 1 : step > most ? most : step;
    const int64_t chunks = (units + step - 1) / step;
    _Atomic int64_t *next = nano_cpu_shared_loop_begin(m->w);
    while (nano_cpu_shared_loop_next(next, chunks * m->num_experts, 1, &begin, &end)) {
        const int64_t first = begin % chunks * step;
        multiply_units(m, (int)(begin / chunks), k, first,
                       first + step < units ? first + step : units);
    }
}

/* ---- results ---- */

/* Columns [first, end) of rows' weighted sums. */
static void add_up(const struct moe *m, int64_t row_begin, int64_t row_end, int64_t first,
                   int64_t end)
{
    const struct nano_cpu_runner *r = m->w->runner;
    const int64_t stride = padded(m->op->out[0].width);
    for (int64_t row = row_begin; row < row_end; row++) {
        const struct nano_route *routes = routes_of(m, row);
        float *out = nano_cpu_row(r, m->op->out[0], m->first_row + row) + first;
        for (int slot = 0; slot < m->op->moe.num_used; slot++) {
            const float *y = r->moe.y + place_of(m, row, slot) * stride + first;
            if (slot == 0)
                r->kernels.scale(out, y, end - first, routes[slot].weight);
            else
                r->kernels.add_scaled(out, y, end - first, routes[slot].weight);
        }
    }
}

/* Few rows: a thread has the same columns of all experts, and no other's are in their sums. */
static void finish_few_rows(const struct moe *m)
{
    int64_t begin, end;
    nano_cpu_share(m->w, units_of(m, DOWN), &begin, &end);
    if (begin == end)
        return;
    for (int i = 0; i < m->num_experts; i++)
        multiply_units(m, i, DOWN, begin, end);
    const int64_t unit = nano_cpu_unit_rows(m->bound->linear[DOWN]), width = m->op->out[0].width;
    add_up(m, 0, m->num_rows, begin * unit, end * unit < width ? end * unit : width);
}

/* Every thread shows its columns, pair by pair. */
static void show(const struct moe *m, int k)
{
    const struct nano_runner_config *config = &m->w->runner->config;
    const int64_t cols = m->op->weight[k]->dims[0];
    struct nano_linear_input input = {.op = m->op, .weight = k, .stride = cols, .num_rows = 1};
    nano_cpu_share(m->w, cols, &input.first_column, &input.end_column);
    if (input.first_column == input.end_column)
        return;
    for (int64_t row = 0; row < m->num_rows; row++)
        for (int slot = 0; slot < m->op->moe.num_used; slot++) {
            input.matrix = routes_of(m, row)[slot].expert;
            input.rows = k == DOWN ? hidden_row(m, place_of(m, row, slot))
                                   : nano_cpu_row(m->w->runner, m->op->in[0], m->first_row + row);
            config->on_linear_input(config->on_linear_input_context, &input);
        }
}

/* Barriers: one, for a single row; one per stage for more. */
static void run_pass(struct moe *m)
{
    struct nano_cpu_worker *w = m->w;
    const bool alone = m->num_rows == 1, few = m->num_rows <= NANO_CPU_EVEN_ROWS;
    const bool watched = w->runner->config.on_linear_input != NULL;
    int64_t begin = 0, end = 1;
    if (alone) {
        place_single_row(m);
    } else {
        nano_cpu_share(w, m->num_rows, &begin, &end);
        place_rows(m, begin, end);
    }
    prepare_input(m, begin, end);
    if (w->index == 0)
        w->runner->moe.num_touched += (uint64_t)m->num_experts;
    if (!alone)
        nano_cpu_sync(w);
    if (watched)
        show(m, GATE);
    if (few)
        multiply_evenly(m, GATE);
    else
        multiply_chunks(m, GATE);
    nano_cpu_sync(w);
    if (watched)
        show(m, DOWN);
    prepare_hidden(m, begin, end);
    if (!alone && form_of(m->op, DOWN) != NANO_ACTIVATION_F32)
        nano_cpu_sync(w);
    if (few) {
        finish_few_rows(m);
        return;
    }
    multiply_chunks(m, DOWN);
    nano_cpu_sync(w);
    add_up(m, begin, end, 0, m->op->out[0].width);
}

void nano_cpu_moe(struct nano_cpu_worker *w, int op, int64_t rows)
{
    const struct nano_op *program_op = &w->runner->program->ops[op];
    const int64_t step = rows_of_pass(&program_op->moe, rows);
    if (w->index == 0)
        w->runner->moe.num_touched = 0;
    for (int64_t row = 0; row < rows; row += step) {
        struct moe m = {.w = w,
                        .op = program_op,
                        .bound = &w->runner->ops[op],
                        .first_row = row,
                        .num_rows = rows - row < step ? rows - row : step};
        if (row)
            nano_cpu_sync(w);
        run_pass(&m);
    }
}

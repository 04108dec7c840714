/* The ops that only pass over rows: each thread takes a share of rows, of heads or of columns. */
#include <math.h>
#include <string.h>

#include "runner/cpu/cpu_state.h"

/* Columns that are handed out together in element-wise ops, so that threads share one wide row. */
#define COLUMNS 256

static const struct nano_op *op_of(const struct nano_cpu_worker *w, int index)
{
    return &w->runner->program->ops[index];
}

void nano_cpu_embed(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_op *op = op_of(w, index);
    const struct nano_cpu_op *bound = &w->runner->ops[index];
    const struct nano_tensor *weight = op->weight[0];
    int64_t begin, end;
    nano_cpu_share(w, rows, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        bound->linear[0]->get_row(nano_cpu_row(w->runner, op->out[0], t), bound->weight[0],
                                  weight->dims[1], weight->dims[0], w->batch->tokens[t]);
}

void nano_cpu_rms_norm(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_op *op = op_of(w, index);
    const int64_t groups = op->in[0].width / op->group_width;
    int64_t begin, end;
    nano_cpu_share(w, rows * groups, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const int64_t column = i % groups * op->group_width;
        w->runner->kernels.rms_norm(nano_cpu_row(w->runner, op->out[0], i / groups) + column,
                                    nano_cpu_row(w->runner, op->in[0], i / groups) + column,
                                    op->weight[0]->data, op->group_width, op->eps);
    }
}

void nano_cpu_rope_tables(struct nano_cpu_worker *w)
{
    const struct nano_cpu_runner *r = w->runner;
    int64_t begin, end;
    nano_cpu_share(w, w->batch->num_tokens, &begin, &end);
    for (int k = 0; k < r->program->num_ropes; k++) {
        const struct nano_rope *rope = &r->program->ropes[k];
        for (int64_t t = begin; t < end; t++) {
            float *cos_sin = r->cos_sin[k] + t * 2 * rope->num_pairs;
            for (int i = 0; i < rope->num_pairs; i++) {
                const double angle = (double)r->positions[t] * (double)rope->inv_freq[i];
                cos_sin[2 * i] = (float)(cos(angle) * (double)rope->magnitude);
                cos_sin[2 * i + 1] = (float)(sin(angle) * (double)rope->magnitude);
            }
        }
    }
}

void nano_cpu_rope(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_op *op = op_of(w, index);
    const struct nano_rope *rope = &r->program->ropes[op->rope];
    int64_t begin, end;
    nano_cpu_share(w, rows * op->num_heads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const int64_t t = i / op->num_heads;
        r->kernels.rope(nano_cpu_row(r, op->out[0], t) + i % op->num_heads * op->head_dim,
                        r->cos_sin[op->rope] + t * 2 * rope->num_pairs, rope->num_pairs,
                        rope->adjacent);
    }
}

/* Item `i` of [rows, pieces of a row]. */
struct piece {
    int64_t row, column, width;
};

static struct piece piece_at(int64_t i, int64_t width)
{
    const int64_t pieces = (width + COLUMNS - 1) / COLUMNS;
    struct piece piece = {.row = i / pieces, .column = i % pieces * COLUMNS, .width = COLUMNS};
    if (piece.column + piece.width > width)
        piece.width = width - piece.column;
    return piece;
}

static void share_pieces(const struct nano_cpu_worker *w, int64_t rows, int64_t width,
                         int64_t *begin, int64_t *end)
{
    nano_cpu_share(w, rows * ((width + COLUMNS - 1) / COLUMNS), begin, end);
}

void nano_cpu_silu_mul(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_op *op = op_of(w, index);
    int64_t begin, end;
    share_pieces(w, rows, op->out[0].width, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const struct piece p = piece_at(i, op->out[0].width);
        r->kernels.silu_mul(nano_cpu_row(r, op->out[0], p.row) + p.column,
                            nano_cpu_row(r, op->in[0], p.row) + p.column,
                            nano_cpu_row(r, op->in[1], p.row) + p.column, p.width);
    }
}

void nano_cpu_add(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_op *op = op_of(w, index);
    int64_t begin, end;
    share_pieces(w, rows, op->out[0].width, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const struct piece p = piece_at(i, op->out[0].width);
        r->kernels.add(nano_cpu_row(r, op->out[0], p.row) + p.column,
                       nano_cpu_row(r, op->in[0], p.row) + p.column, p.width);
    }
}

void nano_cpu_gather(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_op *op = op_of(w, index);
    int64_t begin, end;
    nano_cpu_share(w, rows, &begin, &end);
    for (int i = 0; i < op->num_in; i++)
        for (int64_t t = begin; t < end; t++)
            memcpy(nano_cpu_row(r, op->out[i], t),
                   nano_cpu_row(r, op->in[i], w->batch->outputs[w->first_output + t].row),
                   (size_t)op->in[i].width * sizeof(float));
}

/* LoRA in a step: slots of the rows that have an adapter, and what linear and embed ops do for
 * them. cpu_lora_pack.c has the matrices. */
#include "runner/cpu/cpu_lora.h"

#include <string.h>

#include "runner/cpu/cpu_state.h"

#define SHRINK_TOKENS 48 /* slots of a work item */

/* ---- slots ---- */

/* Rows whose adapters are known get their slots. */
static void order_rows(const struct nano_cpu_lora_rows *rows, int num_rows, int num_adapters)
{
    int32_t *begin = rows->begin;
    memset(begin, 0, (size_t)(num_adapters + 1) * sizeof *begin);
    for (int i = 0; i < num_rows; i++)
        if (rows->adapter[i] >= 0)
            begin[rows->adapter[i] + 1]++;
    for (int a = 0; a < num_adapters; a++)
        begin[a + 1] += begin[a];
    for (int i = 0; i < num_rows; i++)
        rows->slot[i] = rows->adapter[i] >= 0 ? begin[rows->adapter[i]]++ : -1;
    for (int a = num_adapters; a > 0; a--) /* each has moved to the next one's */
        begin[a] = begin[a - 1];
    begin[0] = 0;
}

void nano_cpu_lora_prepare(struct nano_cpu_runner *r, const struct nano_batch *batch)
{
    const struct nano_cpu_lora *lora = &r->lora;
    if (lora->num_adapters == 0)
        return;
    for (int s = 0; s < batch->num_seqs; s++)
        for (int i = 0; i < batch->seqs[s].num_tokens; i++)
            lora->tokens.adapter[batch->seqs[s].first_token + i] = batch->seqs[s].adapter - 1;
    order_rows(&lora->tokens, batch->num_tokens, lora->num_adapters);
}

void nano_cpu_lora_begin_pass(const struct nano_cpu_worker *w)
{
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_cpu_lora_rows *rows = &w->scratch->lora_outputs;
    if (r->lora.num_adapters == 0)
        return;
    for (int i = 0; i < w->num_outputs; i++) {
        const int output = r->output_order[w->first_output + i];
        rows->adapter[i] = r->lora.tokens.adapter[w->batch->outputs[output].row];
    }
    order_rows(rows, w->num_outputs, r->lora.num_adapters);
}

static struct nano_cpu_lora_rows rows_of(const struct nano_cpu_worker *w, int op)
{
    return op < w->runner->program->gather_op ? w->runner->lora.tokens : w->scratch->lora_outputs;
}

static const struct nano_cpu_lora_pair *pairs_of(const struct nano_cpu_lora *lora, int op)
{
    return lora->pairs + (ptrdiff_t)lora->first_segment[op] * lora->num_adapters;
}

/* ---- linear ---- */

void nano_cpu_lora_begin(struct nano_cpu_lora_op *out, const struct nano_cpu_worker *w, int op)
{
    const struct nano_cpu_lora *lora = &w->runner->lora;
    out->num_slots = 0;
    if (lora->num_adapters == 0 || lora->first_segment[op] < 0)
        return;
    const int num_segments = nano_op_num_weights(&w->runner->program->ops[op]);
    out->rows = rows_of(w, op);
    out->pairs = pairs_of(lora, op);
    out->x = lora->x;
    for (int a = 0; a < lora->num_adapters; a++)
        for (int k = 0; k < num_segments && out->rows.begin[a] < out->rows.begin[a + 1]; k++)
            if (out->pairs[k * lora->num_adapters + a].rank > 0)
                out->num_slots = out->rows.begin[lora->num_adapters];
}

void nano_cpu_lora_keep(const struct nano_cpu_lora_op *op_rows, const struct nano_cpu_worker *w,
                        int64_t row, const float *input, int64_t width)
{
    const int32_t slot = op_rows->rows.slot[row];
    if (slot >= 0)
        memcpy(w->runner->lora.x + slot * width, input, (size_t)width * sizeof *input);
}

/* scale * A x of some weight rows and slots. */
static void shrink(const struct nano_cpu_lora *lora, const struct nano_kernels *kernels,
                   const struct nano_cpu_lora_pair *pair, const struct nano_linear_args *shape)
{
    struct nano_linear_args args = *shape;
    args.y = lora->t + pair->first;
    args.y_stride = lora->t_stride;
    args.weights = pair->a;
    args.rows = pair->rank;
    kernels->linear[pair->a_format].linear(&args);
    for (int64_t t = args.token_begin; t < args.token_end; t++)
        for (int64_t i = args.row_begin; i < args.row_end; i++)
            args.y[t * args.y_stride + i] *= pair->scales[i];
}

void nano_cpu_lora_shrink(const struct nano_cpu_lora_op *op_rows, const struct nano_cpu_worker *w,
                          int op)
{
    const struct nano_cpu_lora *lora = &w->runner->lora;
    const struct nano_op *o = &w->runner->program->ops[op];
    const int64_t cols = o->in[0].width;
    int64_t item = 0;
    for (int i = 0; i < nano_op_num_weights(o) * lora->num_adapters; i++) {
        const struct nano_cpu_lora_pair *pair = &op_rows->pairs[i];
        const int32_t *begin = op_rows->rows.begin + i % lora->num_adapters;
        for (int64_t row = 0; row < pair->rank; row += NANO_CPU_LORA_ROWS) {
            for (int64_t slot = begin[0]; slot < begin[1]; slot += SHRINK_TOKENS) {
                if (item++ % w->num_threads != w->index)
                    continue;
                const struct nano_linear_args shape = {
                    .cols = cols,
                    .row_begin = row,
                    .row_end = row + NANO_CPU_LORA_ROWS < pair->rank ? row + NANO_CPU_LORA_ROWS
                                                                     : pair->rank,
                    .x = op_rows->x,
                    .x_stride = (size_t)cols * sizeof(float),
                    .token_begin = slot,
                    .token_end = slot + SHRINK_TOKENS < begin[1] ? slot + SHRINK_TOKENS : begin[1],
                };
                shrink(lora, &w->runner->kernels, pair, &shape);
            }
        }
    }
}

void nano_cpu_lora_expand(const struct nano_cpu_lora_op *op_rows, const struct nano_cpu_worker *w,
                          int segment, const struct nano_linear_args *written)
{
    const struct nano_cpu_lora *lora = &w->runner->lora;
    const struct nano_cpu_lora_pair *pairs = op_rows->pairs + segment * lora->num_adapters;
    const int32_t *slot = op_rows->rows.slot, *adapter = op_rows->rows.adapter;
    for (int64_t t = written->token_begin, count; t < written->token_end; t += count) {
        count = 1;
        if (slot[t] < 0 || pairs[adapter[t]].rank == 0)
            continue;
        while (t + count < written->token_end && adapter[t + count] == adapter[t])
            count++; /* neighbours of one adapter have neighbouring slots */
        const struct nano_cpu_lora_pair *pair = &pairs[adapter[t]];
        const struct nano_linear_args args = {
            .y = written->y + t * written->y_stride,
            .y_stride = written->y_stride,
            .weights = pair->b,
            .rows = written->rows,
            .cols = pair->rank,
            .row_begin = written->row_begin,
            .row_end = written->row_end,
            .x = lora->t + slot[t] * lora->t_stride + pair->first,
            .x_stride = (size_t)lora->t_stride * sizeof(float),
            .token_end = count,
            .accumulate = true,
        };
        w->runner->kernels.linear[pair->b_format].linear(&args);
    }
}

/* ---- embed ---- */

void nano_cpu_lora_embed(const struct nano_cpu_worker *w, int op, int64_t row, float *y)
{
    const struct nano_cpu_lora *lora = &w->runner->lora;
    if (lora->num_adapters == 0 || lora->first_segment[op] < 0 || lora->tokens.adapter[row] < 0)
        return;
    const struct nano_op *o = &w->runner->program->ops[op];
    const struct nano_cpu_lora_pair *pair = &pairs_of(lora, op)[lora->tokens.adapter[row]];
    const struct nano_tensor *weight = o->weight[0];
    if (pair->rank == 0)
        return;
    float *t = w->scratch->tile;
    w->runner->file_kernels.linear[pair->a_format].get_row(t, pair->a, weight->dims[1], pair->rank,
                                                           w->batch->tokens[row]);
    for (int i = 0; i < pair->rank; i++)
        t[i] *= pair->scales[i];
    const struct nano_linear_args args = {.y = y,
                                          .weights = pair->b,
                                          .rows = weight->dims[0],
                                          .cols = pair->rank,
                                          .row_end = weight->dims[0],
                                          .x = t,
                                          .token_end = 1,
                                          .accumulate = true};
    w->runner->kernels.linear[pair->b_format].linear(&args);
}

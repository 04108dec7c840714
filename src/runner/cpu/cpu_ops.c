/* The ops that only pass over rows: each thread takes the same share of the rows in all of them, so
 * that there is no barrier from one to the next (nano_cpu_is_row_local). */
#include <math.h>
#include <string.h>

#include "runner/cpu/cpu_state.h"

bool nano_cpu_is_row_local(enum nano_op_kind kind)
{
    switch (kind) {
    case NANO_OP_EMBED:
    case NANO_OP_RMS_NORM:
    case NANO_OP_ROPE:
    case NANO_OP_KV_STORE:
    case NANO_OP_GLU:
    case NANO_OP_ADD:
        return true;
    default:
        return false;
    }
}

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
    int64_t begin, end;
    nano_cpu_share(w, rows, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *out = nano_cpu_row(w->runner, op->out[0], t);
        const float *in = nano_cpu_row(w->runner, op->in[0], t);
        for (int64_t column = 0; column < op->in[0].width; column += op->group_width)
            w->runner->kernels.rms_norm(out + column, in + column, op->weight[0]->data,
                                        op->group_width, op->eps);
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
    nano_cpu_share(w, rows, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *x = nano_cpu_row(r, op->out[0], t);
        const float *cos_sin = r->cos_sin[op->rope] + t * 2 * rope->num_pairs;
        for (int head = 0; head < op->num_heads; head++, x += op->head_dim)
            r->kernels.rope(x, cos_sin, rope->num_pairs, rope->adjacent);
    }
}

void nano_cpu_glu(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_op *op = op_of(w, index);
    int64_t begin, end;
    nano_cpu_share(w, rows, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        r->kernels.glu[op->act](nano_cpu_row(r, op->out[0], t), nano_cpu_row(r, op->in[0], t),
                                nano_cpu_row(r, op->in[1], t), op->out[0].width);
}

void nano_cpu_add(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_op *op = op_of(w, index);
    int64_t begin, end;
    nano_cpu_share(w, rows, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        r->kernels.add(nano_cpu_row(r, op->out[0], t), nano_cpu_row(r, op->in[0], t),
                       op->out[0].width);
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

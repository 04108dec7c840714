/* Ops that compute a row from the same row of their operands alone: norms, activation functions and
 * scalings. */
#include <math.h>

#include "runner/cpu/cpu_state.h"

void nano_cpu_norm(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_kernels *kernels = &w->runner->kernels;
    const struct nano_op *op = &w->runner->program->ops[index];
    const float *weight = op->weight[0] ? op->weight[0]->data : NULL;
    const float *bias = op->bias[0] ? op->bias[0]->data : NULL;
    const int64_t n = op->group_width;
    /* A weight of the whole row goes on from group to group. */
    const int64_t step =
        op->weight[0] && op->weight[0]->num_bytes > (size_t)n * sizeof(float) ? n : 0;
    int64_t begin, end;
    nano_cpu_share(w, rows, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *out = nano_cpu_row(w->runner, op->out[0], t);
        const float *in = nano_cpu_row(w->runner, op->in[0], t), *group_weight = weight;
        for (int64_t column = 0; column < op->in[0].width; column += n) {
            if (op->kind == NANO_OP_RMS_NORM)
                kernels->rms_norm(out + column, in + column, group_weight, n, op->eps);
            else if (op->kind == NANO_OP_LAYER_NORM)
                kernels->layer_norm(out + column, in + column, group_weight, bias, n, op->eps);
            else
                kernels->l2_norm(out + column, in + column, n, op->eps);
            if (step)
                group_weight += step;
        }
    }
}

void nano_cpu_glu(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_op *op = &r->program->ops[index];
    const int64_t width = op->out[0].width;
    int64_t begin, end;
    nano_cpu_share(w, rows, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *out = nano_cpu_row(r, op->out[0], t);
        const float *gate = nano_cpu_row(r, op->in[0], t), *up = nano_cpu_row(r, op->in[1], t);
        if (op->in[0].width == width) {
            r->kernels.glu[op->act](out, gate, up, width);
            continue;
        }
        float factor;
        r->kernels.act[op->act](&factor, gate, 1);
        r->kernels.scale(out, up, width, factor);
    }
}

void nano_cpu_add(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_op *op = &r->program->ops[index];
    const int64_t width = op->out[0].width;
    int64_t begin, end;
    nano_cpu_share(w, rows, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *out = nano_cpu_row(r, op->out[0], t);
        const float *in = nano_cpu_row(r, op->in[0], t);
        if (op->scale == 1)
            r->kernels.add(out, in, width);
        else
            r->kernels.add_scaled(out, in, width, op->scale);
    }
}

/* ACTIVATE, SCALE, SOFTCAP and POSITION_SCALE. */
void nano_cpu_map(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_cpu_runner *r = w->runner;
    const struct nano_op *op = &r->program->ops[index];
    const int64_t width = op->out[0].width;
    int64_t begin, end;
    nano_cpu_share(w, rows, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *out = nano_cpu_row(r, op->out[0], t);
        const float *in = nano_cpu_row(r, op->in[0], t);
        if (op->kind == NANO_OP_ACTIVATE) {
            r->kernels.act[op->act](out, in, width);
        } else if (op->kind == NANO_OP_SCALE) {
            r->kernels.scale(out, in, width, op->scale);
        } else if (op->kind == NANO_OP_SOFTCAP) {
            r->kernels.softcap(out, in, width, op->softcap);
        } else {
            const int whole = r->positions[t] / op->scale_length;
            r->kernels.scale(out, in, width, (float)(1 + (double)op->scale * log(1.0 + whole)));
        }
    }
}

/* The ops that only pass over rows: each thread takes the same share of the rows in all of them, so
 * that there is no barrier from one to the next (nano_cpu_is_row_local). Those that know their
 * token, its position or its heads; cpu_elementwise.c has the others. */
#include <math.h>
#include <string.h>

#include "runner/cpu/cpu_state.h"

bool nano_cpu_is_row_local(enum nano_op_kind kind)
{
    switch (kind) {
    case NANO_OP_EMBED:
    case NANO_OP_POSITION_EMBED:
    case NANO_OP_RMS_NORM:
    case NANO_OP_LAYER_NORM:
    case NANO_OP_L2_NORM:
    case NANO_OP_ROPE:
    case NANO_OP_KV_STORE:
    case NANO_OP_GLU:
    case NANO_OP_ACTIVATE:
    case NANO_OP_ADD:
    case NANO_OP_SCALE:
    case NANO_OP_SOFTCAP:
    case NANO_OP_POSITION_SCALE:
    case NANO_OP_SPLIT_HEADS:
    case NANO_OP_ROUTE:
        return true;
    default:
        return false;
    }
}

static const struct nano_op *op_of(const struct nano_cpu_worker *w, int index)
{
    return &w->runner->program->ops[index];
}

static void read_row(const struct nano_cpu_runner *r, int index, float *dst, int32_t row)
{
    const struct nano_tensor *weight = r->program->ops[index].weight[0];
    const struct nano_cpu_op *bound = &r->ops[index];
    bound->linear[0]->get_row(dst, bound->weight[0], weight->dims[1], weight->dims[0], row);
}

void nano_cpu_embed(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_op *op = op_of(w, index);
    int64_t begin, end;
    nano_cpu_share(w, rows, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *x = nano_cpu_row(w->runner, op->out[0], t);
        read_row(w->runner, index, x, w->batch->tokens[t]);
        nano_cpu_lora_embed(w, index, t, x);
        if (op->scale != 1)
            w->runner->kernels.scale(x, x, op->out[0].width, op->scale);
        if (op->bias[0])
            w->runner->kernels.add(x, op->bias[0]->data, op->out[0].width);
    }
}

void nano_cpu_position_embed(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_op *op = op_of(w, index);
    int64_t begin, end;
    nano_cpu_share(w, rows, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        read_row(w->runner, index, w->scratch->row, w->runner->positions[t]);
        w->runner->kernels.add(nano_cpu_row(w->runner, op->out[0], t), w->scratch->row,
                               op->out[0].width);
    }
}

void nano_cpu_rope_tables(struct nano_cpu_worker *w)
{
    const struct nano_cpu_runner *r = w->runner;
    int64_t begin, end;
    nano_cpu_share(w, w->batch->num_tokens, &begin, &end);
    for (int k = 0; k < r->program->num_ropes; k++) {
        const struct nano_rope *rope = &r->program->ropes[k];
        const float *inv_freq =
            rope->short_inv_freq && r->config.max_model_len <= rope->short_context
                ? rope->short_inv_freq
                : rope->inv_freq;
        for (int64_t t = begin; t < end; t++) {
            float *cos_sin = r->cos_sin[k] + t * 2 * rope->num_pairs;
            for (int i = 0; i < rope->num_pairs; i++) {
                const double angle = (double)r->positions[t] * (double)inv_freq[i];
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
        float *x = nano_cpu_row(r, op->out[0], t) + op->rope_offset;
        const float *cos_sin = r->cos_sin[op->rope] + t * 2 * rope->num_pairs;
        for (int head = 0; head < op->num_heads; head++, x += op->head_dim)
            r->kernels.rope(x, cos_sin, rope->num_pairs, rope->adjacent);
    }
}

void nano_cpu_split_heads(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_op *op = op_of(w, index);
    const int64_t head_width = op->in[0].width / op->num_heads;
    int64_t begin, end;
    nano_cpu_share(w, rows, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *in = nano_cpu_row(w->runner, op->in[0], t);
        for (int i = 0; i < op->num_out; i++) {
            const int64_t part_width = op->out[i].width / op->num_heads;
            float *out = nano_cpu_row(w->runner, op->out[i], t);
            for (int head = 0; head < op->num_heads; head++)
                memcpy(out + head * part_width, in + head * head_width,
                       (size_t)part_width * sizeof(float));
            in += part_width;
        }
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
                   nano_cpu_row(r, op->in[i],
                                w->batch->outputs[r->output_order[w->first_output + t]].row),
                   (size_t)op->in[i].width * sizeof(float));
}

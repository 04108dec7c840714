/* The interpreter of plain loops. */
#include "tests/naive_program.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct naive {
    const struct nano_program *p;
    const int32_t *tokens;
    int num_tokens;
    double **buffers; /* [num_tokens, width] each */
    double **k, **v;  /* of each kv layer */
    double *state;    /* [state_floats] of the recurrent ops */
};

bool naive_knows(const struct nano_program *p)
{
    for (int i = 0; i < p->num_ops; i++) {
        const struct nano_op *op = &p->ops[i];
        if (op->kind == NANO_OP_ROUTE || op->kind == NANO_OP_MOE)
            return false;
        for (int k = 0; k < nano_op_num_weights(op); k++)
            if (op->weight[k] && !op->weight[k]->data) /* made when it is read */
                return false;
    }
    return true;
}

static double *row_of(const struct naive *n, struct nano_view view, int token)
{
    return n->buffers[view.buffer] + token * n->p->buffers[view.buffer].width + view.offset;
}

static double value(const struct nano_tensor *tensor, int64_t index)
{
    return (double)((const float *)tensor->data)[index];
}

static double act_of(enum nano_act act, double x)
{
    switch (act) {
    case NANO_ACT_SILU:
        return x / (1 + exp(-x));
    case NANO_ACT_GELU:
        return x / 2 * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    case NANO_ACT_GELU_ERF:
        return x / 2 * (1 + erf(x / sqrt(2)));
    case NANO_ACT_GELU_QUICK:
        return x / (1 + exp(-1.702 * x));
    case NANO_ACT_RELU:
        return fmax(x, 0);
    case NANO_ACT_RELU_SQUARED:
        return fmax(x, 0) * fmax(x, 0);
    case NANO_ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    default:
        return x;
    }
}

static double glu_of(enum nano_act act, double gate, double factor)
{
    if (act == NANO_ACT_SWIGLU_CLAMPED)
        return act_of(NANO_ACT_GELU_QUICK, fmin(gate, 7)) * (fmin(fmax(factor, -7), 7) + 1);
    return act_of(act, gate) * factor;
}

static void norm(const struct nano_op *op, const double *in, double *out)
{
    const int64_t group = op->group_width;
    for (int64_t begin = 0; begin < op->in[0].width; begin += group) {
        double mean = 0, squares = 0;
        for (int64_t i = 0; i < group && op->kind == NANO_OP_LAYER_NORM; i++)
            mean += in[begin + i] / (double)group;
        for (int64_t i = 0; i < group; i++)
            squares += (in[begin + i] - mean) * (in[begin + i] - mean);
        double scale = 1 / sqrt(squares / (double)group + (double)op->eps);
        if (op->kind == NANO_OP_L2_NORM)
            scale = 1 / fmax(sqrt(squares), (double)op->eps);
        for (int64_t i = 0; i < group; i++) {
            double y = (in[begin + i] - mean) * scale;
            if (op->weight[0])
                y *=
                    value(op->weight[0],
                          op->weight[0]->num_bytes > (size_t)group * sizeof(float) ? begin + i : i);
            out[begin + i] = y + (op->bias[0] ? value(op->bias[0], i) : 0);
        }
    }
}

static void linear(const struct nano_op *op, const double *in, double *out)
{
    const struct nano_tensor *w = op->weight[0];
    cr_assert(op->num_out == 1 && !op->norm && !op->glu && !op->act && !op->accumulate);
    for (int64_t r = 0; r < w->dims[1]; r++) {
        double sum = op->bias[0] ? value(op->bias[0], r) : 0;
        for (int64_t c = 0; c < w->dims[0]; c++)
            sum += value(w, r * w->dims[0] + c) * in[c];
        out[r] = sum;
    }
}

static void head_linear(const struct nano_op *op, const double *in, double *out)
{
    const struct nano_tensor *w = op->weight[0];
    for (int64_t head = 0; head < op->num_heads; head++) {
        const double *x = in + head * op->in_stride;
        double *y = out + head * op->out_stride;
        for (int64_t r = 0; r < w->dims[1]; r++) {
            y[r] = 0;
            for (int64_t c = 0; c < w->dims[0]; c++)
                y[r] += value(w, (head * w->dims[1] + r) * w->dims[0] + c) * x[c];
        }
        for (int64_t c = w->dims[0]; op->copies_rest && c < op->in_stride; c++)
            y[w->dims[1] + c - w->dims[0]] = x[c];
    }
}

static void rope(const struct naive *n, const struct nano_op *op, double *x, int position)
{
    const struct nano_rope *rope = &n->p->ropes[op->rope];
    for (int head = 0; head < op->num_heads; head++)
        for (int i = 0; i < rope->num_pairs; i++) {
            double *pairs = x + head * op->head_dim + op->rope_offset;
            double *a = &pairs[rope->adjacent ? 2 * i : i];
            double *b = rope->adjacent ? a + 1 : a + rope->num_pairs;
            const double angle = position * (double)rope->inv_freq[i];
            const double cosine = cos(angle) * (double)rope->magnitude,
                         sine = sin(angle) * (double)rope->magnitude, old = *a;
            *a = old * cosine - *b * sine;
            *b = old * sine + *b * cosine;
        }
}

static void attend(const struct naive *n, const struct nano_op *op, const double *q, double *out,
                   int position)
{
    const struct nano_kv_layer *kv = &n->p->kv_layers[op->kv_layer];
    const int k_width = kv->num_kv_heads * kv->head_dim,
              v_width = kv->num_kv_heads * kv->v_head_dim;
    const int first = kv->window && position >= kv->window ? position - kv->window + 1 : 0;
    const int last = op->bidirectional ? n->num_tokens - 1 : position;
    double *weights = calloc((size_t)n->num_tokens, sizeof *weights);
    for (int head = 0; head < op->num_heads; head++) {
        const int kv_head = head / (op->num_heads / op->num_kv_heads);
        double max = op->weight[0] ? value(op->weight[0], head) : -INFINITY, sum;
        for (int p = first; p <= last; p++) {
            const double *k = n->k[op->kv_layer] + p * k_width + kv_head * kv->head_dim;
            double score = 0;
            for (int d = 0; d < kv->head_dim; d++)
                score += q[head * kv->head_dim + d] * k[d];
            score *= (double)op->scale;
            if (op->softcap > 0)
                score = (double)op->softcap * tanh(score / (double)op->softcap);
            weights[p] = score;
            max = fmax(max, score);
        }
        sum = op->weight[0] ? exp(value(op->weight[0], head) - max) : 0;
        for (int p = first; p <= last; p++)
            sum += weights[p] = exp(weights[p] - max);
        for (int d = 0; d < kv->v_head_dim; d++) {
            double y = 0;
            for (int p = first; p <= last; p++)
                y += weights[p] / sum *
                     (kv->v_in_k ? n->k[op->kv_layer][p * k_width + kv_head * kv->head_dim + d]
                                 : n->v[op->kv_layer][p * v_width + kv_head * kv->v_head_dim + d]);
            out[head * kv->v_head_dim + d] = y;
        }
    }
    free(weights);
}

static void store(const struct naive *n, const struct nano_op *op, int token)
{
    memcpy(n->k[op->kv_layer] + token * op->in[0].width, row_of(n, op->in[0], token),
           (size_t)op->in[0].width * sizeof(double));
    if (op->num_in > 1)
        memcpy(n->v[op->kv_layer] + token * op->in[1].width, row_of(n, op->in[1], token),
               (size_t)op->in[1].width * sizeof(double));
}

static double short_conv(const struct naive *n, const struct nano_op *op, int token, int64_t column)
{
    const int kernel = op->recurrence.kernel;
    double sum = op->bias[0] ? value(op->bias[0], column) : 0;
    for (int j = 0; j < kernel; j++)
        if (token - j >= 0)
            sum += value(op->weight[0], column * kernel + kernel - 1 - j) *
                   row_of(n, op->in[0], token - j)[column];
    return act_of(op->act, sum);
}

static double softplus(double x)
{
    return log1p(exp(x));
}

/* The state [state_size, head_dim] of a head: h = decay * h + b x dt, y = c h + d x. */
static void mamba2(const struct naive *n, const struct nano_op *op, int token, int head)
{
    const struct nano_recurrence *shape = &op->recurrence;
    const int dim = shape->head_dim, size = shape->state_size;
    const int group = head / (shape->num_heads / shape->num_key_heads);
    const double *x = row_of(n, op->in[0], token);
    const double *b = x + shape->num_heads * dim + group * size,
                 *c = b + shape->num_key_heads * size;
    const double dt = softplus(row_of(n, op->in[1], token)[head] + value(op->weight[2], head));
    const double decay = exp(dt * value(op->weight[0], head));
    double *h = n->state + op->state_offset + head * dim * size;
    for (int i = 0; i < dim; i++) {
        double y = value(op->weight[1], head) * x[head * dim + i];
        for (int k = 0; k < size; k++) {
            h[k * dim + i] = h[k * dim + i] * decay + b[k] * dt * x[head * dim + i];
            y += c[k] * h[k * dim + i];
        }
        row_of(n, op->out[0], token)[head * dim + i] = y;
    }
}

static double length(const double *x, int n, double least)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    return fmax(sqrt(sum), least);
}

/* h = decay * h, then h += k (v - k h) beta, then y = q h. */
static void delta_net(const struct naive *n, const struct nano_op *op, int token, int head)
{
    const struct nano_recurrence *shape = &op->recurrence;
    const int dim = shape->head_dim, size = shape->state_size, keys = shape->num_key_heads;
    const int key = shape->interleaved ? head % keys : head / (shape->num_heads / keys);
    const double *q = row_of(n, op->in[0], token) + key * size, *k = q + keys * size,
                 *v = row_of(n, op->in[0], token) + 2 * keys * size + head * dim;
    const double q_length = length(q, size, (double)op->eps) * sqrt(size),
                 k_length = length(k, size, (double)op->eps);
    const double alpha = row_of(n, op->in[1], token)[head] + value(op->weight[1], head);
    const double decay = exp(value(op->weight[0], head) * softplus(alpha));
    const double beta = act_of(NANO_ACT_SIGMOID, row_of(n, op->in[2], token)[head]);
    double *h = n->state + op->state_offset + head * dim * size;
    for (int i = 0; i < dim; i++) {
        double found = 0, y = 0;
        for (int j = 0; j < size; j++)
            found += (h[j * dim + i] *= decay) * k[j] / k_length;
        for (int j = 0; j < size; j++) {
            h[j * dim + i] += k[j] / k_length * (v[i] - found) * beta;
            y += q[j] / q_length * h[j * dim + i];
        }
        row_of(n, op->out[0], token)[head * dim + i] = y;
    }
}

static void split_heads(const struct naive *n, const struct nano_op *op, int token)
{
    const double *in = row_of(n, op->in[0], token);
    for (int head = 0; head < op->num_heads; head++)
        for (int i = 0; i < op->num_out; i++) {
            const int64_t width = op->out[i].width / op->num_heads;
            for (int64_t c = 0; c < width; c++)
                row_of(n, op->out[i], token)[head * width + c] = *in++;
        }
}

/* Ops of which a column is made from the same column of the operands. */
static double column_of(const struct nano_op *op, const double *in, const double *other, double out,
                        int64_t c, int position)
{
    switch (op->kind) {
    case NANO_OP_GLU:
        return glu_of(op->act, in[op->in[0].width == 1 ? 0 : c], other[c]);
    case NANO_OP_ACTIVATE:
        return act_of(op->act, in[c]);
    case NANO_OP_ADD:
        return out + (double)op->scale * in[c];
    case NANO_OP_SCALE:
        return (double)op->scale * in[c];
    case NANO_OP_SOFTCAP:
        return (double)op->softcap * tanh(in[c] / (double)op->softcap);
    case NANO_OP_POSITION_SCALE:
        return in[c] *
               (1 + (double)op->scale * log(1 + floor((double)position / op->scale_length)));
    default:
        return in[c];
    }
}

static void run_row(const struct naive *n, const struct nano_op *op, int t)
{
    const double *in = op->num_in ? row_of(n, op->in[0], t) : NULL;
    const double *other = op->num_in > 1 ? row_of(n, op->in[1], t) : NULL;
    double *out = op->num_out ? row_of(n, op->out[0], t) : NULL;
    const int64_t width = op->num_out ? op->out[0].width : 0;
    switch (op->kind) {
    case NANO_OP_EMBED:
        for (int64_t c = 0; c < width; c++)
            out[c] = (double)op->scale * value(op->weight[0], n->tokens[t] * width + c) +
                     (op->bias[0] ? value(op->bias[0], c) : 0);
        break;
    case NANO_OP_POSITION_EMBED:
        for (int64_t c = 0; c < width; c++)
            out[c] += value(op->weight[0], t * width + c);
        break;
    case NANO_OP_RMS_NORM:
    case NANO_OP_LAYER_NORM:
    case NANO_OP_L2_NORM:
        norm(op, in, out);
        break;
    case NANO_OP_LINEAR:
        linear(op, in, out);
        break;
    case NANO_OP_HEAD_LINEAR:
        head_linear(op, in, out);
        break;
    case NANO_OP_ROPE:
        rope(n, op, out, t);
        break;
    case NANO_OP_KV_STORE:
        store(n, op, t);
        break;
    case NANO_OP_ATTENTION:
        attend(n, op, in, out, t);
        break;
    case NANO_OP_SPLIT_HEADS:
        split_heads(n, op, t);
        break;
    case NANO_OP_SHORT_CONV:
        for (int64_t c = 0; c < width; c++)
            out[c] = short_conv(n, op, t, c);
        break;
    case NANO_OP_MAMBA2:
    case NANO_OP_DELTA_NET:
        for (int head = 0; head < op->recurrence.num_heads; head++)
            (op->kind == NANO_OP_MAMBA2 ? mamba2 : delta_net)(n, op, t, head);
        break;
    default:
        for (int64_t c = 0; c < width; c++)
            out[c] = column_of(op, in, other, out[c], c, t);
    }
}

double *naive_logits(const struct nano_program *p, const int32_t *tokens, int num_tokens)
{
    struct naive n = {.p = p, .tokens = tokens, .num_tokens = num_tokens};
    const size_t rows = (size_t)num_tokens;
    n.buffers = calloc((size_t)p->num_buffers, sizeof *n.buffers);
    n.k = calloc((size_t)p->num_kv_layers + 1, sizeof *n.k);
    n.v = calloc((size_t)p->num_kv_layers + 1, sizeof *n.v);
    n.state = calloc((size_t)p->state_floats + 1, sizeof *n.state);
    for (int i = 0; i < p->num_buffers; i++)
        n.buffers[i] = calloc(rows * (size_t)p->buffers[i].width, sizeof(double));
    for (int i = 0; i < p->num_kv_layers; i++) {
        const struct nano_kv_layer *kv = &p->kv_layers[i];
        n.k[i] = calloc(rows * (size_t)(kv->num_kv_heads * kv->head_dim), sizeof(double));
        n.v[i] = calloc(rows * (size_t)(kv->num_kv_heads * kv->v_head_dim), sizeof(double));
    }
    for (int i = 0; i < p->num_ops; i++)
        for (int t = 0; t < num_tokens; t++)
            run_row(&n, &p->ops[i], t);
    const int result = p->logits_buffer >= 0 ? p->logits_buffer : p->hidden_buffer;
    double *rows_out = n.buffers[result];
    for (int i = 0; i < p->num_buffers; i++)
        if (i != result)
            free(n.buffers[i]);
    for (int i = 0; i < p->num_kv_layers; i++) {
        free(n.k[i]);
        free(n.v[i]);
    }
    free(n.state);
    free(n.buffers);
    free(n.k);
    free(n.v);
    return rows_out;
}

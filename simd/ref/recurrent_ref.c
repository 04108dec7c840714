/* What carries a state from row to row: short convolutions, Mamba-2, the gated delta rule. */
#include <math.h>

#include "simd/ref/ref.h"

/* log(1 + e) for 0 <= e <= 1 is 2 atanh(e / (2 + e)), whose series has a term for every power of
 * (1/3)^2 at most: eight are off by less than 2e-9. */
float nano_softplus_ref(float x)
{
    const float positive = x > 0 ? x : 0;
    const float e = nano_exp_ref(x - 2 * positive), s = e / (2 + e);
    float p = 2.0f / 15;
    for (int k = 13; k > 0; k -= 2)
        p = p * (s * s) + 2.0f / (float)k;
    return p * s + positive;
}

static float sigmoid(float x)
{
    return 1 / (1 + nano_exp_ref(-x));
}

void nano_short_conv_ref(const struct nano_short_conv_args *a)
{
    const int kept = a->kernel - 1;
    for (int64_t c = 0; c < a->num_columns; c++) {
        for (int t = 0; t < a->num_rows; t++) {
            float sum = a->bias ? a->bias[c] : 0;
            for (int j = 0; j < a->kernel; j++) {
                const int row = t - kept + j;
                const float x = row < 0 ? a->state[(kept + row) * a->state_stride + c]
                                        : a->in[row * a->in_stride + c];
                sum += a->weight[j * a->weight_stride + c] * x;
            }
            a->out[t * a->out_stride + c] = a->silu ? sum * sigmoid(sum) : sum;
        }
        for (int j = 0; j < kept; j++) {
            const int row = a->num_rows - kept + j;
            a->state[j * a->state_stride + c] = row < 0
                                                    ? a->state[(kept + row) * a->state_stride + c]
                                                    : a->in[row * a->in_stride + c];
        }
    }
}

void nano_mamba2_ref(const struct nano_mamba2_args *a)
{
    for (int t = 0; t < a->num_rows; t++) {
        const float *x = a->x + t * a->in_stride, *b = a->b + t * a->in_stride,
                    *c = a->c + t * a->in_stride;
        const float dt = nano_softplus_ref(a->dt[t * a->dt_stride] + a->dt_bias);
        const float decay = nano_exp_ref(dt * a->a);
        for (int i = 0; i < a->num_columns; i++) {
            const float dt_x = dt * x[i];
            float y = a->d * x[i];
            for (int n = 0; n < a->state_size; n++) {
                float *h = &a->state[n * a->state_stride + i];
                *h = *h * decay + b[n] * dt_x;
                y += c[n] * *h;
            }
            a->out[t * a->out_stride + i] = y;
        }
    }
}

static void normalize(float *y, const float *x, int n, float eps, float scale)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    for (int i = 0; i < n; i++)
        y[i] = x[i] * (scale / fmaxf(sqrtf((float)sum), eps));
}

void nano_delta_net_ref(const struct nano_delta_net_args *a)
{
    float *k = a->scratch, *q = k + a->state_size;
    for (int t = 0; t < a->num_rows; t++) {
        const float *v = a->v + t * a->in_stride;
        normalize(k, a->k + t * a->in_stride, a->state_size, a->eps, 1);
        normalize(q, a->q + t * a->in_stride, a->state_size, a->eps,
                  1 / sqrtf((float)a->state_size));
        const float softplus = nano_softplus_ref(a->alpha[t * a->alpha_stride] + a->alpha_bias);
        const float decay = nano_exp_ref(a->a * softplus);
        const float beta = sigmoid(a->beta[t * a->beta_stride]);
        for (int c = 0; c < a->num_columns; c++) {
            float found = 0, out = 0;
            for (int n = 0; n < a->state_size; n++) {
                float *s = &a->state[n * a->state_stride + c];
                *s *= decay;
                found += k[n] * *s;
            }
            const float change = beta * (v[c] - found);
            for (int n = 0; n < a->state_size; n++) {
                float *s = &a->state[n * a->state_stride + c];
                *s += k[n] * change;
                out += q[n] * *s;
            }
            a->out[t * a->out_stride + c] = out;
        }
    }
}

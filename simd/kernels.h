/* Kernels: one slot per inner loop, and the contract on each.
 *
 * nano_kernels_init fills the table with the scalar reference (simd/ref), the contract in code;
 * then each instruction set that the processor has overrides slots with its own bodies. All members
 * of a tier are used together: a tier that changes a layout (packed weights, activations, KV
 * blocks) overrides every slot that reads it.
 *
 * The promise behind "same tokens whatever the batch": the value of one output element depends on
 * its own inputs only, and is accumulated in the same order, whatever else is in the call (number
 * of rows, number of tokens, how a range is split between threads or blocks).
 *
 * No kernel allocates, and none keeps state. Packed weights, activation rows and KV pools are
 * 64-byte aligned at their beginning where the library allocated them, and at least 4-byte aligned
 * (x_stride too); tensors straight from a file may stand at any address. Counts may be 0. */
#ifndef NANO_SIMD_KERNELS_H
#define NANO_SIMD_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "simd/formats.h"
#include "simd/linear.h"
#include "simd/peak.h"

enum nano_kv_format {
    NANO_KV_FORMAT_F32,
    NANO_KV_FORMAT_F16,
    NANO_KV_FORMAT_BF16,
    NANO_KV_FORMAT_Q8_0, /* int8 with one scale per token and head; kv_layout.h */
    NANO_KV_FORMAT_FP8,  /* E4M3 without scales; fp8.h */
    NANO_NUM_KV_FORMATS
};

/* One layer's KV pool: num_blocks blocks; a block holds, for each KV head, block_size tokens of K,
 * and the same for V: its (block, head) page, laid out as kv_layout.h says. */
struct nano_kv_layout {
    enum nano_kv_format format;
    int num_kv_heads, head_dim, v_head_dim, block_size;
    bool v_in_k; /* V is the first v_head_dim elements of K and has no pool */
};

enum {
    /* Attention sums each range of positions that begins at a multiple of this on its own, then
     * merges the ranges in the order of positions: they may be computed on different threads. */
    NANO_ATTENTION_SPLIT = 256,
    /* Query rows (queries x heads of a KV head) of one work item for which the fixed costs of a
     * range, such as converting K and V, no longer matter. */
    NANO_ATTENTION_ROWS = 120
};

/* One work item: some queries for the q heads that share one KV head. Query i stands at position
 * first_position + i and sees positions 0 … first_position + i, or as many of the last of them as
 * the window has; or all queries see positions 0 … num_positions - 1. */
struct nano_attention_args {
    struct nano_kv_layout kv;
    const void *k_pool, *v_pool; /* of this layer; v_pool is not looked at with v_in_k */
    const int32_t *block_table;  /* position p is in block block_table[p / block_size]; entries of
                                    blocks that no query sees are not looked at */
    int kv_head;
    int num_q_heads; /* sharing this KV head: consecutive in q and out */
    int num_queries, first_position;
    int window;        /* 0: none */
    int num_positions; /* not 0: of every query, whatever first_position and window are */
    const float *q;    /* query i, head h: q + i * q_stride + h * head_dim */
    int64_t q_stride;
    float *out; /* query i, head h: out + i * out_stride + h * v_head_dim */
    int64_t out_stride;
    float scale;
    float softcap;      /* not 0: scores are softcap * tanh(scale * q . k / softcap) */
    const float *sinks; /* NULL, or a score of each q head that takes its part of the sum of
                           weights, but has no value */
    float *scratch;     /* attention_scratch_floats(head_dim, v_head_dim) floats of the caller's */

    /* Not NULL: only the range of positions that begins at `begin`, a multiple of
     * NANO_ATTENTION_SPLIT, and only its part that a query sees. `out` is not touched and sinks are
     * not looked at; query i, head h gets its sums at
     * partial + i * partial_stride + h * attention_partial_floats(v_head_dim), unless it sees
     * nothing of the range. Queries of several sequences can be given where all see all of a range
     * that lies in the same blocks: num_positions is its end then. */
    float *partial;
    int64_t partial_stride;
    int begin;
};

struct nano_kv_kernels {
    /* Stores k [num_kv_heads * head_dim] and v [num_kv_heads * v_head_dim] of one token at slot
     * block * block_size + offset. With v_in_k, v and its pool are not looked at. */
    void (*store)(const struct nano_kv_layout *kv, void *k_pool, void *v_pool, int32_t slot,
                  const float *k, const float *v);
    void (*attention)(const struct nano_attention_args *args);
};

/* A causal convolution along the rows of a sequence, each column with weights of its own:
 *
 *   out[t][c] = bias[c] + sum over j in [0, kernel) of weight[j][c] * in[t - kernel + 1 + j][c]
 *
 * and silu of that where it is asked for. Rows before 0 are the state's: [kernel - 1, num_columns],
 * the latest last. It is left as the rows after these ones need it. */
struct nano_short_conv_args {
    float *out;
    const float *in; /* does not overlap out */
    int64_t out_stride, in_stride;
    int num_rows, kernel;
    int64_t num_columns;
    const float *weight;
    float *state;
    int64_t weight_stride, state_stride;
    const float *bias; /* [num_columns], or NULL */
    bool silu;
};

/* The recurrence of Mamba-2 (Dao and Gu 2024, "Transformers are SSMs") for some columns of a head,
 * row by row, with D = softplus(dt[t] + dt_bias):
 *
 *   state[n][c] = exp(D * a) * state[n][c] + b[t][n] * D * x[t][c]
 *   out[t][c]   = d * x[t][c] + sum over n of c[t][n] * state[n][c]
 *
 * Columns do not depend on each other. Nothing overlaps. */
struct nano_mamba2_args {
    float *state; /* [state_size, num_columns] */
    int64_t state_stride;
    const float *x;     /* [num_rows, num_columns] */
    const float *b, *c; /* [num_rows, state_size] */
    int64_t in_stride;  /* of x, b and c */
    const float *dt;    /* [num_rows], dt_stride apart */
    int64_t dt_stride;
    float a, d, dt_bias;
    float *out;
    int64_t out_stride;
    int num_rows, num_columns, state_size;
};

/* The gated delta rule (Yang, Kautz and Hatamizadeh 2024, "Gated Delta Networks") for some columns
 * of a head, row by row, with k = k[t] / max(|k[t]|, eps), q the same of q[t] and divided by
 * sqrt(state_size), and e[c] the error that the decayed state makes of v[t]:
 *
 *   state[n][c] = exp(a * softplus(alpha[t] + alpha_bias)) * state[n][c]
 *   e[c]        = v[t][c] - sum over n of k[n] * state[n][c]
 *   state[n][c] = state[n][c] + k[n] * sigmoid(beta[t]) * e[c]
 *   out[t][c]   = sum over n of q[n] * state[n][c]
 *
 * Columns do not depend on each other. Nothing overlaps. */
struct nano_delta_net_args {
    float *state; /* [state_size, num_columns] */
    int64_t state_stride;
    const float *q, *k;        /* [num_rows, state_size] */
    const float *v;            /* [num_rows, num_columns] */
    int64_t in_stride;         /* of q, k and v */
    const float *alpha, *beta; /* [num_rows] */
    int64_t alpha_stride, beta_stride;
    float a, alpha_bias, eps;
    float *out;
    int64_t out_stride;
    int num_rows, num_columns, state_size;
    float *scratch; /* NANO_DELTA_NET_SCRATCH(state_size) floats of the caller's */
};

enum {
    NANO_RECURRENT_ROWS = 32 /* for which gates, q and k are prepared at a time */
};
#define NANO_DELTA_NET_SCRATCH(state_size) (2 * (size_t)NANO_RECURRENT_ROWS * (size_t)(state_size))

/* Activation functions: off by a few units in the last place, and where they are small because of
 * an exponential, by as many more as its exponent is large. Infinities give infinities or NaN. */
enum nano_act {
    NANO_ACT_NONE,       /* x */
    NANO_ACT_SILU,       /* x * sigmoid(x) */
    NANO_ACT_GELU,       /* the tanh form: x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) */
    NANO_ACT_GELU_ERF,   /* x / 2 * (1 + erf(x / sqrt(2))) */
    NANO_ACT_GELU_QUICK, /* x * sigmoid(1.702 x) */
    NANO_ACT_RELU,       /* max(x, 0) */
    NANO_ACT_RELU_SQUARED, /* max(x, 0)^2 */
    NANO_ACT_SIGMOID,
    NANO_ACT_SWIGLU_CLAMPED, /* of a gate and a factor: with g = min(gate, 7) and
                                u = clamp(factor, -7, 7), g * sigmoid(1.702 g) * (u + 1); gpt-oss */
    NANO_NUM_ACTS
};

struct nano_kernels {
    const char *name; /* the tier: "ref", "avx2", … */

    struct nano_linear_kernels linear[NANO_NUM_FORMATS];
    struct nano_activation_kernels activation[NANO_NUM_ACTIVATIONS];
    struct nano_kv_kernels kv[NANO_NUM_KV_FORMATS];
    size_t (*attention_scratch_floats)(int head_dim, int v_head_dim);
    size_t (*attention_partial_floats)(int v_head_dim);

    /* out[v_head_dim] of one row from the partial sums of its ranges, the first it sees to the
     * last, `stride` floats apart, and its sink or NULL: the bits that attention over all of them
     * would give. */
    void (*attention_merge)(float *out, const float *partials, int64_t stride, int num_partials,
                            const float *sink, int v_head_dim);

    /* y[i] = x[i] * weight[i] / sqrt(mean(x^2) + eps), i in [0, n); y may be x. */
    void (*rms_norm)(float *y, const float *x, const float *weight, int64_t n, float eps);

    /* y[i] = (x[i] - mean) * weight[i] / sqrt(mean((x - mean)^2) + eps) + bias[i]; the bias may be
     * NULL; y may be x. */
    void (*layer_norm)(float *y, const float *x, const float *weight, const float *bias, int64_t n,
                       float eps);

    /* y[i] = x[i] / max(sqrt(sum of x^2), eps); y may be x. */
    void (*l2_norm)(float *y, const float *x, int64_t n, float eps);

    /* Rotates pairs of x[0 … 2 * num_pairs) in place; cos_sin holds num_pairs of (cos, sin).
     * `adjacent`: pairs are (x[2i], x[2i+1]); else (x[i], x[i + num_pairs]). */
    void (*rope)(float *x, const float *cos_sin, int64_t num_pairs, bool adjacent);

    /* y[i] = act(gate[i]) * up[i]; y may be gate or up. */
    void (*glu[NANO_NUM_ACTS])(float *y, const float *gate, const float *up, int64_t n);

    /* y[i] = act(x[i]); y may be x. NULL for NANO_ACT_SWIGLU_CLAMPED. */
    void (*act[NANO_NUM_ACTS])(float *y, const float *x, int64_t n);

    /* y[i] += x[i] */
    void (*add)(float *y, const float *x, int64_t n);

    /* y[i] += scale * x[i] */
    void (*add_scaled)(float *y, const float *x, int64_t n, float scale);

    /* y[i] = scale * x[i]; y may be x. */
    void (*scale)(float *y, const float *x, int64_t n, float scale);

    /* y[i] = cap * tanh(x[i] / cap), cap > 0; y may be x. */
    void (*softcap)(float *y, const float *x, int64_t n, float cap);

    void (*short_conv)(const struct nano_short_conv_args *args);
    void (*mamba2)(const struct nano_mamba2_args *args);
    void (*delta_net)(const struct nano_delta_net_args *args);

    /* Index of the largest value, n >= 1: the first of equal ones; NaN never wins; 0 if all are
     * NaN. */
    int64_t (*argmax)(const float *x, int64_t n);

    /* Writes the indices i with x[i] >= floor to `out` (room for n), ascending; returns how many.
     * NaN is never among them. */
    int64_t (*collect)(int32_t *out, const float *x, int64_t n, float floor);

    /* Sum of exp((x[i] - max) * scale) for x[i] <= max and scale > 0, off by less than 1e-6 of it;
     * NaN if there is one in x. */
    double (*sum_exp)(const float *x, int64_t n, float max, float scale);

    /* log(sum of exp(x[i])), computed around the maximum. n >= 1. */
    double (*log_sum_exp)(const float *x, int64_t n);

    struct nano_peak_kernels peak;
};

/* Worst first. Those of one architecture build on each other. */
enum nano_cpu_tier {
    NANO_CPU_REF,
    NANO_CPU_AVX2,
    NANO_CPU_AVXVNNI,
    NANO_CPU_AVX512,
    NANO_CPU_AVX512_AMD, /* the same instructions in another tile */
    NANO_CPU_NEON,       /* ARMv8.0 */
    NANO_CPU_NEON_DOTPROD,
    NANO_CPU_NEON_I8MM,
    NANO_NUM_CPU_TIERS
};

/* The best tier of this processor and build, or the one that the environment variable NANOVLLM_CPU
 * names ("ref", "avx2", "neon", …) if the processor has it. */
enum nano_cpu_tier nano_cpu_detect(void);

/* True if this processor and build can run the tier. */
bool nano_cpu_supports(enum nano_cpu_tier tier);
const char *nano_cpu_tier_name(enum nano_cpu_tier tier);

/* Fills the table for a tier that nano_cpu_supports. */
void nano_kernels_init(struct nano_kernels *kernels, enum nano_cpu_tier tier);

/* The parts of nano_kernels_init, one per folder. */
void nano_kernels_init_ref(struct nano_kernels *kernels);
void nano_kernels_init_avx2(struct nano_kernels *kernels);
void nano_kernels_init_avxvnni(struct nano_kernels *kernels);
void nano_kernels_init_avx512(struct nano_kernels *kernels);
void nano_kernels_init_avx512_amd(struct nano_kernels *kernels);
void nano_kernels_init_neon(struct nano_kernels *kernels);
void nano_kernels_init_neon_dotprod(struct nano_kernels *kernels);
void nano_kernels_init_neon_i8mm(struct nano_kernels *kernels);

#endif

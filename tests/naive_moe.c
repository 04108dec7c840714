/* Routing and experts in plain loops: every expert is ranked, every product is its own sum. */
#include "tests/naive_moe.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

static double value(const struct nano_tensor *tensor, int64_t index)
{
    return (double)((const float *)tensor->data)[index];
}

/* How many come before `i`: larger ones, and equal ones with a lower index. */
static int rank_of(const double *scores, int count, int i)
{
    int rank = 0;
    for (int k = 0; k < count; k++)
        rank += scores[k] > scores[i] || (scores[k] == scores[i] && k < i);
    return rank;
}

static double sum_of_two_best(const double *scores, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++)
        if (rank_of(scores, count, i) < 2)
            sum += scores[i];
    return sum;
}

static void limit_to_groups(const struct nano_moe *moe, double *scores)
{
    const int size = moe->num_experts / moe->num_groups;
    double *sums = calloc((size_t)moe->num_groups, sizeof *sums);
    cr_assert_not_null(sums);
    for (int g = 0; g < moe->num_groups; g++)
        sums[g] = sum_of_two_best(scores + g * size, size);
    for (int e = 0; e < moe->num_experts; e++)
        if (rank_of(sums, moe->num_groups, e / size) >= moe->num_groups_used)
            scores[e] = -INFINITY;
    free(sums);
}

void naive_route(const struct nano_op *op, const double *logits, double *routes)
{
    const struct nano_moe *moe = &op->moe;
    const int count = moe->num_experts;
    double *gates = calloc((size_t)count, sizeof *gates),
           *scores = calloc((size_t)count, sizeof *scores);
    double total = 0, used = 0, sum = 0;
    cr_assert(gates && scores);
    for (int e = 0; e < count; e++)
        total += exp(logits[e]);
    for (int e = 0; e < count; e++) {
        gates[e] = moe->gating == NANO_GATING_SOFTMAX   ? exp(logits[e]) / total
                   : moe->gating == NANO_GATING_SIGMOID ? 1 / (1 + exp(-logits[e]))
                                                        : logits[e];
        scores[e] = gates[e] + (op->weight[0] ? value(op->weight[0], e) : 0);
    }
    limit_to_groups(moe, scores);
    for (int e = 0; e < count; e++) {
        const int rank = rank_of(scores, count, e);
        if (rank >= moe->num_used)
            continue;
        routes[2 * rank] = e;
        routes[2 * rank + 1] = gates[e];
        used += exp(logits[e]);
    }
    for (int i = 0; i < moe->num_used; i++) {
        if (moe->gating == NANO_GATING_SOFTMAX_USED)
            routes[2 * i + 1] = exp(logits[(int)routes[2 * i]]) / used;
        sum += routes[2 * i + 1];
    }
    for (int i = 0; i < moe->num_used; i++)
        routes[2 * i + 1] *= (double)moe->scale / (moe->normalize ? sum : 1);
    free(gates);
    free(scores);
}

static double dot(const struct nano_op *op, int k, int expert, int64_t row, const double *x)
{
    const struct nano_tensor *w = op->weight[k];
    const int64_t index = expert * w->dims[1] + row;
    double sum = op->bias[k] ? value(op->bias[k], index) : 0;
    for (int64_t c = 0; c < w->dims[0]; c++)
        sum += value(w, index * w->dims[0] + c) * x[c];
    return sum;
}

void naive_moe(const struct nano_op *op, const double *x, const double *routes, double *out,
               double (*glu)(enum nano_act act, double gate, double factor))
{
    const int64_t size = op->weight[2]->dims[0];
    double *hidden = calloc((size_t)size, sizeof *hidden);
    cr_assert_not_null(hidden);
    for (int64_t c = 0; c < op->out[0].width; c++)
        out[c] = 0;
    for (int i = 0; i < op->moe.num_used; i++) {
        const int expert = (int)routes[2 * i];
        for (int64_t r = 0; r < size; r++)
            hidden[r] = glu(op->act, dot(op, 0, expert, r, x), dot(op, 1, expert, r, x));
        for (int64_t c = 0; c < op->out[0].width; c++)
            out[c] += routes[2 * i + 1] * dot(op, 2, expert, c, hidden);
    }
    free(hidden);
}

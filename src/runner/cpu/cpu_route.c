/* ROUTE ops: which experts a row goes to. Rows are independent of each other.
 *
 * Experts are chosen by score: the router's logit or what the gating makes of it, plus the choice
 * bias; their weights come of the gating without that bias. */
#include <math.h>

#include "runner/cpu/cpu_state.h"

/* As llama.cpp: the smallest F16 that is not denormal. */
#define MIN_WEIGHT_SUM 6.103515625e-5f

/* A thread's `row`: scores, gates; of groups, which there may be as many of, routes and scores. */
#define ROW_FLOATS_PER_EXPERT 5

size_t nano_cpu_route_floats(const struct nano_moe *moe)
{
    return (size_t)moe->num_experts * ROW_FLOATS_PER_EXPERT;
}

/* The `num_best` largest scores, descending, the first of equal ones first. NaN is the least. */
static void find_best(struct nano_route *best, int num_best, const float *scores, int count)
{
    int found = 0;
    for (int i = 0; i < count; i++) {
        const float score = isnan(scores[i]) ? -INFINITY : scores[i];
        if (found == num_best && !(score > best[found - 1].weight))
            continue;
        int place = found < num_best ? found++ : found - 1;
        for (; place > 0 && score > best[place - 1].weight; place--)
            best[place] = best[place - 1];
        best[place] = (struct nano_route){.expert = i, .weight = score};
    }
}

static float group_score(const float *scores, int size)
{
    struct nano_route best[2];
    find_best(best, size < 2 ? size : 2, scores, size);
    return size < 2 ? best[0].weight : best[0].weight + best[1].weight;
}

/* Leaves the scores of the best groups, and -infinity for the rest. */
static void limit_to_groups(float *scores, const struct nano_moe *moe, float *group_scores,
                            struct nano_route *best)
{
    const int size = moe->num_experts / moe->num_groups;
    for (int g = 0; g < moe->num_groups; g++)
        group_scores[g] = group_score(scores + g * size, size);
    find_best(best, moe->num_groups_used, group_scores, moe->num_groups);
    for (int g = 0; g < moe->num_groups; g++)
        group_scores[g] = -INFINITY;
    for (int i = 0; i < moe->num_groups_used; i++)
        group_scores[best[i].expert] = 0;
    for (int e = 0; e < moe->num_experts; e++)
        if (group_scores[e / size] != 0)
            scores[e] = -INFINITY;
}

/* out[i] = exp(x[i]) / sum of exp(x); out may be x. */
static void softmax(float *out, const float *x, int count)
{
    float max = -INFINITY, sum = 0;
    for (int i = 0; i < count; i++)
        max = x[i] > max ? x[i] : max;
    for (int i = 0; i < count; i++)
        sum += out[i] = expf(x[i] - max);
    for (int i = 0; i < count; i++)
        out[i] /= sum;
}

static void make_gates(float *gates, const float *logits, const struct nano_moe *moe)
{
    if (moe->gating == NANO_GATING_SOFTMAX) {
        softmax(gates, logits, moe->num_experts);
        return;
    }
    for (int e = 0; e < moe->num_experts; e++)
        gates[e] = moe->gating == NANO_GATING_SIGMOID ? 1 / (1 + expf(-logits[e])) : logits[e];
}

static void finish_weights(struct nano_route *routes, const float *gates,
                           const struct nano_moe *moe, float *weights)
{
    float sum = 0;
    for (int i = 0; i < moe->num_used; i++)
        weights[i] = gates[routes[i].expert];
    if (moe->gating == NANO_GATING_SOFTMAX_USED)
        softmax(weights, weights, moe->num_used);
    for (int i = 0; i < moe->num_used; i++)
        sum += weights[i];
    const float divisor = !moe->normalize ? 1 : sum < MIN_WEIGHT_SUM ? MIN_WEIGHT_SUM : sum;
    for (int i = 0; i < moe->num_used; i++)
        routes[i].weight = weights[i] / divisor * moe->scale;
}

void nano_cpu_route(struct nano_cpu_worker *w, int index, int64_t rows)
{
    const struct nano_op *op = &w->runner->program->ops[index];
    const struct nano_moe *moe = &op->moe;
    const float *bias = op->weight[0] ? op->weight[0]->data : NULL;
    float *scores = w->scratch->row, *gates = scores + moe->num_experts;
    struct nano_route *groups = (void *)(gates + moe->num_experts);
    int64_t begin, end;
    nano_cpu_share(w, rows, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        struct nano_route *routes = (void *)nano_cpu_row(w->runner, op->out[0], t);
        make_gates(gates, nano_cpu_row(w->runner, op->in[0], t), moe);
        for (int e = 0; e < moe->num_experts; e++)
            scores[e] = bias ? gates[e] + bias[e] : gates[e];
        if (moe->num_groups_used < moe->num_groups)
            limit_to_groups(scores, moe, (float *)(void *)(groups + moe->num_groups), groups);
        find_best(routes, moe->num_used, scores, moe->num_experts);
        finish_weights(routes, gates, moe, scores);
    }
}

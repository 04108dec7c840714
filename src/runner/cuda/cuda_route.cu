/* ROUTE ops: a warp chooses the experts of a row, as src/runner/cpu/cpu_route.c does.
 *
 * Scores of a row are in an order: the larger ones first, the first of equal ones first, NaN as
 * -infinity. The next best is the first one in this order behind the last that was chosen, so that
 * nothing has to be marked as chosen. */
#include "runner/cuda/cuda_elementwise.h"
#include "runner/cuda/cuda_lang.h"

namespace
{
/* As llama.cpp: the smallest F16 that is not denormal. */
#define MIN_WEIGHT_SUM 6.103515625e-5f

enum { WARPS = 4, MAX_SHARED_BYTES = 32 * 1024, LAST = 0x7fffffff };

struct route_args {
    struct nano_cuda_route_args op;
    int row_floats; /* of shared memory: scores of experts, then of groups */
};

__device__ inline float infinity(void)
{
    return nano_f32_from_bits(0x7f800000u);
}

__device__ inline float number_or_least(float x)
{
    return x == x ? x : -infinity();
}

/* A place in the order. */
struct place {
    float score;
    int index;
};

__device__ inline bool is_before(struct place a, struct place b)
{
    return a.score > b.score || (a.score == b.score && a.index < b.index);
}

/* The first one behind `last`. Every lane gets it. */
__device__ inline struct place next_best(const float *scores, int count, struct place last)
{
    struct place best = {-infinity(), LAST};
    for (int i = static_cast<int>(threadIdx.x); i < count; i += NANO_WARP) {
        const struct place mine = {scores[i], i};
        if (is_before(last, mine) && is_before(mine, best))
            best = mine;
    }
    for (int mask = NANO_WARP / 2; mask; mask /= 2) {
        const struct place other = {nano_shfl_xor(best.score, mask),
                                    nano_shfl_xor(best.index, mask)};
        if (is_before(other, best))
            best = other;
    }
    return best;
}

__device__ inline struct place before_all(void)
{
    return {infinity(), -1};
}

/* The sum of the two best, or the only one. */
__device__ inline float group_score(const float *scores, int size)
{
    float first = scores[0], second = -infinity();
    for (int i = 1; i < size; i++) {
        second = fmaxf(second, fminf(first, scores[i]));
        first = fmaxf(first, scores[i]);
    }
    return size < 2 ? first : number_or_least(__fadd_rn(first, second));
}

/* Leaves the scores of the best groups, and -infinity for the rest. */
__device__ inline void limit_to_groups(float *scores, float *group_scores,
                                       const struct nano_moe &moe)
{
    const int size = moe.num_experts / moe.num_groups, lane = static_cast<int>(threadIdx.x);
    for (int g = lane; g < moe.num_groups; g += NANO_WARP)
        group_scores[g] = group_score(scores + g * size, size);
    __syncwarp();
    struct place last = before_all();
    for (int i = 0; i < moe.num_groups_used; i++)
        last = next_best(group_scores, moe.num_groups, last);
    for (int e = lane; e < moe.num_experts; e += NANO_WARP)
        if (is_before(last, {group_scores[e / size], e / size}))
            scores[e] = -infinity();
    __syncwarp();
}

/* What gates of a row are made with. */
struct gating {
    float max, sum; /* of a softmax over all experts */
};

__device__ inline float gate_of(enum nano_gating kind, const struct gating &gating, float logit)
{
    if (kind == NANO_GATING_SOFTMAX)
        return expf(__fadd_rn(logit, -gating.max)) / gating.sum;
    return kind == NANO_GATING_SIGMOID ? 1 / __fadd_rn(1, expf(-logit)) : logit;
}

__device__ inline struct gating make_gating(const float *logits, const struct nano_moe &moe)
{
    struct gating gating = {-infinity(), 0};
    if (moe.gating != NANO_GATING_SOFTMAX)
        return gating;
    for (int e = static_cast<int>(threadIdx.x); e < moe.num_experts; e += NANO_WARP)
        gating.max = fmaxf(gating.max, logits[e]);
    gating.max = nano_warp_max(gating.max);
    for (int e = static_cast<int>(threadIdx.x); e < moe.num_experts; e += NANO_WARP)
        gating.sum = __fadd_rn(gating.sum, expf(__fadd_rn(logits[e], -gating.max)));
    gating.sum = nano_warp_sum(gating.sum);
    return gating;
}

/* From the gates of the chosen ones, each lane's own, which are in the routes as weights. */
__device__ inline void finish_weights(struct nano_route *routes, const struct nano_moe &moe)
{
    const int lane = static_cast<int>(threadIdx.x);
    float max = -infinity(), exp_sum = 0, sum = 0;
    if (moe.gating == NANO_GATING_SOFTMAX_USED) {
        for (int i = lane; i < moe.num_used; i += NANO_WARP)
            max = fmaxf(max, routes[i].weight);
        max = nano_warp_max(max);
        for (int i = lane; i < moe.num_used; i += NANO_WARP) {
            routes[i].weight = expf(__fadd_rn(routes[i].weight, -max));
            exp_sum = __fadd_rn(exp_sum, routes[i].weight);
        }
        exp_sum = nano_warp_sum(exp_sum);
        for (int i = lane; i < moe.num_used; i += NANO_WARP)
            routes[i].weight /= exp_sum;
    }
    for (int i = lane; i < moe.num_used; i += NANO_WARP)
        sum = __fadd_rn(sum, routes[i].weight);
    sum = nano_warp_sum(sum);
    const float divisor = !moe.normalize ? 1 : sum < MIN_WEIGHT_SUM ? MIN_WEIGHT_SUM : sum;
    for (int i = lane; i < moe.num_used; i += NANO_WARP)
        routes[i].weight = __fmul_rn(routes[i].weight / divisor, moe.scale);
}

__global__ void __launch_bounds__(NANO_WARP *WARPS) route_kernel(struct route_args args)
{
    nano_wait_for_earlier();
    NANO_DYNAMIC_SHARED(float, shared);
    const struct nano_moe &moe = args.op.moe;
    const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
    if (row >= args.op.rows)
        return;
    const int lane = static_cast<int>(threadIdx.x);
    const float *logits = args.op.logits.data + row * args.op.logits.stride;
    struct nano_route *routes =
        reinterpret_cast<struct nano_route *>(args.op.out.data + row * args.op.out.stride);
    float *scores = shared + static_cast<int>(threadIdx.y) * args.row_floats;
    const struct gating gating = make_gating(logits, moe);
    for (int e = lane; e < moe.num_experts; e += NANO_WARP) {
        const float gate = gate_of(moe.gating, gating, logits[e]);
        scores[e] = number_or_least(args.op.bias ? __fadd_rn(gate, args.op.bias[e]) : gate);
    }
    __syncwarp();
    if (moe.num_groups_used < moe.num_groups)
        limit_to_groups(scores, scores + moe.num_experts, moe);
    struct place last = before_all();
    for (int i = 0; i < moe.num_used; i++) {
        last = next_best(scores, moe.num_experts, last);
        if (lane == i % NANO_WARP)
            routes[i] = {last.index, gate_of(moe.gating, gating, logits[last.index])};
    }
    finish_weights(routes, moe);
}
} // namespace

extern "C" {

void nano_cuda_route(struct nano_cuda_device *device, const struct nano_cuda_route_args *args)
{
    const struct nano_moe *moe = &args->moe;
    const bool groups = moe->num_groups_used < moe->num_groups;
    const int row_floats = moe->num_experts + (groups ? moe->num_groups : 0);
    const size_t row_bytes = static_cast<size_t>(row_floats) * sizeof(float);
    const unsigned warps = row_bytes * WARPS <= MAX_SHARED_BYTES ? WARPS : 1;
    const struct route_args kernel_args = {*args, row_floats};
    nano_launch_early(device, route_kernel,
                      dim3((static_cast<unsigned>(args->rows) + warps - 1) / warps),
                      dim3(NANO_WARP, warps), row_bytes * warps, kernel_args);
}
}

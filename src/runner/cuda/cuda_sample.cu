/* Sampling on the GPU: a block of threads for each row.
 *
 * Candidates are not sorted. Where their order matters, most likely first, the place in it at which
 * a count or a sum of weights is reached is found by histograms over ranges of logits, each range
 * being a bin of the last: the first passes read the row, the next ones a list of what is left. */
#include "runner/cuda/cuda_sample.h"

#include <assert.h>
#include <math.h>

#include "runner/cuda/cuda_lang.h"
#include "runner/cuda/cuda_sample_row.h"

namespace
{
enum { BINS = 2 * THREADS, MAX_LISTED = THREADS };

struct mass {
    uint64_t weight;
    uint32_t count;
};

/* Mass in units that atomics can add: a weight's halves, with the carry by hand. */
struct bins {
    uint32_t count[BINS], low[BINS], high[BINS];
};

struct heap {
    uint64_t candidates[NANO_MAX_DRAW_TOP_K], found[THREADS];
    int count;
};

struct block_memory {
    union {
        struct bins bins;
        struct heap heap;
    };
    uint32_t listed[MAX_LISTED]; /* keys */
    uint32_t num_listed;
    struct sums sums;
    int bin; /* -1: none */
    struct mass before, in_bin;
};

/* ---- in the order of tokens ---- */

/* The unit of weight, 1 … total, that a random number hits: it belongs to where a running sum
 * reaches it. */
__device__ uint64_t place_of(double uniform, uint64_t total)
{
    return static_cast<uint64_t>(uniform * static_cast<double>(total)) + 1;
}

__device__ int draw_by_token(struct block_memory &m, const struct row &row, uint32_t low,
                             double uniform)
{
    const auto weight = [&](float x) {
        return key_of(x) >= low ? weight_of(row, x) : static_cast<uint64_t>(0);
    };
    const uint64_t total = sum_shares(m.sums, row, weight);
    return find_token(m.sums, row, place_of(uniform, total), weight);
}

/* ---- in the order of candidates ---- */

struct candidates {
    uint32_t low; /* the least key */
    bool are_listed;
    bool are_in_bins; /* whose first one begins with the largest */
};

/* Where a count or a sum of weights of the first candidates reaches a target. */
struct cut {
    uint32_t key;
    uint32_t rank;   /* which of the candidates with this key, from 1 */
    uint64_t weight; /* up to it */
};

__device__ void add_to_bin(struct bins &bins, uint32_t bin, uint64_t weight)
{
    const uint32_t low = static_cast<uint32_t>(weight);
    const uint32_t sum = atomicAdd(&bins.low[bin], low) + low;
    const uint32_t high = static_cast<uint32_t>(weight >> 32) + (sum < low);
    atomicAdd(&bins.count[bin], 1u);
    if (high)
        atomicAdd(&bins.high[bin], high);
}

/* Bin i is that of the keys from high - i * 2^shift downward, but not below low. */
__device__ void fill_bins(struct block_memory &m, const struct row &row, const struct candidates &c,
                          uint32_t low, uint32_t high, int shift)
{
    for (int i = static_cast<int>(threadIdx.x); i < BINS; i += THREADS)
        m.bins.count[i] = m.bins.low[i] = m.bins.high[i] = 0;
    __syncthreads();
    if (c.are_listed) {
        const uint32_t key = threadIdx.x < m.num_listed ? m.listed[threadIdx.x] : 0;
        if (key >= low && key <= high)
            add_to_bin(m.bins, (high - key) >> shift, weight_of(row, logit_of(key)));
    } else {
        for_each(row, [&](float x, int) {
            const uint32_t key = key_of(x);
            if (key >= low && key <= high)
                add_to_bin(m.bins, (high - key) >> shift, weight_of(row, x));
        });
    }
    __syncthreads();
}

/* Finds the bin in which the target is reached after what is before the first: its number in bin
 * (-1: none), its mass in in_bin; what is before it, or all, in before. */
__device__ void find_bin(struct block_memory &m, struct mass before, bool by_weight,
                         uint64_t target)
{
    struct mass own[2], total;
    for (int i = 0; i < 2; i++) {
        const unsigned bin = 2 * threadIdx.x + i;
        own[i].count = m.bins.count[bin];
        own[i].weight = static_cast<uint64_t>(m.bins.high[bin]) << 32 | m.bins.low[bin];
    }
    struct mass first = before;
    first.count += scan(m.sums, own[0].count + own[1].count, &total.count);
    first.weight += scan(m.sums, own[0].weight + own[1].weight, &total.weight);
    if (threadIdx.x == 0) {
        m.bin = -1;
        m.before.count = before.count + total.count;
        m.before.weight = before.weight + total.weight;
    }
    __syncthreads();
    for (int i = 0; i < 2; i++) {
        const uint64_t reached = by_weight ? first.weight : first.count;
        const uint64_t adds = by_weight ? own[i].weight : own[i].count;
        if (reached < target && reached + adds >= target) {
            m.bin = static_cast<int>(2 * threadIdx.x) + i;
            m.before = first;
            m.in_bin = own[i];
        }
        first.count += own[i].count;
        first.weight += own[i].weight;
    }
    __syncthreads();
}

/* Lists the candidates with keys from `low` on, at most MAX_LISTED. */
__device__ void list(struct block_memory &m, const struct row &row, struct candidates &c,
                     uint32_t low)
{
    if (threadIdx.x == 0)
        m.num_listed = 0;
    __syncthreads();
    for_each(row, [&](float x, int) {
        const uint32_t key = key_of(x);
        if (key >= low)
            m.listed[atomicAdd(&m.num_listed, 1u)] = key;
    });
    __syncthreads();
    c.low = low;
    c.are_listed = true;
}

/* Cuts off what comes behind: no key below that of the cut is a candidate any more. Where the
 * target is not reached, nothing is cut off. */
__device__ struct cut find_cut(struct block_memory &m, const struct row &row, struct candidates &c,
                               bool by_weight, uint64_t target)
{
    uint32_t low = c.low, high = row.max_key;
    struct mass before = {0, 0};
    for (;;) {
        int shift = 0;
        while ((high - low) >> shift >= BINS)
            shift++;
        if (!c.are_in_bins)
            fill_bins(m, row, c, low, high, shift);
        c.are_in_bins = false;
        find_bin(m, before, by_weight, target);
        const struct mass in_bin = m.in_bin;
        before = m.before;
        if (m.bin < 0) {
            c.are_in_bins = true; /* for it was the first time */
            return {low, 0, before.weight};
        }
        high -= static_cast<uint32_t>(m.bin) << shift;
        low = max(low, high - min(high, (1u << shift) - 1));
        if (shift == 0) {
            const uint64_t weight = in_bin.weight / in_bin.count; /* all are equal */
            const uint64_t rank =
                by_weight ? (target - before.weight + weight - 1) / weight : target - before.count;
            c.low = low;
            return {low, static_cast<uint32_t>(rank), before.weight + rank * weight};
        }
        if (!c.are_listed && before.count + in_bin.count <= MAX_LISTED)
            list(m, row, c, low);
    }
}

/* Of the shortest beginning that weighs top_p of the first k (0: all). A draw begins with the least
 * likely: where it ends is found from the other end. */
__device__ int draw_top_p(struct block_memory &m, const struct row &row, uint32_t low, int k,
                          const struct nano_cuda_draw &draw)
{
    struct candidates c = {low, false, false};
    const uint64_t all = find_cut(m, row, c, false, k > 0 ? k : row.width + 1).weight;
    const double needed = ceil(static_cast<double>(draw.top_p) * static_cast<double>(all));
    const uint64_t kept = find_cut(m, row, c, true, static_cast<uint64_t>(needed)).weight;
    const uint64_t place = place_of(draw.uniform, kept);
    if (place > kept)
        return -1;
    const struct cut cut = find_cut(m, row, c, true, kept + 1 - place);
    const auto is_equal = [&](float x) { return static_cast<uint64_t>(key_of(x) == cut.key); };
    sum_shares(m.sums, row, is_equal);
    return find_token(m.sums, row, cut.rank, is_equal);
}

/* ---- in the order of a heap ---- */

/* Moves the last one of two children up until what stands at `at` comes behind both of its. */
__device__ void sift_down(uint64_t *heap, int count, int at)
{
    const uint64_t moving = heap[at];
    for (int child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && heap[child + 1] < heap[child])
            child++;
        if (heap[child] > moving)
            break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

__device__ void push(struct heap &heap, int k, uint64_t candidate)
{
    if (heap.count < k) {
        heap.candidates[heap.count++] = candidate;
        for (int i = k / 2; heap.count == k && i-- > 0;)
            sift_down(heap.candidates, k, i);
    } else if (candidate > heap.candidates[0]) {
        heap.candidates[0] = candidate;
        sift_down(heap.candidates, k, 0);
    }
}

/* The first k candidates, as the sampler has them: each came in turn to a heap whose top is the
 * last one. False where there are fewer, which have no such order. */
__device__ bool collect_heap(struct block_memory &m, const struct row &row, uint32_t low, int k)
{
    struct heap &heap = m.heap;
    if (threadIdx.x == 0)
        heap.count = 0;
    __syncthreads();
    /* As many at a time as were seen: few of them pass by the top for nothing. */
    for (int first = 0, count = NANO_WARP; first < row.width; first += count) {
        count = min(max(first, count), static_cast<int>(THREADS));
        const int token = first + static_cast<int>(threadIdx.x);
        const bool is_there = static_cast<int>(threadIdx.x) < count && token < row.width;
        const uint32_t key = is_there ? key_of(row.logits[token]) : 0;
        const uint64_t candidate = candidate_of(key, token);
        const bool passes = key >= low && (heap.count < k || candidate > heap.candidates[0]);
        uint32_t num_found;
        const uint32_t slot = scan(m.sums, static_cast<uint32_t>(passes), &num_found);
        if (passes)
            heap.found[slot] = candidate;
        __syncthreads();
        for (uint32_t i = 0; threadIdx.x == 0 && i < num_found; i++)
            push(heap, k, heap.found[i]);
        __syncthreads();
    }
    return heap.count == k;
}

__device__ int draw_from_heap(struct block_memory &m, const struct row &row, int k, double uniform)
{
    const uint64_t candidate =
        static_cast<int>(threadIdx.x) < k ? m.heap.candidates[threadIdx.x] : 0;
    const uint64_t own =
        candidate ? weight_of(row, logit_of(static_cast<uint32_t>(candidate >> 32))) : 0;
    uint64_t total;
    const uint64_t before = scan(m.sums, own, &total), place = place_of(uniform, total);
    if (threadIdx.x == 0)
        m.sums.token = -1;
    __syncthreads();
    if (before < place && before + own >= place)
        m.sums.token = token_of(candidate);
    __syncthreads();
    return m.sums.token;
}

/* ---- the kernel ---- */

__device__ int draw_token(struct block_memory &m, const struct row &row,
                          const struct nano_cuda_draw &draw)
{
    const uint32_t floor = max(key_of(__fadd_rn(row.max, draw.floor)), KEY_MINUS_INFINITY + 1);
    /* Tokens without a weight count only for what stands where in a heap. */
    const uint32_t low = max(key_of(__fadd_rn(row.max, draw.depth)), floor);
    const int k = draw.top_k > 0 && draw.top_k < row.width ? draw.top_k : 0;
    if (draw.top_p < 1.0f)
        return draw_top_p(m, row, low, k, draw);
    if (k > 0 && collect_heap(m, row, floor, k))
        return draw_from_heap(m, row, k, draw.uniform);
    return draw_by_token(m, row, low, draw.uniform);
}

__global__ void __launch_bounds__(THREADS) sample_kernel(struct nano_cuda_sample_args args)
{
    nano_wait_for_earlier();
    __shared__ struct block_memory m;
    const struct nano_cuda_draw draw = args.draws[blockIdx.x];
    if (draw.choice == NANO_CUDA_CHOICE_NONE)
        return;
    struct row row = {args.logits.data + blockIdx.x * args.logits.stride,
                      static_cast<int>(args.width), 0, draw.scale, 0};
    const uint64_t best = find_best(m.sums, row);
    row.max_key = static_cast<uint32_t>(best >> 32);
    row.max = logit_of(row.max_key);
    int token = -1;
    if (draw.choice == NANO_CUDA_CHOICE_DRAW && row.max_key > KEY_MINUS_INFINITY &&
        row.max_key < KEY_INFINITY)
        token = draw_token(m, row, draw);
    if (threadIdx.x == 0)
        args.tokens[blockIdx.x] = token >= 0 ? token : token_of(best);
}
} // namespace

struct nano_cuda_draw nano_cuda_draw_make(const struct nano_draw *draw)
{
    struct nano_cuda_draw out = {};
    assert(draw->top_p < 1.0f || draw->top_k <= NANO_MAX_DRAW_TOP_K);
    out.scale = 1.0f / draw->temperature;
    /* So cold that not even the largest has a weight that is a number. */
    out.choice = isinf(out.scale) ? NANO_CUDA_CHOICE_GREEDY : NANO_CUDA_CHOICE_DRAW;
    out.top_k = draw->top_k;
    out.top_p = draw->top_p;
    out.floor = draw->min_p > 0.0f ? logf(draw->min_p) * draw->temperature : -INFINITY;
    out.depth = -32.0f * draw->temperature; /* exp(-32) < 2^-44 */
    out.uniform = draw->uniform;
    return out;
}

void nano_cuda_sample(struct nano_cuda_device *device, const struct nano_cuda_sample_args *args)
{
    nano_launch_early(device, sample_kernel, dim3(static_cast<unsigned>(args->rows)), dim3(THREADS),
                      0, *args);
}

/* Candidates. */
#include "engine/candidates.h"

#include <math.h>
#include <stdlib.h>

/* Logits that are looked at together. */
#define CHUNK 1024
/* More than a kernel's sum of weights may be off, twice. */
#define SUM_ERROR 2e-6
/* How far below the best one the head of the distribution is looked for, in nats: the first and
 * the last try. */
#define FIRST_DEPTH 4.0f
#define LAST_DEPTH 32.0f

float nano_candidate_weight(const struct nano_logits *l, float logit)
{
    return expf((logit - l->max) * l->scale);
}

static bool before(struct nano_candidate a, struct nano_candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

static int compare(const void *a, const void *b)
{
    struct nano_candidate x = *(const struct nano_candidate *)a;
    struct nano_candidate y = *(const struct nano_candidate *)b;
    return before(x, y) ? -1 : before(y, x) ? 1 : 0;
}

void nano_candidates_sort(struct nano_candidate *candidates, size_t count)
{
    qsort(candidates, count, sizeof *candidates, compare);
}

/* Heap whose root comes first (`last_on_top` false) or last in the candidates' order. */
static void sift_down(struct nano_candidate *heap, size_t count, size_t i, bool last_on_top)
{
    struct nano_candidate moving = heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= count)
            break;
        if (child + 1 < count && before(heap[child + 1], heap[child]) != last_on_top)
            child++;
        if (before(heap[child], moving) == last_on_top)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moving;
}

static void heapify(struct nano_candidate *heap, size_t count, bool last_on_top)
{
    for (size_t i = count / 2; i-- > 0;)
        sift_down(heap, count, i, last_on_top);
}

size_t nano_candidates_collect(const struct nano_logits *l, float floor, size_t k,
                               struct nano_candidate *out)
{
    size_t count = 0;
    int32_t found[CHUNK];
    for (int64_t begin = 0; begin < l->vocab_size; begin += CHUNK) {
        const float *values = l->values + begin;
        int64_t n = l->vocab_size - begin < CHUNK ? l->vocab_size - begin : CHUNK;
        /* Once there are k, only what beats the last of them matters. */
        bool is_full = k > 0 && count == k;
        int64_t num_found = l->kernels->collect(
            found, values, n, is_full && out[0].logit > floor ? out[0].logit : floor);
        for (int64_t i = 0; i < num_found; i++) {
            struct nano_candidate c = {values[found[i]], (int32_t)begin + found[i]};
            if (c.logit == -INFINITY)
                continue;
            if (k == 0 || count < k) {
                out[count++] = c;
                if (count == k)
                    heapify(out, count, true);
            } else if (before(c, out[0])) {
                out[0] = c;
                sift_down(out, count, 0, true);
            }
        }
    }
    return count;
}

static double sum_weights(const struct nano_logits *l, const struct nano_candidate *c, size_t count)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++)
        sum += (double)nano_candidate_weight(l, c[i].logit);
    return sum;
}

/* Takes candidates in their order until their weight is at least `needed`, which lies between low
 * and high; NULL if that does not say where to stop. All are kept when the sum stays below low. */
static struct nano_candidate *keep_head(const struct nano_logits *l, struct nano_candidate *c,
                                        size_t *count, double low, double high)
{
    double sum = 0.0;
    heapify(c, *count, false);
    size_t end = *count;
    while (end > 0 && sum < low) {
        struct nano_candidate best = c[0];
        end--;
        c[0] = c[end];
        sift_down(c, end, 0, false);
        c[end] = best;
        sum += (double)nano_candidate_weight(l, best.logit);
    }
    if (sum >= low && sum < high)
        return NULL;
    *count -= end;
    return c + end;
}

struct nano_candidate *nano_candidates_keep_top_p(const struct nano_logits *l, float top_p,
                                                  struct nano_candidate *c, size_t *count)
{
    double needed = (double)top_p * sum_weights(l, c, *count);
    return keep_head(l, c, count, needed, needed);
}

/* In the order of tokens, as sum_weights adds up all of them. */
static double sum_all_weights(const struct nano_logits *l)
{
    double sum = 0.0;
    for (int64_t i = 0; i < l->vocab_size; i++)
        if (l->values[i] > -INFINITY)
            sum += (double)nano_candidate_weight(l, l->values[i]);
    return sum;
}

struct nano_candidate *nano_candidates_top_p(const struct nano_logits *l, float top_p,
                                             struct nano_candidate *out, size_t *count)
{
    double total = l->kernels->sum_exp(l->values, l->vocab_size, l->max, l->scale);
    double low = (double)top_p * total * (1.0 - SUM_ERROR);
    double high = (double)top_p * total * (1.0 + SUM_ERROR);
    /* The head is in a set that is heavy enough; a total that is not a number ends every try. */
    for (float depth = FIRST_DEPTH; depth <= LAST_DEPTH; depth *= 2) {
        *count = nano_candidates_collect(l, l->max - depth / l->scale, 0, out);
        if (!(sum_weights(l, out, *count) > high * (1.0 + SUM_ERROR)))
            continue;
        struct nano_candidate *head = keep_head(l, out, count, low, high);
        if (head)
            return head;
        double needed = (double)top_p * sum_all_weights(l);
        return keep_head(l, out, count, needed, needed);
    }
    *count = nano_candidates_collect(l, -INFINITY, 0, out);
    return nano_candidates_keep_top_p(l, top_p, out, count);
}

int32_t nano_candidates_draw_from_all(const struct nano_logits *l, double uniform)
{
    enum { MAX_CHUNKS = 512 };
    double sums[MAX_CHUNKS], total = 0.0;
    int64_t chunk = (l->vocab_size + MAX_CHUNKS - 1) / MAX_CHUNKS;
    int num_chunks = 0;
    for (int64_t begin = 0; begin < l->vocab_size; begin += chunk) {
        int64_t n = l->vocab_size - begin < chunk ? l->vocab_size - begin : chunk;
        sums[num_chunks] = l->kernels->sum_exp(l->values + begin, n, l->max, l->scale);
        total += sums[num_chunks++];
    }
    double rest = uniform * total, error = SUM_ERROR * total;
    int i = 0;
    while (i + 1 < num_chunks && rest - sums[i] >= 0.0)
        rest -= sums[i++];
    if (!(rest > error))
        return -1;
    int64_t end = (i + 1) * chunk < l->vocab_size ? (i + 1) * chunk : l->vocab_size;
    for (int64_t k = i * chunk; k < end; k++) {
        double weight = (double)nano_candidate_weight(l, l->values[k]);
        if (rest - weight < -error)
            return (int32_t)k;
        rest -= weight;
        if (!(rest > error))
            return -1;
    }
    return -1;
}

/* Norms, rope, add, scale, softcap, argmax, collect, sum_exp and log_sum_exp for any instruction
 * set with a vec_<isa>.h, which comes first together with math_vec.h. Included by one file of each
 * folder. */
#include <math.h>

/* The number of lanes that are left at i. */
NANO_INLINE int lanes_at(int64_t i, int64_t n)
{
    return n - i < VEC_LANES ? (int)(n - i) : VEC_LANES;
}

/* Squares are summed in double, so that neither n nor the sizes of values matter. */
void VEC_NAME(nano_rms_norm)(float *y, const float *x, const float *weight, int64_t n, float eps)
{
    vec_double sum = vec_double_zero();
    for (int64_t i = 0; i < n; i += VEC_LANES)
        sum = vec_double_add_squares(sum, vec_load_part(x + i, lanes_at(i, n)));
    float scale = 1 / sqrtf((float)(vec_double_sum(sum) / (double)n) + eps);
    for (int64_t i = 0; i < n; i += VEC_LANES) {
        int lanes = lanes_at(i, n);
        vec scaled = vec_mul(vec_load_part(x + i, lanes), vec_set1(scale));
        vec_store_part(y + i, vec_mul(scaled, vec_load_part(weight + i, lanes)), lanes);
    }
}

void VEC_NAME(nano_layer_norm)(float *y, const float *x, const float *weight, const float *bias,
                               int64_t n, float eps)
{
    vec_double sum = vec_double_zero(), squares = vec_double_zero();
    for (int64_t i = 0; i < n; i += VEC_LANES)
        sum = vec_double_add(sum, vec_load_part(x + i, lanes_at(i, n)));
    vec mean = vec_set1((float)(vec_double_sum(sum) / (double)n));
    for (int64_t i = 0; i < n; i += VEC_LANES) {
        int lanes = lanes_at(i, n);
        vec centred = vec_sub(vec_load_part(x + i, lanes), mean);
        squares = vec_double_add_squares(squares, vec_first_lanes(lanes, centred, vec_zero()));
    }
    vec scale = vec_set1(1 / sqrtf((float)(vec_double_sum(squares) / (double)n) + eps));
    for (int64_t i = 0; i < n; i += VEC_LANES) {
        int lanes = lanes_at(i, n);
        vec scaled = vec_mul(vec_sub(vec_load_part(x + i, lanes), mean), scale);
        vec b = bias ? vec_load_part(bias + i, lanes) : vec_zero();
        vec_store_part(y + i, vec_fma(scaled, vec_load_part(weight + i, lanes), b), lanes);
    }
}

void VEC_NAME(nano_scale)(float *y, const float *x, int64_t n, float scale)
{
    for (int64_t i = 0; i < n; i += VEC_LANES) {
        int lanes = lanes_at(i, n);
        vec_store_part(y + i, vec_mul(vec_load_part(x + i, lanes), vec_set1(scale)), lanes);
    }
}

void VEC_NAME(nano_l2_norm)(float *y, const float *x, int64_t n, float eps)
{
    vec_double sum = vec_double_zero();
    for (int64_t i = 0; i < n; i += VEC_LANES)
        sum = vec_double_add_squares(sum, vec_load_part(x + i, lanes_at(i, n)));
    VEC_NAME(nano_scale)(y, x, n, 1 / fmaxf((float)sqrt(vec_double_sum(sum)), eps));
}

void VEC_NAME(nano_rope)(float *x, const float *cos_sin, int64_t num_pairs, bool adjacent)
{
    if (adjacent) {
        for (int64_t i = 0; i < 2 * num_pairs; i += VEC_LANES) {
            int lanes = lanes_at(i, 2 * num_pairs);
            vec rotated =
                vec_rotate_adjacent(vec_load_part(x + i, lanes), vec_load_part(cos_sin + i, lanes));
            vec_store_part(x + i, rotated, lanes);
        }
        return;
    }
    int64_t i = 0;
    float *first = x, *second = x + num_pairs;
    for (; i + VEC_LANES <= num_pairs; i += VEC_LANES) {
        vec cos, sin, a = vec_load(first + i), b = vec_load(second + i);
        vec_load_cos_sin(cos_sin + 2 * i, &cos, &sin);
        vec_store(first + i, vec_sub(vec_mul(a, cos), vec_mul(b, sin)));
        vec_store(second + i, vec_fma(a, sin, vec_mul(b, cos)));
    }
    for (; i < num_pairs; i++) {
        float cos = cos_sin[2 * i], sin = cos_sin[2 * i + 1], a = first[i], b = second[i];
        first[i] = a * cos - b * sin;
        second[i] = fmaf(a, sin, b * cos);
    }
}

void VEC_NAME(nano_add)(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += VEC_LANES) {
        int lanes = lanes_at(i, n);
        vec_store_part(y + i, vec_add(vec_load_part(y + i, lanes), vec_load_part(x + i, lanes)),
                       lanes);
    }
}

void VEC_NAME(nano_add_scaled)(float *y, const float *x, int64_t n, float scale)
{
    for (int64_t i = 0; i < n; i += VEC_LANES) {
        int lanes = lanes_at(i, n);
        vec sum =
            vec_fma(vec_set1(scale), vec_load_part(x + i, lanes), vec_load_part(y + i, lanes));
        vec_store_part(y + i, sum, lanes);
    }
}

void VEC_NAME(nano_softcap)(float *y, const float *x, int64_t n, float cap)
{
    vec inverse = vec_set1(1 / cap);
    for (int64_t i = 0; i < n; i += VEC_LANES) {
        int lanes = lanes_at(i, n);
        vec bounded = vec_tanh(vec_mul(vec_load_part(x + i, lanes), inverse));
        vec_store_part(y + i, vec_mul(vec_set1(cap), bounded), lanes);
    }
}

/* The largest value that is not NaN; -infinity if all are. */
NANO_INLINE float largest(const float *x, int64_t n)
{
    vec best = vec_set1(-INFINITY);
    int64_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES)
        best = vec_max(vec_load(x + i), best);
    float max = vec_max_lane(best);
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

int64_t VEC_NAME(nano_argmax)(const float *x, int64_t n)
{
    float max = largest(x, n);
    int64_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES) {
        unsigned equal = vec_equal(vec_load(x + i), vec_set1(max));
        if (equal)
            return i + __builtin_ctz(equal);
    }
    while (i < n && x[i] != max)
        i++;
    return i < n ? i : 0;
}

/* Mostly nothing is found: one branch for four vectors. */
int64_t VEC_NAME(nano_collect)(int32_t *out, const float *x, int64_t n, float floor)
{
    int64_t count = 0, i = 0;
    for (; i + 4 * VEC_LANES <= n; i += 4 * VEC_LANES) {
        uint64_t found = 0;
        for (int k = 0; k < 4; k++)
            found |= (uint64_t)vec_at_least(vec_load(x + i + k * VEC_LANES), vec_set1(floor))
                     << (k * VEC_LANES);
        for (; found; found &= found - 1)
            out[count++] = (int32_t)(i + __builtin_ctzll(found));
    }
    for (; i < n; i++)
        if (x[i] >= floor)
            out[count++] = (int32_t)i;
    return count;
}

double VEC_NAME(nano_sum_exp)(const float *x, int64_t n, float max, float scale)
{
    vec_double sum = vec_double_zero();
    int64_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES)
        sum = vec_double_add(
            sum, vec_exp(vec_mul(vec_sub(vec_load(x + i), vec_set1(max)), vec_set1(scale))));
    float rest[VEC_LANES];
    for (int k = 0; k < VEC_LANES; k++)
        rest[k] = i + k < n ? (x[i + k] - max) * scale : -INFINITY;
    sum = vec_double_add(sum, vec_exp(vec_load(rest)));
    return vec_double_sum(sum);
}

double VEC_NAME(nano_log_sum_exp)(const float *x, int64_t n)
{
    float max = largest(x, n);
    return isinf(max) ? max : max + log(VEC_NAME(nano_sum_exp)(x, n, max, 1));
}

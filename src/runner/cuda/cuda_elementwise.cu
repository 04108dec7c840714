/* Ops that pass over rows of columns: a block of threads takes some columns of some rows, a thread
 * four columns of a row. All are bound by the memory they touch. */
#include "runner/cuda/cuda_elementwise.h"

#include "runner/cuda/cuda_act.h"
#include "runner/cuda/cuda_lang.h"
#include "runner/cuda/cuda_rope.h"

namespace
{
enum { THREADS = 128, COLUMNS = 4 };

/* Columns column + k * step of a thread, k < count: neighbours where every view is aligned for
 * float4, else so far apart that neighbouring threads have neighbouring columns. */
struct span {
    int64_t column;
    int step, count;
    bool is_quad;
};

__device__ inline struct span span_of(int64_t width, bool aligned)
{
    const int64_t base = static_cast<int64_t>(blockIdx.y) * blockDim.x * COLUMNS;
    struct span s;
    s.step = aligned ? 1 : static_cast<int>(blockDim.x);
    s.column = base + threadIdx.x * (aligned ? COLUMNS : 1);
    const int64_t left = width - s.column;
    s.count = 0;
    for (int k = 0; k < COLUMNS; k++)
        s.count += k * s.step < left;
    s.is_quad = aligned && s.count == COLUMNS;
    return s;
}

__device__ inline int64_t row_of_thread(void)
{
    return static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
}

/* What is not there is 0. */
__device__ inline void load(float v[COLUMNS], const float *row, const struct span &s)
{
    const float *p = row + s.column;
    if (s.is_quad) {
        const float4 quad = *reinterpret_cast<const float4 *>(p);
        v[0] = quad.x, v[1] = quad.y, v[2] = quad.z, v[3] = quad.w;
        return;
    }
    for (int k = 0; k < COLUMNS; k++)
        v[k] = k < s.count ? p[k * s.step] : 0;
}

__device__ inline void store(float *row, const float v[COLUMNS], const struct span &s)
{
    float *p = row + s.column;
    if (s.is_quad) {
        *reinterpret_cast<float4 *>(p) = make_float4(v[0], v[1], v[2], v[3]);
        return;
    }
    for (int k = 0; k < COLUMNS; k++)
        if (k < s.count)
            p[k * s.step] = v[k];
}

template <typename Op> struct kernel_args {
    Op op;
    bool aligned;
};

bool is_aligned(const struct nano_cuda_view &view)
{
    return reinterpret_cast<uintptr_t>(view.data) % sizeof(float4) == 0 &&
           view.stride % COLUMNS == 0;
}

/* Narrow rows share a block. */
template <typename Op>
void launch(struct nano_cuda_device *device, void (*kernel)(struct kernel_args<Op>), const Op &op,
            int64_t width, bool aligned)
{
    const int64_t quads = (width + COLUMNS - 1) / COLUMNS;
    const unsigned x = quads <= THREADS / 4   ? THREADS / 4
                       : quads <= THREADS / 2 ? THREADS / 2
                                              : THREADS;
    const unsigned y = THREADS / x;
    const unsigned row_blocks = (static_cast<unsigned>(op.rows) + y - 1) / y;
    const unsigned column_blocks = static_cast<unsigned>((quads + x - 1) / x);
    const struct kernel_args<Op> args = {
        op, aligned
    };
    nano_launch_early(device, kernel, dim3(row_blocks, column_blocks), dim3(x, y), 0, args);
}

/* ---- activation functions and scalings ---- */

__global__ void glu_kernel(struct kernel_args<struct nano_cuda_glu_args> args)
{
    nano_wait_for_earlier();
    const struct nano_cuda_glu_args &op = args.op;
    const int64_t row = row_of_thread();
    if (row >= op.rows)
        return;
    const struct span s = span_of(op.width, args.aligned);
    const float *gate_row = op.gate.data + row * op.gate.stride;
    float gate[COLUMNS], v[COLUMNS];
    if (op.gate_width == op.width) {
        load(gate, gate_row, s);
    } else {
        for (int k = 0; k < COLUMNS; k++)
            gate[k] = gate_row[0];
    }
    load(v, op.up.data + row * op.up.stride, s);
    for (int k = 0; k < COLUMNS; k++)
        v[k] = nano_cuda_gated(op.act, gate[k], v[k]);
    store(op.out.data + row * op.out.stride, v, s);
}

__global__ void map_kernel(struct kernel_args<struct nano_cuda_map_args> args)
{
    nano_wait_for_earlier();
    const struct nano_cuda_map_args &op = args.op;
    const int64_t row = row_of_thread();
    if (row >= op.rows)
        return;
    const struct span s = span_of(op.width, args.aligned);
    float *out = op.out.data + row * op.out.stride;
    float v[COLUMNS];
    load(v, op.in.data + row * op.in.stride, s);
    if (op.kind == NANO_OP_ACTIVATE) {
        for (int k = 0; k < COLUMNS; k++)
            v[k] = nano_cuda_act(op.act, v[k]);
    } else if (op.kind == NANO_OP_ADD) {
        float sum[COLUMNS];
        load(sum, out, s);
        for (int k = 0; k < COLUMNS; k++)
            v[k] = __fmaf_rn(op.scale, v[k], sum[k]);
    } else if (op.kind == NANO_OP_SOFTCAP) {
        const float inverse = 1 / op.softcap;
        for (int k = 0; k < COLUMNS; k++)
            v[k] = __fmul_rn(op.softcap, tanhf(__fmul_rn(v[k], inverse)));
    } else {
        float scale = op.scale;
        if (op.kind == NANO_OP_POSITION_SCALE) {
            const float whole = static_cast<float>(op.positions[row] / op.scale_length);
            scale = __fmaf_rn(scale, logf(__fadd_rn(1, whole)), 1);
        }
        for (int k = 0; k < COLUMNS; k++)
            v[k] = __fmul_rn(scale, v[k]);
    }
    store(out, v, s);
}

/* ---- copies ---- */

__global__ void split_heads_kernel(struct kernel_args<struct nano_cuda_split_heads_args> args)
{
    nano_wait_for_earlier();
    const struct nano_cuda_split_heads_args &op = args.op;
    const int64_t row = row_of_thread();
    if (row >= op.rows)
        return;
    unsigned head_width = 0;
    for (int i = 0; i < NANO_MAX_SEGMENTS; i++)
        head_width += i < op.num_out ? static_cast<unsigned>(op.head_width[i]) : 0;
    const struct span s = span_of(static_cast<int64_t>(op.num_heads) * head_width, args.aligned);
    float v[COLUMNS];
    load(v, op.in.data + row * op.in.stride, s);
    for (int k = 0; k < COLUMNS; k++) {
        if (k >= (s.is_quad ? 1 : s.count)) /* a quad is all in one part */
            break;
        const unsigned column = static_cast<unsigned>(s.column + k * s.step);
        const unsigned head = column / head_width;
        int64_t place = column % head_width;
        for (int i = 0; i < NANO_MAX_SEGMENTS; i++) {
            if (i >= op.num_out)
                break;
            const int64_t part_width = op.head_width[i];
            if (place >= 0 && place < part_width) {
                float *to = op.out[i].data + row * op.out[i].stride + head * part_width + place;
                if (s.is_quad)
                    *reinterpret_cast<float4 *>(to) = make_float4(v[0], v[1], v[2], v[3]);
                else
                    *to = v[k];
            }
            place -= part_width;
        }
    }
}

__global__ void gather_kernel(struct kernel_args<struct nano_cuda_gather_args> args)
{
    nano_wait_for_earlier();
    const struct nano_cuda_gather_args &op = args.op;
    const int64_t row = row_of_thread();
    if (row >= op.rows)
        return;
    const struct span s = span_of(op.width, args.aligned);
    float v[COLUMNS];
    load(v, op.in.data + op.row_ids[row] * op.in.stride, s);
    store(op.out.data + row * op.out.stride, v, s);
}

/* ---- rotary embedding ---- */

enum {
    ROPE_HEADS = 4, /* whose loads are under way together */
    ROPE_MANY_ROWS = 256
};

struct rope_args {
    struct nano_cuda_rope_args op;
    int heads;   /* of a thread: a pair's angle is the same in all of them */
    bool paired; /* adjacent, and aligned for float2 */
};

__global__ void __launch_bounds__(THREADS) rope_kernel(struct rope_args args)
{
    nano_wait_for_earlier();
    const struct nano_cuda_rope_args &op = args.op;
    const unsigned item = blockIdx.y * blockDim.x + threadIdx.x;
    const unsigned num_pairs = static_cast<unsigned>(op.num_pairs);
    const int pair = static_cast<int>(item % num_pairs);
    const int first = static_cast<int>(item / num_pairs) * args.heads;
    if (first >= op.num_heads)
        return;
    const int end = min(first + args.heads, op.num_heads);
    const int64_t row = blockIdx.x;
    const float2 turn = nano_cuda_turn(op.positions[row], op.inv_freq[pair], op.magnitude);
    float *x = op.x.data + row * op.x.stride + op.rope_offset + (op.adjacent ? 2 * pair : pair);
    const int distance = op.adjacent ? 1 : op.num_pairs;
    for (int head = first; head < end; head += ROPE_HEADS) {
        float2 v[ROPE_HEADS];
        for (int k = 0; k < ROPE_HEADS; k++) {
            const float *p = x + static_cast<int64_t>(head + k) * op.head_dim;
            if (head + k >= end)
                v[k] = make_float2(0, 0);
            else if (args.paired)
                v[k] = *reinterpret_cast<const float2 *>(p);
            else
                v[k] = make_float2(p[0], p[distance]);
        }
        for (int k = 0; k < ROPE_HEADS; k++) {
            float *p = x + static_cast<int64_t>(head + k) * op.head_dim;
            const float2 turned = nano_cuda_turned(v[k], turn);
            if (head + k >= end)
                break;
            if (args.paired)
                *reinterpret_cast<float2 *>(p) = turned;
            else
                p[0] = turned.x, p[distance] = turned.y;
        }
    }
}

/* ---- argmax ---- */

enum { ARGMAX_THREADS = 1024, ARGMAX_LOADS = 4, NO_INDEX = 0x7fffffff };

struct best {
    float value;
    int index; /* NO_INDEX: none but NaN so far */
};

__device__ inline struct best better(struct best a, struct best b)
{
    return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
}

__device__ inline void consider(struct best *best, float value, int64_t index)
{
    *best = better(*best, {value, static_cast<int>(index)});
}

__device__ inline struct best warp_best(struct best mine)
{
    for (int mask = NANO_WARP / 2; mask; mask /= 2)
        mine = better(mine, {nano_shfl_xor(mine.value, mask), nano_shfl_xor(mine.index, mask)});
    return mine;
}

__global__ void __launch_bounds__(ARGMAX_THREADS)
    argmax_kernel(struct kernel_args<struct nano_cuda_argmax_args> args)
{
    nano_wait_for_earlier();
    __shared__ float values[ARGMAX_THREADS / NANO_WARP];
    __shared__ int indices[ARGMAX_THREADS / NANO_WARP];
    const int64_t row = blockIdx.x, width = args.op.width;
    const float *x = args.op.in.data + row * args.op.in.stride;
    const float least = nano_f32_from_bits(0xff800000u), none = nano_f32_from_bits(0x7fc00000u);
    const int64_t num_quads = args.aligned ? width / COLUMNS : 0;
    const int warp = static_cast<int>(threadIdx.x / NANO_WARP);
    struct best mine = {least, NO_INDEX};
    for (int64_t q = threadIdx.x; q < num_quads; q += ARGMAX_THREADS * ARGMAX_LOADS) {
        float4 v[ARGMAX_LOADS];
        for (int k = 0; k < ARGMAX_LOADS; k++) {
            const int64_t quad = q + k * ARGMAX_THREADS;
            v[k] = quad < num_quads ? reinterpret_cast<const float4 *>(x)[quad]
                                    : make_float4(none, none, none, none);
        }
        for (int k = 0; k < ARGMAX_LOADS; k++) {
            const int64_t column = (q + k * ARGMAX_THREADS) * COLUMNS;
            consider(&mine, v[k].x, column);
            consider(&mine, v[k].y, column + 1);
            consider(&mine, v[k].z, column + 2);
            consider(&mine, v[k].w, column + 3);
        }
    }
    for (int64_t column = num_quads * COLUMNS + threadIdx.x; column < width;
         column += ARGMAX_THREADS)
        consider(&mine, x[column], column);
    mine = warp_best(mine);
    if (threadIdx.x % NANO_WARP == 0) {
        values[warp] = mine.value;
        indices[warp] = mine.index;
    }
    __syncthreads();
    if (warp != 0)
        return;
    mine = warp_best({values[threadIdx.x], indices[threadIdx.x]});
    if (threadIdx.x == 0)
        args.op.tokens[row] = mine.index == NO_INDEX ? 0 : mine.index;
}
} // namespace

extern "C" {

void nano_cuda_glu(struct nano_cuda_device *device, const struct nano_cuda_glu_args *args)
{
    const bool aligned = is_aligned(args->out) && is_aligned(args->up) &&
                         (args->gate_width != args->width || is_aligned(args->gate));
    launch(device, glu_kernel, *args, args->width, aligned);
}

void nano_cuda_map(struct nano_cuda_device *device, const struct nano_cuda_map_args *args)
{
    launch(device, map_kernel, *args, args->width, is_aligned(args->out) && is_aligned(args->in));
}

void nano_cuda_split_heads(struct nano_cuda_device *device,
                           const struct nano_cuda_split_heads_args *args)
{
    bool aligned = is_aligned(args->in);
    int64_t width = 0;
    for (int i = 0; i < args->num_out; i++) {
        aligned = aligned && is_aligned(args->out[i]) && args->head_width[i] % COLUMNS == 0;
        width += args->num_heads * args->head_width[i];
    }
    launch(device, split_heads_kernel, *args, width, aligned);
}

void nano_cuda_gather(struct nano_cuda_device *device, const struct nano_cuda_gather_args *args)
{
    launch(device, gather_kernel, *args, args->width,
           is_aligned(args->out) && is_aligned(args->in));
}

void nano_cuda_rope(struct nano_cuda_device *device, const struct nano_cuda_rope_args *args)
{
    const struct nano_cuda_view &x = args->x;
    /* With few rows heads are what there is to divide. */
    const int heads = args->rows < ROPE_MANY_ROWS ? ROPE_HEADS : 4 * ROPE_HEADS;
    const bool paired =
        args->adjacent && args->head_dim % 2 == 0 && x.stride % 2 == 0 &&
        reinterpret_cast<uintptr_t>(x.data + args->rope_offset) % sizeof(float2) == 0;
    const int64_t items =
        static_cast<int64_t>(args->num_pairs) * ((args->num_heads + heads - 1) / heads);
    const struct rope_args kernel_args = {*args, heads, paired};
    nano_launch_early(device, rope_kernel,
                      dim3(static_cast<unsigned>(args->rows),
                           static_cast<unsigned>((items + THREADS - 1) / THREADS)),
                      dim3(THREADS), 0, kernel_args);
}

void nano_cuda_argmax(struct nano_cuda_device *device, const struct nano_cuda_argmax_args *args)
{
    const struct kernel_args<struct nano_cuda_argmax_args> kernel_args = {
        *args, is_aligned(args->in)
    };
    nano_launch_early(device, argmax_kernel, dim3(static_cast<unsigned>(args->rows)),
                      dim3(ARGMAX_THREADS), 0, kernel_args);
}
}

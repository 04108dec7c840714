/* Mamba-2 and the gated delta rule. A block of threads takes some columns of a head of a sequence
 * and goes through its rows one by one, with their state in registers from the first to the last.
 *
 * `Lanes` threads of a warp have a column: each of them Size elements of its state, four
 * neighbouring ones at a time, so that sums over the state are a few shuffles and rows need no
 * barrier. What all columns of a head have in common - a row's two vectors of state_size, and its
 * gates - is prepared in shared memory for several rows at once, a warp a row, while the next ones
 * are fetched. */
#include <assert.h>

#include "runner/cuda/cuda_act.h"
#include "runner/cuda/cuda_lang.h"
#include "runner/cuda/cuda_recurrent.h"

namespace
{
enum { WARPS = 4, THREADS = WARPS * NANO_WARP, QUAD = 4 };

template <int LanesOfColumn, int SizeOfLane, int RowsOfWarp> struct layout {
    enum {
        Lanes = LanesOfColumn,
        Size = SizeOfLane,
        WarpRows = RowsOfWarp,
        Rows = RowsOfWarp * WARPS, /* prepared at a time */
        WarpColumns = NANO_WARP / Lanes,
        Columns = WarpColumns * WARPS,
        StateSize = Lanes * Size, /* what is beyond the state_size is zeros */
        WarpLoads = StateSize / NANO_WARP
    };
    /* Blocks of a multiprocessor, which bounds registers: as many as go without spills. */
    enum { MinBlocks = StateSize > 256 ? 2 : StateSize > 128 ? 3 : 4 };
    /* Shared memory of a row. */
    enum { Write = 0, Read = StateSize, Value = 2 * StateSize, Gates = Value + Columns };
    enum { RowFloats = Gates + QUAD, SharedFloats = Rows * RowFloats };
};

/* Where a block finds its rows: of row 0 of the batch. */
struct inputs {
    const float *write, *read; /* B and C, or k and q: what a row writes to and reads from the state
                                  with */
    const float *value;        /* x or v: the block's columns */
    const float *gates[2];     /* the second may be NULL */
    int64_t stride, gate_strides[2];
    int head, state_size, num_columns;
    float weight[3]; /* the head's */
    float eps;
};

/* Rows as they were fetched. */
template <typename Layout> struct fetched {
    float write[Layout::WarpRows][Layout::WarpLoads], read[Layout::WarpRows][Layout::WarpLoads];
    float value[Layout::WarpRows], gates[2][Layout::WarpRows];
};

/* log(1 + exp(x)), as nano_softplus_ref. */
__device__ inline float softplus(float x)
{
    const float positive = x > 0 ? x : 0;
    const float e = expf(__fmaf_rn(-2, positive, x)), s = e / __fadd_rn(2, e);
    const float z = __fmul_rn(s, s);
    float p = 2.0f / 15;
    p = __fmaf_rn(p, z, 2.0f / 13);
    p = __fmaf_rn(p, z, 2.0f / 11);
    p = __fmaf_rn(p, z, 2.0f / 9);
    p = __fmaf_rn(p, z, 2.0f / 7);
    p = __fmaf_rn(p, z, 2.0f / 5);
    p = __fmaf_rn(p, z, 2.0f / 3);
    p = __fmaf_rn(p, z, 2);
    return __fmaf_rn(p, s, positive);
}

template <typename Layout> __device__ inline float sum_of_column(const float parts[QUAD])
{
    float sum = __fadd_rn(__fadd_rn(parts[0], parts[1]), __fadd_rn(parts[2], parts[3]));
    for (int mask = Layout::WarpColumns; mask < NANO_WARP; mask *= 2)
        sum = __fadd_rn(sum, nano_shfl_xor(sum, mask));
    return sum;
}

__device__ inline void load_quad(float v[QUAD], const float *shared)
{
    const float4 quad = *reinterpret_cast<const float4 *>(shared);
    v[0] = quad.x, v[1] = quad.y, v[2] = quad.z, v[3] = quad.w;
}

struct mamba2 {
    enum { Weights = 3 };
    static __device__ void place(struct inputs *in, const struct nano_cuda_recurrent_args &args,
                                 int64_t value, int64_t key)
    {
        const struct nano_recurrence &shape = args.recurrence;
        const float *b = args.in[0].data + static_cast<int64_t>(shape.num_heads) * shape.head_dim;
        in->value = args.in[0].data + value;
        in->write = b + key;
        in->read = b + static_cast<int64_t>(shape.num_key_heads) * shape.state_size + key;
    }

    /* The vectors stay as they are; the gates become the step and the decay. */
    template <typename Layout>
    static __device__ void prepare(struct fetched<Layout> *rows, int i, const struct inputs &in)
    {
        const float step = softplus(__fadd_rn(rows->gates[0][i], in.weight[2]));
        rows->gates[0][i] = step;
        rows->gates[1][i] = expf(__fmul_rn(step, in.weight[0]));
    }

    template <typename Layout>
    static __device__ float step(float state[Layout::Size], const float *write, const float *read,
                                 float x, const float *gates, const struct inputs &in)
    {
        const float step_x = __fmul_rn(gates[0], x), decay = gates[1];
        float y[QUAD] = {0, 0, 0, 0};
        for (int j = 0; j < Layout::Size / QUAD; j++) {
            float b[QUAD], c[QUAD];
            load_quad(b, write + j * Layout::Lanes * QUAD);
            load_quad(c, read + j * Layout::Lanes * QUAD);
            for (int i = 0; i < QUAD; i++) {
                float *h = &state[j * QUAD + i];
                *h = __fmaf_rn(*h, decay, __fmul_rn(b[i], step_x));
                y[i] = __fmaf_rn(c[i], *h, y[i]);
            }
        }
        return __fmaf_rn(in.weight[1], x, sum_of_column<Layout>(y));
    }
};

struct delta_net {
    enum { Weights = 2 };
    static __device__ void place(struct inputs *in, const struct nano_cuda_recurrent_args &args,
                                 int64_t value, int64_t key)
    {
        const struct nano_recurrence &shape = args.recurrence;
        const int64_t keys = static_cast<int64_t>(shape.num_key_heads) * shape.state_size;
        in->read = args.in[0].data + key;
        in->write = args.in[0].data + keys + key;
        in->value = args.in[0].data + 2 * keys + value;
        in->gates[1] = args.in[2].data + in->head;
        in->gate_strides[1] = args.in[2].stride;
    }

    template <typename Layout>
    static __device__ void normalize(float v[Layout::WarpLoads], float scale, float eps)
    {
        float sum = 0;
        for (int m = 0; m < Layout::WarpLoads; m++)
            sum = __fmaf_rn(v[m], v[m], sum);
        const float factor = scale / fmaxf(sqrtf(nano_warp_sum(sum)), eps);
        for (int m = 0; m < Layout::WarpLoads; m++)
            v[m] = __fmul_rn(v[m], factor);
    }

    /* The gates become the decay and the rate of change. */
    template <typename Layout>
    static __device__ void prepare(struct fetched<Layout> *rows, int i, const struct inputs &in)
    {
        normalize<Layout>(rows->write[i], 1, in.eps);
        normalize<Layout>(rows->read[i], 1 / sqrtf(static_cast<float>(in.state_size)), in.eps);
        const float open = softplus(__fadd_rn(rows->gates[0][i], in.weight[1]));
        rows->gates[0][i] = expf(__fmul_rn(in.weight[0], open));
        rows->gates[1][i] = nano_cuda_sigmoid(rows->gates[1][i]);
    }

    template <typename Layout>
    static __device__ float step(float state[Layout::Size], const float *write, const float *read,
                                 float v, const float *gates, const struct inputs &)
    {
        const float decay = gates[0];
        float k[Layout::Size], found[QUAD] = {0, 0, 0, 0}, out[QUAD] = {0, 0, 0, 0};
        for (int j = 0; j < Layout::Size / QUAD; j++) {
            load_quad(k + j * QUAD, write + j * Layout::Lanes * QUAD);
            for (int i = 0; i < QUAD; i++) {
                float *s = &state[j * QUAD + i];
                *s = __fmul_rn(*s, decay);
                found[i] = __fmaf_rn(k[j * QUAD + i], *s, found[i]);
            }
        }
        const float error = __fadd_rn(v, -sum_of_column<Layout>(found));
        const float change = __fmul_rn(gates[1], error);
        for (int j = 0; j < Layout::Size / QUAD; j++) {
            float q[QUAD];
            load_quad(q, read + j * Layout::Lanes * QUAD);
            for (int i = 0; i < QUAD; i++) {
                float *s = &state[j * QUAD + i];
                *s = __fmaf_rn(k[j * QUAD + i], change, *s);
                out[i] = __fmaf_rn(q[i], *s, out[i]);
            }
        }
        return sum_of_column<Layout>(out);
    }
};

/* Row i of a warp is row i * WARPS + warp of those that are prepared together. */
template <typename Layout>
__device__ inline void fetch(struct fetched<Layout> *rows, const struct inputs &in,
                             int64_t first_row, int count)
{
    const int lane = static_cast<int>(threadIdx.x % NANO_WARP);
    const int warp = static_cast<int>(threadIdx.x / NANO_WARP);
    for (int i = 0; i < Layout::WarpRows; i++) {
        const bool exists = i * WARPS + warp < count;
        const int64_t row = first_row + i * WARPS + warp;
        for (int m = 0; m < Layout::WarpLoads; m++) {
            const int n = m * NANO_WARP + lane;
            const bool is_in = exists && n < in.state_size;
            rows->write[i][m] = is_in ? in.write[row * in.stride + n] : 0;
            rows->read[i][m] = is_in ? in.read[row * in.stride + n] : 0;
        }
        rows->value[i] = exists && lane < in.num_columns ? in.value[row * in.stride + lane] : 0;
        for (int g = 0; g < 2; g++)
            rows->gates[g][i] = exists && in.gates[g] ? in.gates[g][row * in.gate_strides[g]] : 0;
    }
}

template <typename Rule, typename Layout>
__device__ inline void prepare(float *shared, struct fetched<Layout> *rows, const struct inputs &in)
{
    const int lane = static_cast<int>(threadIdx.x % NANO_WARP);
    const int warp = static_cast<int>(threadIdx.x / NANO_WARP);
    for (int i = 0; i < Layout::WarpRows; i++) {
        float *row = shared + (i * WARPS + warp) * Layout::RowFloats;
        Rule::template prepare<Layout>(rows, i, in);
        for (int m = 0; m < Layout::WarpLoads; m++) {
            row[Layout::Write + m * NANO_WARP + lane] = rows->write[i][m];
            row[Layout::Read + m * NANO_WARP + lane] = rows->read[i][m];
        }
        if (lane < Layout::Columns)
            row[Layout::Value + lane] = rows->value[i];
        if (lane == 0) {
            row[Layout::Gates] = rows->gates[0][i];
            row[Layout::Gates + 1] = rows->gates[1][i];
        }
    }
}

template <typename Rule, typename Layout>
__device__ inline struct inputs find_inputs(const struct nano_cuda_recurrent_args &args, int head,
                                            int first_column)
{
    const struct nano_recurrence &shape = args.recurrence;
    const int key_head = shape.interleaved ? head % shape.num_key_heads
                                           : head / (shape.num_heads / shape.num_key_heads);
    const int left = shape.head_dim - first_column;
    struct inputs in = {};
    in.head = head;
    in.stride = args.in[0].stride;
    in.gates[0] = args.in[1].data + head;
    in.gate_strides[0] = args.in[1].stride;
    in.state_size = shape.state_size;
    in.num_columns = min(left, static_cast<int>(Layout::Columns));
    in.eps = args.eps;
    for (int i = 0; i < Rule::Weights; i++)
        in.weight[i] = args.weight[i][head];
    Rule::place(&in, args, static_cast<int64_t>(head) * shape.head_dim + first_column,
                static_cast<int64_t>(key_head) * shape.state_size);
    return in;
}

/* A thread's elements of a column: QUAD of every Lanes * QUAD, `stride` apart; those from `end` on
 * are not there. */
template <typename Layout>
__device__ inline void load_state(float state[Layout::Size], const float *from, int stride, int end)
{
    for (int j = 0; j < Layout::Size / QUAD; j++) {
        for (int i = 0; i < QUAD; i++)
            state[j * QUAD + i] = j * Layout::Lanes * QUAD + i < end ? from[i * stride] : 0;
        from += Layout::Lanes * QUAD * stride;
    }
}

template <typename Layout>
__device__ inline void store_state(float *to, const float state[Layout::Size], int stride, int end)
{
    for (int j = 0; j < Layout::Size / QUAD; j++) {
        for (int i = 0; i < QUAD; i++)
            if (j * Layout::Lanes * QUAD + i < end)
                to[i * stride] = state[j * QUAD + i];
        to += Layout::Lanes * QUAD * stride;
    }
}

template <typename Rule, typename Layout>
__global__ void __launch_bounds__(THREADS, Layout::MinBlocks)
    recurrent_kernel(struct nano_cuda_recurrent_args args)
{
    nano_wait_for_earlier();
    NANO_DYNAMIC_SHARED(float, shared);
    const int head_dim = args.recurrence.head_dim, state_size = args.recurrence.state_size;
    const int num_tiles = (head_dim + Layout::Columns - 1) / Layout::Columns;
    const int head = static_cast<int>(blockIdx.y) / num_tiles;
    const int first_column = static_cast<int>(blockIdx.y) % num_tiles * Layout::Columns;
    const struct inputs in = find_inputs<Rule, Layout>(args, head, first_column);

    /* A warp's lanes: first all columns' first part, then their second, ... */
    const int lane = static_cast<int>(threadIdx.x % NANO_WARP);
    const int warp = static_cast<int>(threadIdx.x / NANO_WARP);
    const int part = lane / Layout::WarpColumns;
    const int column = warp * Layout::WarpColumns + lane % Layout::WarpColumns;
    const bool is_column = column < in.num_columns;
    const int elements = state_size - part * QUAD; /* from the thread's first one on */

    for (int s = static_cast<int>(blockIdx.x); s < args.batch->num_seqs;
         s += static_cast<int>(gridDim.x)) {
        const struct nano_cuda_seq seq = args.seqs[s];
        float *kept = args.states + seq.state * args.state_floats + args.state_offset +
                      static_cast<int64_t>(head) * state_size * head_dim + first_column + column +
                      static_cast<int64_t>(part) * QUAD * head_dim;
        float *out = args.out.data + seq.first_row * args.out.stride +
                     static_cast<int64_t>(head) * head_dim + first_column + column;
        float state[Layout::Size];
        load_state<Layout>(state, kept, nano_hidden(head_dim),
                           is_column && seq.first_position ? elements : 0);
        struct fetched<Layout> rows;
        fetch(&rows, in, seq.first_row, seq.num_rows);
        for (int first = 0; first < seq.num_rows; first += Layout::Rows) {
            __syncthreads(); /* the rows before these are no longer read */
            prepare<Rule, Layout>(shared, &rows, in);
            __syncthreads();
            const int left = seq.num_rows - first,
                      count = min(left, static_cast<int>(Layout::Rows));
            fetch(&rows, in, seq.first_row + first + Layout::Rows, left - Layout::Rows);
            for (int r = 0; r < count; r++) {
                const float *row = shared + r * Layout::RowFloats;
                const float y = Rule::template step<Layout>(
                    state, row + Layout::Write + part * QUAD, row + Layout::Read + part * QUAD,
                    row[Layout::Value + column], row + Layout::Gates, in);
                if (part == 0 && is_column)
                    out[(first + r) * args.out.stride] = y;
            }
        }
        store_state<Layout>(kept, state, nano_hidden(head_dim), is_column ? elements : 0);
    }
}

template <typename Rule, typename Layout>
void launch(struct nano_cuda_device *device, const struct nano_cuda_recurrent_args &args)
{
    const int num_tiles = (args.recurrence.head_dim + Layout::Columns - 1) / Layout::Columns;
    const int parts = args.recurrence.num_heads * num_tiles;
    const dim3 grid(static_cast<unsigned>(nano_cuda_seq_blocks(&args, parts)),
                    static_cast<unsigned>(parts));
    void (*kernel)(struct nano_cuda_recurrent_args) = recurrent_kernel<Rule, Layout>;
    nano_launch_early(device, kernel, grid, dim3(THREADS),
                      static_cast<size_t>(Layout::SharedFloats) * sizeof(float), args);
}

template <typename Rule>
void launch_any(struct nano_cuda_device *device, const struct nano_cuda_recurrent_args &args)
{
    const int size = args.recurrence.state_size;
    assert(size <= NANO_CUDA_MAX_STATE_SIZE);
    if (size <= 64)
        launch<Rule, layout<4, 16, 2>>(device, args);
    else if (size <= 128)
        launch<Rule, layout<4, 32, 2>>(device, args);
    else if (size <= 256)
        launch<Rule, layout<8, 32, 2>>(device, args);
    else /* no model known */
        launch<Rule, layout<32, 32, 1>>(device, args);
}
} // namespace

extern "C" {

void nano_cuda_mamba2(struct nano_cuda_device *device, const struct nano_cuda_recurrent_args *args)
{
    launch_any<mamba2>(device, *args);
}

void nano_cuda_delta_net(struct nano_cuda_device *device,
                         const struct nano_cuda_recurrent_args *args)
{
    launch_any<delta_net>(device, *args);
}
}

/* Short convolutions. Rows do not wait for each other: what a row needs of earlier ones is in the
 * input, or in the state that the batch found. A block of threads takes some columns of a chunk of
 * a sequence's rows; only the first chunk looks at the state, and when it has, leaves the new one,
 * so that there is no order among blocks. */
#include "runner/cuda/cuda_act.h"
#include "runner/cuda/cuda_lang.h"
#include "runner/cuda/cuda_recurrent.h"

namespace
{
enum {
    THREADS = 128,   /* a column each */
    CHUNK_ROWS = 32, /* or as many as a row sees */
    ROWS = 8         /* whose loads are under way together */
};

struct conv_args {
    struct nano_cuda_recurrent_args op;
    int chunk_rows;
};

struct chunk {
    struct nano_cuda_seq seq;
    int first, end; /* rows of the sequence */
};

/* Chunk k of sequence s has the number first_row / chunk_rows + s + k, for the rows before it are
 * in no more chunks than that. Some numbers are nobody's. */
__device__ inline int first_chunk(const struct conv_args &args, int seq)
{
    return args.op.seqs[seq].first_row / args.chunk_rows + seq;
}

/* The chunk of that number; end <= first where there is none. Sequences stand in the order of their
 * rows: the lanes of a warp look for the last that begins at or before the number, at first a
 * stride apart and then between two of those. */
__device__ inline struct chunk find_chunk(const struct conv_args &args, int number, int num_seqs)
{
    const int lane = static_cast<int>(threadIdx.x % NANO_WARP);
    int seq = 0;
    for (int count = num_seqs; count > 1;) {
        const int stride = (count + NANO_WARP - 1) / NANO_WARP, mine = seq + lane * stride;
        const int end = seq + count;
        seq += (__popc(nano_ballot(mine < end && first_chunk(args, mine) <= number)) - 1) * stride;
        count = min(stride, end - seq);
    }
    struct chunk chunk = {args.op.seqs[seq], 0, 0};
    chunk.first = (number - first_chunk(args, seq)) * args.chunk_rows;
    chunk.end = min(chunk.first + args.chunk_rows, chunk.seq.num_rows);
    return chunk;
}

/* A thread's column. */
struct column {
    const float *in, *weight; /* of the sequence's first row; [kernel] */
    float *out, *state;
    float bias;
    bool is_new; /* the sequence begins: whatever its state holds, it is zeros */
};

__device__ inline float input(const struct nano_cuda_recurrent_args &op, const struct column &c,
                              int row)
{
    if (row >= 0)
        return c.in[row * op.in[0].stride];
    return c.is_new ? 0 : c.state[(op.recurrence.kernel - 1 + row) * op.width];
}

__device__ inline void put(const struct nano_cuda_recurrent_args &op, const struct column &c,
                           int row, float sum)
{
    c.out[row * op.out.stride] = op.act == NANO_ACT_SILU ? nano_cuda_silu(sum) : sum;
}

/* `Kernel` 0: any. */
template <int Kernel> struct rows {
    static __device__ void run(const struct nano_cuda_recurrent_args &op, const struct column &c,
                               int first, int end)
    {
        float weight[Kernel], x[Kernel - 1 + ROWS];
        for (int j = 0; j < Kernel; j++)
            weight[j] = c.weight[j];
        for (int j = 0; j < Kernel - 1; j++)
            x[j] = input(op, c, first - Kernel + 1 + j);
        for (int row = first; row < end; row += ROWS) {
            for (int k = 0; k < ROWS; k++)
                x[Kernel - 1 + k] = row + k < end ? c.in[(row + k) * op.in[0].stride] : 0;
            for (int k = 0; k < ROWS; k++) {
                float sum = c.bias;
                for (int j = 0; j < Kernel; j++)
                    sum = __fmaf_rn(weight[j], x[k + j], sum);
                if (row + k < end)
                    put(op, c, row + k, sum);
            }
            for (int j = 0; j < Kernel - 1; j++)
                x[j] = x[ROWS + j];
        }
    }
};

template <> struct rows<0> {
    static __device__ void run(const struct nano_cuda_recurrent_args &op, const struct column &c,
                               int first, int end)
    {
        const int kernel = op.recurrence.kernel;
        for (int row = first; row < end; row++) {
            float sum = c.bias;
            for (int j = 0; j < kernel; j++)
                sum = __fmaf_rn(c.weight[j], input(op, c, row - kernel + 1 + j), sum);
            put(op, c, row, sum);
        }
    }
};

/* Place j gets what is in no earlier one. */
__device__ inline void leave_state(const struct nano_cuda_recurrent_args &op,
                                   const struct column &c, int num_rows)
{
    const int kept = op.recurrence.kernel - 1;
    for (int j = 0; j < kept; j++)
        c.state[j * op.width] = input(op, c, num_rows - kept + j);
}

template <int Kernel>
__global__ void __launch_bounds__(THREADS) short_conv_kernel(struct conv_args args)
{
    nano_wait_for_earlier();
    const struct nano_cuda_recurrent_args &op = args.op;
    const int64_t column = static_cast<int64_t>(blockIdx.y) * THREADS + threadIdx.x;
    const int num_seqs = op.batch->num_seqs;
    const int end = num_seqs ? op.batch->num_rows / args.chunk_rows + num_seqs : 0;
    for (int number = static_cast<int>(blockIdx.x); number < end;
         number += static_cast<int>(gridDim.x)) {
        const struct chunk chunk = find_chunk(args, number, num_seqs);
        if (column >= op.width || chunk.first >= chunk.end)
            continue;
        const struct nano_cuda_seq &seq = chunk.seq;
        const struct column c = {op.in[0].data + seq.first_row * op.in[0].stride + column,
                                 op.weight[0] + column * op.recurrence.kernel,
                                 op.out.data + seq.first_row * op.out.stride + column,
                                 op.states + seq.state * op.state_floats + op.state_offset + column,
                                 op.bias ? op.bias[column] : 0,
                                 seq.first_position == 0};
        rows<Kernel>::run(op, c, chunk.first, chunk.end);
        if (chunk.first == 0)
            leave_state(op, c, seq.num_rows);
    }
}
} // namespace

extern "C" void nano_cuda_short_conv(struct nano_cuda_device *device,
                                     const struct nano_cuda_recurrent_args *args)
{
    const int kernel = args->recurrence.kernel;
    const struct conv_args kernel_args = {*args, kernel > CHUNK_ROWS ? kernel : CHUNK_ROWS};
    const int parts = static_cast<int>((args->width + THREADS - 1) / THREADS);
    const dim3 grid(static_cast<unsigned>(args->rows / kernel_args.chunk_rows +
                                          nano_cuda_seq_blocks(args, parts)),
                    static_cast<unsigned>(parts));
    void (*start)(struct conv_args) = kernel == 3   ? short_conv_kernel<3>
                                      : kernel == 4 ? short_conv_kernel<4>
                                                    : short_conv_kernel<0>;
    nano_launch_early(device, start, grid, dim3(THREADS), 0, kernel_args);
}

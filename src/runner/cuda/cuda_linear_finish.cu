/* What becomes of sums that cuBLASLt has made. */
#include "runner/cuda/cuda_gemm.h"
#include "runner/cuda/cuda_linear_part.h"

namespace
{
enum { FINISH_THREADS = 256 };

struct finish_args {
    struct nano_cuda_linear_args linear;
    struct nano_cuda_view sums;
    int columns; /* of all segments; of a glu, the gate's */
};

__global__ void finish_kernel(const struct finish_args a)
{
    nano_wait_for_earlier();
    const int column = static_cast<int>(blockIdx.y * FINISH_THREADS + threadIdx.x);
    const int64_t t = blockIdx.x;
    if (column >= a.columns)
        return;
    int index = 0, row = column;
    while (!a.linear.glu && row >= nano_cuda_segment_of(a.linear, index).rows)
        row -= nano_cuda_segment_of(a.linear, index++).rows;
    const float *sums = a.sums.data + t * a.sums.stride;
    nano_cuda_linear_finish(a.linear, nano_cuda_segment_of(a.linear, index), 0, t, 0, row,
                            a.linear.scales[t], sums[column],
                            a.linear.glu ? sums[a.columns + column] : 0);
}
} // namespace

void nano_cuda_linear_finish_sums(struct nano_cuda_device *device,
                                  const struct nano_cuda_linear_args *args,
                                  struct nano_cuda_view sums)
{
    struct finish_args finish = {*args, sums, 0};
    for (int i = 0; i < (args->glu ? 1 : args->num_segments); i++)
        finish.columns += args->segments[i].rows;
    nano_launch_early(
        device, finish_kernel,
        dim3(static_cast<unsigned>(args->rows),
             static_cast<unsigned>((finish.columns + FINISH_THREADS - 1) / FINISH_THREADS)),
        dim3(FINISH_THREADS), 0, finish);
}

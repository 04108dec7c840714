/* The tile kernel of F16 weights: which tiles there are, and which is taken.
 *
 * What the sizes come from. Of a chunk of 32 columns a warp with R rows and I inputs reads 64 (R +
 * I) bytes of shared memory for R I / 64 matrix instructions, and its block writes 64 bytes a row
 * of its own. A multiprocessor moves 128 bytes a cycle to and from shared memory, and starts a
 * matrix instruction of 4096 operations in a cycle on sm_90 (990 TFLOP/s; by mma.sync in about 1.6,
 * 600), in two on sm_80. From the L2 cache come about 25 bytes a cycle, some more where neighbours
 * ask for the same. Cycles for each instruction, of sm_90 as all others have slower tensor cores:
 *
 *              warp    shared memory  of it written  L2 at 25 B  registers  shared
 *   128 x 192  64 x 48      1.58          0.42          2.1       255        80 KiB
 *   128 x 128  64 x 32      2.00          0.50          2.6       200        64 KiB
 *   128 x 64   32 x 32      2.75          0.75          3.8       121        48 KiB, two blocks
 *   64 x 64    32 x 16      4.00          1.00          5.1        85        48 KiB, two blocks
 *   64 x 32    32 x 8       6.50          1.50          7.7        74        36 KiB, three blocks
 *
 * So the largest is bound by the tensor cores and the L2 cache, 430 to 560 TFLOP/s. There is no
 * larger one: the sum of a slice and the total of those before it are 96 registers each. With the
 * total in shared memory a warp could have 64 x 64, but adding eight slices to it would move 56
 * bytes of each sum there and back, as much as is saved of 4096 columns, and few GPUs have the 128
 * KiB. Fewer slices would leave the skinny kernel too few warps, and one chain through all columns
 * would take it longer than reading them. The largest sizes of both dimensions that all of compute
 * capability 8.0 and up have are taken: four stages are 1800 cycles of work under way. */
#include "runner/cuda/cuda_linear_tile_kernel.h"

namespace
{
template <int RowWarps, int InputWarps, int RowTiles, int InputTiles, int Stages, int Blocks>
using shape = nano_cuda_tile_shape<NANO_FORMAT_F16, RowWarps, InputWarps, RowTiles, InputTiles,
                                   Stages, Blocks>;

struct tile_kind {
    int rows, inputs;
    int cycles; /* of a chunk, where it has the multiprocessor to itself */
    void (*launch)(struct nano_cuda_device *, const struct nano_cuda_linear_args *);
};

template <class Shape> constexpr struct tile_kind kind(int cycles)
{
    return {Shape::ROWS, Shape::INPUTS, cycles, nano_cuda_tile_launch<Shape>};
}

constexpr struct tile_kind kinds[NANO_CUDA_NUM_TILES] = {
    kind<shape<2, 4, 4, 6, 4, 1>>(660), kind<shape<2, 4, 4, 4, 4, 1>>(530),
    kind<shape<4, 2, 2, 4, 4, 2>>(352), kind<shape<2, 4, 2, 2, 6, 2>>(256),
    kind<shape<2, 4, 2, 1, 6, 3>>(208)};
} // namespace

void nano_cuda_linear_tile_of(struct nano_cuda_device *device,
                              const struct nano_cuda_linear_args *args, enum nano_cuda_tile tile)
{
    kinds[tile].launch(device, args);
}

/* The tile with which the multiprocessors are through first. */
void nano_cuda_linear_tile(struct nano_cuda_device *device,
                           const struct nano_cuda_linear_args *args)
{
    if (args->tiles) {
        kinds[args->tile_slots > 64 ? NANO_CUDA_TILE_128X128 : NANO_CUDA_TILE_128X64].launch(device,
                                                                                             args);
        return;
    }
    const int64_t rows = nano_cuda_tile_rows(args),
                  multiprocessors = nano_cuda_device_multiprocessors(device);
    int64_t least = INT64_MAX;
    int best = 0;
    for (int i = 0; i < NANO_CUDA_NUM_TILES; i++) {
        const int64_t blocks = (rows + kinds[i].rows - 1) / kinds[i].rows *
                               ((args->rows + kinds[i].inputs - 1) / kinds[i].inputs) *
                               args->num_heads;
        const int64_t cycles = (blocks + multiprocessors - 1) / multiprocessors * kinds[i].cycles;
        if (cycles < least) {
            least = cycles;
            best = i;
        }
    }
    kinds[best].launch(device, args);
}

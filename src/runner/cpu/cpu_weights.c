/* Weights of the CPU runner: each tensor once, packed where the kernels ask for it.
 *
 * A matrix that only the embedding looks up stays in the file, whatever its kernels' layout is. */
#include <stdlib.h>

#include "base/memory.h"
#include "runner/cpu/cpu_state.h"

static int by_tensor(const void *a, const void *b)
{
    const uintptr_t x = (uintptr_t)((const struct nano_cpu_weight *)a)->tensor;
    const uintptr_t y = (uintptr_t)((const struct nano_cpu_weight *)b)->tensor;
    return x < y ? -1 : x > y;
}

static void add(struct nano_cpu_weights *weights, const struct nano_tensor *tensor, bool in_linear)
{
    if (tensor)
        weights->items[weights->count++] =
            (struct nano_cpu_weight){.tensor = tensor, .in_linear = in_linear};
}

/* Sorts, and leaves one item per tensor. */
static void merge_equal(struct nano_cpu_weights *weights)
{
    qsort(weights->items, (size_t)weights->count, sizeof *weights->items, by_tensor);
    int count = 0;
    for (int i = 0; i < weights->count; i++) {
        if (count && weights->items[count - 1].tensor == weights->items[i].tensor)
            weights->items[count - 1].in_linear |= weights->items[i].in_linear;
        else
            weights->items[count++] = weights->items[i];
    }
    weights->count = count;
}

enum nano_status nano_cpu_weights_collect(struct nano_cpu_weights *weights,
                                          const struct nano_program *program,
                                          const struct nano_kernels *kernels,
                                          struct nano_error *err)
{
    *weights = (struct nano_cpu_weights){0};
    for (int i = 0; i < program->num_ops; i++)
        weights->capacity += 2 * nano_op_num_weights(&program->ops[i]) + 1; /* bias, norm */
    weights->items = nano_mem_calloc((size_t)weights->capacity, sizeof *weights->items);
    if (!weights->items)
        return nano_error_no_memory(err, "the table of weights",
                                    (size_t)weights->capacity * sizeof *weights->items);
    for (int i = 0; i < program->num_ops; i++) {
        const struct nano_op *op = &program->ops[i];
        for (int k = 0; k < nano_op_num_weights(op); k++) {
            add(weights, op->weight[k], op->kind == NANO_OP_LINEAR);
            add(weights, op->bias[k], false);
        }
        add(weights, op->norm, false);
    }
    merge_equal(weights);
    for (int i = 0; i < weights->count; i++) {
        struct nano_cpu_weight *item = &weights->items[i];
        const struct nano_linear_kernels *linear = &kernels->linear[item->tensor->format];
        if (item->in_linear && linear->pack)
            item->packed_bytes = linear->packed_bytes(item->tensor->dims[1], item->tensor->dims[0]);
        if (item->packed_bytes)
            weights->packed_bytes += item->packed_bytes;
        else
            weights->mapped_bytes += item->tensor->num_bytes;
    }
    return NANO_OK;
}

static void pack(const struct nano_cpu_weight *item, const struct nano_linear_kernels *linear,
                 int num_threads)
{
    const int64_t rows = item->tensor->dims[1], cols = item->tensor->dims[0];
    const int64_t step = (int64_t)linear->row_align * 64;
#pragma omp parallel for schedule(static) num_threads(num_threads)
    for (int64_t begin = 0; begin < rows; begin += step)
        linear->pack(item->packed, item->tensor->data, rows, cols, begin,
                     begin + step < rows ? begin + step : rows);
}

enum nano_status nano_cpu_weights_pack(struct nano_cpu_weights *weights,
                                       const struct nano_kernels *kernels, int num_threads,
                                       struct nano_error *err)
{
    for (int i = 0; i < weights->count; i++) {
        struct nano_cpu_weight *item = &weights->items[i];
        if (!item->packed_bytes)
            continue;
        item->packed = nano_mem_alloc_aligned(item->packed_bytes);
        if (!item->packed)
            return nano_error_no_memory(err, "packed weights", item->packed_bytes);
        pack(item, &kernels->linear[item->tensor->format], num_threads);
    }
    return NANO_OK;
}

void nano_cpu_weights_deinit(struct nano_cpu_weights *weights)
{
    for (int i = 0; i < weights->count; i++)
        nano_mem_free_aligned(weights->items[i].packed, weights->items[i].packed_bytes);
    nano_mem_free(weights->items);
    *weights = (struct nano_cpu_weights){0};
}

const struct nano_cpu_weight *nano_cpu_weights_find(const struct nano_cpu_weights *weights,
                                                    const struct nano_tensor *tensor)
{
    const struct nano_cpu_weight key = {.tensor = tensor};
    return bsearch(&key, weights->items, (size_t)weights->count, sizeof key, by_tensor);
}

/* Weights of the CPU runner: each tensor once, packed where the kernels ask for it, in one block of
 * memory in the order of the file.
 *
 * A matrix that only the embedding looks up stays in the file, whatever its kernels' layout is; if
 * the file has it in another form, it is made in the file's layout. */
#include <stdlib.h>

#include "base/memory.h"
#include "runner/cpu/cpu_state.h"

#define SCRATCH_ALIGNS 2 /* panels of made rows at a time */

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
        weights->capacity +=
            2 * nano_op_num_weights(&program->ops[i]) + 2; /* bias, norm and its bias */
    weights->items = nano_mem_calloc((size_t)weights->capacity, sizeof *weights->items);
    if (!weights->items)
        return nano_error_no_memory(err, "the table of weights",
                                    (size_t)weights->capacity * sizeof *weights->items);
    for (int i = 0; i < program->num_ops; i++) {
        const struct nano_op *op = &program->ops[i];
        for (int k = 0; k < nano_op_num_weights(op); k++) {
            add(weights, op->weight[k],
                op->kind == NANO_OP_LINEAR || op->kind == NANO_OP_HEAD_LINEAR ||
                    op->kind == NANO_OP_MOE);
            add(weights, op->bias[k], false);
        }
        add(weights, op->norm, false);
        add(weights, op->norm_bias, false);
    }
    merge_equal(weights);
    for (int i = 0; i < weights->count; i++) {
        struct nano_cpu_weight *item = &weights->items[i];
        const struct nano_linear_kernels *linear = &kernels->linear[item->tensor->format];
        item->in_panels = item->in_linear && linear->pack;
        const struct nano_tensor *tensor = item->tensor;
        const size_t num_matrices = (size_t)(tensor->dims[2] * tensor->dims[3]);
        item->matrix_bytes = tensor->num_bytes / num_matrices;
        if (item->in_panels) {
            item->matrix_bytes =
                nano_mem_round_up(linear->packed_bytes(tensor->dims[1], tensor->dims[0]));
            if (!nano_mem_size(item->matrix_bytes, num_matrices, 0, &item->packed_bytes))
                return nano_error_set(err, NANO_ERR_NO_MEMORY, "the weights do not fit in memory");
        } else if (!tensor->data) {
            item->packed_bytes = tensor->num_bytes;
        }
        if (!item->packed_bytes) {
            weights->mapped_bytes += item->tensor->num_bytes;
            continue;
        }
        item->packed_bytes = nano_mem_round_up(item->packed_bytes);
        if (!nano_mem_size(item->packed_bytes, 1, weights->packed_bytes, &weights->packed_bytes))
            return nano_error_set(err, NANO_ERR_NO_MEMORY, "the weights do not fit in memory");
    }
    return NANO_OK;
}

struct pack_job {
    const struct nano_cpu_weights *weights;
    const struct nano_weights *stored;
    const struct nano_kernels *kernels;
    struct nano_cpu_pool *pool;
    unsigned char *scratch; /* [num_threads][scratch_bytes] */
    size_t scratch_bytes;
};

/* Rows that are made when they are read, some panels at a time. */
static void pack_made(const struct pack_job *job, const struct nano_cpu_weight *item,
                      int64_t matrix, int64_t row_begin, int64_t row_end, unsigned char *scratch)
{
    const struct nano_tensor *tensor = item->tensor;
    const int64_t first_row = matrix * tensor->dims[1];
    const struct nano_linear_kernels *linear = &job->kernels->linear[tensor->format];
    const int64_t cols = tensor->dims[0], step = SCRATCH_ALIGNS * linear->row_align;
    unsigned char *packed = (unsigned char *)item->packed + (size_t)matrix * item->matrix_bytes;
    for (int64_t row = row_begin; row < row_end; row += step) {
        const int64_t n = row_end - row < step ? row_end - row : step;
        nano_tensor_read_rows(tensor, first_row + row, first_row + row + n, scratch);
        linear->pack(packed + linear->packed_bytes(row, cols), scratch, n, cols, 0, n);
    }
}

/* Rows of one matrix. */
static void pack_rows(const struct pack_job *job, const struct nano_cpu_weight *item,
                      int64_t matrix, int64_t row_begin, int64_t row_end, unsigned char *scratch)
{
    const struct nano_tensor *tensor = item->tensor;
    const size_t row_bytes = nano_format_row_bytes(tensor->format, tensor->dims[0]);
    const int64_t first_row = matrix * tensor->dims[1];
    unsigned char *packed = (unsigned char *)item->packed + (size_t)matrix * item->matrix_bytes;
    if (!item->in_panels)
        nano_tensor_read_rows(tensor, first_row + row_begin, first_row + row_end,
                              packed + (size_t)row_begin * row_bytes);
    else if (!tensor->data)
        pack_made(job, item, matrix, row_begin, row_end, scratch);
    else
        job->kernels->linear[tensor->format].pack(
            packed, (const unsigned char *)tensor->data + (size_t)first_row * row_bytes,
            tensor->dims[1], tensor->dims[0], row_begin, row_end);
}

/* Every thread packs the rows that it will multiply with, so that their memory is near it. The file
 * is read ahead by a tensor, and what is packed leaves this process's memory. */
static void pack(void *context, int index)
{
    const struct pack_job *job = context;
    const struct nano_cpu_weights *weights = job->weights;
    for (int i = 0; i < weights->count; i++) {
        const struct nano_cpu_weight *item = &weights->items[i];
        if (!item->packed)
            continue;
        if (index == 0 && i + 1 < weights->count)
            nano_weights_will_read(job->stored, weights->items[i + 1].tensor);
        const struct nano_linear_kernels *linear = &job->kernels->linear[item->tensor->format];
        const int64_t rows = item->tensor->dims[1];
        const int64_t align = item->in_panels ? linear->row_align : 1;
        const int64_t units = (rows + align - 1) / align, threads = job->pool->num_threads;
        const int64_t end = units * (index + 1) / threads * align;
        for (int64_t m = 0; m < item->tensor->dims[2] * item->tensor->dims[3]; m++)
            pack_rows(job, item, m, units * index / threads * align, end < rows ? end : rows,
                      job->scratch + (size_t)index * job->scratch_bytes);
        nano_cpu_pool_sync(job->pool);
        if (index == 0)
            nano_weights_release(job->stored, item->tensor);
    }
}

/* What a thread packs from at a time. */
static size_t scratch_bytes(const struct nano_cpu_weights *weights,
                            const struct nano_kernels *kernels)
{
    size_t most = 0;
    for (int i = 0; i < weights->count; i++) {
        const struct nano_tensor *tensor = weights->items[i].tensor;
        if (tensor->data || !weights->items[i].in_panels)
            continue;
        const size_t bytes = nano_format_row_bytes(tensor->format, tensor->dims[0]) *
                             (size_t)(SCRATCH_ALIGNS * kernels->linear[tensor->format].row_align);
        most = bytes > most ? bytes : most;
    }
    return nano_mem_round_up(most);
}

enum nano_status nano_cpu_weights_pack(struct nano_cpu_weights *weights,
                                       const struct nano_weights *stored,
                                       const struct nano_kernels *kernels,
                                       struct nano_cpu_pool *pool, struct nano_error *err)
{
    if (!weights->packed_bytes)
        return NANO_OK;
    weights->memory = nano_mem_alloc_aligned(weights->packed_bytes);
    if (!weights->memory)
        return nano_error_no_memory(err, "packed weights", weights->packed_bytes);
    size_t offset = 0;
    for (int i = 0; i < weights->count; i++) {
        if (!weights->items[i].packed_bytes)
            continue;
        weights->items[i].packed = weights->memory + offset;
        offset += weights->items[i].packed_bytes;
    }
    struct pack_job job = {weights, stored, kernels, pool, NULL, scratch_bytes(weights, kernels)};
    job.scratch = nano_mem_alloc((size_t)pool->num_threads, job.scratch_bytes);
    if (!job.scratch)
        return nano_error_no_memory(err, "packing weights", job.scratch_bytes);
    nano_cpu_pool_run(pool, pack, &job);
    nano_mem_free(job.scratch);
    return NANO_OK;
}

uint64_t nano_cpu_weights_packing_bytes(const struct nano_cpu_weights *weights,
                                        const struct nano_kernels *kernels, int num_threads)
{
    uint64_t packed_so_far = 0, most = weights->packed_bytes;
    for (int i = 0; i < weights->count; i++) {
        const struct nano_cpu_weight *item = &weights->items[i];
        if (!item->packed_bytes)
            continue;
        packed_so_far += item->packed_bytes;
        const size_t stored_bytes = nano_tensor_stored_bytes(item->tensor);
        if (packed_so_far + stored_bytes > most)
            most = packed_so_far + stored_bytes;
    }
    return most - weights->packed_bytes + (uint64_t)num_threads * scratch_bytes(weights, kernels);
}

void nano_cpu_weights_deinit(struct nano_cpu_weights *weights)
{
    nano_mem_free_aligned(weights->memory, weights->packed_bytes);
    nano_mem_free(weights->items);
    *weights = (struct nano_cpu_weights){0};
}

const struct nano_cpu_weight *nano_cpu_weights_find(const struct nano_cpu_weights *weights,
                                                    const struct nano_tensor *tensor)
{
    const struct nano_cpu_weight key = {.tensor = tensor};
    return bsearch(&key, weights->items, (size_t)weights->count, sizeof key, by_tensor);
}

/* Weights of the CUDA runner: each tensor once, in one piece of the device's memory, in the form
 * that the file has it in, but BF16 of linears as F16. Rows of halves that linears read are padded
 * to whole chunks. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "runner/cuda/cuda_convert.h"
#include "runner/cuda/cuda_state.h"

#define ALIGNMENT 256
#define STAGING_BYTES ((size_t)16 << 20)

static int by_tensor(const void *a, const void *b)
{
    const uintptr_t x = (uintptr_t)((const struct nano_cuda_weight *)a)->tensor;
    const uintptr_t y = (uintptr_t)((const struct nano_cuda_weight *)b)->tensor;
    return x < y ? -1 : x > y;
}

static void add(struct nano_cuda_weights *weights, const struct nano_tensor *tensor, bool in_linear)
{
    if (tensor)
        weights->items[weights->count++] =
            (struct nano_cuda_weight){.tensor = tensor, .in_linear = in_linear};
}

/* Sorts, and leaves one item per tensor. */
static void merge_equal(struct nano_cuda_weights *weights)
{
    int count = 0;
    qsort(weights->items, (size_t)weights->count, sizeof *weights->items, by_tensor);
    for (int i = 0; i < weights->count; i++) {
        if (count && weights->items[count - 1].tensor == weights->items[i].tensor)
            weights->items[count - 1].in_linear |= weights->items[i].in_linear;
        else
            weights->items[count++] = weights->items[i];
    }
    weights->count = count;
}

static bool is_half(enum nano_format format)
{
    return format == NANO_FORMAT_F16 || format == NANO_FORMAT_BF16;
}

static int64_t num_rows(const struct nano_tensor *tensor)
{
    return tensor->dims[1] * tensor->dims[2] * tensor->dims[3];
}

enum nano_status nano_cuda_weights_collect(struct nano_cuda_weights *weights,
                                           const struct nano_program *program,
                                           struct nano_error *err)
{
    *weights = (struct nano_cuda_weights){0};
    for (int i = 0; i < program->num_ops; i++)
        weights->capacity += 2 * nano_op_num_weights(&program->ops[i]) + 2;
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
        struct nano_cuda_weight *item = &weights->items[i];
        const struct nano_tensor *tensor = item->tensor;
        const int64_t cols = item->in_linear && is_half(tensor->format)
                                 ? nano_cuda_half_stride(tensor->dims[0])
                                 : tensor->dims[0];
        item->row_bytes = (int64_t)nano_format_row_bytes(tensor->format, cols);
        item->format = item->in_linear && tensor->format == NANO_FORMAT_BF16 ? NANO_FORMAT_F16
                                                                             : tensor->format;
        item->scale = 1;
        item->num_bytes = ((uint64_t)item->row_bytes * (uint64_t)num_rows(tensor) + ALIGNMENT - 1) /
                          ALIGNMENT * ALIGNMENT;
        weights->num_bytes += item->num_bytes;
    }
    return NANO_OK;
}

struct loading {
    struct nano_cuda_device *device;
    unsigned char *staging[2]; /* page-locked; one is filled while the other is on its way */
    int next;
    int32_t *max_bits; /* on the device */
};

/* Some rows at a time. */
static enum nano_status load(struct loading *l, const struct nano_cuda_weight *item,
                             struct nano_error *err)
{
    const struct nano_tensor *tensor = item->tensor;
    const size_t row_bytes = nano_format_row_bytes(tensor->format, tensor->dims[0]),
                 padded_bytes = (size_t)item->row_bytes;
    const int64_t rows = num_rows(tensor);
    const int64_t step = padded_bytes < STAGING_BYTES ? (int64_t)(STAGING_BYTES / padded_bytes) : 1;
    if (padded_bytes > STAGING_BYTES)
        return nano_error_set(err, NANO_ERR_UNSUPPORTED,
                              "tensor '%s' has rows of %zu bytes, expected at most %zu",
                              tensor->name.bytes, padded_bytes, STAGING_BYTES);
    for (int64_t row = 0; row < rows; row += step) {
        const int64_t count = rows - row < step ? rows - row : step;
        unsigned char *staging = l->staging[l->next];
        if (padded_bytes == row_bytes) {
            nano_tensor_read_rows(tensor, row, row + count, staging);
        } else {
            memset(staging, 0, (size_t)count * padded_bytes);
            for (int64_t i = 0; i < count; i++)
                nano_tensor_read_rows(tensor, row + i, row + i + 1,
                                      staging + (size_t)i * padded_bytes);
        }
        /* The last copy, from the other half, had the time of reading these. */
        enum nano_status status = nano_cuda_device_synchronize(l->device, err);
        if (status != NANO_OK)
            return status;
        nano_cuda_copy_in(l->device,
                          (unsigned char *)(uintptr_t)item->data + (size_t)row * padded_bytes,
                          staging, (size_t)count * padded_bytes);
        l->next = !l->next;
    }
    return NANO_OK;
}

/* BF16 that has been copied in becomes F16. */
static enum nano_status convert(struct loading *l, struct nano_cuda_weight *item,
                                struct nano_error *err)
{
    const struct nano_cuda_convert_args find = {
        .weights = (uint16_t *)(uintptr_t)item->data,
        .count = item->row_bytes / (int64_t)sizeof(uint16_t) * num_rows(item->tensor),
        .max_bits = l->max_bits};
    int32_t *max_bits = (int32_t *)(void *)l->staging[l->next];
    nano_cuda_fill(l->device, l->max_bits, 0, sizeof *max_bits);
    nano_cuda_find_max(l->device, &find);
    nano_cuda_copy_out(l->device, max_bits, l->max_bits, sizeof *max_bits);
    enum nano_status status = nano_cuda_device_synchronize(l->device, err);
    if (status != NANO_OK)
        return status;
    struct nano_cuda_convert_args args = find;
    args.shift = nano_cuda_convert_shift(*max_bits);
    item->scale = ldexpf(1, -args.shift);
    nano_cuda_convert(l->device, &args);
    return NANO_OK;
}

enum nano_status nano_cuda_weights_load(struct nano_cuda_weights *weights,
                                        const struct nano_weights *stored,
                                        struct nano_cuda_device *device, struct nano_error *err)
{
    struct loading l = {.device = device};
    void *staging = NULL, *max_bits = NULL;
    enum nano_status status;
    NANO_TRY(nano_cuda_device_alloc(device, &weights->memory,
                                    weights->num_bytes ? weights->num_bytes : 1, "weights", err));
    NANO_TRY(nano_cuda_host_alloc(device, &staging, 2 * STAGING_BYTES, "loading weights", err));
    NANO_TRY(nano_cuda_device_alloc(device, &max_bits, sizeof *l.max_bits, "loading weights", err));
    l.max_bits = max_bits;
    l.staging[0] = staging;
    l.staging[1] = l.staging[0] + STAGING_BYTES;
    uint64_t offset = 0;
    for (int i = 0; i < weights->count; i++) {
        struct nano_cuda_weight *item = &weights->items[i];
        item->data = (unsigned char *)weights->memory + offset;
        offset += item->num_bytes;
        if (i + 1 < weights->count)
            nano_weights_will_read(stored, weights->items[i + 1].tensor);
        NANO_TRY(load(&l, item, err));
        if (item->format != item->tensor->format)
            NANO_TRY(convert(&l, item, err));
        nano_weights_release(stored, item->tensor);
    }
    status = nano_cuda_device_synchronize(device, err);
fail:
    nano_cuda_device_free(device, max_bits);
    nano_cuda_host_free(device, staging);
    return status;
}

void nano_cuda_weights_deinit(struct nano_cuda_weights *weights, struct nano_cuda_device *device)
{
    if (weights->memory)
        nano_cuda_device_free(device, weights->memory);
    nano_mem_free(weights->items);
    *weights = (struct nano_cuda_weights){0};
}

const struct nano_cuda_weight *nano_cuda_weights_find(const struct nano_cuda_weights *weights,
                                                      const struct nano_tensor *tensor)
{
    const struct nano_cuda_weight key = {.tensor = tensor};
    return tensor ? bsearch(&key, weights->items, (size_t)weights->count, sizeof key, by_tensor)
                  : NULL;
}

/* What tests of kernels share: views of the emulated device's memory, which is plain memory, with
 * columns around them that must stay as they are. */
#ifndef TESTS_CUDA_CUDA_FIXTURE_H
#define TESTS_CUDA_CUDA_FIXTURE_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "runner/cuda/cuda_batch.h"
#include "runner/cuda/cuda_device.h"
#include "tests/cuda/fake_device.h"

static struct nano_cuda_device *device;

static inline void fixture_open(void)
{
    struct nano_error err;
    cr_assert_eq(nano_cuda_device_open(&device, 0, &err), NANO_OK);
}

/* All memory is freed. */
static inline void fixture_close(void)
{
    struct nano_error err;
    cr_assert_eq(nano_cuda_device_synchronize(device, &err), NANO_OK);
    nano_cuda_device_close(device);
    cr_assert_eq(fake_device.live_allocations, 0);
}

static inline void *fixture_alloc(size_t num_bytes)
{
    void *memory;
    struct nano_error err;
    cr_assert_eq(nano_cuda_device_alloc(device, &memory, num_bytes, "test", &err), NANO_OK);
    return memory;
}

static inline void fixture_free(void *memory)
{
    nano_cuda_device_free(device, memory);
}

/* ---- random numbers ---- */

static uint64_t fixture_seed = 1;

static inline uint32_t random_bits(void)
{
    fixture_seed = fixture_seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(fixture_seed >> 33);
}

static inline int random_below(int n)
{
    return (int)(random_bits() % (uint32_t)n);
}

static inline float random_float(void) /* in [-1, 1) */
{
    return (float)(int)(random_bits() & 0xffffff) / 8388608 - 1;
}

/* ---- rows ---- */

/* A view in a buffer of its own, at some column of it. */
struct rows {
    struct nano_cuda_view view;
    float *memory;
    int num_rows;
    int64_t offset, width;
};

static inline struct rows rows_make(int num_rows, int64_t width, int64_t offset)
{
    struct rows r = {.num_rows = num_rows, .offset = offset, .width = width};
    r.view.stride = (offset + width + 15) / 16 * 16;
    r.memory = fixture_alloc((size_t)(num_rows * r.view.stride) * sizeof(float));
    r.view.data = r.memory + offset;
    return r;
}

static inline float *row_of(const struct rows *r, int64_t row)
{
    return r->view.data + row * r->view.stride;
}

static inline void rows_clear(struct rows *r)
{
    memset(r->memory, 0xff, (size_t)(r->num_rows * r->view.stride) * sizeof(float));
}

static inline void rows_fill(struct rows *r, float scale)
{
    rows_clear(r);
    for (int i = 0; i < r->num_rows; i++)
        for (int64_t c = 0; c < r->width; c++)
            row_of(r, i)[c] = random_float() * scale;
}

static inline void rows_copy(struct rows *to, const struct rows *from)
{
    rows_clear(to);
    for (int i = 0; i < from->num_rows; i++)
        memcpy(row_of(to, i), row_of(from, i), (size_t)from->width * sizeof(float));
}

/* Nothing was written beside the view; then frees it. */
static inline void rows_free(struct rows *r)
{
    for (int i = 0; i < r->num_rows; i++)
        for (int64_t c = 0; c < r->view.stride; c++) {
            uint32_t bits;
            memcpy(&bits, &r->memory[i * r->view.stride + c], sizeof bits);
            if (c < r->offset || c >= r->offset + r->width)
                cr_assert_eq(bits, 0xffffffffu, "row %d, column %lld beside the view", i,
                             (long long)(c - r->offset));
        }
    fixture_free(r->memory);
}

static inline bool rows_equal(const struct rows *a, const struct rows *b)
{
    for (int i = 0; i < a->num_rows; i++)
        if (memcmp(row_of(a, i), row_of(b, i), (size_t)a->width * sizeof(float)) != 0)
            return false;
    return true;
}

#endif

/* The emulated device's knobs and counts. */
#ifndef TESTS_CUDA_FAKE_DEVICE_H
#define TESTS_CUDA_FAKE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

extern struct fake_device {
    bool is_without_gemm; /* as where cuBLASLt is not installed */
    bool is_missing;      /* as on a machine without a GPU */
    int fail_alloc;       /* n > 0: the nth allocation from now on fails */
    int fail_work;        /* n > 0: the nth copy or launch from now on fails, and all after it */
    uint64_t total_bytes;
    int64_t live_allocations; /* devices, memory, graphs */
    uint64_t num_graph_launches, num_gemms;
    uint64_t num_launches, num_early_launches; /* of kernels, by graphs too */
    bool is_late; /* work is done only when it is waited for, and copies to the host show garbage */
} fake_device;

/* In which order threads take turns: 0 ascending, 1 descending, 2 mixed. */
void nano_emulated_set_order(int order);

#ifdef __cplusplus
}
#endif

#endif

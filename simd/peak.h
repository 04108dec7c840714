/* Peak loops: what a tier's instructions do when nothing holds them up. Results of the other
 * kernels are set beside them.
 *
 * They compute nothing of use; the returned value depends on all the work, so that none of it can
 * be dropped. */
#ifndef NANO_SIMD_PEAK_H
#define NANO_SIMD_PEAK_H

#include <stddef.h>
#include <stdint.h>

/* Multiply-adds on operands that stay in registers (the reference: in the first cache). */
struct nano_peak_loop {
    uint64_t (*run)(uint64_t num_rounds); /* NULL: the processor has no such instruction */
    uint64_t macs_per_round;
};

struct nano_peak_kernels {
    struct nano_peak_loop int8, bf16, f32;

    /* Reads all of `data`, 64-byte aligned; num_bytes is a multiple of NANO_PEAK_READ_BYTES. */
    uint64_t (*read)(const void *data, size_t num_bytes);
};

#define NANO_PEAK_READ_BYTES 4096

#endif

/* Floating-point mode of the calling thread: whether denormal numbers are flushed to zero.
 *
 * Products of tiny scales are denormal now and then, and processors take a hundred times longer
 * over them. Nothing that a model computes needs them, so runners flush them while they compute, in
 * each of their threads, and put the caller's mode back afterwards. */
#ifndef NANO_SIMD_FP_MODE_H
#define NANO_SIMD_FP_MODE_H

#include <stdint.h>

/* Flushes from now on; returns the mode to restore. No effect where the processor has no such mode.
 */
uint64_t nano_fp_mode_flush_denormals(void);
void nano_fp_mode_restore(uint64_t mode);

#endif

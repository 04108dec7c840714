/* Floating-point mode: the control register of each architecture. */
#include "simd/fp_mode.h"

#if defined(__SSE__)
#include <xmmintrin.h>

#define FLUSH_OUTPUTS 0x8000u
#define FLUSH_INPUTS 0x0040u

static uint64_t read_mode(void)
{
    return _mm_getcsr();
}

static void write_mode(uint64_t mode)
{
    _mm_setcsr((unsigned)mode);
}

#define FLUSH (FLUSH_OUTPUTS | FLUSH_INPUTS)

#elif defined(__aarch64__)

#define FLUSH ((uint64_t)1 << 24) /* FPCR.FZ */

static uint64_t read_mode(void)
{
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}

static void write_mode(uint64_t mode)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
}

#else

#define FLUSH 0

static uint64_t read_mode(void)
{
    return 0;
}

static void write_mode(uint64_t mode)
{
    (void)mode;
}

#endif

uint64_t nano_fp_mode_flush_denormals(void)
{
    const uint64_t mode = read_mode();
    write_mode(mode | FLUSH);
    return mode;
}

void nano_fp_mode_restore(uint64_t mode)
{
    write_mode(mode);
}

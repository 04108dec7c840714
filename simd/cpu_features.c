/* Which tiers this processor and build have, and the kernel table of one. */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "simd/kernels.h"

#if defined(NANO_HAVE_AVX2) || defined(NANO_HAVE_AVX512)
#include <cpuid.h>
#endif

static const char *const tier_names[NANO_NUM_CPU_TIERS] = {
    "ref", "avx2", "avxvnni", "avx512", "avx512_amd", "neon", "neon_dotprod", "neon_i8mm"};

/* __builtin_cpu_supports also asks whether the operating system saves the registers. Not every
 * compiler knows "f16c" there; the CPUID bit is enough beside "avx2". */
static bool has_avx2(void)
{
#ifdef NANO_HAVE_AVX2
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_F16C))
        return false;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

/* CPUID leaf 7, subleaf 1: AVX-VNNI in EAX bit 4. */
static bool has_avxvnni(void)
{
#ifdef NANO_HAVE_AVXVNNI
    unsigned eax, ebx, ecx, edx;
    return has_avx2() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & 1u << 4);
#else
    return false;
#endif
}

/* Whose processor it is, where that decides the shape of tiles. */
static bool is_amd(void)
{
#ifdef NANO_HAVE_AVX512
    return __builtin_cpu_is("amd");
#else
    return false;
#endif
}

static bool has_avx512(void)
{
#ifdef NANO_HAVE_AVX512
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
#else
    return false;
#endif
}

static bool has_neon(void)
{
#ifdef NANO_HAVE_NEON
    return true;
#else
    return false;
#endif
}

static bool has_neon_dotprod(void)
{
#ifdef NANO_HAVE_NEON_DOTPROD
    return has_neon() && nano_os_arm_has_dotprod();
#else
    return false;
#endif
}

static bool has_neon_i8mm(void)
{
#ifdef NANO_HAVE_NEON_I8MM
    return has_neon_dotprod() && nano_os_arm_has_i8mm();
#else
    return false;
#endif
}

bool nano_cpu_supports(enum nano_cpu_tier tier)
{
    switch (tier) {
    case NANO_CPU_REF:
        return true;
    case NANO_CPU_AVX2:
        return has_avx2();
    case NANO_CPU_AVXVNNI:
        return has_avxvnni();
    case NANO_CPU_AVX512:
    case NANO_CPU_AVX512_AMD:
        return has_avx512();
    case NANO_CPU_NEON:
        return has_neon();
    case NANO_CPU_NEON_DOTPROD:
        return has_neon_dotprod();
    case NANO_CPU_NEON_I8MM:
        return has_neon_i8mm();
    default:
        return false;
    }
}

const char *nano_cpu_tier_name(enum nano_cpu_tier tier)
{
    return (unsigned)tier < NANO_NUM_CPU_TIERS ? tier_names[tier] : "unknown";
}

enum nano_cpu_tier nano_cpu_detect(void)
{
    const char *wanted = getenv("NANOVLLM_CPU");
    int best = NANO_NUM_CPU_TIERS - 1;
    for (int i = 0; wanted && i < NANO_NUM_CPU_TIERS; i++) {
        if (strcmp(wanted, tier_names[i]) == 0 && nano_cpu_supports((enum nano_cpu_tier)i))
            return (enum nano_cpu_tier)i;
    }
    while (!nano_cpu_supports((enum nano_cpu_tier)best) ||
           (best == NANO_CPU_AVX512_AMD && !is_amd()))
        best--;
    return (enum nano_cpu_tier)best;
}

void nano_kernels_init(struct nano_kernels *kernels, enum nano_cpu_tier tier)
{
    assert(nano_cpu_supports(tier));
    nano_kernels_init_ref(kernels);
#ifdef NANO_HAVE_AVX2
    if (tier >= NANO_CPU_AVX2)
        nano_kernels_init_avx2(kernels);
#endif
#ifdef NANO_HAVE_AVXVNNI
    if (tier == NANO_CPU_AVXVNNI)
        nano_kernels_init_avxvnni(kernels);
#endif
#ifdef NANO_HAVE_AVX512
    if (tier >= NANO_CPU_AVX512)
        nano_kernels_init_avx512(kernels);
    if (tier == NANO_CPU_AVX512_AMD)
        nano_kernels_init_avx512_amd(kernels);
#endif
#ifdef NANO_HAVE_NEON
    if (tier >= NANO_CPU_NEON)
        nano_kernels_init_neon(kernels);
#endif
#ifdef NANO_HAVE_NEON_DOTPROD
    if (tier >= NANO_CPU_NEON_DOTPROD)
        nano_kernels_init_neon_dotprod(kernels);
#endif
#ifdef NANO_HAVE_NEON_I8MM
    if (tier >= NANO_CPU_NEON_I8MM)
        nano_kernels_init_neon_i8mm(kernels);
#endif
}

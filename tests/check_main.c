/* The kernel checker: every slot of every tier that this machine has, on random and worst-case
 * input, compared with the reference and with exact arithmetic.
 *
 *   check_kernels [--seed N]
 *
 * The last line is "N passed, N failed". NANOVLLM_CPU limits the tiers to one; where it is not to
 * be had the checker counts as skipped. NANOVLLM_TEST_QUICK makes fewer rounds. bench/bench_kernels
 * times the same slots. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_kernels.h"

static void check_tier(const struct nano_kernels *kernels, const struct nano_kernels *ref)
{
    struct tiers tiers = {kernels, ref};
    check_linear(&tiers);
    check_activations(&tiers);
    check_attention(&tiers);
    check_vectors(&tiers);
    check_elementwise(&tiers);
    check_recurrent(&tiers);
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    if (argc == 3 && strcmp(argv[1], "--seed") == 0) {
        seed = strtoull(argv[2], NULL, 0);
    } else if (argc > 1) {
        fprintf(stderr, "usage: check_kernels [--seed N]\n");
        return 2;
    }
    const char *only = getenv("NANOVLLM_CPU");
    if (only && strcmp(only, nano_cpu_tier_name(nano_cpu_detect())) != 0) {
        printf("[SKIP] this machine or build has no tier \"%s\"\n", only);
        return 77;
    }
    check_start(seed);
    struct nano_kernels kernels, ref;
    nano_kernels_init(&ref, NANO_CPU_REF);
    for (int tier = 0; tier < NANO_NUM_CPU_TIERS; tier++) {
        if (!check_wants((enum nano_cpu_tier)tier))
            continue;
        nano_kernels_init(&kernels, (enum nano_cpu_tier)tier);
        check_tier(&kernels, &ref);
    }
    return check_finish();
}

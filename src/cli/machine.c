/* Machine: slices and the best of them. */
#include "cli/machine.h"

#include <string.h>

#include "base/os.h"

#define MIN_DISTANCE_NS 2000000000 /* between two slices */

const char *const nano_machine_peak_names[] = {"int8", "bf16", "f32"};

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static struct nano_machine_limits best_of(struct nano_machine_limits a,
                                          struct nano_machine_limits b)
{
    return (struct nano_machine_limits){
        .read_gbps = larger(a.read_gbps, b.read_gbps),
        .int8_gmacs = larger(a.int8_gmacs, b.int8_gmacs),
        .bf16_gmacs = larger(a.bf16_gmacs, b.bf16_gmacs),
        .f32_gmacs = larger(a.f32_gmacs, b.f32_gmacs),
    };
}

enum nano_status nano_machine_init(struct nano_machine *machine, int num_threads,
                                   struct nano_error *err)
{
    enum nano_status status;
    *machine = (struct nano_machine){.num_threads = num_threads, .num_slices = 1};
    NANO_TRY(nano_measure_machine(&machine->one_thread, 1, err));
    machine->first = machine->one_thread;
    if (num_threads != 1)
        NANO_TRY(nano_measure_machine(&machine->first, num_threads, err));
    machine->last = machine->first;
    machine->best = best_of(machine->first, machine->one_thread); /* more threads do no less */
    machine->last_ns = nano_os_clock_ns();
fail:
    return status;
}

enum nano_status nano_machine_update(struct nano_machine *machine, double *read_gbps,
                                     struct nano_error *err)
{
    struct nano_machine_limits now;
    *read_gbps = machine->last.read_gbps;
    if (nano_os_clock_ns() - machine->last_ns < MIN_DISTANCE_NS)
        return NANO_OK;
    enum nano_status status = nano_measure_machine(&now, machine->num_threads, err);
    if (status != NANO_OK)
        return status;
    *read_gbps = larger(machine->last.read_gbps, now.read_gbps);
    machine->best = best_of(machine->best, now);
    machine->last = now;
    machine->last_ns = nano_os_clock_ns();
    machine->num_slices++;
    return NANO_OK;
}

enum nano_machine_peak nano_machine_peak_of(const struct nano_machine_limits *limits,
                                            const char *quantization)
{
    if (strcmp(quantization, "BF16") == 0 && limits->bf16_gmacs > 0)
        return NANO_MACHINE_BF16;
    if (strcmp(quantization, "BF16") == 0 || strcmp(quantization, "F16") == 0 ||
        strcmp(quantization, "F32") == 0)
        return NANO_MACHINE_F32;
    return NANO_MACHINE_INT8;
}

double nano_machine_gops(const struct nano_machine_limits *limits, enum nano_machine_peak peak)
{
    const double gmacs[] = {limits->int8_gmacs, limits->bf16_gmacs, limits->f32_gmacs};
    return 2 * gmacs[peak];
}

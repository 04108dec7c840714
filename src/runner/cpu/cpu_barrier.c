/* Barrier: a count of those who came, and a generation that the last one advances. */
#include "runner/cpu/cpu_barrier.h"

#include "base/os.h"

#define SPIN_NS 100000
#define SPINS_PER_CLOCK 32

void nano_cpu_barrier_init(struct nano_cpu_barrier *barrier, bool spin)
{
    barrier->spin = spin;
    atomic_init(&barrier->arrived, 0);
    atomic_init(&barrier->generation, 0);
    atomic_init(&barrier->sleepers, 0);
}

/* True if the generation changed while spinning. */
static bool spin_until_changed(struct nano_cpu_barrier *barrier, uint32_t generation)
{
    uint64_t deadline_ns = 0;
    for (;;) {
        for (int i = 0; i < SPINS_PER_CLOCK; i++) {
            if (atomic_load_explicit(&barrier->generation, memory_order_acquire) != generation)
                return true;
            nano_os_spin_pause();
        }
        const uint64_t now_ns = nano_os_clock_ns();
        if (!deadline_ns)
            deadline_ns = now_ns + SPIN_NS;
        else if (now_ns >= deadline_ns)
            return false;
    }
}

void nano_cpu_barrier_wait(struct nano_cpu_barrier *barrier, uint32_t num_threads)
{
    if (num_threads == 1)
        return;
    const uint32_t generation = atomic_load_explicit(&barrier->generation, memory_order_acquire);
    if (atomic_fetch_add_explicit(&barrier->arrived, 1, memory_order_acq_rel) + 1 == num_threads) {
        atomic_store_explicit(&barrier->arrived, 0, memory_order_relaxed);
        atomic_fetch_add(&barrier->generation, 1);
        if (atomic_load(&barrier->sleepers))
            nano_os_wake_all(&barrier->generation);
        return;
    }
    if (barrier->spin && spin_until_changed(barrier, generation))
        return;
    atomic_fetch_add(&barrier->sleepers, 1);
    while (atomic_load(&barrier->generation) == generation)
        nano_os_wait_while(&barrier->generation, generation);
    atomic_fetch_sub(&barrier->sleepers, 1);
}

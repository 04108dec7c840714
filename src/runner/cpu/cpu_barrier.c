/* Barrier: a count of those who came, and a generation that the last one advances.
 *
 * Who waits spins only while that pays. If somebody fell asleep nevertheless, the machine may be
 * busy: the one that all wait for has lost its processor, and spinning takes away what it needs.
 * Each such failure doubles, each success halves the number of barriers at which everybody sleeps
 * at once before spinning is tried again. */
#include "runner/cpu/cpu_barrier.h"

#include "base/os.h"

#define SPIN_NS 100000 /* about what it takes to wake a thread on another processor */
#define SPINS_PER_CLOCK 32
#define MAX_PENALTY 256

void nano_cpu_barrier_init(struct nano_cpu_barrier *barrier, bool spin)
{
    *barrier = (struct nano_cpu_barrier){.spin = spin};
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

/* Only the last one is here, before it lets the others go on: they read what it writes before they
 * come or after they went. */
static void adapt(struct nano_cpu_barrier *barrier)
{
    if (barrier->barriers_to_sleep) {
        barrier->barriers_to_sleep--;
    } else if (atomic_load(&barrier->sleepers)) {
        barrier->barriers_to_sleep = barrier->penalty;
        barrier->penalty = barrier->penalty ? 2 * barrier->penalty : 1;
        if (barrier->penalty > MAX_PENALTY)
            barrier->penalty = MAX_PENALTY;
    } else {
        barrier->penalty /= 2;
    }
}

void nano_cpu_barrier_wait(struct nano_cpu_barrier *barrier, uint32_t num_threads)
{
    if (num_threads == 1)
        return;
    const bool spin = barrier->spin && !barrier->barriers_to_sleep;
    const uint32_t generation = atomic_load_explicit(&barrier->generation, memory_order_acquire);
    if (atomic_fetch_add_explicit(&barrier->arrived, 1, memory_order_acq_rel) + 1 == num_threads) {
        adapt(barrier);
        atomic_store_explicit(&barrier->arrived, 0, memory_order_relaxed);
        atomic_fetch_add(&barrier->generation, 1);
        if (atomic_load(&barrier->sleepers))
            nano_os_wake_all(&barrier->generation);
        return;
    }
    if (spin && spin_until_changed(barrier, generation))
        return;
    atomic_fetch_add(&barrier->sleepers, 1);
    while (atomic_load(&barrier->generation) == generation)
        nano_os_wait_while(&barrier->generation, generation);
    atomic_fetch_sub(&barrier->sleepers, 1);
}

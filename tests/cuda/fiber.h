/* Fibers: functions with stacks of their own that hand the thread to each other. They are made for
 * good and never end. */
#ifndef TESTS_CUDA_FIBER_H
#define TESTS_CUDA_FIBER_H

struct nano_fiber;

/* The one that calls it. */
struct nano_fiber *nano_fiber_main(void);
/* `run` begins when the fiber is first switched to, and must not return. */
struct nano_fiber *nano_fiber_create(void (*run)(void *fiber));
/* Leaves `from`, the one that calls it, until it is switched to again. */
void nano_fiber_switch(struct nano_fiber *from, struct nano_fiber *to);

#endif

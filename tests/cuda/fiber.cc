/* Fibers: a switch of stacks by hand where it is known how, else by ucontext, which asks the system
 * for the signal mask each time. */
#include "tests/cuda/fiber.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN
#endif
#endif
#ifdef FIBER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifndef __x86_64__
#include <ucontext.h>
#endif

enum { STACK_BYTES = 128 * 1024 };

struct nano_fiber {
#ifdef __x86_64__
    void *stack_pointer;
#else
    ucontext_t context;
#endif
    void (*run)(void *);
    void *stack; /* NULL: the thread's own */
    const void *asan_bottom;
    size_t asan_size;
    void *asan_fake;
};

static struct nano_fiber *previous, *current;

#ifdef __x86_64__
/* Saves what a callee must leave as it is, and its stack pointer in *from. */
extern "C" void nano_fiber_swap(void **from, void *to);
__asm__(".text\n"
        ".globl nano_fiber_swap\n"
        ".hidden nano_fiber_swap\n"
        ".type nano_fiber_swap, @function\n"
        "nano_fiber_swap:\n"
        "  pushq %rbp\n"
        "  pushq %rbx\n"
        "  pushq %r12\n"
        "  pushq %r13\n"
        "  pushq %r14\n"
        "  pushq %r15\n"
        "  movq %rsp, (%rdi)\n"
        "  movq %rsi, %rsp\n"
        "  popq %r15\n"
        "  popq %r14\n"
        "  popq %r13\n"
        "  popq %r12\n"
        "  popq %rbx\n"
        "  popq %rbp\n"
        "  ret\n"
        ".size nano_fiber_swap, .-nano_fiber_swap\n");
#endif

/* Called first thing on the stack that was switched to. */
static void arrived(void)
{
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(current->asan_fake, &previous->asan_bottom,
                                    &previous->asan_size);
#endif
}

static void begin(void)
{
    arrived();
    current->run(current);
    abort();
}

struct nano_fiber *nano_fiber_main(void)
{
    return static_cast<struct nano_fiber *>(calloc(1, sizeof(struct nano_fiber)));
}

struct nano_fiber *nano_fiber_create(void (*run)(void *))
{
    struct nano_fiber *fiber = nano_fiber_main();
    fiber->run = run;
    fiber->stack = malloc(STACK_BYTES);
    fiber->asan_bottom = fiber->stack;
    fiber->asan_size = STACK_BYTES;
#ifdef __x86_64__
    /* As if swap had been called with the stack aligned as at a function's entry. */
    uint64_t *top = reinterpret_cast<uint64_t *>(
        (reinterpret_cast<uintptr_t>(fiber->stack) + STACK_BYTES) & ~static_cast<uintptr_t>(15));
    *--top = 0;
    *--top = reinterpret_cast<uint64_t>(begin);
    top -= 6;
    memset(top, 0, 6 * sizeof *top);
    fiber->stack_pointer = top;
#else
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&fiber->context, begin, 0);
#endif
    return fiber;
}

void nano_fiber_switch(struct nano_fiber *from, struct nano_fiber *to)
{
    previous = from;
    current = to;
#ifdef FIBER_ASAN
    __sanitizer_start_switch_fiber(&from->asan_fake, to->asan_bottom, to->asan_size);
#endif
#ifdef __x86_64__
    nano_fiber_swap(&from->stack_pointer, to->stack_pointer);
#else
    swapcontext(&from->context, &to->context);
#endif
    arrived();
}

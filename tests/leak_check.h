/* Leaks, found where they are made: a leak that the sanitizer reports at exit does not fail a
 * Criterion test, which has passed by then. */
#ifndef TESTS_LEAK_CHECK_H
#define TESTS_LEAK_CHECK_H

#include <stdbool.h>

#if defined(__SANITIZE_ADDRESS__)
#define TESTS_HAVE_LSAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TESTS_HAVE_LSAN 1
#endif
#endif

#ifdef TESTS_HAVE_LSAN
#include <sanitizer/lsan_interface.h>
#endif

/* True if memory has been lost; always false without AddressSanitizer. */
static inline bool leak_check_found(void)
{
#ifdef TESTS_HAVE_LSAN
    return __lsan_do_recoverable_leak_check() != 0;
#else
    return false;
#endif
}

#endif

/* The part of Criterion that the tests use, for builds that run in an emulator: Criterion starts
 * each test by executing its program again, which the emulator cannot follow. Here each test is a
 * fork. Takes Criterion's place by standing first in the include path (configure
 * --with-plain-tests); the last line reads as Criterion's does. */
#ifndef NANO_TESTS_PLAIN_CRITERION_H
#define NANO_TESTS_PLAIN_CRITERION_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Definitions in a header that several files of a program include. */
#define PLAIN_SHARED __attribute__((weak))

enum { PLAIN_FAILED = 1, PLAIN_SKIPPED = 77 };

struct plain_options {
    void (*init)(void), (*fini)(void);
    unsigned timeout; /* seconds; 0: none */
};

struct plain_test {
    const char *suite, *name; /* without a name: options of the suite */
    void (*body)(void);
    struct plain_options options;
    struct plain_test *next;
};

PLAIN_SHARED struct plain_test *plain_first, **plain_end;
PLAIN_SHARED bool plain_failed;

#define PLAIN_REGISTER(symbol, suite_name, test_name, test_body, ...)                          \
    static struct plain_test symbol = {suite_name, test_name, test_body, {__VA_ARGS__}, NULL}; \
    __attribute__((constructor)) static void symbol##_register(void)                           \
    {                                                                                          \
        *(plain_end ? plain_end : &plain_first) = &symbol;                                     \
        plain_end = &symbol.next;                                                              \
    }

#define Test(suite, name, ...)                                                                \
    static void suite##_##name##_body(void);                                                  \
    PLAIN_REGISTER(suite##_##name##_test, #suite, #name, suite##_##name##_body, .timeout = 0, \
                   ##__VA_ARGS__)                                                             \
    static void suite##_##name##_body(void)

#define TestSuite(suite, ...) PLAIN_REGISTER(suite##_suite, #suite, NULL, NULL, __VA_ARGS__)

__attribute__((format(printf, 6, 7))) PLAIN_SHARED void plain_check(bool passed, bool fatal,
                                                                    const char *file, int line,
                                                                    const char *condition,
                                                                    const char *message, ...)
{
    if (passed)
        return;
    va_list args;
    va_start(args, message);
    fprintf(stderr, "%s:%d: not true: %s:", file, line, condition);
    vfprintf(stderr, message, args);
    fputc('\n', stderr);
    va_end(args);
    plain_failed = true;
    if (fatal) {
        fflush(NULL);
        _exit(PLAIN_FAILED);
    }
}

#define PLAIN_CHECK(fatal, condition, text, ...) \
    plain_check(condition, fatal, __FILE__, __LINE__, text, " " __VA_ARGS__)

#define cr_assert(condition, ...) PLAIN_CHECK(true, condition, #condition, __VA_ARGS__)
#define cr_expect(condition, ...) PLAIN_CHECK(false, condition, #condition, __VA_ARGS__)
#define cr_assert_fail(...) PLAIN_CHECK(true, false, "not reached", __VA_ARGS__)
#define cr_assert_not(condition, ...) \
    PLAIN_CHECK(true, !(condition), "not " #condition, __VA_ARGS__)
#define cr_expect_not(condition, ...) \
    PLAIN_CHECK(false, !(condition), "not " #condition, __VA_ARGS__)
#define cr_assert_null(p, ...) PLAIN_CHECK(true, !(p), #p " is NULL", __VA_ARGS__)
#define cr_expect_null(p, ...) PLAIN_CHECK(false, !(p), #p " is NULL", __VA_ARGS__)
#define cr_assert_not_null(p, ...) PLAIN_CHECK(true, (p) != NULL, #p " is not NULL", __VA_ARGS__)

#define PLAIN_COMPARE(fatal, a, op, b, ...) \
    PLAIN_CHECK(fatal, (a)op(b), #a " " #op " " #b, __VA_ARGS__)
#define cr_assert_eq(a, b, ...) PLAIN_COMPARE(true, a, ==, b, __VA_ARGS__)
#define cr_expect_eq(a, b, ...) PLAIN_COMPARE(false, a, ==, b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...) PLAIN_COMPARE(true, a, !=, b, __VA_ARGS__)
#define cr_expect_neq(a, b, ...) PLAIN_COMPARE(false, a, !=, b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...) PLAIN_COMPARE(true, a, <, b, __VA_ARGS__)
#define cr_expect_lt(a, b, ...) PLAIN_COMPARE(false, a, <, b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...) PLAIN_COMPARE(true, a, <=, b, __VA_ARGS__)
#define cr_expect_leq(a, b, ...) PLAIN_COMPARE(false, a, <=, b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...) PLAIN_COMPARE(true, a, >, b, __VA_ARGS__)
#define cr_expect_gt(a, b, ...) PLAIN_COMPARE(false, a, >, b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...) PLAIN_COMPARE(true, a, >=, b, __VA_ARGS__)
#define cr_expect_geq(a, b, ...) PLAIN_COMPARE(false, a, >=, b, __VA_ARGS__)

#define PLAIN_NEAR(fatal, a, b, epsilon, ...)                                               \
    PLAIN_CHECK(fatal, (a) - (b) <= (epsilon) && (b) - (a) <= (epsilon), #a " is near " #b, \
                __VA_ARGS__)
#define cr_assert_float_eq(a, b, epsilon, ...) PLAIN_NEAR(true, a, b, epsilon, __VA_ARGS__)
#define cr_expect_float_eq(a, b, epsilon, ...) PLAIN_NEAR(false, a, b, epsilon, __VA_ARGS__)

#define PLAIN_SAME(fatal, compared, a, b, ...) \
    PLAIN_CHECK(fatal, (compared) == 0, #a " is as " #b, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) PLAIN_SAME(true, strcmp(a, b), a, b, __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...) PLAIN_SAME(false, strcmp(a, b), a, b, __VA_ARGS__)
#define cr_expect_str_neq(a, b, ...) PLAIN_SAME(false, strcmp(a, b) == 0, a, "not " #b, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, bytes, ...) PLAIN_SAME(true, memcmp(a, b, bytes), a, b, __VA_ARGS__)
#define cr_expect_arr_eq(a, b, bytes, ...) PLAIN_SAME(false, memcmp(a, b, bytes), a, b, __VA_ARGS__)

#define cr_log_info(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr))
#define cr_skip_test(...) \
    (fprintf(stderr, "[SKIP] "), cr_log_info(__VA_ARGS__), fflush(NULL), _exit(PLAIN_SKIPPED))

PLAIN_SHARED const struct plain_options *plain_suite_options(const char *suite)
{
    static const struct plain_options none = {.timeout = 0};
    for (const struct plain_test *t = plain_first; t; t = t->next) {
        if (!t->name && strcmp(t->suite, suite) == 0)
            return &t->options;
    }
    return &none;
}

/* Exit status of the test, or 128 and more if a signal ended it. */
PLAIN_SHARED int plain_run(const struct plain_test *test)
{
    const struct plain_options *suite = plain_suite_options(test->suite);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(test->options.timeout);
        if (suite->init)
            suite->init();
        test->body();
        if (suite->fini)
            suite->fini();
        fflush(NULL);
        _exit(plain_failed ? PLAIN_FAILED : 0);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return PLAIN_FAILED;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Runs the tests whose suite is named in the arguments; all without arguments. */
PLAIN_SHARED int main(int argc, char **argv)
{
    int passing = 0, failing = 0, crashing = 0;
    for (const struct plain_test *t = plain_first; t; t = t->next) {
        bool wanted = t->name && argc < 2;
        for (int i = 1; i < argc && t->name; i++)
            wanted = wanted || strcmp(argv[i], t->suite) == 0;
        if (!wanted)
            continue;
        int status = plain_run(t);
        if (status != 0)
            fprintf(stderr, "[%s] %s::%s\n",
                    status == PLAIN_SKIPPED ? "----"
                    : status < 128          ? "FAIL"
                                            : "CRASH",
                    t->suite, t->name);
        passing += status == 0;
        crashing += status >= 128;
        failing += status != 0 && status != PLAIN_SKIPPED && status < 128;
    }
    fprintf(stderr, "[====] Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: %d \n",
            passing + failing + crashing, passing, failing, crashing);
    return failing + crashing > 0;
}

#endif

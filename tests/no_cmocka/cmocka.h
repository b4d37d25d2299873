// tests/no_cmocka/cmocka.h - what the tests use of cmocka, for machines where it is not installed and cannot be:
// scripts/gpu_check.sh compiles them with -Itests/no_cmocka there. Prints the same "[  OK  ]" and "[  FAILED  ]" lines.
#ifndef CMOCKA_H_
#define CMOCKA_H_

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*CMUnitTestFunction)(void **state);
typedef int (*CMFixtureFunction)(void **state);
struct CMUnitTest {
    const char *name;
    CMUnitTestFunction test;
    CMFixtureFunction setup, teardown;
};
#define cmocka_unit_test(f)                                                                                        \
    { #f, f, NULL, NULL }
#define cmocka_unit_test_setup_teardown(f, setup, teardown)                                                        \
    { #f, f, setup, teardown }

enum { NO_CMOCKA_FAILED = 1, NO_CMOCKA_SKIPPED };
static jmp_buf no_cmocka_end; // of the running test

__attribute__((format(printf, 3, 4), noreturn, unused)) static void no_cmocka_fail(const char *file, int line,
                                                                                   const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    longjmp(no_cmocka_end, NO_CMOCKA_FAILED);
}

#define fail_msg(...) no_cmocka_fail(__FILE__, __LINE__, __VA_ARGS__)
#define skip() longjmp(no_cmocka_end, NO_CMOCKA_SKIPPED)
#define print_message(...) printf(__VA_ARGS__)
#define print_error(...) fprintf(stderr, __VA_ARGS__)
#define NO_CMOCKA_CHECK(x, text) ((x) ? (void)0 : no_cmocka_fail(__FILE__, __LINE__, "%s", text))
#define assert_true(x) NO_CMOCKA_CHECK(x, #x)
#define assert_false(x) NO_CMOCKA_CHECK(!(x), "not " #x)
#define assert_null(x) NO_CMOCKA_CHECK((x) == NULL, #x " is NULL")
#define assert_non_null(x) NO_CMOCKA_CHECK((x) != NULL, #x " is not NULL")
#define assert_int_equal(a, b) NO_CMOCKA_CHECK((intmax_t)(a) == (intmax_t)(b), #a " == " #b)
#define assert_int_not_equal(a, b) NO_CMOCKA_CHECK((intmax_t)(a) != (intmax_t)(b), #a " != " #b)
#define assert_ptr_equal(a, b) NO_CMOCKA_CHECK((const void *)(a) == (const void *)(b), #a " == " #b)
#define assert_ptr_not_equal(a, b) NO_CMOCKA_CHECK((const void *)(a) != (const void *)(b), #a " != " #b)
#define assert_in_range(x, lo, hi) NO_CMOCKA_CHECK((x) >= (lo) && (x) <= (hi), #x " in " #lo ".." #hi)
#define assert_string_equal(a, b) NO_CMOCKA_CHECK(strcmp(a, b) == 0, #a " equals " #b)
#define assert_string_not_equal(a, b) NO_CMOCKA_CHECK(strcmp(a, b) != 0, #a " differs from " #b)
#define assert_memory_equal(a, b, n) NO_CMOCKA_CHECK(memcmp(a, b, n) == 0, #a " equals " #b)

static inline int no_cmocka_run(const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup,
                                CMFixtureFunction teardown) {
    void *volatile state = NULL;
    volatile int failed = 0;
    if (setup && setup((void **)&state) != 0) return (int)n;
    for (volatile size_t i = 0; i < n; i++) {
        const struct CMUnitTest *t = &tests[i];
        int end = t->setup && t->setup((void **)&state) != 0 ? NO_CMOCKA_FAILED : setjmp(no_cmocka_end);
        if (end == 0) t->test((void **)&state);
        if (t->teardown) t->teardown((void **)&state);
        printf("[ %s ] %s\n", end == 0 ? "      OK" : end == NO_CMOCKA_SKIPPED ? " SKIPPED" : "  FAILED", t->name);
        failed += end == NO_CMOCKA_FAILED;
    }
    if (teardown) teardown((void **)&state);
    return failed;
}
#define cmocka_run_group_tests(tests, setup, teardown)                                                             \
    no_cmocka_run(tests, sizeof(tests) / sizeof *(tests), setup, teardown)
#define cmocka_run_group_tests_name(name, tests, setup, teardown) cmocka_run_group_tests(tests, setup, teardown)

#endif

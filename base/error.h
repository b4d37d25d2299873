// base/error.h - errors, assertions and the log.
//
// Two kinds of error exist. What comes from outside (a file, an option, the environment, a device) is reported
// through an `Error`: the function returns false (or NULL) and the text says what was wrong, where, and what to do,
// in one line. Only the top level prints it and exits with status 1. What is wrong in our own logic aborts with
// file and line through ASSERT.
#ifndef POLAR_BASE_ERROR_H
#define POLAR_BASE_ERROR_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    char text[1024];
} Error;

// Writes the formatted text into `err` and returns false, so that a check reads
// `if (bad) return error_set(err, "...", ...);`.
bool error_set(Error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Puts "context: " before the text that is already there; returns false.
bool error_prefix(Error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Ends the process with status 1 where it stands, after an error that cannot be returned (a device that fails) and has been
// printed: no destructors run, since other threads may be at work.
void error_exit(void) __attribute__((noreturn));

// What error_exit waits for first, a file that a thread is writing for example; NULL: nothing. `wait` may be called by any
// thread.
void error_on_exit(void (*wait)(void *what), void *what);

// Our own logic is wrong: prints the expression with file and line, and aborts. Allocations too small for any plan are
// asserted as well: where one fails (errno is ENOMEM) the process ends with one line and status 1, as after any error.
void assert_failed(const char *expression, const char *file, int line) __attribute__((noreturn));
#define ASSERT(x) ((x) ? (void)0 : assert_failed(#x, __FILE__, __LINE__))

#ifdef __cplusplus
}
#endif
#endif

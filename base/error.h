// base/error.h - errors and assertions.
//
// There are two kinds of error. External errors (a file, an option, the environment, a device) are reported through
// an `Error`: the function returns false (or NULL), and the text says in one line what is wrong, where, and what to
// do. Only the top level prints it and exits with status 1. Internal errors (bugs) abort with file and line through
// ASSERT.
#ifndef POLAR_BASE_ERROR_H
#define POLAR_BASE_ERROR_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    char text[1024];
} Error;

// Writes the formatted text into `err` and returns false, for use as `if (bad) return error_set(err, "...", ...);`.
bool error_set(Error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Prepends "context: " to the existing text; returns false.
bool error_prefix(Error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Exits at once with status 1, after an error that cannot be returned (a failing device) has been printed. No
// destructors or atexit handlers run, since other threads may still be running.
void error_exit(void) __attribute__((noreturn));

// Sets the function that error_exit calls first, for example to wait until a thread has finished writing a file; NULL
// clears it. `wait` may be called from any thread.
void error_on_exit(void (*wait)(void *context), void *context);

// Reports a bug: prints the expression with file and line, and aborts. Small allocations are asserted too: if one fails
// (errno is ENOMEM), the process prints one line and exits with status 1, as after any external error.
void assert_failed(const char *expression, const char *file, int line) __attribute__((noreturn));
#define ASSERT(x) ((x) ? (void)0 : assert_failed(#x, __FILE__, __LINE__))

#ifdef __cplusplus
}
#endif
#endif

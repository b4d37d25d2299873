#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool error_set(Error *err, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return false;
}

bool error_prefix(Error *err, const char *format, ...) {
    Error inner = *err;
    char context[256];
    va_list args;
    va_start(args, format);
    vsnprintf(context, sizeof context, format, args);
    va_end(args);
    return error_set(err, "%s: %s", context, inner.text);
}

static struct {
    void (*wait)(void *);
    void *context;
} exit_hook;

void error_on_exit(void (*wait)(void *), void *context) {
    exit_hook.wait = wait;
    exit_hook.context = context;
}

void error_exit(void) {
    if (exit_hook.wait) exit_hook.wait(exit_hook.context);
    fflush(NULL);
    _exit(1);
}

void assert_failed(const char *expression, const char *file, int line) {
    // Set by the asserted allocation: any other that failed has already ended the process.
    bool no_memory = errno == ENOMEM;
    fflush(stdout);
    if (no_memory) {
        fprintf(stderr, "error: out of memory (%s:%d): free some memory, or reduce the model or --micro-batch\n",
                file, line);
        error_exit();
    }
    fprintf(stderr, "%s:%d: internal error: assertion %s failed; please report this\n", file, line, expression);
    abort();
}

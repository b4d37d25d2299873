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
    void *what;
} last;

void error_on_exit(void (*wait)(void *), void *what) {
    last.wait = wait;
    last.what = what;
}

void error_exit(void) {
    if (last.wait) last.wait(last.what);
    fflush(NULL);
    _exit(1);
}

void assert_failed(const char *expression, const char *file, int line) {
    bool no_memory =
        errno == ENOMEM; // of the allocation that is asserted: every other that failed has ended the run
    fflush(stdout);
    if (no_memory) {
        fprintf(stderr, "error: out of memory (%s:%d): give the process more, or take a smaller network or batch\n",
                file, line);
        error_exit();
    }
    fprintf(stderr, "%s:%d: internal error: %s does not hold; please report this\n", file, line, expression);
    abort();
}

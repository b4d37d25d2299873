#include "base/output.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

void output_ignore_signals(void) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

bool output_flush(Error *err) {
    if (fflush(stdout) != 0) return error_set(err, "cannot write standard output: %s", strerror(errno));
    // An earlier write failed, and its reason is gone.
    if (ferror(stdout)) return error_set(err, "cannot write standard output: a full disk or a closed pipe");
    return true;
}

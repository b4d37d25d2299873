#include "base/progress.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void progress_begin(Progress *p, FILE *log, bool quiet, int64_t first_step) {
    *p = (Progress){.log = log,
                    .terminal = isatty(STDOUT_FILENO) && !quiet,
                    .quiet = quiet,
                    .start = seconds_now(),
                    .first_step = first_step};
}

static const char *duration(char text[32], double seconds) {
    int64_t s = (int64_t)(seconds + 0.5);
    if (s >= 86400) snprintf(text, 32, "%" PRId64 "d %02dh", s / 86400, (int)(s / 3600 % 24));
    else if (s >= 3600) snprintf(text, 32, "%dh %02dm", (int)(s / 3600), (int)(s / 60 % 60));
    else snprintf(text, 32, "%dm %02ds", (int)(s / 60), (int)(s % 60));
    return text;
}

// The log only repeats what was printed: a full disk does not end the run.
static void give_up_log(Progress *p) {
    p->log = NULL;
    progress_print(p, true, "warning: cannot write log.txt: %s; nothing more is logged there", strerror(errno));
}

// A longer line would wrap and could not be overwritten.
static int terminal_width(void) {
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

void progress_step(Progress *p, const StepLine *line) {
    if (!line->logged && !p->terminal) return;
    char text[256], left[32], mfu[32] = "", skipped[32] = "";
    double spent = seconds_now() - p->start;
    double remaining = spent / (double)(line->step - p->first_step) * (double)(line->steps - line->step);
    if (line->mfu > 0) snprintf(mfu, sizeof mfu, "  mfu %.1f%%", 100 * line->mfu);
    if (line->skipped) snprintf(skipped, sizeof skipped, "  %" PRId64 " skipped", line->skipped);
    snprintf(text, sizeof text,
             "step %" PRId64 "/%" PRId64 "  loss %.4f  norm %.3f  lr %.3g  %.0f tok/s%s%s  %.1f%%  %s left",
             line->step, line->steps, line->loss, line->grad_norm, line->lr, line->tokens_per_s, mfu, skipped,
             100.0 * (double)line->step / (double)line->steps, duration(left, remaining));
    if (line->logged && p->log && fprintf(p->log, "%s\n", text) < 0) give_up_log(p);
    if (p->terminal) {
        printf("\r\033[K%.*s", terminal_width() - 1, text);
        p->status_showing = true;
        fflush(stdout);
    } else if (!p->quiet) {
        puts(text);
        fflush(stdout);
    }
}

void progress_end(Progress *p) {
    if (p->status_showing) {
        printf("\r\033[K");
        fflush(stdout);
    }
    p->status_showing = false;
}

void meter_begin(Meter *m, const char *what) {
    *m = (Meter){.what = what, .start = seconds_now(), .terminal = isatty(STDERR_FILENO)};
}

void meter_show(Meter *m, double fraction) {
    const double interval = 0.2; // seconds
    char left[32];
    double now = seconds_now();
    if (!m->terminal || now - m->shown < interval) return;
    fprintf(stderr, "\r\033[K%s %.1f%%  %s left", m->what, 100 * fraction,
            duration(left, (now - m->start) * (1 - fraction) / fraction));
    m->shown = now;
}

void meter_end(Meter *m) {
    if (m->shown > 0) fprintf(stderr, "\r\033[K");
}

void progress_print(Progress *p, bool important, const char *format, ...) {
    va_list args;
    if (p->log) {
        va_start(args, format);
        bool ok = vfprintf(p->log, format, args) >= 0 && putc('\n', p->log) != EOF;
        va_end(args);
        if (!ok) give_up_log(p);
    }
    if (p->quiet && !important) return;
    progress_end(p);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

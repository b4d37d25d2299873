// base/progress.h - what people see: a line that keeps itself up to date on a terminal, plain lines elsewhere; and
// log.txt, which gets all of it in plain lines.
#ifndef POLAR_BASE_PROGRESS_H
#define POLAR_BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct {
    FILE *log;           // NULL: none
    bool terminal;       // standard output is one
    bool quiet;          // steps and notes go to the log only
    bool status_showing; // the self-updating line stands on the terminal
    double start;        // when this process began to train, seconds
    int64_t first_step;  // steps done then
} Progress;

typedef struct {
    int64_t step, steps, skipped;
    double loss, val_loss; // val_loss NaN: none yet
    double grad_norm, lr, tokens_per_s;
    double mfu;  // model FLOPs of the step over those of large products in the same time; 0: not known
    bool logged; // a step of --log-every: a line of its own in the log and where there is no terminal
} StepLine;

double seconds_now(void); // monotonic

void progress_begin(Progress *p, FILE *log, bool quiet, int64_t first_step);
void progress_step(Progress *p, const StepLine *line);

// A line of its own: `important` ones are printed with --quiet too.
void progress_print(Progress *p, bool important, const char *format, ...) __attribute__((format(printf, 3, 4)));

// Takes the self-updating line away.
void progress_end(Progress *p);

// How much of something is done, and the time left: a line on standard error, where that is a terminal.
typedef struct {
    const char *what;
    double start, shown; // seconds; when the line was last written
    bool terminal;
} Meter;

void meter_begin(Meter *meter, const char *what);
void meter_show(Meter *meter, double fraction);
void meter_end(Meter *meter); // takes the line away
#endif

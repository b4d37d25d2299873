// base/progress.h - console output: a self-updating status line on a terminal, plain lines otherwise; and log.txt,
// which receives everything as plain lines.
#ifndef POLAR_BASE_PROGRESS_H
#define POLAR_BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct {
    FILE *log;           // NULL: none
    bool terminal;       // standard output is a terminal
    bool quiet;          // steps and notes go to the log only
    bool status_showing; // the status line is on the terminal
    double start;        // time when this process began to train, in seconds
    int64_t first_step;  // steps completed at that time
} Progress;

typedef struct {
    int64_t step, steps, skipped;
    double loss;
    double grad_norm, lr, tokens_per_s;
    double mfu;  // model FLOPs of the step over those of large GEMMs in the same time; 0: unknown
    bool logged; // due by --log-every: printed as a line in the log, and on standard output if it is no terminal
} StepLine;

double seconds_now(void); // monotonic clock

void progress_begin(Progress *p, FILE *log, bool quiet, int64_t first_step);

// Prints the line of a completed step.
void progress_step(Progress *p, const StepLine *line);

// Prints and logs one line; with --quiet only `important` ones are printed.
void progress_print(Progress *p, bool important, const char *format, ...) __attribute__((format(printf, 3, 4)));

// Erases the status line.
void progress_end(Progress *p);

// A progress meter with the remaining time, on standard error if that is a terminal.
typedef struct {
    const char *what;
    double start, shown; // seconds; when the line was last written
    bool terminal;
} Meter;

void meter_begin(Meter *meter, const char *what);
void meter_show(Meter *meter, double fraction);
void meter_end(Meter *meter); // erases the line
#endif

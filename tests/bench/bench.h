// tests/bench/bench.h - what the parts of the benchmark share.
#ifndef POLAR_TESTS_BENCH_H
#define POLAR_TESTS_BENCH_H

#include "model/model.h"
#include "optim/optimizer.h"
#include "optim/ops.h"

// Seconds on the clock of the benchmark: the wall's, or with BENCH_CLOCK=cpu the processor time of all threads, which
// with one thread (OMP_NUM_THREADS=1) says more on a machine that is busy otherwise.
double bench_now(void);

// What the machine can do, measured in this run.
typedef struct {
    double flops;     // of the product of two large matrices, per second
    double bandwidth; // bytes read and written by a triad over all threads, per second
} Ceilings;

// Times every operation that a step calls. profile_device and profile_layers put clocks around the backend's and the
// network's operations; those around the optimizers' are there from the start of the program (optim_ops is wrapped).
void profile_device(Device *device);
void profile_layers(Model *model);

// Operations are counted only between these two; `phase` is what they are listed under and must live on.
void profile_begin(const char *phase);
void profile_end(void);

// Prints what has been counted: each operation's median over the times its phase began, next to the larger of the
// times its products and its bytes take at the ceilings. Then forgets it. `least_ms`: shorter ones are summed up.
void profile_print(const Ceilings *ceilings, double least_ms);

#endif

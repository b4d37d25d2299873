// run/problems/run.h - the steps of a matrix problem, and what is written about them.
#ifndef POLAR_RUN_PROBLEMS_RUN_H
#define POLAR_RUN_PROBLEMS_RUN_H

#include "base/metrics.h"
#include "run/problems/config.h"
#include "base/progress.h"

typedef struct {
    const ProblemConfig *config;
    Problem problem;
    Optimizer *optimizer;
    Metrics metrics;
    Progress progress;
    int64_t step;     // steps done
    double loss;      // as last reported
    double elapsed_s; // of steps; reports left out
} ProblemRun;

// Makes the problem and its optimizer.
bool problem_run_create(ProblemRun *run, const ProblemConfig *config, Device *device, Error *err);
void problem_run_free(ProblemRun *run);

// All steps. A record of step k in metrics.jsonl is what holds at X_k, before step k is made; the last one is at the end:
//   {"kind": "problem", "step", "loss", "lr", "optimum", "relative_error", "residual_condition", "gradient": {"x":
//    {"condition", "nuclear_norm"}, ...}, "elapsed_s"}, then {"kind": "end", "step", "reason", "elapsed_s"}
// with "optimum" (f*) in the first one of the quadratic, and each quantity only where the problem has it.
// Errors: numbers that are no longer finite, a signal, files that cannot be written.
bool problem_run_steps(ProblemRun *run, Error *err);
#endif

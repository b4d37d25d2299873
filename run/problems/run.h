// run/problems/run.h - the optimization loop of a matrix problem and its records.
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
    int64_t step;     // completed steps
    double loss;      // last reported
    double elapsed_s; // time of the steps, without reports
} ProblemRun;

// Creates the problem and its optimizer.
bool problem_run_create(ProblemRun *run, const ProblemConfig *config, Device *device, Error *err);
void problem_run_free(ProblemRun *run);

// Runs all steps. The record of step k in metrics.jsonl describes X_k, before step k; the last one describes the
// result:
//   {"kind": "problem", "step", "loss", "lr", "optimum", "relative_error", "residual_condition", "gradient": {"x":
//    {"condition", "nuclear_norm"}, ...}, "elapsed_s"}, then {"kind": "end", "step", "reason", "elapsed_s"}
// with "optimum" (f*) only in the first record of the quadratic problem, and each quantity only if the problem has it.
// Errors: non-finite loss or gradient, a signal, file I/O.
bool problem_run_steps(ProblemRun *run, Error *err);
#endif

// run/training/diagnose.h - diagnostics of the optimizers: diagnostics.jsonl, one record per matrix and step.
//
// For the gradient (before clipping), the momentum after the step (AdamW: its first moment; with --polar-first that of the
// polar factors) and the update U: singular values, row norms, and the alignment <X, W> / (||X|| ||W||) with the weight
// before the step. The update is computed from the weights,
//     W' = W - lr (U + rate W)   so   U = (W - W') / lr - rate W,
// with the scheduled lr and without decoupled weight decay. W and W' are floats: U has an error of up to 6e-8 |W'| / lr
// in every element, visible in singular values near zero. Everything else is computed in double.
#ifndef POLAR_RUN_TRAINING_DIAGNOSE_H
#define POLAR_RUN_TRAINING_DIAGNOSE_H

#include "model/model.h"
#include "optim/optimizer.h"

typedef struct Diagnose Diagnose;

// Bytes that diagnose_create allocates: a copy of all weights, and twice the largest matrix in double.
int64_t diagnose_memory(const ParamTable *table);

// The device must support SVD. `spectrum`: records all singular values and row norms beside their quantiles.
// Model, optimizer and options (resolved) must outlive it. NULL: out of memory.
Diagnose *diagnose_create(const Model *model, const Optimizer *optimizer,
                          const ParamGroupOptions groups[GROUP_COUNT], bool spectrum, Error *err);
void diagnose_free(Diagnose *d);

// Opens the records as metrics_open does.
bool diagnose_open(Diagnose *d, const char *run, int64_t step, bool reported, Error *err);

// Call before and after an optimizer step, the step-th (1-based), with these learning rates. Neither changes the
// training.
void diagnose_before(Diagnose *d, Stream *stream);
bool diagnose_after(Diagnose *d, Stream *stream, const double lr[GROUP_COUNT], int64_t step, int64_t tokens,
                    Error *err);

// Fsyncs all records.
bool diagnose_sync(Diagnose *d, Error *err);
#endif

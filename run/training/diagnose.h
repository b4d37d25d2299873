// run/training/diagnose.h - what the optimizers do to every matrix: diagnostics.jsonl, one record a matrix and step.
//
// Of the gradient (before clipping), of the momentum after the step (AdamW: its first moment; with --polar-first that of
// the polar factors) and of the update U, each singular values, row norms, and the alignment <X, W> / (||X|| ||W||) with
// the weight before the step. The update is what the step did,
//     W' = W - lr (U + rate W)   so   U = (W - W') / lr - rate W,
// with the scheduled lr and without decoupled weight decay. W and W' are floats: U has an error of up to 6e-8 |W'| / lr
// in every element, which a smallest singular value near zero shows. All else is exact: the values are computed in double.
#ifndef POLAR_RUN_TRAINING_DIAGNOSE_H
#define POLAR_RUN_TRAINING_DIAGNOSE_H

#include "model/model.h"
#include "optim/optimizer.h"

typedef struct Diagnose Diagnose;

// Bytes that diagnose_create allocates: a copy of all weights, and twice the largest matrix in double.
int64_t diagnose_memory(const ParamTable *table);

// For a device that can solve. `spectrum`: records have every singular value and row norm beside their quantiles.
// Model, optimizer and options (resolved) must outlive it. NULL: out of memory.
Diagnose *diagnose_create(const Model *model, const Optimizer *optimizer,
                          const ParamGroupOptions groups[GROUP_COUNT], bool spectrum, Error *err);
void diagnose_free(Diagnose *d);

// Opens the records as metrics_open does.
bool diagnose_open(Diagnose *d, const char *run, int64_t step, bool reported, Error *err);

// Around an optimizer_step that was applied with these rates, the step-th (1-based). Neither changes anything that the
// training reads.
void diagnose_before(Diagnose *d, Stream *stream);
bool diagnose_after(Diagnose *d, Stream *stream, const double lr[GROUP_COUNT], int64_t step, int64_t tokens,
                    Error *err);

// What has been recorded is on the disk when this returns.
bool diagnose_sync(Diagnose *d, Error *err);
#endif

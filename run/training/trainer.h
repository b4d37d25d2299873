// run/training/trainer.h - a run at work: what it holds in memory, the loop, evaluation.
#ifndef POLAR_RUN_TRAINING_TRAINER_H
#define POLAR_RUN_TRAINING_TRAINER_H

#include "data/loader.h"
#include "model/model.h"
#include "optim/optimizer.h"
#include "run/checkpoint/writer.h"
#include "run/options/config.h"
#include "run/training/diagnose.h"
#include "run/training/evaluate.h"
#include "run/training/hellaswag.h"
#include "base/metrics.h"
#include "run/training/plan.h"
#include "base/progress.h"
#include "run/checkpoint/train_state.h"

typedef struct {
    const RunConfig *config;
    const Datasets *data;
    const char *run; // directory
    Device *device;
    Stream *stream;
    Model model;
    Optimizer *optimizer;
    Loader *loader;
    void *loader_memory;         // the loader reads into it, and the device copies from it
    Event *copied[LOADER_SLOTS]; // of each of its micro-batches: the copy has ended
    int64_t uploads;             // micro-batches copied so far
    Batch device_batch;          // the one at work, in device memory
    Forward forward;             // what evaluations pass their batches through
    Graph *passes[2];            // of a micro-batch, the first of a step and the others; NULL: not recorded yet
    Graph *update;               // of the optimizer
    bool warm;                   // a step has been done, so that they can be recorded
    Event *phases[4];            // of a step: begin and end of the passes, begin and end of the update
    double product_flops;        // FLOP/s of large GEMMs in the type of the model; 0: not known or not asked for
    double
        peak_flops; // what MFU is relative to: device_peak_flops, or product_flops if that is unknown; 0: not measured
    bool peak_is_of_products;
    CheckpointWriter *writer; // NULL: training waits while checkpoints are written
    Metrics metrics;
    Diagnose *diagnose; // NULL: no --diagnose
    Progress progress;
    RunState state;
    int64_t saved_step; // of the newest checkpoint, -1: none
} Trainer;

// Allocates everything but the loader, with initial weights and a state of no steps.
bool trainer_create(Trainer *t, const RunConfig *config, const Datasets *data, Device *device,
                    const ParamTable *table, Error *err);
// Starts reading where the state stands.
bool trainer_start_loader(Trainer *t, Error *err);
void trainer_free(Trainer *t);
CheckpointParts trainer_parts(Trainer *t);

// Times of a step: waiting for data, then what else went by on the device until the gradients were there, then the
// update.
typedef struct {
    StepReport report;
    double data_ms, forward_backward_ms, optimizer_ms;
} StepResult;

// One optimizer step: batch_size / micro_batch micro-batches and the update, with the diagnostics that are due. The
// state is left alone.
bool trainer_step(StepResult *result, Trainer *t, double loss_limit, Error *err);

// The loss over the validation tokens, and the choice of endings, at the weights the optimizer evaluates at.
// *complete is false when a signal ended it early.
bool trainer_evaluate(ValidationResult *result, bool *complete, Trainer *t, Error *err);
HellaswagResult trainer_hellaswag(bool *complete, Trainer *t);

// Says what was bad about a step that was not applied, from the state, the weights and the gradients as they lie there.
void trainer_explain_bad_step(char *text, size_t size, Trainer *t, const StepReport *report, double loss_limit);

// How a run came to its end.
typedef enum { RUN_FINISHED, RUN_TARGET, RUN_TIME, RUN_SIGNAL } RunEnd;

// Trains from the state to the end. Errors: a bad step (by --on-bad-step), data, disk; the last checkpoint is
// intact then.
bool trainer_run(RunEnd *end, Trainer *t, Error *err);
#endif

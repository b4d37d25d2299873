// run/training/trainer.h - a running training: its memory, steps, evaluation.
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
#include "dist/matrices.h"
#include "dist/parts.h"
#include "run/checkpoint/train_state.h"

typedef struct {
    const RunConfig *config;
    const Datasets *data;
    const char *run;            // directory; only rank 0 writes there
    Comm *comm;                 // the ranks of the run; NULL: one
    OptimizerExchange exchange; // of polar factors between ranks
    PartSums *sums;             // of gradients over parts and ranks; NULL: one part, one rank
    int stop;                   // several ranks: the signal after which all stop, or STOP_TIME; 0: none
    Device *device;
    Stream *stream;
    Model model;
    Optimizer *optimizer;
    Loader *loader;
    void *loader_memory;         // host memory that the loader fills and the device copies from
    Event *copied[LOADER_SLOTS]; // per loader slot: its copy to the device has ended
    int64_t uploads;             // micro-batches copied so far
    Batch device_batch;          // the current micro-batch, in device memory
    Forward forward;             // forward passes of evaluations
    Graph *passes[2]; // forward and backward pass of the first micro-batch of a step, and of the others; or NULL
    Graph *update;    // optimizer update; or NULL
    bool warm;        // a first step is done, so that graphs can be captured
    Event *phases[4]; // begin and end of the passes and of the update of a step
    double product_flops; // FLOP/s of large GEMMs in the type of the model; 0: not measured
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

// Trainer.stop: --max-time is over on rank 0.
enum { STOP_TIME = -1 };

// Allocates everything except the loader, with initial weights and a state of zero steps. `comm` as in Trainer.
bool trainer_create(Trainer *t, const RunConfig *config, const Datasets *data, Device *device,
                    const ParamTable *table, Comm *comm, Error *err);

// Rank 0 writes the files of the run and prints.
bool trainer_is_leader(const Trainer *t);
// Starts the loader at the position of the state.
bool trainer_start_loader(Trainer *t, Error *err);
void trainer_free(Trainer *t);
CheckpointParts trainer_parts(Trainer *t);

// Times of a step: waiting for data, forward and backward passes, optimizer update.
typedef struct {
    StepReport report;
    double data_ms, forward_backward_ms, optimizer_ms;
} StepResult;

// Does one optimizer step: batch_size / micro_batch micro-batches and the update, with the diagnostics that are
// due. Does not change the state.
bool trainer_step(StepResult *result, Trainer *t, double loss_limit, Error *err);

// Validation loss and HellaSwag accuracy, at the weights that the optimizer evaluates at. *complete is false if a
// signal ended it early.
bool trainer_evaluate(ValidationResult *result, bool *complete, Trainer *t, Error *err);
HellaswagResult trainer_hellaswag(bool *complete, Trainer *t);

// Explains why a step was bad, from the state, the weights and the gradients, which are still those of the step.
void trainer_explain_bad_step(char *text, size_t size, Trainer *t, const StepReport *report, double loss_limit);

// Why a run ended.
typedef enum { RUN_FINISHED, RUN_TARGET, RUN_TIME, RUN_SIGNAL } RunEnd;

// Trains from the state to the end. Errors: a bad step (by --on-bad-step), data, disk; the last checkpoint is then
// intact.
bool trainer_run(RunEnd *end, Trainer *t, Error *err);
#endif

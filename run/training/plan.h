// run/training/plan.h - what a run will be and need, worked out and printed before anything is allocated.
#ifndef POLAR_RUN_TRAINING_PLAN_H
#define POLAR_RUN_TRAINING_PLAN_H

#include "data/datasets.h"
#include "model/params.h"
#include "run/options/config.h"

// Opens the vocabulary, which must fit the model and which other options may follow from (config_resolve); then, with the
// configuration resolved, the sets beside it. datasets_close is called in any case.
bool plan_open_vocab(Datasets *data, const RunConfig *config, Error *err);
bool plan_open_data(Datasets *data, const RunConfig *config, Error *err);

// Bytes by what they are for.
typedef struct {
    int64_t weights, grads, activations, optimizer_state, optimizer_scratch, batches, diagnostics;
    int64_t workspace; // of the stream, for matrix products and what operations keep between launches
    int64_t total;     // of all these
    int64_t available; // 0: not known
    // Of host memory, where the device has its own: the copy that checkpoints are written from while training goes on (0:
    // none is wanted), and what is there for it.
    int64_t checkpoint_copy, host_available;
} MemoryPlan;

// The routing has passed optimizer_check.
MemoryPlan plan_memory(const RunConfig *config, const ParamTable *table, const Device *device);

// Whether a thread writes the run's checkpoints from a copy: not on the CPU, whose memory it would double and whose cores
// are the ones at work, and not where host memory is too small for it.
bool plan_copies_checkpoints(const MemoryPlan *plan);

// Where the user left the micro-batch open and the device is a GPU: the largest one of at most 65,536 tokens that leaves
// a tenth of the free memory to the libraries.
void plan_choose_micro_batch(RunConfig *config, const ParamTable *table, const Device *device);

// Refuses what cannot work here: more memory than there is, a training set too short for its steps.
bool plan_check(const RunConfig *config, const Datasets *data, const MemoryPlan *memory, Error *err);

// The options and the schedule of an optimizer, as they stand in the plan.
void plan_print_options(FILE *out, const ParamGroupOptions *options);

// What a plan is made of.
typedef struct {
    const RunConfig *config;
    const ParamTable *table;
    const Datasets *data;
    const MemoryPlan *memory;
    const Device *device;
} RunPlan;

// Prints the plan for people.
void plan_print(FILE *out, const RunPlan *plan);

// Prints the plan for programs, one JSON object on a line:
//   "parameters": {"total", one count for each role}
//   "groups": [{"group", "optimizer", "parameters", "options": {"lr": "0.02", ...}}, ...], values as on the command line
//   "training": {"steps", "tokens", "tokens_per_step", "batch_size", "micro_batch", "seq_len", "flops_per_step", "flops"}
//   "data": {"train_tokens", "train_shards", "epochs", "val_tokens", "hellaswag_examples"}, 0 for what is not given
//   "memory": bytes by what they are for, "total", and "available" (0: not known), "checkpoint_copy", "host_available"
//   "device", "note"
void plan_print_json(FILE *out, const RunPlan *plan);
#endif

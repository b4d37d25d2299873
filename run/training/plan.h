// run/training/plan.h - the plan of a run: its size and memory, computed and printed before anything is allocated.
#ifndef POLAR_RUN_TRAINING_PLAN_H
#define POLAR_RUN_TRAINING_PLAN_H

#include "data/datasets.h"
#include "model/params.h"
#include "run/options/config.h"

// Opens the vocabulary, which must fit the model and from which config_resolve derives options; then, with the
// resolved configuration, the datasets. Call datasets_close after an error too.
bool plan_open_vocab(Datasets *data, const RunConfig *config, Error *err);
bool plan_open_data(Datasets *data, const RunConfig *config, Error *err);

// Memory by purpose, in bytes.
typedef struct {
    int64_t weights, grads, activations, optimizer_state, optimizer_scratch, batches, diagnostics,
        sums;          // sums: of gradients over parts and ranks
    int64_t workspace; // of the stream, for GEMMs and intermediate results between kernels
    int64_t total;     // of all these
    int64_t available; // 0: unknown
    // Host memory, if the device has its own: the copy from which checkpoints are written while training continues (0:
    // not wanted), and the memory available for it.
    int64_t checkpoint_copy, host_available;
} MemoryPlan;

// Call optimizer_check first.
MemoryPlan plan_memory(const RunConfig *config, const ParamTable *table, const Device *device);

// Returns true if a thread writes checkpoints from a copy: not on the CPU, where it would double the memory and
// compete for the cores, and not if host memory is too small.
bool plan_copies_checkpoints(const MemoryPlan *plan);

// With --micro-batch 0 on a GPU, chooses the largest micro-batch of at most 65,536 tokens that leaves a tenth of
// the free memory for the libraries.
void plan_choose_micro_batch(RunConfig *config, const ParamTable *table, const Device *device);

// Refuses a run that needs more memory than is available, or more training data; `local_ranks` processes share the
// host.
bool plan_check(const RunConfig *config, const Datasets *data, const MemoryPlan *memory, int local_ranks,
                Error *err);

// Prints the options and the schedule of an optimizer.
void plan_print_options(FILE *out, const ParamGroupOptions *options);

// The parts of a plan.
typedef struct {
    const RunConfig *config;
    const ParamTable *table;
    const Datasets *data;
    const MemoryPlan *memory;
    const Device *device;
} RunPlan;

// Prints the plan as text.
void plan_print(FILE *out, const RunPlan *plan);

// Prints the plan as one line of JSON:
//   "parameters": {"total", and the number of each role}
//   "groups": [{"group", "optimizer", "parameters", "options": {"lr": "0.02", ...}}, ...], values as on the command line
//   "training": {"steps", "tokens", "tokens_per_step", "batch_size", "micro_batch", "seq_len", "flops_per_step", "flops"}
//   "data": {"train_tokens", "train_shards", "epochs", "val_tokens", "hellaswag_examples"}, 0 if not given
//   "memory": bytes by purpose, "total", and "available" (0: unknown), "checkpoint_copy", "host_available"
//   "device", "note"
void plan_print_json(FILE *out, const RunPlan *plan);

// ---- figures that the text and the JSON of a plan have in common ----

// Elements of all parameters of a role, and their number; elements of a parameter group.
int64_t plan_role_elements(int *n_tensors, const ParamTable *table, Role role);
int64_t plan_group_elements(const ParamTable *table, ParamGroup group);

// Floating-point operations of a step, forward and backward.
double plan_step_flops(const RunConfig *config);

// A part of the memory; `key` is its name in JSON.
typedef struct {
    const char *name, *key;
    int64_t bytes;
    bool optional; // not printed if it is 0
} MemoryPart;

enum { MEMORY_PARTS = 9 };
void plan_memory_parts(MemoryPart parts[MEMORY_PARTS], const MemoryPlan *memory);
#endif

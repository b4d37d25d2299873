// run/checkpoint/tensors.h - the list of a checkpoint's tensors (name, type, shape, memory), built from a model and its
// optimizer. Snapshot, non-finite check, writing, reading and export all iterate over it.
#ifndef POLAR_RUN_CHECKPOINT_TENSORS_H
#define POLAR_RUN_CHECKPOINT_TENSORS_H

#include "model/model.h"
#include "optim/optimizer.h"

typedef enum { CHECKPOINT_MODEL, CHECKPOINT_OPTIMIZER, CHECKPOINT_FILES } CheckpointFile;

const char *checkpoint_file_name(CheckpointFile file); // "model.safetensors", "optimizer.safetensors"

typedef struct {
    char name[128];    // in the safetensors file
    const char *what;  // "weight", "momentum", ...
    const char *param; // name of the parameter it belongs to
    Type type;
    int n_dims;
    int64_t shape[2];
    char *data; // device memory, or host memory in a snapshot
    int64_t bytes;
    double limit; // largest valid magnitude
} CheckpointTensor;

// The weights in the order of the parameter table, then the optimizer state in the order of optimizer_state().
typedef struct {
    CheckpointTensor *items;
    int n_files;                     // CHECKPOINT_FILES; 1 (the model's) without an optimizer
    int first[CHECKPOINT_FILES + 1]; // the tensors of file f are items [first[f], first[f + 1])
} CheckpointTensors;

// Builds the list. Model and optimizer (which may be NULL) must outlive it.
CheckpointTensors checkpoint_tensors(const Model *model, const Optimizer *optimizer);

// The same list for the gradients, which are not saved.
CheckpointTensors checkpoint_gradients(const Model *model);

void checkpoint_tensors_free(CheckpointTensors *tensors);

int checkpoint_tensors_count(const CheckpointTensors *tensors);
#endif

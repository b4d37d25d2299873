// run/checkpoint/tensors.h - the tensors of a checkpoint: one list of names, shapes and memory, made from a model and its
// optimizer. It is what is copied, checked, written, read and exported.
#ifndef POLAR_RUN_CHECKPOINT_TENSORS_H
#define POLAR_RUN_CHECKPOINT_TENSORS_H

#include "model/model.h"
#include "optim/optimizer.h"

typedef enum { CHECKPOINT_MODEL, CHECKPOINT_OPTIMIZER, CHECKPOINT_FILES } CheckpointFile;

const char *checkpoint_file_name(CheckpointFile file); // "model.safetensors", "optimizer.safetensors"

typedef struct {
    char name[128];    // in its file
    const char *what;  // "weight", "momentum", ...
    const char *param; // of which parameter
    Type type;
    int n_dims;
    int64_t shape[2];
    char *data; // device memory, or host memory in a snapshot
    int64_t bytes;
    double limit; // the largest magnitude that a run can go on with
} CheckpointTensor;

// The weights in the order of the parameter table, then the optimizer's state in its order.
typedef struct {
    CheckpointTensor *items;
    int n_files;                     // CHECKPOINT_FILES, or without an optimizer the model's alone
    int first[CHECKPOINT_FILES + 1]; // the tensors of file f are items [first[f], first[f + 1])
} CheckpointTensors;

// Model and optimizer (which may be NULL) must outlive the list.
CheckpointTensors checkpoint_tensors(const Model *model, const Optimizer *optimizer);

// The gradients as such a list; no checkpoint holds them.
CheckpointTensors checkpoint_gradients(const Model *model);

void checkpoint_tensors_free(CheckpointTensors *tensors);

// Number of tensors.
int checkpoint_tensors_count(const CheckpointTensors *tensors);
#endif

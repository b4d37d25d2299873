// run/checkpoint/checkpoint.h - checkpoints: complete or not there.
//
// checkpoints/step_00000100/ holds model.safetensors and optimizer.safetensors (full tensors, one per parameter, by
// the names of the table) and state.json with the sizes and CRC-32C of both, the shards in use and the run's state;
// its own CRC-32C stands in its last field. All is written under a name that begins with ".tmp", synced, and
// renamed, so that a name step_* is a complete checkpoint whenever the machine stops.
#ifndef POLAR_RUN_CHECKPOINT_CHECKPOINT_H
#define POLAR_RUN_CHECKPOINT_CHECKPOINT_H

#include "data/datasets.h"
#include "run/checkpoint/tensors.h"
#include "run/checkpoint/train_state.h"

// What is saved and loaded. Without an optimizer only the model is loaded; without data it is not compared.
typedef struct {
    Model *model;
    Optimizer *optimizer;
    Stream *stream;
    const Datasets *data;
} CheckpointParts;

// Whether the weights and the optimizer's state are numbers that can be gone on with; the error names the first that
// is not.
bool checkpoint_is_finite(const CheckpointParts *parts, Error *err);

// Writes the checkpoint of state->step, then removes all but the newest `keep` (0: none is removed). Errors: the disk;
// numbers that are not finite.
bool checkpoint_save(const char *run, const CheckpointParts *parts, const RunState *state, int keep, Error *err);

// The same of a list of tensors; without a stream they are in host memory.
bool checkpoint_save_tensors(const char *run, const CheckpointTensors *tensors, Stream *stream,
                             const Datasets *data, const RunState *state, int keep, Error *err);

// Loads the newest checkpoint that is complete and undamaged, and holds nothing but finite numbers. *found is false when
// the run has none yet, and the parts are as they were. `note` says which newer ones were passed over and why, "" if none.
// Errors: all are damaged; one that is complete does not fit the network, the optimizer or the data. Each file is read
// once and its checksum known at the end, so that after an error the parts hold no particular values.
bool checkpoint_load(RunState *state, bool *found, char note[1024], const char *run, const CheckpointParts *parts,
                     Error *err);
#endif

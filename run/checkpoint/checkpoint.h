// run/checkpoint/checkpoint.h - atomic checkpoints: a checkpoint is either complete or absent.
//
// checkpoints/step_00000100/ holds model.safetensors and optimizer.safetensors (full tensors, one per parameter, named
// as in the parameter table) and state.json: size and CRC-32C of both files, the data shards and the training state;
// its last field is its own CRC-32C. All files are written to a directory whose name begins with ".tmp", synced
// (fsync), and renamed: a directory named step_* is a complete checkpoint whenever the machine stops.
#ifndef POLAR_RUN_CHECKPOINT_CHECKPOINT_H
#define POLAR_RUN_CHECKPOINT_CHECKPOINT_H

#include "data/datasets.h"
#include "run/checkpoint/tensors.h"
#include "run/checkpoint/train_state.h"

// The objects that are saved and loaded. If optimizer is NULL, only the model is loaded; if data is NULL, the data
// shards are not compared.
typedef struct {
    Model *model;
    Optimizer *optimizer;
    Stream *stream;
    const Datasets *data;
} CheckpointParts;

// Checks that all weights and optimizer state are finite and in range; the error names the first element that is not.
bool checkpoint_is_finite(const CheckpointParts *parts, Error *err);

// Writes the checkpoint of state->step, then removes all but the newest `keep` (0: keeps all). Errors: file I/O,
// non-finite values.
bool checkpoint_save(const char *run, const CheckpointParts *parts, const RunState *state, int keep, Error *err);

// The same for a list of tensors. If stream is NULL, they are in host memory.
bool checkpoint_save_tensors(const char *run, const CheckpointTensors *tensors, Stream *stream,
                             const Datasets *data, const RunState *state, int keep, Error *err);

// Loads the newest checkpoint that is intact and finite, or if step is not -1 that of this step alone. If the run has
// no checkpoint yet, *found is false and the parts are unchanged (with a step it is an error). `note` lists the newer
// checkpoints that were skipped, with the reason; "" if none. Errors: all checkpoints are corrupt; an intact one does
// not match the model, the optimizer or the data. Files are read in one pass and the checksum is known only at the
// end, so after an error the contents of the parts are unspecified.
bool checkpoint_load(RunState *state, bool *found, char note[1024], const char *run, int64_t step,
                     const CheckpointParts *parts, Error *err);
#endif

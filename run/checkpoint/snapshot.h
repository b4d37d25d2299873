// run/checkpoint/snapshot.h - a copy, in host memory, of the tensors of a checkpoint: made in the time of one transfer, it
// can be checked and written while the device goes on.
#ifndef POLAR_RUN_CHECKPOINT_SNAPSHOT_H
#define POLAR_RUN_CHECKPOINT_SNAPSHOT_H

#include "run/checkpoint/tensors.h"

typedef struct {
    Device *device;
    CheckpointTensors source, tensors; // on the device; the same in `memory`
    char *memory;
} Snapshot;

// False: out of memory.
bool snapshot_create(Snapshot *snapshot, const Model *model, const Optimizer *optimizer);
void snapshot_free(Snapshot *snapshot);

// Copies the tensors as they are after what has been issued on the stream, and waits for it.
void snapshot_take(Snapshot *snapshot, Stream *stream);
#endif

// run/checkpoint/snapshot.h - a copy of a checkpoint's tensors in host memory. It takes one device-to-host transfer and
// can be checked and written while the device continues.
#ifndef POLAR_RUN_CHECKPOINT_SNAPSHOT_H
#define POLAR_RUN_CHECKPOINT_SNAPSHOT_H

#include "run/checkpoint/tensors.h"

typedef struct {
    Device *device;
    CheckpointTensors source, tensors; // device tensors; their copies in `memory`
    char *memory;
} Snapshot;

// Returns false if out of memory.
bool snapshot_create(Snapshot *snapshot, const Model *model, const Optimizer *optimizer);
void snapshot_free(Snapshot *snapshot);

// Copies the tensors after all work already queued on the stream, and synchronizes the stream.
void snapshot_take(Snapshot *snapshot, Stream *stream);
#endif

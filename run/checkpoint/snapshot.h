// run/checkpoint/snapshot.h - a copy, in host memory, of what a checkpoint holds of a device's memory: made in the time of one
// transfer, it can be looked at and written while the device goes on.
#ifndef POLAR_RUN_CHECKPOINT_SNAPSHOT_H
#define POLAR_RUN_CHECKPOINT_SNAPSHOT_H

#include "model/model.h"
#include "optim/optimizer.h"

typedef struct {
    Device *device;
    char *weights, *state; // the arenas of the master weights and of the optimizer's state, in one block
} HostCopy;

bool host_copy_create(HostCopy *copy, const Model *model, const Optimizer *optimizer); // false: out of memory
void host_copy_free(HostCopy *copy);

// Copies both as they are after what has been issued on the stream, and waits for it.
void host_copy_take(HostCopy *copy, const Model *model, const Optimizer *optimizer, Stream *stream);
#endif

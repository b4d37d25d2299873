// optim/step_scalars.h - the scalars of a step on their way to device memory. For the files of optim/ only.
#ifndef POLAR_OPTIM_STEP_SCALARS_H
#define POLAR_OPTIM_STEP_SCALARS_H

#include "device/pinned_ring.h"
#include "optim/optimizer.h"

typedef struct {
    PinnedRing host;
    StepInputs *device; // what the operations read
} InputRing;

bool input_ring_create(InputRing *ring, Device *device); // false: out of memory
void input_ring_free(InputRing *ring, Device *device);

// Copies `inputs` to ring->device on the stream.
void input_ring_push(InputRing *ring, Stream *stream, const StepInputs *inputs);

// The scalars of all groups at step t of total, the rates scheduled.
void step_inputs_fill(StepInputs *inputs, const ParamGroupOptions groups[GROUP_COUNT], int64_t t,
                      int64_t total_steps);
#endif

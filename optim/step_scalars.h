// optim/step_scalars.h - per-step scalars and their upload to device memory. Internal to optim/.
#ifndef POLAR_OPTIM_STEP_SCALARS_H
#define POLAR_OPTIM_STEP_SCALARS_H

#include "device/pinned_ring.h"
#include "optim/optimizer.h"

typedef struct {
    PinnedRing host;
    StepInputs *device; // read by the operations
} InputRing;

bool input_ring_create(InputRing *ring, Device *device); // false: out of memory
void input_ring_free(InputRing *ring, Device *device);

// Enqueues a copy of `inputs` to ring->device on the stream.
void input_ring_push(InputRing *ring, Stream *stream, const StepInputs *inputs);

// Fills the scalars of all groups for step t (0-based) of total_steps; learning rates include the schedule.
void step_inputs_fill(StepInputs *inputs, const ParamGroupOptions groups[GROUP_COUNT], int64_t t,
                      int64_t total_steps);
#endif

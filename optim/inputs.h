// optim/inputs.h - the scalars of a step on their way to device memory. For the files of optim/ only.
#ifndef POLAR_OPTIM_INPUTS_H
#define POLAR_OPTIM_INPUTS_H

#include "optim/optimizer.h" // defines: GroupSettings, StepInputs

#ifdef __cplusplus
extern "C" {
#endif

// A few slots of host memory that the device copies from: the host can be INPUT_SLOTS steps ahead, and waits rather
// than overwrite a slot that has not been copied.
enum { INPUT_SLOTS = 8 };

typedef struct {
    StepInputs *slots; // host memory of the device
    Event *copied[INPUT_SLOTS];
    Stream *waiter;     // only to wait for an event on the host
    StepInputs *device; // what the operations read
    int64_t used;       // slots filled so far
} InputRing;

bool input_ring_create(InputRing *ring, Device *device); // false: out of memory
void input_ring_free(InputRing *ring, Device *device);

// Fills a slot with `inputs` and copies it to ring->device on the stream.
void input_ring_push(InputRing *ring, Stream *stream, const StepInputs *inputs);

// Scheduled rates, warmed-up momentum and betas of all groups at step t of total.
void step_inputs_fill(StepInputs *inputs, const GroupSettings settings[GROUP_COUNT], int64_t t,
                      int64_t total_steps);

#ifdef __cplusplus
}
#endif
#endif

#include "optim/step_scalars.h"

bool input_ring_create(InputRing *ring, Device *device) {
    *ring = (InputRing){.device = device_alloc(device, sizeof *ring->device)};
    return pinned_ring_create(&ring->host, device, sizeof *ring->device) && ring->device;
}

void input_ring_free(InputRing *ring, Device *device) {
    pinned_ring_free(&ring->host);
    device_free(device, ring->device);
}

void input_ring_push(InputRing *ring, Stream *stream, const StepInputs *inputs) {
    StepInputs *slot = pinned_ring_slot(&ring->host);
    *slot = *inputs;
    pinned_ring_push(&ring->host, stream, ring->device, sizeof *inputs);
}

void step_inputs_fill(StepInputs *inputs, const ParamGroupOptions groups[GROUP_COUNT], int64_t t,
                      int64_t total_steps) {
    for (int g = 0; g < GROUP_COUNT; g++) {
        const ParamGroupOptions *group = &groups[g];
        StepScalars scalars = {0};
        if (!group->def) continue;
        group->def->scalars(&scalars, group->values.bytes, t);
        inputs->lr[g] = scheduled_lr(group, t, total_steps);
        inputs->momentum[g] = scalars.momentum;
        inputs->beta1[g] = scalars.beta1;
        inputs->beta2[g] = scalars.beta2;
    }
}

#include "optim/step_scalars.h"

bool input_ring_create(InputRing *ring, Device *device) {
    *ring = (InputRing){.device = device_alloc(device, sizeof *ring->device)};
    return host_ring_create(&ring->host, device, sizeof *ring->device) && ring->device;
}

void input_ring_free(InputRing *ring, Device *device) {
    host_ring_free(&ring->host);
    device_free(device, ring->device);
}

void input_ring_push(InputRing *ring, Stream *stream, const StepInputs *inputs) {
    StepInputs *slot = host_ring_slot(&ring->host);
    *slot = *inputs;
    host_ring_push(&ring->host, stream, ring->device, sizeof *inputs);
}

static double setting_or_zero(const GroupSettings *settings, const char *name) {
    return group_has_setting(settings, name) ? group_setting(settings, name) : 0;
}

// Grows linearly from momentum-start over the first momentum-warmup steps (modded-nanogpt).
static double momentum_at(const GroupSettings *settings, int64_t t) {
    double momentum = setting_or_zero(settings, "momentum"), warmup = setting_or_zero(settings, "momentum-warmup");
    if ((double)t >= warmup) return momentum;
    double start = group_setting(settings, "momentum-start"), done = (double)t / warmup;
    return (1 - done) * start + done * momentum;
}

void step_inputs_fill(StepInputs *inputs, const GroupSettings settings[GROUP_COUNT], int64_t t,
                      int64_t total_steps) {
    for (int g = 0; g < GROUP_COUNT; g++) {
        const GroupSettings *s = &settings[g];
        if (!s->def) continue;
        inputs->lr[g] = group_setting(s, "lr") * schedule_factor(&s->schedule, t, total_steps);
        inputs->momentum[g] = momentum_at(s, t);
        inputs->beta1[g] = setting_or_zero(s, "beta1");
        inputs->beta2[g] = setting_or_zero(s, "beta2");
    }
}

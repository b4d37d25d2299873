#include "optim/inputs.h"

bool input_ring_create(InputRing *ring, Device *device) {
    *ring = (InputRing){.slots = device_alloc_host(device, INPUT_SLOTS * sizeof *ring->slots),
                        .device = device_alloc(device, sizeof *ring->device),
                        .waiter = stream_create(device)};
    for (int i = 0; i < INPUT_SLOTS; i++) ring->copied[i] = event_create(device);
    return ring->slots && ring->device;
}

void input_ring_free(InputRing *ring, Device *device) {
    for (int i = 0; i < INPUT_SLOTS; i++)
        if (ring->copied[i]) event_destroy(ring->copied[i]);
    if (ring->waiter) stream_destroy(ring->waiter);
    device_free(device, ring->device);
    device_free_host(device, ring->slots);
}

void input_ring_push(InputRing *ring, Stream *stream, const StepInputs *inputs) {
    int i = (int)(ring->used % INPUT_SLOTS);
    if (ring->used >= INPUT_SLOTS) {
        stream_wait(ring->waiter, ring->copied[i]);
        stream_synchronize(ring->waiter);
    }
    ring->slots[i] = *inputs;
    device_copy(stream, ring->device, &ring->slots[i], sizeof *inputs);
    event_record(ring->copied[i], stream);
    ring->used++;
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

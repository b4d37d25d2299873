#include "run/checkpoint/snapshot.h"

static size_t weight_bytes(const Model *model) {
    return (size_t)model->table.elements * type_size(model->acc_type);
}

bool host_copy_create(HostCopy *copy, const Model *model, const Optimizer *optimizer) {
    size_t weights = weight_bytes(model), state = (size_t)optimizer_state_bytes(optimizer);
    *copy = (HostCopy){.device = model->device, .weights = device_alloc_host(model->device, weights + state)};
    copy->state = copy->weights ? copy->weights + weights : NULL;
    return copy->weights != NULL;
}

void host_copy_free(HostCopy *copy) {
    if (copy->weights) device_free_host(copy->device, copy->weights);
    *copy = (HostCopy){0};
}

void host_copy_take(HostCopy *copy, const Model *model, const Optimizer *optimizer, Stream *stream) {
    device_copy(stream, copy->weights, model->master, weight_bytes(model));
    device_copy(stream, copy->state, optimizer_state_arena(optimizer), (size_t)optimizer_state_bytes(optimizer));
    stream_synchronize(stream);
}

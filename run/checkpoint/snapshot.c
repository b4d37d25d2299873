#include "run/checkpoint/snapshot.h"

bool snapshot_create(Snapshot *snapshot, const Model *model, const Optimizer *optimizer) {
    int64_t bytes = 0;
    *snapshot = (Snapshot){.device = model->device,
                           .source = checkpoint_tensors(model, optimizer),
                           .tensors = checkpoint_tensors(model, optimizer)};
    int n = checkpoint_tensors_count(&snapshot->tensors);
    for (int i = 0; i < n; i++) bytes += snapshot->tensors.items[i].bytes;
    snapshot->memory = device_alloc_host(model->device, (size_t)bytes);
    if (!snapshot->memory) {
        snapshot_free(snapshot);
        return false;
    }
    char *next = snapshot->memory;
    for (int i = 0; i < n; i++) {
        snapshot->tensors.items[i].data = next;
        next += snapshot->tensors.items[i].bytes;
    }
    return true;
}

void snapshot_free(Snapshot *snapshot) {
    if (snapshot->memory) device_free_host(snapshot->device, snapshot->memory);
    checkpoint_tensors_free(&snapshot->source);
    checkpoint_tensors_free(&snapshot->tensors);
    *snapshot = (Snapshot){0};
}

void snapshot_take(Snapshot *snapshot, Stream *stream) {
    for (int i = 0; i < checkpoint_tensors_count(&snapshot->tensors); i++)
        device_copy(stream, snapshot->tensors.items[i].data, snapshot->source.items[i].data,
                    (size_t)snapshot->source.items[i].bytes);
    stream_synchronize(stream);
}

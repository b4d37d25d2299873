#include "run/checkpoint/snapshot.h"

bool snapshot_create(Snapshot *s, const Model *model, const Optimizer *optimizer) {
    int64_t bytes = 0;
    *s = (Snapshot){.device = model->device,
                    .source = checkpoint_tensors(model, optimizer),
                    .tensors = checkpoint_tensors(model, optimizer)};
    int n = checkpoint_tensors_count(&s->tensors);
    for (int i = 0; i < n; i++) bytes += s->tensors.items[i].bytes;
    s->memory = device_alloc_host(model->device, (size_t)bytes);
    if (!s->memory) {
        snapshot_free(s);
        return false;
    }
    char *next = s->memory;
    for (int i = 0; i < n; i++) {
        s->tensors.items[i].data = next;
        next += s->tensors.items[i].bytes;
    }
    return true;
}

void snapshot_free(Snapshot *s) {
    if (s->memory) device_free_host(s->device, s->memory);
    checkpoint_tensors_free(&s->source);
    checkpoint_tensors_free(&s->tensors);
    *s = (Snapshot){0};
}

void snapshot_take(Snapshot *s, Stream *stream) {
    for (int i = 0; i < checkpoint_tensors_count(&s->tensors); i++)
        device_copy(stream, s->tensors.items[i].data, s->source.items[i].data, (size_t)s->source.items[i].bytes);
    stream_synchronize(stream);
}

// tests/fixed_batch.h - a batch in device memory made from given tokens, as the loader would hand it over.
#ifndef POLAR_TESTS_FIXED_BATCH_H
#define POLAR_TESTS_FIXED_BATCH_H

#include "device/device.h"
#include "data/batch.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    Batch host, device;
    void *host_memory, *device_memory;
} FixedBatch;

static inline FixedBatch fixed_batch_create(Device *device, Stream *stream, const int32_t *tokens,
                                            const int32_t *targets, int B, int T, int vocab_size) {
    FixedBatch f;
    size_t bytes = (size_t)batch_bytes(B, T), n = (size_t)B * T;
    f.host_memory = device_alloc_host(device, bytes);
    f.device_memory = device_alloc(device, bytes);
    int32_t *scratch = calloc((size_t)vocab_size + 1, sizeof *scratch);
    ASSERT(f.host_memory && f.device_memory && scratch);
    batch_layout(&f.host, f.host_memory, B, T);
    memcpy(f.host.tokens, tokens, n * sizeof *tokens);
    memcpy(f.host.targets, targets, n * sizeof *targets);
    batch_index(&f.host, scratch, vocab_size);
    batch_layout(&f.device, f.device_memory, B, T);
    device_copy(stream, f.device_memory, f.host_memory, bytes);
    stream_synchronize(stream);
    free(scratch);
    return f;
}

static inline void fixed_batch_free(FixedBatch *f, Device *device) {
    device_free_host(device, f->host_memory);
    device_free(device, f->device_memory);
}

#endif

#include "run/decode.h"

void decoder_create(Decoder *d, Model *model, Stream *stream) {
    size_t bytes = (size_t)batch_bytes(1, model->run.T);
    *d = (Decoder){.model = model,
                   .stream = stream,
                   .host = device_alloc_host(model->device, bytes),
                   .memory = device_alloc(model->device, bytes)};
    ASSERT(d->host && d->memory);
}

void decoder_free(Decoder *d) {
    device_free_host(d->model->device, d->host);
    device_free(d->model->device, d->memory);
    *d = (Decoder){0};
}

const void *decoder_logits(Decoder *d, const uint16_t *tokens, int64_t n) {
    int64_t window = d->model->run.T, first = n > window ? n - window : 0;
    ASSERT(n > 0);
    // A window that slides gives every token another position.
    if (first == 0 && model_can_continue(d->model) && d->cached < n) first = d->cached;
    int position = n > window ? 0 : (int)first, T = (int)(n - first);
    Batch host, batch;
    batch_layout(&host, d->host, 1, T);
    batch_layout(&batch, d->memory, 1, T);
    for (int t = 0; t < T; t++) host.tokens[t] = tokens[first + t];
    device_copy(d->stream, batch.tokens, host.tokens, (size_t)T * sizeof *batch.tokens);
    const void *logits = model_forward_logits(d->model, d->stream, &batch, T - 1, position, NULL);
    stream_synchronize(d->stream); // `host` is written again by the next call
    d->cached = n > window ? 0 : n;
    return logits;
}

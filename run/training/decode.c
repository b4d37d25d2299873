#include "run/training/decode.h"

bool decoder_create(Decoder *d, Model *model, Stream *stream, Error *err) {
    size_t bytes = (size_t)batch_bytes(1, model->shape.T);
    *d = (Decoder){.model = model, .stream = stream, .memory = device_alloc(model->device, bytes)};
    return d->memory || error_set(err, "%s: out of memory for the tokens of a sample", model->device->name);
}

void decoder_free(Decoder *d) {
    device_free(d->model->device, d->memory);
    *d = (Decoder){0};
}

const void *decoder_logits(Decoder *d, const int32_t *tokens, int64_t n) {
    int64_t window = d->model->shape.T, first = n > window ? n - window : 0;
    ASSERT(n > 0);
    // A sliding window changes the position of every token.
    if (first == 0 && model_can_continue(d->model) && d->cached < n) first = d->cached;
    int position = n > window ? 0 : (int)first, T = (int)(n - first);
    Batch batch;
    batch_layout(&batch, d->memory, 1, T);
    device_copy(d->stream, batch.tokens, tokens + first, (size_t)T * sizeof *batch.tokens);
    const void *logits = model_forward_logits(d->model, d->stream, &batch, T - 1, position, NULL);
    stream_synchronize(d->stream); // the caller may change the tokens after the return
    d->cached = n > window ? 0 : n;
    return logits;
}

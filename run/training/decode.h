// run/training/decode.h - autoregressive decoding: logits of the next token, with a key-value cache if the model
// supports it.
#ifndef POLAR_RUN_TRAINING_DECODE_H
#define POLAR_RUN_TRAINING_DECODE_H

#include "model/model.h"

typedef struct {
    Model *model;
    Stream *stream;
    void *memory;   // a batch of one sequence
    int64_t cached; // number of leading tokens in the key-value cache
} Decoder;

bool decoder_create(Decoder *decoder, Model *model, Stream *stream, Error *err); // false: out of memory
void decoder_free(Decoder *decoder);

// Computes the logits (Vp, device memory, of the model's type) of the token after the n > 0 tokens, the first
// `cached` of which are those of the last call. Runs only the new ones; without a key-value cache, or with more
// tokens than model->shape.T, the last model->shape.T of all.
const void *decoder_logits(Decoder *decoder, const int32_t *tokens, int64_t n);
#endif

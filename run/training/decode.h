// run/training/decode.h - the logits of the next token, one after the other: what has been run before is kept as keys and
// values where the network can.
#ifndef POLAR_RUN_TRAINING_DECODE_H
#define POLAR_RUN_TRAINING_DECODE_H

#include "model/model.h"

typedef struct {
    Model *model;
    Stream *stream;
    void *memory;   // a batch of one sequence
    int64_t cached; // leading tokens whose keys and values lie in the model
} Decoder;

bool decoder_create(Decoder *decoder, Model *model, Stream *stream, Error *err); // false: out of memory
void decoder_free(Decoder *decoder);

// Logits (Vp, device memory, of the model's type) of what follows the n > 0 tokens, of which the first `cached` are
// those of the last call. Runs only the new ones through the network, or, where the model keeps no keys and values
// or there are more tokens than fit model->shape.T, the last model->shape.T of all.
const void *decoder_logits(Decoder *decoder, const int32_t *tokens, int64_t n);
#endif

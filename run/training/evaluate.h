// run/training/evaluate.h - how well a network predicts a set of tokens.
#ifndef POLAR_RUN_TRAINING_EVALUATE_H
#define POLAR_RUN_TRAINING_EVALUATE_H

#include "data/shard.h"
#include "data/tokenizer/vocab.h"
#include "model/model.h"
#include "base/progress.h"

// A model and the memory its batches pass through, each of batch_bytes(model->shape.B, model->shape.T).
typedef struct {
    Model *model;
    Stream *stream;
    void *host, *memory;
} Forward;

// Errors: out of memory.
bool forward_create(Forward *forward, Model *model, Stream *stream, Error *err);
void forward_free(Forward *forward);

// The losses (B T) of a batch in host memory; its index need not be filled in.
void forward_losses(double *losses, const Forward *forward, const Batch *host);

typedef struct {
    const ShardSet *set;
    int64_t tokens;     // to predict: 1 to all but the first of the set
    int seq_len, batch; // tokens of a sequence, sequences at once: what the model has room for
    const Vocab *vocab;
} Validation;

typedef struct {
    double loss;           // mean, in nats
    double standard_error; // of it, were the sequences drawn at random; NaN for a single one
    int64_t bytes;         // of text that the predicted tokens stand for; 0 where the vocabulary is "none"
    double bits_per_byte;  // NaN where bytes is 0
} ValidationResult;

// Runs sequence after sequence of the stream, the last one shorter. *complete is false when a signal ended it early.
// `meter` may be NULL. Errors: the shards cannot be read, or have tokens beyond the network's vocabulary.
bool evaluate_loss(ValidationResult *result, bool *complete, const Forward *forward, const Validation *validation,
                   Meter *meter, Error *err);
#endif

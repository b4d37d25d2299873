// run/training/evaluate.h - validation loss.
#ifndef POLAR_RUN_TRAINING_EVALUATE_H
#define POLAR_RUN_TRAINING_EVALUATE_H

#include "data/shard.h"
#include "device/comm/comm.h"
#include "data/tokenizer/vocab.h"
#include "model/model.h"
#include "base/progress.h"

// A model and its batch buffers, each of batch_bytes(model->shape.B, model->shape.T).
typedef struct {
    Model *model;
    Stream *stream;
    void *host, *memory;
    Comm *comm; // ranks that share an evaluation: the same digits for any number; NULL: this one alone
} Forward;

// Errors: out of memory.
bool forward_create(Forward *forward, Model *model, Stream *stream, Error *err);
void forward_free(Forward *forward);

// Computes the losses (B T) of a batch in host memory; its index is not used.
void forward_losses(double *losses, const Forward *forward, const Batch *host);

typedef struct {
    const ShardSet *set;
    int64_t tokens;     // to predict: 1 to all but the first of the dataset
    int seq_len, batch; // tokens per sequence, sequences per forward pass: at most the model's batch shape
    const Vocab *vocab;
} Validation;

typedef struct {
    double loss;           // mean, in nats
    double standard_error; // of the loss, with sequences as sampling units; NaN for a single one
    int64_t bytes;         // bytes of text of the predicted tokens; 0 if the vocabulary is "none"
    double bits_per_byte;  // NaN if bytes is 0
} ValidationResult;

// Evaluates consecutive sequences of the stream, the last one shorter. *complete is false if a signal ended it early.
// `meter` may be NULL. Errors: unreadable shards, tokens beyond the vocabulary of the model.
bool evaluate_loss(ValidationResult *result, bool *complete, const Forward *forward, const Validation *validation,
                   Meter *meter, Error *err);
#endif

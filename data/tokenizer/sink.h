// data/tokenizer/sink.h - writes tokens to the training and validation shards of a dataset.
#ifndef POLAR_DATA_TOKENIZER_SINK_H
#define POLAR_DATA_TOKENIZER_SINK_H

#include "data/shard.h"
#include "data/tokenizer/tokenize.h"

typedef struct {
    const TokenizeConfig *config;
    TokenizeResult *result;
    AtomicFile lock;        // against other processes that write shards of the same name
    ShardWriter train, val; // file.path NULL: not open
    bool to_val;            // the current document goes to validation
} Sink;

// Creates the folder. Existing shards of the same name are removed if config->overwrite, otherwise an error.
bool sink_open(Sink *sink, TokenizeResult *result, const TokenizeConfig *config, Error *err);

// Adds tokens, in which every document begins with the end-of-text token. If config->val_tokens >= 0, it decides for
// each document whether it goes to validation; otherwise `to_val` decides for all of them.
bool sink_add(Sink *sink, const uint16_t *tokens, int64_t n, bool to_val, Error *err);

// Completes the open shards. If `ok` is false, or after an error here, all shards of the dataset are removed.
bool sink_close(Sink *sink, bool ok, Error *err);
#endif

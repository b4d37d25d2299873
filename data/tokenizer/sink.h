// data/tokenizer/sink.h - tokens on their way to the shards of a set.
#ifndef POLAR_DATA_TOKENIZER_SINK_H
#define POLAR_DATA_TOKENIZER_SINK_H

#include "data/shard.h"
#include "data/tokenizer/tokenize.h"

typedef struct {
    const TokenizeConfig *config;
    TokenizeResult *result;
    ShardWriter train, val; // path NULL: not open
    bool to_val;            // where the current document goes
} Sink;

// Makes the folder; refuses shards that are there, or removes them.
bool sink_open(Sink *sink, TokenizeResult *result, const TokenizeConfig *config, Error *err);

// Adds tokens, in which every document begins with the end-of-text token. Where config->val_tokens is given it decides
// for each document whether that goes to validation; elsewhere `to_val` does for all of them.
bool sink_add(Sink *sink, const uint16_t *tokens, int64_t n, bool to_val, Error *err);

// Writes out what there is. Otherwise (`ok` false, or an error here) no shard of the set is left.
bool sink_close(Sink *sink, bool ok, Error *err);
#endif

// data/datasets.h - the datasets and the vocabulary of a run.
#ifndef POLAR_DATA_DATASETS_H
#define POLAR_DATA_DATASETS_H

#include "data/hellaswag.h"
#include "data/shard.h"
#include "data/tokenizer/vocab.h"

// Datasets that are not configured are empty.
typedef struct {
    Vocab *vocab;
    ShardSet train, val;
    Hellaswag hellaswag;
    int64_t val_tokens; // targets per validation: --val-tokens, or all but the first token of a smaller dataset
} Datasets;

// The options of these names; "" for none.
typedef struct {
    const char *train_data, *val_data; // file patterns for shard_set_open
    const char *hellaswag;             // file for hellaswag_open
    int64_t val_tokens;
    const char *vocab; // name of data->vocab
} DatasetPaths;

// Refuses shards that name another vocabulary than `vocab`, which may be "none" and then accepts all; `name` is the
// vocabulary's in the message.
bool datasets_check_vocab(const ShardSet *set, const Vocab *vocab, const char *name, Error *err);

// Opens the datasets; data->vocab is already set. Errors begin with the option. Call datasets_close after an error too.
bool datasets_open(Datasets *data, const DatasetPaths *paths, Error *err);
void datasets_close(Datasets *data); // {0} is allowed
#endif

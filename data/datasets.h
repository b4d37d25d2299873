// data/datasets.h - the data of a run and its vocabulary.
#ifndef POLAR_DATA_DATASETS_H
#define POLAR_DATA_DATASETS_H

#include "data/hellaswag.h"
#include "data/shard.h"
#include "data/tokenizer/vocab.h"

// Sets that are not given are empty.
typedef struct {
    Vocab *vocab;
    ShardSet train, val;
    Hellaswag hellaswag;
    int64_t
        val_tokens; // tokens a validation predicts: as many as were asked for, or all but the first of a smaller set
} Datasets;

// Where the sets are, as the options of these names have it: "" for none.
typedef struct {
    const char *train_data, *val_data; // patterns of shard_set_open
    const char *hellaswag;             // a file of hellaswag_open
    int64_t val_tokens;
} DatasetPaths;

// Opens the sets beside the vocabulary, which is there. Errors begin with the option; datasets_close is called after them too.
bool datasets_open(Datasets *data, const DatasetPaths *paths, Error *err);
void datasets_close(Datasets *data); // {0} is allowed
#endif

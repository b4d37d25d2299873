// data/tokenize.h - `train tokenize`: text files in, token shards out.
#ifndef POLAR_DATA_TOKENIZE_H
#define POLAR_DATA_TOKENIZE_H

#include "data/vocab.h" // defines: Vocab

#ifdef __cplusplus
extern "C" {
#endif

// Each file is a document. The last `val_fraction` of every document goes to NAME_val_000000.bin, the rest to
// NAME_train_000001.bin, ... of shard_tokens tokens each (the last one shorter); both parts are preceded by the
// end-of-text token. Refuses, before anything is written, files it cannot read and shards of that name that exist
// already; with `overwrite` those are removed. The validation shard is written last. After an error no shard of the
// set is left.
typedef struct {
    const Vocab *vocab; // not "none"
    const char *out_dir, *name;
    const char *const *files;
    int n_files;
    int64_t shard_tokens;
    double val_fraction;
    bool overwrite;
} TokenizeConfig;

typedef struct {
    int64_t bytes, train_tokens, val_tokens;
    int n_shards;
} TokenizeResult;

bool tokenize_files(TokenizeResult *result, const TokenizeConfig *config, Error *err);

#ifdef __cplusplus
}
#endif
#endif

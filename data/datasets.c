#include "data/datasets.h"

bool datasets_check_vocab(const ShardSet *set, const Vocab *vocab, const char *name, Error *err) {
    if (!set->vocab || !vocab || vocab_is_none(vocab) || set->vocab == vocab_fingerprint(vocab)) return true;
    return error_set(
        err,
        "%s was tokenized with another vocabulary than --vocab %s: name the one it was made with, or tokenize anew",
        set->shards[0].path, name);
}

bool datasets_open(Datasets *data, const DatasetPaths *paths, Error *err) {
    if (paths->train_data[0] && !shard_set_open(&data->train, paths->train_data, err))
        return error_prefix(err, "--train-data");
    if (paths->val_data[0] && !shard_set_open(&data->val, paths->val_data, err))
        return error_prefix(err, "--val-data");
    if (data->train.vocab && data->val.vocab && data->train.vocab != data->val.vocab)
        return error_set(err, "--val-data %s was tokenized with another vocabulary than --train-data %s",
                         paths->val_data, paths->train_data);
    if (!datasets_check_vocab(&data->train, data->vocab, paths->vocab, err))
        return error_prefix(err, "--train-data");
    if (!datasets_check_vocab(&data->val, data->vocab, paths->vocab, err)) return error_prefix(err, "--val-data");
    data->val_tokens = paths->val_tokens;
    if (data->val_tokens > data->val.total_tokens - 1) data->val_tokens = data->val.total_tokens - 1;
    if (data->val.n_shards && data->val_tokens < 1)
        return error_set(err, "--val-data %s has a single token; validation needs at least two", paths->val_data);
    if (!paths->hellaswag[0]) return true;
    return hellaswag_open(&data->hellaswag, paths->hellaswag, err) || error_prefix(err, "--hellaswag");
}

void datasets_close(Datasets *data) {
    vocab_close(data->vocab);
    if (data->train.n_shards) shard_set_close(&data->train);
    if (data->val.n_shards) shard_set_close(&data->val);
    hellaswag_close(&data->hellaswag);
    *data = (Datasets){0};
}

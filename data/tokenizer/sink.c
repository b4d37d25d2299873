#include "data/tokenizer/sink.h"

#include "base/file.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// Returns true if a file name is NAME_train_NNNNNN.bin or NAME_val_NNNNNN.bin.
static bool is_shard_name(const char *file, const char *name) {
    size_t length = strlen(name);
    if (strncmp(file, name, length) != 0) return false;
    const char *p = file + length;
    if (strncmp(p, "_train_", 7) == 0) p += 7;
    else if (strncmp(p, "_val_", 5) == 0) p += 5;
    else return false;
    for (int i = 0; i < 6; i++)
        if (!isdigit((unsigned char)*p++)) return false;
    return strcmp(p, ".bin") == 0;
}

// Removes all shards of this name from the folder, or fails if there is one.
static bool visit_shards(const TokenizeConfig *c, bool remove_them, Error *err) {
    DIR *dir = opendir(c->out_dir);
    if (!dir) return error_set(err, "cannot open the folder %s: %s", c->out_dir, strerror(errno));
    bool ok = true;
    for (struct dirent *entry; ok && (entry = readdir(dir));) {
        if (!is_shard_name(entry->d_name, c->name)) continue;
        if (!remove_them)
            ok = error_set(err, "%s/%s already exists: choose another folder or name, or use --overwrite",
                           c->out_dir, entry->d_name);
        else if (unlinkat(dirfd(dir), entry->d_name, 0) != 0)
            ok = error_set(err, "cannot remove %s/%s: %s", c->out_dir, entry->d_name, strerror(errno));
    }
    closedir(dir);
    return ok;
}

bool sink_open(Sink *sink, TokenizeResult *result, const TokenizeConfig *config, Error *err) {
    char dataset[PATH_MAX];
    *sink = (Sink){.config = config, .result = result};
    if (snprintf(dataset, sizeof dataset, "%s/%s", config->out_dir, config->name) >= (int)sizeof dataset)
        return error_set(err, "path too long: %s/%s", config->out_dir, config->name);
    if (!file_make_dirs(config->out_dir, err) || !atomic_file_open(&sink->lock, dataset, err)) return false;
    if (visit_shards(config, config->overwrite, err)) return true;
    atomic_file_discard(&sink->lock);
    return false;
}

static bool open_shard(ShardWriter *writer, const TokenizeConfig *c, const char *part, int number, Error *err) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s_%s_%06d.bin", c->out_dir, c->name, part, number) < (int)sizeof path)
        return shard_writer_open(writer, path, vocab_fingerprint(c->vocab), err);
    return error_set(err, "path too long: %s/%s", c->out_dir, c->name);
}

static bool close_shard(Sink *sink, ShardWriter *writer, Error *err) {
    if (!writer->file.path) return true;
    sink->result->n_shards++;
    return shard_writer_close(writer, err);
}

static bool add_train(Sink *sink, const uint16_t *tokens, int64_t n, Error *err) {
    while (n > 0) {
        if (!sink->train.file.path &&
            !open_shard(&sink->train, sink->config, "train", sink->result->n_shards + 1, err))
            return false;
        int64_t room = sink->config->shard_tokens - sink->train.n_tokens, part = n < room ? n : room;
        if (!shard_writer_add(&sink->train, tokens, part, err)) return false;
        sink->result->train_tokens += part;
        tokens += part;
        n -= part;
        if (part == room && !close_shard(sink, &sink->train, err)) return false;
    }
    return true;
}

static bool add_val(Sink *sink, const uint16_t *tokens, int64_t n, Error *err) {
    if (n > INT32_MAX - sink->result->val_tokens)
        return error_set(err, "more than %d validation tokens do not fit into a shard: use fewer", INT32_MAX);
    if (!sink->val.file.path && !open_shard(&sink->val, sink->config, "val", 0, err)) return false;
    sink->result->val_tokens += n;
    return shard_writer_add(&sink->val, tokens, n, err);
}

bool sink_add(Sink *sink, const uint16_t *tokens, int64_t n, bool to_val, Error *err) {
    const int end_of_text = vocab_end_of_text(sink->config->vocab);
    for (int64_t i = 0, end; i < n; i = end) {
        bool by_document = sink->config->val_tokens >= 0;
        if (!by_document) sink->to_val = to_val;
        else if (tokens[i] == end_of_text) sink->to_val = sink->result->val_tokens < sink->config->val_tokens;
        end = n;
        if (by_document && sink->to_val) // up to the next document
            for (end = i + 1; end < n && tokens[end] != end_of_text;) end++;
        if (!(sink->to_val ? add_val : add_train)(sink, tokens + i, end - i, err)) return false;
    }
    return true;
}

bool sink_close(Sink *sink, bool ok, Error *err) {
    if (ok && sink->result->documents == 0)
        ok = error_set(err,
                       "no document has a text: --field names the field of the JSON objects with it, now \"%s\"",
                       sink->config->field);
    if (ok && sink->result->train_tokens == 0)
        ok = error_set(err, "all of the text went to validation: lower --val-tokens, or use more documents");
    ok = ok && close_shard(sink, &sink->train, err) && close_shard(sink, &sink->val, err);
    Error ignored; // the first error is the one to report
    if (!ok) {
        shard_writer_discard(&sink->train);
        shard_writer_discard(&sink->val);
        (void)visit_shards(sink->config, true, &ignored);
    }
    atomic_file_discard(&sink->lock);
    return ok;
}

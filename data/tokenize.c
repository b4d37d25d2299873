#include "data/tokenize.h"

#include "data/file.h"
#include "data/shard.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Tokens on their way to a shard.
typedef struct {
    uint16_t *tokens;
    int64_t n, capacity;
} Buffer;

typedef struct {
    const TokenizeConfig *config;
    Buffer train, val;
    int n_train_shards;
    TokenizeResult *result;
    Error *err;
} Run;

static bool buffer_reserve(Buffer *b, int64_t n, Error *err) {
    if (b->n + n <= b->capacity) return true;
    int64_t capacity = b->capacity * 2 > b->n + n ? b->capacity * 2 : b->n + n;
    uint16_t *tokens = realloc(b->tokens, (size_t)capacity * sizeof *tokens);
    if (!tokens) return error_set(err, "out of memory for %lld tokens", (long long)capacity);
    b->tokens = tokens;
    b->capacity = capacity;
    return true;
}

static bool shard_path(char path[PATH_MAX], const TokenizeConfig *c, const char *part, int number, Error *err) {
    if (snprintf(path, PATH_MAX, "%s/%s_%s_%06d.bin", c->out_dir, c->name, part, number) < PATH_MAX) return true;
    return error_set(err, "path too long: %s/%s", c->out_dir, c->name);
}

// Whether a file name is NAME_train_NNNNNN.bin or NAME_val_NNNNNN.bin.
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

// Goes over the shards of this name in the folder: removes them, or refuses the first.
static bool visit_old_shards(const TokenizeConfig *c, bool remove_them, Error *err) {
    DIR *dir = opendir(c->out_dir);
    if (!dir) return error_set(err, "cannot open the folder %s: %s", c->out_dir, strerror(errno));
    bool ok = true;
    for (struct dirent *entry; ok && (entry = readdir(dir));) {
        if (!is_shard_name(entry->d_name, c->name)) continue;
        if (!remove_them)
            ok = error_set(
                err, "%s/%s exists already: take another folder or name, or allow overwriting with --overwrite",
                c->out_dir, entry->d_name);
        else if (unlinkat(dirfd(dir), entry->d_name, 0) != 0)
            ok = error_set(err, "cannot remove %s/%s: %s", c->out_dir, entry->d_name, strerror(errno));
    }
    closedir(dir);
    return ok;
}

static bool check_config(const TokenizeConfig *c, Error *err) {
    if (c->n_files < 1) return error_set(err, "no text file was given");
    if (!*c->name || strchr(c->name, '/'))
        return error_set(err, "bad --name \"%s\": a plain name is needed", c->name);
    if (!(c->val_fraction >= 0 && c->val_fraction < 1))
        return error_set(err, "bad --val-fraction %g: it must be at least 0 and less than 1", c->val_fraction);
    if (c->shard_tokens < 1 || c->shard_tokens > INT32_MAX)
        return error_set(err, "bad --shard-tokens %lld: a shard holds 1 to %d tokens", (long long)c->shard_tokens,
                         INT32_MAX);
    for (int i = 0; i < c->n_files; i++) {
        int64_t size;
        int fd = file_open_read(&size, c->files[i], err);
        if (fd < 0) return false;
        close(fd);
        if (size == 0) return error_set(err, "%s is empty: leave it out", c->files[i]);
    }
    return true;
}

static bool flush_train(Run *run) {
    char path[PATH_MAX];
    if (!shard_path(path, run->config, "train", run->n_train_shards + 1, run->err)) return false;
    if (!shard_write(path, run->train.tokens, run->train.n, run->err)) return false;
    run->result->train_tokens += run->train.n;
    run->n_train_shards++;
    run->train.n = 0;
    return true;
}

static bool add_train(Run *run, const uint16_t *tokens, int64_t n) {
    while (n > 0) {
        int64_t room = run->config->shard_tokens - run->train.n, part = n < room ? n : room;
        if (!buffer_reserve(&run->train, part, run->err)) return false;
        memcpy(run->train.tokens + run->train.n, tokens, (size_t)part * sizeof *tokens);
        run->train.n += part;
        tokens += part;
        n -= part;
        if (run->train.n == run->config->shard_tokens && !flush_train(run)) return false;
    }
    return true;
}

static bool add_val(Run *run, const uint16_t *tokens, int64_t n) {
    if (run->val.n + n > INT32_MAX)
        return error_set(run->err, "more than %d validation tokens do not fit a shard: lower --val-fraction",
                         INT32_MAX);
    if (!buffer_reserve(&run->val, n, run->err)) return false;
    memcpy(run->val.tokens + run->val.n, tokens, (size_t)n * sizeof *tokens);
    run->val.n += n;
    return true;
}

static bool add_document(Run *run, uint16_t *tokens, const char *text, int64_t size) {
    const TokenizeConfig *c = run->config;
    uint16_t end_of_text = (uint16_t)vocab_end_of_text(c->vocab);
    VocabEncoder *encoder = vocab_encoder_create(c->vocab);
    int64_t n = vocab_encode(tokens, encoder, text, (size_t)size);
    vocab_encoder_free(encoder);
    int64_t n_val = (int64_t)((double)n * c->val_fraction), n_train = n - n_val;
    run->result->bytes += size;
    return (n_train == 0 || (add_train(run, &end_of_text, 1) && add_train(run, tokens, n_train))) &&
           (n_val == 0 || (add_val(run, &end_of_text, 1) && add_val(run, tokens + n_train, n_val)));
}

static bool add_file(Run *run, const char *path) {
    int64_t size;
    int fd = file_open_read(&size, path, run->err);
    if (fd < 0) return false;
    char *text = malloc((size_t)size + 1);
    uint16_t *tokens = malloc((3 * (size_t)size + 1) * sizeof *tokens);
    bool ok = text && tokens
                  ? file_read_at(text, fd, path, 0, (size_t)size, run->err) && add_document(run, tokens, text, size)
                  : error_set(run->err, "out of memory for %s (%lld bytes)", path, (long long)size);
    free(tokens);
    free(text);
    close(fd);
    return ok;
}

static bool write_set(Run *run) {
    const TokenizeConfig *c = run->config;
    for (int i = 0; i < c->n_files; i++)
        if (!add_file(run, c->files[i])) return false;
    if (run->train.n > 0 && !flush_train(run)) return false;
    run->result->n_shards = run->n_train_shards;
    if (run->val.n == 0) return true;
    char path[PATH_MAX];
    run->result->val_tokens = run->val.n;
    run->result->n_shards++;
    return shard_path(path, c, "val", 0, run->err) && shard_write(path, run->val.tokens, run->val.n, run->err);
}

bool tokenize_files(TokenizeResult *result, const TokenizeConfig *config, Error *err) {
    *result = (TokenizeResult){0};
    if (!check_config(config, err) || !file_make_dirs(config->out_dir, err) ||
        !visit_old_shards(config, config->overwrite, err))
        return false;
    Run run = {.config = config, .result = result, .err = err};
    bool ok = write_set(&run);
    free(run.train.tokens);
    free(run.val.tokens);
    Error ignored; // the first error is the one to report
    if (!ok) (void)visit_old_shards(config, true, &ignored);
    return ok;
}

#include "data/tokenizer/source.h"

#include "base/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { UNIT_BYTES = 1 << 20, UNIT_MAX_BYTES = 1 << 29 };

static bool is_stdin(const char *name) {
    return strcmp(name, "-") == 0;
}

static bool is_json(const TokenizeConfig *c, const char *name) {
    size_t n = strlen(name);
    if (c->format != FORMAT_AUTO) return c->format == FORMAT_JSONL;
    return n >= 6 && strcmp(name + n - 6, ".jsonl") == 0;
}

bool source_open(Source *source, int64_t *total_bytes, const TokenizeConfig *config, Error *err) {
    *source = (Source){.config = config, .fd = -1};
    *total_bytes = 0;
    bool known = true;
    for (int i = 0; i < config->n_files; i++) {
        const char *name = config->files[i];
        if (config->val_tokens < 0 && (is_stdin(name) || is_json(config, name)))
            return error_set(
                err,
                "%s: set the number of validation tokens with --val-tokens N (0: none); --val-fraction is for "
                "plain text files",
                is_stdin(name) ? "standard input" : name);
        if (is_stdin(name)) {
            known = false;
            continue;
        }
        int64_t size;
        int fd = file_open_read(&size, name, err);
        if (fd < 0) return false;
        close(fd);
        if (size == 0) return error_set(err, "%s is empty: omit it", name);
        *total_bytes += size;
    }
    if (!known) *total_bytes = 0;
    return true;
}

static void close_file(Source *source) {
    if (source->fd > STDIN_FILENO) close(source->fd);
    source->fd = -1;
}

void source_close(Source *source) {
    close_file(source);
    free(source->carry);
}

// Sets left and val_left: the sizes of the training and the validation part, split between UTF-8 characters.
static bool split_validation(Source *source, int64_t size, Error *err) {
    char byte;
    source->val_left = (int64_t)((double)size * source->config->val_fraction);
    source->left = size - source->val_left;
    for (int i = 0; i < 3 && source->val_left > 0 && source->left > 0; i++, source->left--, source->val_left++) {
        if (!file_read_at(&byte, source->fd, source->path, source->left, 1, err)) return false;
        if ((byte & 0xC0) != 0x80) break;
    }
    return true;
}

static bool open_next(Source *source, Error *err) {
    const char *name = source->config->files[source->next_file++];
    int64_t size = INT64_MAX;
    source->path = is_stdin(name) ? "standard input" : name;
    source->fd = is_stdin(name) ? STDIN_FILENO : file_open_read(&size, name, err);
    if (source->fd < 0) return false;
    source->is_json = is_json(source->config, name);
    source->line = 1;
    source->left = size;
    source->val_left = 0;
    source->to_val = false;
    source->begins = true;
    return source->config->val_tokens >= 0 || split_validation(source, size, err);
}

static void reserve(char **text, size_t *capacity, size_t wanted) {
    if (*capacity >= wanted) return;
    *text = realloc(*text, wanted);
    ASSERT(*text);
    *capacity = wanted;
}

// Reads until the unit is full or the current part of the file ends (left is 0).
static bool read_more(Unit *unit, Source *source, Error *err) {
    while (unit->size < unit->capacity && source->left > 0) {
        size_t room = unit->capacity - unit->size;
        ssize_t n =
            read(source->fd, unit->text + unit->size, (int64_t)room < source->left ? room : (size_t)source->left);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set(err, "cannot read %s: %s", source->path, strerror(errno));
        if (n == 0 && source->left != INT64_MAX)
            return error_set(err, "%s was truncated while it was read", source->path);
        unit->size += (size_t)n;
        if (n == 0) source->left = 0;
        else if (source->left != INT64_MAX) source->left -= n;
    }
    return true;
}

static size_t find_cut(const Unit *unit, const Source *source) {
    if (!source->is_json) return vocab_cut(source->config->vocab, unit->text, unit->size);
    const char *newline = memrchr(unit->text, '\n', unit->size);
    return newline ? (size_t)(newline + 1 - unit->text) : 0;
}

static bool fill(Unit *unit, Source *source, Error *err) {
    reserve(&unit->text, &unit->capacity, source->n_carry > UNIT_BYTES / 2 ? 2 * source->n_carry : UNIT_BYTES);
    if (source->n_carry) memcpy(unit->text, source->carry, source->n_carry);
    unit->size = source->n_carry;
    source->n_carry = 0;
    for (;;) {
        if (!read_more(unit, source, err)) return false;
        size_t end = source->left > 0 ? find_cut(unit, source) : unit->size;
        if (end > 0 || unit->size == 0) {
            source->n_carry = unit->size - end;
            reserve(&source->carry, &source->carry_capacity, source->n_carry);
            if (source->n_carry) memcpy(source->carry, unit->text + end, source->n_carry);
            unit->size = end;
            return true;
        }
        if (unit->capacity >= UNIT_MAX_BYTES)
            return error_set(err, "%s, line %lld: %s exceeds the limit of %d bytes", source->path,
                             (long long)source->line, source->is_json ? "a line" : "a word", UNIT_MAX_BYTES);
        reserve(&unit->text, &unit->capacity, 2 * unit->capacity);
    }
}

static int64_t count_lines(const char *text, size_t size) {
    int64_t n = 0;
    for (const char *p = text, *end = text + size; (p = memchr(p, '\n', (size_t)(end - p))); p++) n++;
    return n;
}

bool source_next(Unit *unit, bool *end, Source *source, Error *err) {
    *end = false;
    for (;;) {
        if (source->fd < 0 && source->next_file == source->config->n_files) {
            *end = true;
            return true;
        }
        if (source->fd < 0 && !open_next(source, err)) return false;
        if (!fill(unit, source, err)) return false;
        unit->path = source->path;
        unit->line = source->line;
        unit->is_json = source->is_json;
        unit->begins = source->begins;
        unit->to_val = source->to_val;
        source->line += count_lines(unit->text, unit->size);
        source->begins = false;
        if (source->left == 0 && source->n_carry == 0) {
            source->left = source->val_left;
            source->val_left = 0;
            source->to_val = source->begins = true;
            if (source->left == 0) close_file(source);
        }
        if (unit->size > 0) return true;
    }
}

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

static void close_file(Source *s) {
    if (s->fd > STDIN_FILENO) close(s->fd);
    s->fd = -1;
}

void source_close(Source *source) {
    close_file(source);
    free(source->carry);
}

// Sets left and val_left: the sizes of the training and the validation part, split between UTF-8 characters.
static bool split_validation(Source *s, int64_t size, Error *err) {
    char byte;
    s->val_left = (int64_t)((double)size * s->config->val_fraction);
    s->left = size - s->val_left;
    for (int i = 0; i < 3 && s->val_left > 0 && s->left > 0; i++, s->left--, s->val_left++) {
        if (!file_read_at(&byte, s->fd, s->path, s->left, 1, err)) return false;
        if ((byte & 0xC0) != 0x80) break;
    }
    return true;
}

static bool open_next(Source *s, Error *err) {
    const char *name = s->config->files[s->next_file++];
    int64_t size = INT64_MAX;
    s->path = is_stdin(name) ? "standard input" : name;
    s->fd = is_stdin(name) ? STDIN_FILENO : file_open_read(&size, name, err);
    if (s->fd < 0) return false;
    s->is_json = is_json(s->config, name);
    s->line = 1;
    s->left = size;
    s->val_left = 0;
    s->to_val = false;
    s->begins = true;
    return s->config->val_tokens >= 0 || split_validation(s, size, err);
}

static void reserve(char **text, size_t *capacity, size_t wanted) {
    if (*capacity >= wanted) return;
    *text = realloc(*text, wanted);
    ASSERT(*text);
    *capacity = wanted;
}

// Reads until the unit is full or the current part of the file ends (left is 0).
static bool read_more(Unit *u, Source *s, Error *err) {
    while (u->size < u->capacity && s->left > 0) {
        size_t room = u->capacity - u->size;
        ssize_t n = read(s->fd, u->text + u->size, (int64_t)room < s->left ? room : (size_t)s->left);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set(err, "cannot read %s: %s", s->path, strerror(errno));
        if (n == 0 && s->left != INT64_MAX) return error_set(err, "%s was truncated while it was read", s->path);
        u->size += (size_t)n;
        if (n == 0) s->left = 0;
        else if (s->left != INT64_MAX) s->left -= n;
    }
    return true;
}

static size_t find_cut(const Unit *u, const Source *s) {
    if (!s->is_json) return vocab_cut(s->config->vocab, u->text, u->size);
    const char *newline = memrchr(u->text, '\n', u->size);
    return newline ? (size_t)(newline + 1 - u->text) : 0;
}

static bool fill(Unit *u, Source *s, Error *err) {
    reserve(&u->text, &u->capacity, s->n_carry > UNIT_BYTES / 2 ? 2 * s->n_carry : UNIT_BYTES);
    if (s->n_carry) memcpy(u->text, s->carry, s->n_carry);
    u->size = s->n_carry;
    s->n_carry = 0;
    for (;;) {
        if (!read_more(u, s, err)) return false;
        size_t end = s->left > 0 ? find_cut(u, s) : u->size;
        if (end > 0 || u->size == 0) {
            s->n_carry = u->size - end;
            reserve(&s->carry, &s->carry_capacity, s->n_carry);
            if (s->n_carry) memcpy(s->carry, u->text + end, s->n_carry);
            u->size = end;
            return true;
        }
        if (u->capacity >= UNIT_MAX_BYTES)
            return error_set(err, "%s, line %lld: %s exceeds the limit of %d bytes", s->path, (long long)s->line,
                             s->is_json ? "a line" : "a word", UNIT_MAX_BYTES);
        reserve(&u->text, &u->capacity, 2 * u->capacity);
    }
}

static int64_t count_lines(const char *text, size_t size) {
    int64_t n = 0;
    for (const char *p = text, *end = text + size; (p = memchr(p, '\n', (size_t)(end - p))); p++) n++;
    return n;
}

bool source_next(Unit *unit, bool *end, Source *s, Error *err) {
    *end = false;
    for (;;) {
        if (s->fd < 0 && s->next_file == s->config->n_files) {
            *end = true;
            return true;
        }
        if (s->fd < 0 && !open_next(s, err)) return false;
        if (!fill(unit, s, err)) return false;
        unit->path = s->path;
        unit->line = s->line;
        unit->is_json = s->is_json;
        unit->begins = s->begins;
        unit->to_val = s->to_val;
        s->line += count_lines(unit->text, unit->size);
        s->begins = false;
        if (s->left == 0 && s->n_carry == 0) {
            s->left = s->val_left;
            s->val_left = 0;
            s->to_val = s->begins = true;
            if (s->left == 0) close_file(s);
        }
        if (unit->size > 0) return true;
    }
}

#include "data/tokenizer/source.h"

#include <stdlib.h>
#include <string.h>

enum { UNIT_BYTES = 1 << 20, UNIT_MOST = 1 << 29 };

bool source_open(Source *source, TokenizeResult *result, const TokenizeConfig *config, Error *err) {
    *source = (Source){.config = config, .input = {.fd = -1}};
    bool known = true;
    for (int i = 0; i < config->n_files; i++) {
        const char *name = config->files[i];
        bool is_stdin = strcmp(name, "-") == 0, is_json = false;
        if (is_stdin) {
            known = false;
        } else {
            Input input;
            if (!input_open(&input, name, config->format, err)) return false;
            is_json = input.is_json;
            result->total_bytes += input.file_bytes;
            result->n_compressed += input.decompressor != NULL;
            result->n_json += is_json;
            input_close(&input);
        }
        if (config->val_tokens < 0 && (is_stdin || is_json))
            return error_set(
                err,
                "%s: set the number of validation tokens with --val-tokens N (0: none); --val-fraction "
                "is for files of plain text",
                is_stdin ? "standard input" : name);
    }
    if (!known) result->total_bytes = 0;
    return true;
}

void source_close(Source *source) {
    input_close(&source->input);
    free(source->carry);
}

// Bytes of an open text; a compressed one is read once for this and opened again.
static bool text_bytes(int64_t *bytes, Input *input, const char *name, TextFormat format, Error *err) {
    if (!input->decompressor) {
        *bytes = input->file_bytes - (int64_t)input->head_at;
        return true;
    }
    char *buffer = malloc(UNIT_BYTES);
    ASSERT(buffer);
    bool ok;
    size_t n;
    *bytes = 0;
    while ((ok = input_read(input, buffer, UNIT_BYTES, &n, err)) && n > 0) *bytes += (int64_t)n;
    free(buffer);
    input_close(input);
    return ok && input_open(input, name, format, err);
}

static bool open_next(Source *s, Error *err) {
    const TokenizeConfig *c = s->config;
    const char *name = c->files[s->next_file++];
    if (!input_open(&s->input, name, c->format, err)) return false;
    s->line = 1;
    s->left = INT64_MAX;
    s->val_left = 0;
    s->to_val = false;
    s->begins = true;
    if (c->val_tokens >= 0 || c->val_fraction == 0) return true;
    int64_t bytes;
    if (!text_bytes(&bytes, &s->input, name, c->format, err)) return false;
    s->val_left = (int64_t)((double)bytes * c->val_fraction);
    s->left = bytes - s->val_left;
    return true;
}

static void reserve(char **text, size_t *capacity, size_t wanted) {
    if (*capacity >= wanted) return;
    *text = realloc(*text, wanted);
    ASSERT(*text);
    *capacity = wanted;
}

// Reads until the unit is full or the part ends, which leaves nothing: left is 0 then.
static bool read_more(Unit *u, Source *s, Error *err) {
    while (u->size < u->capacity && s->left > 0) {
        size_t room = u->capacity - u->size, n;
        if ((int64_t)room > s->left) room = (size_t)s->left;
        if (!input_read(&s->input, u->text + u->size, room, &n, err)) return false;
        u->size += n;
        if (n == 0 && s->left != INT64_MAX)
            return error_set(err, "%s became shorter while it was read", s->input.path);
        if (n == 0) s->left = 0;
        else if (s->left != INT64_MAX) s->left -= (int64_t)n;
    }
    return true;
}

// Bytes at the end of the text that begin a character which the text does not end.
static size_t begun_character(const char *text, size_t size) {
    for (size_t n = 1; n <= 3 && n <= size; n++) {
        unsigned char lead = (unsigned char)text[size - n];
        if (lead >= 0x80 && lead < 0xC0) continue;
        size_t wanted = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
        return wanted > n ? n : 0;
    }
    return 0;
}

// Where the unit ends: at a place that does not change the tokens, and at the end of the part; a character on the border of
// the end for validation goes there whole.
static size_t cut(const Unit *u, const Source *s) {
    if (s->left == 0) return u->size - (s->val_left > 0 ? begun_character(u->text, u->size) : 0);
    if (!s->input.is_json) return vocab_cut(s->config->vocab, u->text, u->size);
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
        size_t end = cut(u, s);
        if (end > 0 || s->left == 0) {
            s->n_carry = u->size - end;
            reserve(&s->carry, &s->carry_capacity, s->n_carry);
            if (s->n_carry) memcpy(s->carry, u->text + end, s->n_carry);
            u->size = end;
            return true;
        }
        if (u->capacity >= UNIT_MOST)
            return error_set(err, "%s, line %lld: %s of more than %d bytes is too long", s->input.path,
                             (long long)s->line, s->input.is_json ? "a line" : "a word", UNIT_MOST);
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
        if (s->input.fd < 0 && s->next_file == s->config->n_files) {
            *end = true;
            return true;
        }
        if (s->input.fd < 0 && !open_next(s, err)) return false;
        if (!fill(unit, s, err)) return false;
        unit->path = s->input.path;
        unit->line = s->line;
        unit->is_json = s->input.is_json;
        unit->begins = s->begins;
        unit->to_val = s->to_val;
        unit->file_bytes = s->closed_bytes + s->input.read_bytes;
        s->line += count_lines(unit->text, unit->size);
        s->begins = false;
        if (s->left == 0) {
            s->left = s->val_left;
            s->val_left = 0;
            s->to_val = s->begins = true;
            if (s->left == 0) {
                s->closed_bytes += s->input.read_bytes;
                input_close(&s->input);
            }
        }
        if (unit->size > 0) return true;
    }
}

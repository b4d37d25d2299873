#include "data/tokenizer/source.h"

#include <stdlib.h>
#include <string.h>

enum { UNIT_BYTES = 1 << 20, UNIT_MAX_BYTES = 1 << 29 };

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

// Size of an open text; a compressed one is read through once and opened again.
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

static bool open_next(Source *source, Error *err) {
    const TokenizeConfig *c = source->config;
    const char *name = c->files[source->next_file++];
    if (!input_open(&source->input, name, c->format, err)) return false;
    source->line = 1;
    source->left = INT64_MAX;
    source->val_left = 0;
    source->to_val = false;
    source->begins = true;
    if (c->val_tokens >= 0 || c->val_fraction == 0) return true;
    int64_t bytes;
    if (!text_bytes(&bytes, &source->input, name, c->format, err)) return false;
    source->val_left = (int64_t)((double)bytes * c->val_fraction);
    source->left = bytes - source->val_left;
    return true;
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
        size_t room = unit->capacity - unit->size, n;
        if ((int64_t)room > source->left) room = (size_t)source->left;
        if (!input_read(&source->input, unit->text + unit->size, room, &n, err)) return false;
        unit->size += n;
        if (n == 0 && source->left != INT64_MAX)
            return error_set(err, "%s was truncated while it was read", source->input.path);
        if (n == 0) source->left = 0;
        else if (source->left != INT64_MAX) source->left -= (int64_t)n;
    }
    return true;
}

// Number of bytes at the end of the text that are the start of an incomplete UTF-8 character.
static size_t incomplete_character(const char *text, size_t size) {
    for (size_t n = 1; n <= 3 && n <= size; n++) {
        unsigned char lead = (unsigned char)text[size - n];
        if (lead >= 0x80 && lead < 0xC0) continue;
        size_t wanted = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
        return wanted > n ? n : 0;
    }
    return 0;
}

// Where to end the unit: where a cut does not change the tokens, or at the end of the part. A character on the
// border of the validation part goes there whole.
static size_t find_cut(const Unit *unit, const Source *source) {
    if (source->left == 0)
        return unit->size - (source->val_left > 0 ? incomplete_character(unit->text, unit->size) : 0);
    if (!source->input.is_json) return vocab_cut(source->config->vocab, unit->text, unit->size);
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
        size_t end = find_cut(unit, source);
        if (end > 0 || source->left == 0) {
            source->n_carry = unit->size - end;
            reserve(&source->carry, &source->carry_capacity, source->n_carry);
            if (source->n_carry) memcpy(source->carry, unit->text + end, source->n_carry);
            unit->size = end;
            return true;
        }
        if (unit->capacity >= UNIT_MAX_BYTES)
            return error_set(err, "%s, line %lld: %s exceeds the limit of %d bytes", source->input.path,
                             (long long)source->line, source->input.is_json ? "a line" : "a word", UNIT_MAX_BYTES);
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
        if (source->input.fd < 0 && source->next_file == source->config->n_files) {
            *end = true;
            return true;
        }
        if (source->input.fd < 0 && !open_next(source, err)) return false;
        if (!fill(unit, source, err)) return false;
        unit->path = source->input.path;
        unit->line = source->line;
        unit->is_json = source->input.is_json;
        unit->begins = source->begins;
        unit->to_val = source->to_val;
        unit->file_bytes = source->closed_bytes + source->input.read_bytes;
        source->line += count_lines(unit->text, unit->size);
        source->begins = false;
        if (source->left == 0) {
            source->left = source->val_left;
            source->val_left = 0;
            source->to_val = source->begins = true;
            if (source->left == 0) {
                source->closed_bytes += source->input.read_bytes;
                input_close(&source->input);
            }
        }
        if (unit->size > 0) return true;
    }
}

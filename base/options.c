#include "base/options.h"

#include "base/suggest.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const OptionSpec *option_find(const OptionTable *table, const char *name) {
    for (int i = 0; i < table->n_specs; i++)
        if (strcmp(table->specs[i].name, name) == 0) return &table->specs[i];
    return NULL;
}

const char *option_section(const OptionTable *table, const OptionSpec *spec) {
    while (spec > table->specs && !spec->section) spec--;
    return spec->section ? spec->section : "";
}

void options_init(void *base, const OptionTable *table) {
    Error err;
    for (int i = 0; i < table->n_specs; i++)
        if (table->specs[i].def) ASSERT(option_set(base, &table->specs[i], table->specs[i].def, &err));
}

bool parse_int64(int64_t *value, const char *text) {
    char *end;
    errno = 0;
    if (!(isdigit((unsigned char)text[0]) || text[0] == '-' || text[0] == '+')) return false;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end) return false;
    *value = v;
    return true;
}

bool parse_double(double *value, const char *text) {
    char *end;
    if (!text[0] || isspace((unsigned char)text[0])) return false;
    double v = strtod(text, &end); // overflow gives an infinity (rejected below), underflow the nearest tiny number
    if (end == text || *end || !isfinite(v)) return false;
    *value = v;
    return true;
}

bool parse_yes_no(bool *value, const char *text) {
    static const OptionChoice spellings[] = {{"yes", 1},   {"true", 1}, {"on", 1}, {"1", 1}, {"no", 0},
                                             {"false", 0}, {"off", 0},  {"0", 0},  {NULL, 0}};
    for (const OptionChoice *word = spellings; word->name; word++)
        if (strcmp(word->name, text) == 0) {
            *value = word->value;
            return true;
        }
    return false;
}

// ------------------------------------------------------------------------------------------------ choices

static const void *entry_at(const OptionSpec *spec, int i) {
    return (const char *)spec->entries + (size_t)i * spec->entry_size;
}

const char *option_word(const OptionSpec *spec, int i) {
    if (spec->kind == KIND_ONE_OF) return spec->choices[i].name;
    return *(const char *const *)entry_at(spec, i);
}

const char *option_choice_name(const OptionChoice *choices, int value) {
    for (; choices->name; choices++)
        if (choices->value == value) return choices->name;
    return NULL;
}

static bool refuse_word(const OptionSpec *spec, const char *text, Error *err) {
    enum { MAX_WORDS = 32 };
    const char *words[MAX_WORDS];
    char all[512] = "";
    int n = 0;
    for (; option_word(spec, n); n++) {
        ASSERT(n < MAX_WORDS);
        words[n] = option_word(spec, n);
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", n ? ", " : "", words[n]);
    }
    const char *near = suggest_name(text, words, n);
    return error_set(err, "--%s is '%s'%s%s%s: it must be one of %s", spec->name, text,
                     near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "", all);
}

static bool set_word(void *field, const OptionSpec *spec, const char *text, Error *err) {
    for (int i = 0; option_word(spec, i); i++) {
        if (strcmp(option_word(spec, i), text) != 0) continue;
        if (spec->kind == KIND_ONE_OF) {
            *(int *)field = spec->choices[i].value;
        } else {
            const void *entry = entry_at(spec, i);
            memcpy(field, &entry, sizeof entry);
        }
        return true;
    }
    return refuse_word(spec, text, err);
}

// ------------------------------------------------------------------------------------------------ values

static bool refuse_number(const OptionSpec *spec, const char *text, const char *what, Error *err) {
    if (spec->max >= 1e18)
        return error_set(err, "--%s is '%s': it must be %s, at least %g", spec->name, text, what, spec->min);
    return error_set(err, "--%s is '%s': it must be %s between %g and %.10g", spec->name, text, what, spec->min,
                     spec->max);
}

bool option_set(void *base, const OptionSpec *spec, const char *text, Error *err) {
    void *field = (char *)base + spec->offset;
    int64_t integer;
    double number;
    switch (spec->kind) {
    case KIND_TEXT:
        if (strlen(text) >= OPTION_TEXT_MAX)
            return error_set(err, "--%s is longer than %d bytes", spec->name, OPTION_TEXT_MAX - 1);
        strcpy(field, text);
        return true;
    case KIND_INT:
    case KIND_INT64:
        if (!parse_int64(&integer, text) || (double)integer < spec->min || (double)integer > spec->max)
            return refuse_number(spec, text, "a whole number", err);
        if (spec->kind == KIND_INT64) *(int64_t *)field = integer;
        else *(int *)field = (int)integer;
        return true;
    case KIND_NUMBER:
        if (!parse_double(&number, text) || number < spec->min || number > spec->max)
            return refuse_number(spec, text, "a number", err);
        *(double *)field = number;
        return true;
    case KIND_YES_NO:
        if (!parse_yes_no(field, text))
            return error_set(err, "--%s is '%s': it must be yes or no", spec->name, text);
        return true;
    case KIND_ONE_OF:
    case KIND_ENTRY_OF:
        return set_word(field, spec, text, err);
    }
    ASSERT(!"option kind");
}

static void number_text(char *text, size_t size, double value) {
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, size, "%.*g", digits, value);
        if (strtod(text, NULL) == value) return;
    }
}

void option_text(char *text, size_t size, const void *base, const OptionSpec *spec) {
    const void *field = (const char *)base + spec->offset, *entry;
    switch (spec->kind) {
    case KIND_TEXT:
        snprintf(text, size, "%s", (const char *)field);
        break;
    case KIND_INT:
        snprintf(text, size, "%d", *(const int *)field);
        break;
    case KIND_INT64:
        snprintf(text, size, "%" PRId64, *(const int64_t *)field);
        break;
    case KIND_NUMBER:
        number_text(text, size, *(const double *)field);
        break;
    case KIND_YES_NO:
        snprintf(text, size, "%s", *(const bool *)field ? "yes" : "no");
        break;
    case KIND_ONE_OF:
        snprintf(text, size, "%s", option_choice_name(spec->choices, *(const int *)field));
        break;
    case KIND_ENTRY_OF:
        memcpy(&entry, field, sizeof entry);
        snprintf(text, size, "%s", *(const char *const *)entry);
        break;
    }
}

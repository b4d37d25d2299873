#include "run/options/options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const OptionSpec *option_find(const OptionTable *table, const char *name) {
    for (int i = 0; i < table->n_specs; i++)
        if (strcmp(table->specs[i].name, name) == 0) return &table->specs[i];
    return NULL;
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
    double v = strtod(text, &end); // out of range gives an infinity (refused) or a tiny number (what was meant)
    if (end == text || *end || !isfinite(v)) return false;
    *value = v;
    return true;
}

bool parse_yes_no(bool *value, const char *text) {
    bool yes = strcmp(text, "yes") == 0 || strcmp(text, "true") == 0;
    if (!yes && strcmp(text, "no") != 0 && strcmp(text, "false") != 0) return false;
    *value = yes;
    return true;
}

static bool refuse_range(Error *err, const OptionSpec *spec, const char *text, const char *what) {
    if (spec->max >= 1e18)
        return error_set(err, "--%s is '%s': it must be %s, at least %g", spec->name, text, what, spec->min);
    return error_set(err, "--%s is '%s': it must be %s between %g and %.10g", spec->name, text, what, spec->min,
                     spec->max);
}

static bool set_choice(int *field, const OptionSpec *spec, const char *text, Error *err) {
    char all[256] = "";
    for (int i = 0; spec->choices[i]; i++) {
        if (strcmp(spec->choices[i], text) == 0) {
            *field = i;
            return true;
        }
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", spec->choices[i]);
    }
    return error_set(err, "--%s is '%s': it must be one of %s", spec->name, text, all);
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
            return refuse_range(err, spec, text, "a whole number");
        if (spec->kind == KIND_INT64) *(int64_t *)field = integer;
        else if (integer < INT_MIN || integer > INT_MAX)
            return refuse_range(err, spec, text, "a whole number below 2^31");
        else *(int *)field = (int)integer;
        return true;
    case KIND_NUMBER:
        if (!parse_double(&number, text) || number < spec->min || number > spec->max)
            return refuse_range(err, spec, text, "a number");
        *(double *)field = number;
        return true;
    case KIND_YES_NO:
        if (!parse_yes_no(field, text)) return error_set(err, "--%s is '%s': say yes or no", spec->name, text);
        return true;
    case KIND_ONE_OF:
        return set_choice(field, spec, text, err);
    }
    ASSERT(!"option kind");
}

void option_text(char *text, size_t size, const void *base, const OptionSpec *spec) {
    const void *field = (const char *)base + spec->offset;
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
        for (int digits = 6; digits <= 17; digits++) {
            snprintf(text, size, "%.*g", digits, *(const double *)field);
            if (strtod(text, NULL) == *(const double *)field) break;
        }
        break;
    case KIND_YES_NO:
        snprintf(text, size, "%s", *(const bool *)field ? "yes" : "no");
        break;
    case KIND_ONE_OF:
        snprintf(text, size, "%s", spec->choices[*(const int *)field]);
        break;
    }
}

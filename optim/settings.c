// The settings of an optimizer for one group: defaults, text to value and back.
#include "base/suggest.h"
#include "optim/optimizer.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void group_settings_init(GroupSettings *settings, const OptimizerDef *def) {
    ASSERT(def->n_options <= MAX_OPTIMIZER_OPTIONS);
    *settings = (GroupSettings){.def = def, .schedule = {.kind = SCHEDULE_CONSTANT}};
    for (int i = 0; i < def->n_options; i++) settings->values[i] = def->options[i].def;
}

static int option_index(const OptimizerDef *def, const char *name) {
    for (int i = 0; i < def->n_options; i++)
        if (strcmp(def->options[i].name, name) == 0) return i;
    return -1;
}

bool group_has_setting(const GroupSettings *settings, const char *name) {
    return option_index(settings->def, name) >= 0;
}

double group_setting(const GroupSettings *settings, const char *name) {
    int i = option_index(settings->def, name);
    ASSERT(i >= 0);
    return settings->values[i];
}

WeightDecay group_weight_decay(const GroupSettings *settings) {
    if (settings->def->decay_in_gradient || !group_has_setting(settings, "weight-decay")) return (WeightDecay){0};
    int decay = option_index(settings->def, "decay");
    bool cautious =
        decay >= 0 && strcmp(settings->def->options[decay].choices[(int)settings->values[decay]], "cautious") == 0;
    return (WeightDecay){group_setting(settings, "weight-decay"), cautious};
}

static void append(char *text, size_t size, const char *word) {
    size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s", used ? ", " : "", word);
}

static const char *choice_list(char *text, size_t size, const char *const *choices) {
    text[0] = 0;
    for (int i = 0; choices[i]; i++) append(text, size, choices[i]);
    return text;
}

static bool unknown_option(const OptimizerDef *def, const char *name, Error *err) {
    const char *names[MAX_OPTIMIZER_OPTIONS];
    char list[512] = "";
    for (int i = 0; i < def->n_options; i++) {
        names[i] = def->options[i].name;
        append(list, sizeof list, names[i]);
    }
    const char *near = nearest_name(name, names, def->n_options);
    return error_set(err, "%s has no option \"%s\"%s%s%s; it has %s", def->name, name,
                     near ? ": did you mean \"" : "", near ? near : "", near ? "\"?" : "", list);
}

static bool parse_flag(double *value, const OptimizerOption *option, const char *text, Error *err) {
    static const char *const words[2][4] = {{"false", "0", "no", "off"}, {"true", "1", "yes", "on"}};
    for (int v = 0; v < 2; v++) {
        for (int i = 0; i < 4; i++) {
            if (strcmp(text, words[v][i]) == 0) {
                *value = v;
                return true;
            }
        }
    }
    return error_set(err, "%s is \"%s\": must be true or false", option->name, text);
}

static bool parse_choice(double *value, const OptimizerOption *option, const char *text, Error *err) {
    int n = 0;
    for (; option->choices[n]; n++) {
        if (strcmp(text, option->choices[n]) == 0) {
            *value = n;
            return true;
        }
    }
    char list[512];
    const char *near = nearest_name(text, option->choices, n);
    return error_set(err, "%s is \"%s\"%s%s%s: must be one of %s", option->name, text,
                     near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "",
                     choice_list(list, sizeof list, option->choices));
}

static bool parse_number(double *value, const OptimizerOption *option, const char *text, Error *err) {
    bool whole = option->kind == OPTION_INT;
    char *end = NULL;
    errno = 0;
    double number = whole ? (double)strtoll(text, &end, 10) : strtod(text, &end);
    if (text[0] == 0 || isspace((unsigned char)text[0]) || *end != 0 || !isfinite(number))
        return error_set(err, "%s is \"%s\": must be %s", option->name, text,
                         whole ? "a whole number" : "a number");
    if (number < option->min || number > option->max || (whole && errno == ERANGE))
        return error_set(err, "%s is %s: must be between %.10g and %.10g", option->name, text, option->min,
                         option->max);
    *value = number;
    return true;
}

bool group_settings_set(GroupSettings *settings, const char *name, const char *text, Error *err) {
    int i = option_index(settings->def, name);
    if (i < 0) return unknown_option(settings->def, name, err);
    const OptimizerOption *option = &settings->def->options[i];
    double value = 0;
    bool ok = option->kind == OPTION_FLAG     ? parse_flag(&value, option, text, err)
              : option->kind == OPTION_CHOICE ? parse_choice(&value, option, text, err)
                                              : parse_number(&value, option, text, err);
    if (!ok) return false;
    settings->values[i] = value;
    settings->set[i] = true;
    return true;
}

void group_setting_text(char *text, size_t size, const GroupSettings *settings, int option) {
    ASSERT(option >= 0 && option < settings->def->n_options);
    const OptimizerOption *o = &settings->def->options[option];
    double value = settings->values[option];
    if (o->kind == OPTION_FLAG) {
        snprintf(text, size, "%s", value != 0 ? "true" : "false");
    } else if (o->kind == OPTION_CHOICE) {
        snprintf(text, size, "%s", o->choices[(int)value]);
    } else if (o->kind == OPTION_INT) {
        snprintf(text, size, "%lld", (long long)value);
    } else { // the shortest text that reads back as the same number
        for (int digits = 6; digits <= 17; digits++) {
            snprintf(text, size, "%.*g", digits, value);
            if (strtod(text, NULL) == value) break;
        }
    }
}

// The options of a parameter group: defaults, parsing, formatting, scheduled learning rate.
#include "base/suggest.h"
#include "optim/optimizer.h"

#include <stdio.h>
#include <string.h>

int optimizer_option_count(const OptimizerDef *def) {
    return def->offers ? def->n_offers : def->table->n_specs;
}

OptionSpec optimizer_option(const OptimizerDef *def, int i) {
    ASSERT(i >= 0 && i < optimizer_option_count(def));
    if (!def->offers) return def->table->specs[i];
    const OptionSpec *row = option_find(def->table, def->offers[i].name);
    ASSERT(row);
    OptionSpec option = *row;
    if (def->offers[i].def) option.def = def->offers[i].def;
    return option;
}

void param_group_init(ParamGroupOptions *group, const OptimizerDef *def) {
    *group = (ParamGroupOptions){.def = def};
    options_init(group->values.bytes, def->table);
    for (int i = 0; i < optimizer_option_count(def); i++) {
        const OptionSpec option = optimizer_option(def, i);
        ASSERT(option.offset + sizeof(double) <= sizeof group->values);
        options_init(group->values.bytes, &(OptionTable){&option, 1});
    }
}

int optimizer_option_find(const OptimizerDef *def, const char *name, Error *err) {
    enum { MAX_OPTIONS = 64 };
    const char *names[MAX_OPTIONS];
    char list[512] = "";
    int n = optimizer_option_count(def);
    ASSERT(n <= MAX_OPTIONS);
    for (int i = 0; i < n; i++) {
        names[i] = optimizer_option(def, i).name;
        if (strcmp(names[i], name) == 0) return i;
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = suggest_name(name, names, n);
    error_set(err, "%s has no option '%s'%s%s%s; it has %s", def->name, name, near ? ": did you mean '" : "",
              near ? near : "", near ? "'?" : "", list);
    return -1;
}

bool param_group_set(ParamGroupOptions *group, const char *name, const char *text, Error *err) {
    int i = optimizer_option_find(group->def, name, err);
    if (i < 0) return false;
    const OptionSpec option = optimizer_option(group->def, i);
    if (!option_set(group->values.bytes, &option, text, err)) return false;
    group->given |= (uint64_t)1 << i;
    return true;
}

bool param_group_given(const ParamGroupOptions *group, const void *field) {
    size_t offset = (size_t)((const char *)field - group->values.bytes);
    for (int i = 0; i < optimizer_option_count(group->def); i++)
        if (optimizer_option(group->def, i).offset == offset) return group->given >> i & 1;
    return false;
}

void param_group_text(char *text, size_t size, const ParamGroupOptions *group, int i) {
    const OptionSpec option = optimizer_option(group->def, i);
    option_text(text, size, group->values.bytes, &option);
}

WeightDecay param_group_weight_decay(const ParamGroupOptions *group) {
    const OptimizerDef *def = group->def;
    return def->weight_decay ? def->weight_decay(group->values.bytes) : (WeightDecay){0};
}

double scheduled_lr(const ParamGroupOptions *group, int64_t t, int64_t total) {
    StepScalars scalars = {0};
    group->def->scalars(&scalars, group->values.bytes, t);
    return scalars.lr * schedule_factor(&group->schedule, t, total);
}

#include "run/options/groups.h"

#include <string.h>

// The last setting of a group's option; NULL if there is none.
static const Setting *find_last(const Settings *settings, ParamGroup group, const char *option) {
    for (int i = settings->count - 1; i >= 0; i--) {
        const Setting *s = &settings->items[i];
        if (s->option && s->group == group && strcmp(s->option, option) == 0) return s;
    }
    return NULL;
}

// The value set for a group's option; the command line overrides the configuration file.
static const Setting *find_setting(const Settings *file, const Settings *arguments, ParamGroup group,
                                   const char *option) {
    const Setting *s = find_last(arguments, group, option);
    return s ? s : find_last(file, group, option);
}

static bool is_schedule_option(const Setting *s) {
    return option_find(&schedule_options, s->option) != NULL;
}

// Returns true if a setting is an option of the group's optimizer.
static bool is_optimizer_option(const Setting *s, ParamGroup group) {
    return s->option && s->group == group && !is_schedule_option(s) && strcmp(s->option, "optimizer") != 0;
}

// Sets an option from a setting; errors name it as the user wrote it.
static bool set_option(void *base, const OptionSpec *row, const Setting *s, Error *err) {
    OptionSpec option = *row;
    option.name = s->name;
    return option_set(base, &option, s->text, err) || setting_error(err, s);
}

// A group's own settings override those of the hidden matrices.
static bool resolve_schedule(Schedule *schedule, ParamGroup group, const Settings *file, const Settings *arguments,
                             Error *err) {
    *schedule = (Schedule){0};
    options_init(schedule, &schedule_options);
    for (int i = 0; i < schedule_options.n_specs; i++) {
        const OptionSpec *row = &schedule_options.specs[i];
        const Setting *s = find_setting(file, arguments, group, row->name);
        if (!s) s = find_setting(file, arguments, GROUP_HIDDEN, row->name);
        if (s && !set_option(schedule, row, s, err)) return false;
    }
    return true;
}

static bool apply(ParamGroupOptions *options, const Settings *from, ParamGroup group, Error *err) {
    for (int i = 0; i < from->count; i++) {
        const Setting *s = &from->items[i];
        if (!is_optimizer_option(s, group)) continue;
        int o = optimizer_option_find(options->def, s->option, err);
        if (o < 0) {
            error_prefix(err, "--%s", s->name);
            return setting_error(err, s);
        }
        const OptionSpec option = optimizer_option(options->def, o);
        if (!set_option(options->values.bytes, &option, s, err)) return false;
        options->given |= (uint64_t)1 << o;
    }
    return true;
}

static bool has_options(const Settings *settings, ParamGroup group) {
    for (int i = 0; i < settings->count; i++)
        if (is_optimizer_option(&settings->items[i], group)) return true;
    return false;
}

// Options not set for a group are inherited from the hidden matrices if these have the same optimizer, except the
// weight decay of gains and biases: most published runs do not decay them.
static void inherit_options(ParamGroupOptions *options, const ParamGroupOptions *hidden, ParamGroup group) {
    char text[OPTION_TEXT_MAX];
    Error err;
    for (int i = 0; i < optimizer_option_count(options->def); i++) {
        const char *name = optimizer_option(options->def, i).name;
        bool no_decay = group == GROUP_VECTOR && strcmp(name, "weight-decay") == 0;
        bool inherited = hidden->def == options->def && hidden->given >> i & 1;
        if (options->given >> i & 1 || (!no_decay && !inherited)) continue;
        if (inherited) param_group_text(text, sizeof text, hidden, i);
        ASSERT(param_group_set(options, name, no_decay ? "0" : text, &err));
    }
}

static bool resolve_group(ParamGroupOptions groups[GROUP_COUNT], char note[1024], ParamGroup group,
                          const Settings *file, const Settings *arguments, Error *err) {
    ParamGroupOptions *options = &groups[group];
    const Setting *chosen = find_setting(file, arguments, group, "optimizer");
    const OptimizerDef *def = optimizer_find(chosen ? chosen->text : "adamw", err);
    if (!def) {
        error_prefix(err, "--%s", chosen->name);
        return setting_error(err, chosen);
    }
    param_group_init(options, def);

    const Setting *in_file = find_last(file, group, "optimizer"), *config = settings_find(arguments, "config");
    const char *file_optimizer = in_file ? in_file->text : "adamw";
    if (strcmp(file_optimizer, def->name) == 0) {
        if (!apply(options, file, group, err)) return false;
    } else if (has_options(file, group)) {
        size_t used = strlen(note);
        snprintf(note + used, 1024 - used,
                 "%sthe %s options in %s are for %s and ignored: %s starts from its defaults", used ? "; " : "",
                 group_name(group), config ? config->text : "the file", file_optimizer, def->name);
    }
    if (!apply(options, arguments, group, err)) return false;
    if (group != GROUP_HIDDEN) inherit_options(options, &groups[GROUP_HIDDEN], group);
    return resolve_schedule(&options->schedule, group, file, arguments, err);
}

bool groups_resolve(ParamGroupOptions groups[GROUP_COUNT], char note[1024], const Settings *file,
                    const Settings *arguments, Error *err) {
    note[0] = 0;
    for (int g = 0; g < GROUP_COUNT; g++)
        if (!resolve_group(groups, note, (ParamGroup)g, file, arguments, err)) return false;
    // Last, so that groups inherit what the user set and not what was derived from it.
    for (int g = 0; g < GROUP_COUNT; g++)
        if (groups[g].def->resolve) groups[g].def->resolve(&groups[g]);
    return true;
}

static void print_option(FILE *out, ParamGroup group, const char *option, const char *text) {
    char name[128];
    snprintf(name, sizeof name, "%s%s", group_prefix(group), option);
    setting_print(out, name, text);
}

void group_print(FILE *out, const ParamGroupOptions *options, ParamGroup group) {
    char text[OPTION_TEXT_MAX];
    print_option(out, group, "optimizer", options->def->name);
    for (int i = 0; i < optimizer_option_count(options->def); i++) {
        param_group_text(text, sizeof text, options, i);
        print_option(out, group, optimizer_option(options->def, i).name, text);
    }
    for (int i = 0; i < schedule_options.n_specs; i++) {
        option_text(text, sizeof text, &options->schedule, &schedule_options.specs[i]);
        print_option(out, group, schedule_options.specs[i].name, text);
    }
}

#include "run/options/groups.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Options of a group that no optimizer declares.
static const char *const common[] = {"optimizer", "schedule", "warmup", "cooldown", "final-lr"};
enum { N_COMMON = sizeof common / sizeof *common };

bool any_optimizer_has(bool *is_flag, const char *option) {
    int n;
    const OptimizerDef *const *defs = optimizer_registry(&n);
    for (int i = 0; i < n; i++)
        for (int o = 0; o < defs[i]->n_options; o++)
            if (strcmp(defs[i]->options[o].name, option) == 0) {
                *is_flag = defs[i]->options[o].kind == OPTION_FLAG;
                return true;
            }
    *is_flag = false;
    return false;
}

static bool is_common(const char *option) {
    for (int i = 0; i < N_COMMON; i++)
        if (strcmp(common[i], option) == 0) return true;
    return false;
}

bool group_option_split(Group *group, const char **option, const char *name) {
    bool is_flag;
    for (int g = GROUP_COUNT - 1; g >= 0; g--) { // the hidden group, whose prefix is empty, last
        size_t n = strlen(group_prefix((Group)g));
        if (strncmp(name, group_prefix((Group)g), n) != 0) continue;
        if (!is_common(name + n) && !any_optimizer_has(&is_flag, name + n)) continue;
        *group = (Group)g;
        *option = name + n;
        return true;
    }
    return false;
}

int group_option_names(char ***names) {
    enum { ROOM = 64 };
    int n_defs, most = N_COMMON, n = 0;
    const OptimizerDef *const *defs = optimizer_registry(&n_defs);
    for (int i = 0; i < n_defs; i++) most += defs[i]->n_options;
    most *= GROUP_COUNT;
    char *text = malloc((size_t)most * ROOM);
    *names = malloc((size_t)most * sizeof **names);
    ASSERT(text && *names);
    for (int g = 0; g < GROUP_COUNT; g++) {
        const char *prefix = group_prefix((Group)g);
        for (int i = 0; i < N_COMMON; i++, n++) {
            (*names)[n] = text + (size_t)n * ROOM;
            snprintf((*names)[n], ROOM, "%s%s", prefix, common[i]);
        }
        for (int i = 0; i < n_defs; i++)
            for (int o = 0; o < defs[i]->n_options; o++, n++) {
                (*names)[n] = text + (size_t)n * ROOM;
                snprintf((*names)[n], ROOM, "%s%s", prefix, defs[i]->options[o].name);
            }
    }
    return n;
}

// What was said for an option of a group: the command line's word, else the file's.
static const Setting *said(const Settings *file, const Settings *arguments, Group group, const char *option) {
    char name[128];
    snprintf(name, sizeof name, "%s%s", group_prefix(group), option);
    const Setting *s = settings_find(arguments, name);
    return s ? s : settings_find(file, name);
}

// Names the option before an error about its value, and the file before that.
static bool option_error(Error *err, const Setting *s) {
    error_prefix(err, "--%s", s->name);
    return setting_error(err, s);
}

static bool number_in(double *value, const Setting *s, double min, double max, Error *err) {
    if (parse_double(value, s->text) && *value >= min && *value <= max) return true;
    error_set(err, "--%s is '%s': it must be a number between %g and %g", s->name, s->text, min, max);
    return setting_error(err, s);
}

static bool resolve_schedule(Schedule *schedule, Group group, const Settings *file, const Settings *arguments,
                             Error *err) {
    double warmup = 0;
    *schedule = (Schedule){.kind = SCHEDULE_CONSTANT, .warmup = 0, .cooldown = 0.4, .final = 0};
    for (int pass = 0; pass < 2; pass++) { // what was said for the hidden matrices, then for the group itself
        Group from = pass == 0 ? GROUP_HIDDEN : group;
        const Setting *s = said(file, arguments, from, "schedule");
        if (s && !schedule_parse(&schedule->kind, s->text, err)) return option_error(err, s);
        s = said(file, arguments, from, "warmup");
        if (s) {
            if (!number_in(&warmup, s, 0, 1e15, err)) return false;
            if (warmup != floor(warmup)) {
                error_set(err, "'%s' must be a whole number of steps", s->text);
                return option_error(err, s);
            }
        }
        s = said(file, arguments, from, "cooldown");
        if (s && !number_in(&schedule->cooldown, s, 0, 1, err)) return false;
        s = said(file, arguments, from, "final-lr");
        if (s && !number_in(&schedule->final, s, 0, 1, err)) return false;
    }
    schedule->warmup = (int64_t)warmup;
    return true;
}

static bool apply(GroupSettings *settings, const Settings *from, Group group, Error *err) {
    for (int i = 0; i < from->count; i++) {
        const Setting *s = &from->items[i];
        Group g;
        const char *option;
        if (!group_option_split(&g, &option, s->name) || g != group || is_common(option)) continue;
        if (!group_settings_set(settings, option, s->text, err)) return option_error(err, s);
    }
    return true;
}

// Whether anything but the choice of the optimizer is said for a group.
static bool has_options(const Settings *settings, Group group) {
    Group g;
    const char *option;
    for (int i = 0; i < settings->count; i++)
        if (group_option_split(&g, &option, settings->items[i].name) && g == group && !is_common(option))
            return true;
    return false;
}

static bool resolve_group(RunConfig *config, Group group, const Settings *file, const Settings *arguments,
                          Error *err) {
    GroupSettings *settings = &config->groups[group];
    const Setting *chosen = said(file, arguments, group, "optimizer");
    const OptimizerDef *def = optimizer_find(chosen ? chosen->text : "adamw", err);
    if (!def) {
        ASSERT(chosen);
        return option_error(err, chosen);
    }
    group_settings_init(settings, def);

    const Settings none = {0};
    const Setting *in_file = said(file, &none, group, "optimizer");
    const char *file_optimizer = in_file ? in_file->text : "adamw";
    if (strcmp(file_optimizer, def->name) == 0) {
        if (!apply(settings, file, group, err)) return false;
    } else if (has_options(file, group)) {
        size_t used = strlen(config->note);
        snprintf(config->note + used, sizeof config->note - used,
                 "%sthe %s options in %s are for %s and left out for %s, which starts from its defaults",
                 used ? "; " : "", group_name(group), config->config, file_optimizer, def->name);
    }
    if (!apply(settings, arguments, group, err)) return false;

    const GroupSettings *hidden = &config->groups[GROUP_HIDDEN];
    for (int i = 0; i < def->n_options && group != GROUP_HIDDEN; i++) {
        if (settings->set[i]) continue;
        // Gains and biases decay only where that is said for them: what most published runs call weight decay
        // leaves them alone.
        bool no_decay = group == GROUP_VECTOR && strcmp(def->options[i].name, "weight-decay") == 0;
        if (!no_decay && (hidden->def != def || !hidden->set[i])) continue;
        settings->values[i] = no_decay ? 0 : hidden->values[i];
        settings->set[i] = true;
    }
    return resolve_schedule(&settings->schedule, group, file, arguments, err);
}

bool groups_resolve(RunConfig *config, const Settings *file, const Settings *arguments, Error *err) {
    for (int g = 0; g < GROUP_COUNT; g++)
        if (!resolve_group(config, (Group)g, file, arguments, err)) return false;
    // Only now, so that the others took over what was said and not what followed from it.
    for (int g = 0; g < GROUP_COUNT; g++)
        if (config->groups[g].def->resolve) config->groups[g].def->resolve(&config->groups[g]);

    Group group;
    const char *option;
    for (int pass = 0; pass < 2 && config->model.tied_head; pass++) {
        const Settings *from = pass == 0 ? file : arguments;
        for (int i = 0; i < from->count; i++)
            if (group_option_split(&group, &option, from->items[i].name) && group == GROUP_HEAD) {
                error_set(err, "the head is tied to the token embedding, whose options govern it; use the embed- "
                               "options, or --tied-head no");
                return option_error(err, &from->items[i]);
            }
    }
    return true;
}

#include "run/problems/config.h"

#include "run/options/groups.h"
#include "run/options/help_texts.h"
#include "run/problems/rates.h"

#include <stdlib.h>
#include <string.h>

static const OptionChoice type_words[] = {{"f32", TYPE_F32}, {"f64", TYPE_F64}, {NULL, 0}};

#define OPTIONS_OF ProblemConfig
#define PROCESS_FLAG(name, field, ...) OPTION_FLAG(name, field, "no", .not_stored = true, __VA_ARGS__)
#define SIZE(name, field, ...) OPTION_INT(name, sizes.field, "0", 0, 1 << 20, __VA_ARGS__)

static const OptionSpec specs[] = {
    OPTION_TEXT("config", config, "", .section = "Run", .value = "FILE", .not_stored = true, .help = HELP_CONFIG),
    OPTION_TEXT("out", out, "", .value = "DIR", .not_stored = true, .help = HELP_OUT_RUN),
    PROCESS_FLAG("overwrite", overwrite, .help = HELP_OVERWRITE_RUN),
    PROCESS_FLAG("dry-run", dry_run, .help = HELP_DRY_RUN),
    PROCESS_FLAG("quiet", quiet, .help = "print only the result"),
    PROCESS_FLAG("help", help, .help = HELP_HELP),
    OPTION_TEXT("device", device, "auto", .value = "NAME", .help = HELP_DEVICE),
    OPTION_INT("threads", threads, "0", 0, 1024, .help = HELP_THREADS),

    OPTION_TEXT("problem", problem, "", .section = "Problem", .value = "NAME",
                .help = "quadratic, logistic or completion; also given as the word after `problem`"),
    SIZE("rows", rows, .help = "rows of A, C or M; 0, here and below: the paper's value"),
    SIZE("cols", cols, .help = "columns of B, C or M"),
    SIZE("x-rows", x_rows, .help = "quadratic, logistic: rows of X"),
    SIZE("x-cols", x_cols, .help = "quadratic, logistic: columns of X"),
    SIZE("rank", rank, .help = "completion: rank of M, columns of X and Y"),
    OPTION_NUMBER("mask", sizes.mask, "0", 0, 1, .help = "completion: fraction of the entries of M that are known"),
    SIZE("batch", batch, .help = "logistic: rows of A per step"),
    OPTION_ONE_OF("type", type, "f32", type_words, .help = "data type"),
    OPTION_INT64("seed", seed, "1", 0, OPTION_INT64_MAX, .help = "seed of the data and of the starting point"),

    OPTION_INT64("steps", steps, "0", 0, OPTION_INT64_MAX, .section = "Training and reports",
                 .help = HELP_STEPS "; 0: the paper's value"),
    OPTION_NUMBER("clip", clip, "0", 0, OPTION_NUMBER_MAX, .help = HELP_CLIP),
    OPTION_INT64("decay-every", decay_every, "0", 0, OPTION_INT64_MAX,
                 .help = "multiply the learning rate by --decay-factor every N steps; 0: never"),
    OPTION_NUMBER("decay-factor", decay_factor, "0.95", 0, 1, .help = "factor of --decay-every"),
    OPTION_INT64("log-every", log_every, "10", 1, OPTION_INT64_MAX,
                 .help = "steps between records in metrics.jsonl"),
    OPTION_INT64("diagnose", diagnose, "10", 0, OPTION_INT64_MAX,
                 .help = "steps between condition numbers and nuclear norms, at logged steps; 0: off"),
};

const OptionTable problem_options = OPTION_TABLE(specs);

static const OptionNames names = {.table = &problem_options, .optimizers = true};

static bool parse_size(int *size, const char *name, int def, const ProblemDef *problem, Error *err) {
    if (*size && !def) return error_set(err, "--%s does not apply to the problem %s", name, problem->name);
    if (!*size) *size = def;
    return true;
}

static bool parse_sizes(ProblemConfig *config, Error *err) {
    ProblemSizes *s = &config->sizes;
    const ProblemDef *def = config->def;
    const ProblemSizes *d = &def->sizes;
    if (s->mask > 0 && d->mask == 0) return error_set(err, "--mask does not apply to the problem %s", def->name);
    if (s->mask == 0) s->mask = d->mask;
    return parse_size(&s->rows, "rows", d->rows, def, err) && parse_size(&s->cols, "cols", d->cols, def, err) &&
           parse_size(&s->x_rows, "x-rows", d->x_rows, def, err) &&
           parse_size(&s->x_cols, "x-cols", d->x_cols, def, err) &&
           parse_size(&s->rank, "rank", d->rank, def, err) && parse_size(&s->batch, "batch", d->batch, def, err) &&
           (!def->check || def->check(s, err));
}

// Finds the problem by the word after the command or in a file; if both are given, they must agree.
static bool parse_problem(ProblemConfig *config, const Settings *file, const Settings *arguments, Error *err) {
    const Setting *here = settings_find(arguments, "problem"), *there = settings_find(file, "problem");
    if (!config->problem[0])
        return error_set(err, "no problem given: train problem quadratic, logistic or completion; see --help");
    config->def = problem_find(config->problem, err);
    if (!config->def) return setting_error(err, here ? here : there);
    if (here && there && strcmp(here->text, there->text) != 0) {
        error_set(err, "is for the problem %s, not for %s", there->text, here->text);
        return setting_error(err, there);
    }
    if (config->steps == 0) config->steps = config->def->steps;
    return parse_sizes(config, err);
}

// Rejects options of embeddings, heads and vectors, which would be ignored silently.
static bool check_groups(const Settings *settings, Error *err) {
    for (int i = 0; i < settings->count; i++) {
        const Setting *s = &settings->items[i];
        if (!s->option || s->group == GROUP_HIDDEN) continue;
        error_set(err, "--%s: a problem has only hidden matrices, whose options have no prefix: --%s", s->name,
                  s->option);
        return setting_error(err, s);
    }
    return true;
}

// Replaces the name of a baseline by sgd, which the option resolution knows. Returns the baseline.
static Direction parse_baseline(Settings *settings) {
    Direction direction = DIRECTION_GRADIENT;
    for (int i = 0; i < settings->count; i++) {
        Setting *s = &settings->items[i];
        if (strcmp(s->name, "optimizer") != 0) continue;
        direction = strcmp(s->text, "newton") == 0  ? DIRECTION_NEWTON
                    : strcmp(s->text, "altgd") == 0 ? DIRECTION_ALTERNATING
                                                    : DIRECTION_GRADIENT;
        if (direction == DIRECTION_GRADIENT) continue;
        free(s->text);
        s->text = strdup("sgd");
        ASSERT(s->text);
    }
    return direction;
}

static bool parse_optimizer(ProblemConfig *config, Settings *file, Settings *arguments, Error *err) {
    Direction in_file = parse_baseline(file), here = parse_baseline(arguments);
    config->direction = settings_find(arguments, "optimizer") ? here : in_file;
    if (config->direction == DIRECTION_NEWTON && !config->def->newton)
        return error_set(err, "--optimizer newton works only with the problem quadratic, not %s",
                         config->def->name);
    if (config->direction == DIRECTION_ALTERNATING && !config->def->alternating)
        return error_set(err,
                         "--optimizer altgd alternates between two matrices and %s has one; use it with completion",
                         config->def->name);
    bool momentum = settings_find(file, "momentum") || settings_find(arguments, "momentum");
    if (config->direction != DIRECTION_GRADIENT && !momentum &&
        !settings_add(arguments, &names, "momentum", "0", "", err))
        return false;

    if (!groups_resolve(config->groups, config->note, file, arguments, err)) return false;
    ParamGroupOptions *options = &config->groups[GROUP_HIDDEN];
    options->schedule.decay_every = config->decay_every;
    options->schedule.decay_factor = config->decay_factor;
    if (config->direction != DIRECTION_GRADIENT) {
        config->baseline = *options->def;
        config->baseline.name = config->direction == DIRECTION_NEWTON ? "newton" : "altgd";
        options->def = &config->baseline;
    }
    return problem_set_defaults(options, config->def, &config->sizes, err);
}

static bool build(ProblemConfig *config, Settings *file, Settings *arguments, Error *err) {
    return settings_apply(config, file, err) && settings_apply(config, arguments, err) &&
           parse_problem(config, file, arguments, err) && check_groups(file, err) && check_groups(arguments, err) &&
           parse_optimizer(config, file, arguments, err);
}

bool problem_config_load(ProblemConfig *config, int argc, const char *const *argv, Error *err) {
    Settings file = {0}, arguments = {0};
    int n_words;
    const char **words = malloc((size_t)(argc + 1) * sizeof *words);
    ASSERT(words);
    *config = (ProblemConfig){0};
    options_init(config, &problem_options);
    bool ok = settings_from_arguments(&arguments, words, &n_words, argc, argv, &names, err);
    if (ok && settings_find(&arguments, "help")) {
        config->help = true;
    } else if (ok) {
        if (n_words > 1) ok = error_set(err, "unexpected '%s': one problem at a time", words[1]);
        if (n_words == 1) ok = settings_add(&arguments, &names, "problem", words[0], "", err);
        ok = ok && config_read_files(&file, &arguments, &names, err) && build(config, &file, &arguments, err);
    }
    settings_free(&file);
    settings_free(&arguments);
    free(words);
    return ok;
}

void problem_config_print(FILE *out, const ProblemConfig *config) {
    config_print_table(out, config, &problem_options);
    fprintf(out, "\n# Optimizer\n");
    group_print(out, &config->groups[GROUP_HIDDEN], GROUP_HIDDEN);
}

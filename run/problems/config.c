#include "run/problems/config.h"

#include "run/options/groups.h"

#include <stdlib.h>
#include <string.h>

static const OptionChoice type_words[] = {{"f32", TYPE_F32}, {"f64", TYPE_F64}, {NULL, 0}};

#define OPTIONS_OF ProblemConfig
#define PROCESS_FLAG(name, field, ...) OPTION_FLAG(name, field, "no", .not_stored = true, __VA_ARGS__)
#define SIZE(name, field, ...) OPTION_INT(name, sizes.field, "0", 0, 1 << 20, __VA_ARGS__)

static const OptionSpec specs[] = {
    OPTION_TEXT("config", config, "", .section = "Run", .value = "FILE", .not_stored = true,
                .help = "file with options, one 'name = value' a line; may be repeated, later files go before"),
    OPTION_TEXT("out", out, "", .value = "DIR", .not_stored = true,
                .help = "the run's directory, which is created"),
    PROCESS_FLAG("overwrite", overwrite, .help = "replace the run that is in --out"),
    PROCESS_FLAG("dry-run", dry_run, .help = "print the plan and stop"),
    PROCESS_FLAG("quiet", quiet, .help = "print the end only"),
    PROCESS_FLAG("help", help, .help = "print this"),
    OPTION_TEXT("device", device, "auto", .value = "NAME",
                .help = "cpu, cuda, cuda:N, or auto: cuda where there is one"),
    OPTION_INT("threads", threads, "0", 0, 1024, .help = "CPU threads; 0: all that this process may use"),

    OPTION_TEXT("problem", problem, "", .section = "Problem", .value = "NAME",
                .help = "quadratic, logistic or completion; the word after problem"),
    SIZE("rows", rows, .help = "of A, of C or of M; 0, here and below: the paper's"),
    SIZE("cols", cols, .help = "of B, of C or of M"),
    SIZE("x-rows", x_rows, .help = "quadratic, logistic: of X"),
    SIZE("x-cols", x_cols, .help = "quadratic, logistic: of X"),
    SIZE("rank", rank, .help = "completion: of M, X and Y"),
    OPTION_NUMBER("mask", sizes.mask, "0", 0, 1, .help = "completion: the fraction of M that is known"),
    SIZE("batch", batch, .help = "logistic: rows of A in a step"),
    OPTION_ONE_OF("type", type, "f32", type_words, .help = "of the numbers"),
    OPTION_INT64("seed", seed, "1", 0, OPTION_INT64_MAX, .help = "of the data and of the start"),

    OPTION_INT64("steps", steps, "0", 0, OPTION_INT64_MAX, .section = "Training and reports",
                 .help = "optimizer steps; 0: the paper's"),
    OPTION_NUMBER("clip", clip, "0", 0, OPTION_NUMBER_MAX, .help = "clip the gradient to this norm; 0: never"),
    OPTION_INT64("decay-every", decay_every, "0", 0, OPTION_INT64_MAX,
                 .help = "steps after which the learning rate falls; 0: never"),
    OPTION_NUMBER("decay-factor", decay_factor, "0.95", 0, 1, .help = "what it is then multiplied by"),
    OPTION_INT64("log-every", log_every, "10", 1, OPTION_INT64_MAX, .help = "steps between lines of metrics.jsonl"),
    OPTION_INT64("diagnose", diagnose, "10", 0, OPTION_INT64_MAX,
                 .help = "steps between condition numbers and nuclear norms, at steps that are logged; 0: none"),
};

const OptionTable problem_options = OPTION_TABLE(specs);

static const OptionNames names = {.table = &problem_options, .optimizers = true};

static bool parse_size(int *size, const char *name, int def, const ProblemDef *problem, Error *err) {
    if (*size && !def) return error_set(err, "--%s means nothing to %s", name, problem->name);
    if (!*size) *size = def;
    return true;
}

static bool parse_sizes(ProblemConfig *c, Error *err) {
    ProblemSizes *s = &c->sizes;
    const ProblemDef *def = c->def;
    const ProblemSizes *d = &def->sizes;
    if (s->mask > 0 && d->mask == 0) return error_set(err, "--mask means nothing to %s", def->name);
    if (s->mask == 0) s->mask = d->mask;
    return parse_size(&s->rows, "rows", d->rows, def, err) && parse_size(&s->cols, "cols", d->cols, def, err) &&
           parse_size(&s->x_rows, "x-rows", d->x_rows, def, err) &&
           parse_size(&s->x_cols, "x-cols", d->x_cols, def, err) &&
           parse_size(&s->rank, "rank", d->rank, def, err) && parse_size(&s->batch, "batch", d->batch, def, err) &&
           (!def->check || def->check(s, err));
}

// Which problem, by the word after the command or in a file; not two different ones.
static bool parse_problem(ProblemConfig *c, const Settings *file, const Settings *arguments, Error *err) {
    const Setting *here = settings_find(arguments, "problem"), *there = settings_find(file, "problem");
    if (!c->problem[0])
        return error_set(err,
                         "which problem? train problem quadratic, logistic or completion; --help explains them");
    c->def = problem_find(c->problem, err);
    if (!c->def) return setting_error(err, here ? here : there);
    if (here && there && strcmp(here->text, there->text) != 0) {
        error_set(err, "is for the problem %s, not for %s", there->text, here->text);
        return setting_error(err, there);
    }
    if (c->steps == 0) c->steps = c->def->steps;
    return parse_sizes(c, err);
}

// Options of embeddings, heads and vectors would be left without a word.
static bool check_groups(const Settings *settings, Error *err) {
    for (int i = 0; i < settings->count; i++) {
        const Setting *s = &settings->items[i];
        if (!s->option || s->group == GROUP_HIDDEN) continue;
        error_set(err, "--%s: a problem has matrices only, whose options have no prefix: --%s", s->name, s->option);
        return setting_error(err, s);
    }
    return true;
}

// The baselines are sgd to whoever resolves settings. Returns which one is named.
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

static bool parse_optimizer(ProblemConfig *c, Settings *file, Settings *arguments, Error *err) {
    Direction in_file = parse_baseline(file), here = parse_baseline(arguments);
    c->direction = settings_find(arguments, "optimizer") ? here : in_file;
    if (c->direction == DIRECTION_NEWTON && !c->def->newton)
        return error_set(err, "newton has no directions for the problem %s; it is for quadratic", c->def->name);
    if (c->direction == DIRECTION_ALTERNATING && !c->def->alternating)
        return error_set(err, "altgd steps two matrices in turn, and %s has one; it is for completion",
                         c->def->name);
    bool momentum = settings_find(file, "momentum") || settings_find(arguments, "momentum");
    if (c->direction != DIRECTION_GRADIENT && !momentum &&
        !settings_add(arguments, &names, "momentum", "0", "", err))
        return false;

    if (!groups_resolve(c->groups, c->note, file, arguments, err)) return false;
    ParamGroupOptions *options = &c->groups[GROUP_HIDDEN];
    options->schedule.decay_every = c->decay_every;
    options->schedule.decay_factor = c->decay_factor;
    if (c->direction != DIRECTION_GRADIENT) {
        c->baseline = *options->def;
        c->baseline.name = c->direction == DIRECTION_NEWTON ? "newton" : "altgd";
        options->def = &c->baseline;
    }
    return true;
}

static bool build(ProblemConfig *c, Settings *file, Settings *arguments, Error *err) {
    return settings_apply(c, file, err) && settings_apply(c, arguments, err) &&
           parse_problem(c, file, arguments, err) && check_groups(file, err) && check_groups(arguments, err) &&
           parse_optimizer(c, file, arguments, err);
}

bool problem_config_load(ProblemConfig *c, int argc, const char *const *argv, Error *err) {
    Settings file = {0}, arguments = {0};
    int n_words;
    const char **words = malloc((size_t)(argc + 1) * sizeof *words);
    ASSERT(words);
    *c = (ProblemConfig){0};
    options_init(c, &problem_options);
    bool ok = settings_from_arguments(&arguments, words, &n_words, argc, argv, &names, err);
    if (ok && settings_find(&arguments, "help")) {
        c->help = true;
    } else if (ok) {
        if (n_words > 1) ok = error_set(err, "unexpected '%s': one problem at a time", words[1]);
        if (n_words == 1) ok = settings_add(&arguments, &names, "problem", words[0], "", err);
        ok = ok && config_read_files(&file, &arguments, &names, err) && build(c, &file, &arguments, err);
    }
    settings_free(&file);
    settings_free(&arguments);
    free(words);
    return ok;
}

void problem_config_print(FILE *out, const ProblemConfig *c) {
    config_print_table(out, c, &problem_options);
    fprintf(out, "\n# Optimizer\n");
    group_print(out, &c->groups[GROUP_HIDDEN], GROUP_HIDDEN);
}

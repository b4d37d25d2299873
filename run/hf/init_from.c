#include "run/hf/init_from.h"

#include "run/hf/hf.h"
#include "run/hf/pretrained.h"

#include <stdlib.h>
#include <string.h>

// Returns true if the option's text means that its value is derived from others.
static bool is_derived(const OptionSpec *spec, const char *text) {
    return (spec->kind == KIND_INT && strcmp(text, "0") == 0) || strcmp(text, "auto") == 0;
}

// Checks a given model option (NULL: not given) against DIR; `there` receives DIR's value.
static bool check_option(char there[OPTION_TEXT_MAX], const OptionSpec *spec, const char *given,
                         const RunConfig *from, const char *dir, Error *err) {
    option_text(there, OPTION_TEXT_MAX, from, spec);
    if (!given || is_derived(spec, given) || is_derived(spec, there) || strcmp(given, there) == 0) return true;
    return error_set(err, "--%s %s: the model of --init-from %s has %s; leave the option out", spec->name, given,
                     dir, there);
}

// Returns true for options that DIR's model determines. The vocabulary padding of a Hugging Face directory is not one
// of them: the padding rows are zero, so the run may choose their number.
static bool is_model_option(const OptionSpec *spec, const char *dir) {
    return strcmp(option_section(&run_options, spec), "Model") == 0 &&
           !(strcmp(spec->name, "vocab-padded") == 0 && hf_is_directory(dir));
}

// The given value in the canonical form of option_text.
static bool canonical_text(char text[OPTION_TEXT_MAX], const Setting *given, const OptionSpec *spec,
                           RunConfig *scratch, Error *err) {
    if (!option_set(scratch, spec, given->text, err)) return setting_error(err, given);
    option_text(text, OPTION_TEXT_MAX, scratch, spec);
    return true;
}

static bool add_options(ConfigSources *sources, const RunConfig *from, RunConfig *scratch, const char *dir,
                        Error *err) {
    for (int i = 0; i < run_options.n_specs; i++) {
        const OptionSpec *spec = &run_options.specs[i];
        char given[OPTION_TEXT_MAX], there[OPTION_TEXT_MAX];
        if (!is_model_option(spec, dir)) continue;
        const Setting *s = settings_find(&sources->arguments, spec->name);
        if (!s) s = settings_find(&sources->file, spec->name);
        if (s && !canonical_text(given, s, spec, scratch, err)) return false;
        if (!check_option(there, spec, s ? given : NULL, from, dir, err)) return false;
        if (!is_derived(spec, there) && !config_add_argument(sources, spec->name, there, dir, err)) return false;
    }
    return true;
}

bool init_from_options(ConfigSources *sources, Error *err) {
    const Setting *dir = settings_find(&sources->arguments, "init-from");
    if (!dir) dir = settings_find(&sources->file, "init-from");
    if (!dir || !dir->text[0]) return true;
    RunConfig *from = calloc(2, sizeof *from);
    char *name = strdup(dir->text); // adding settings may reallocate them
    ASSERT(from && name);
    bool ok = pretrained_config(from, name, err) ? add_options(sources, from, from + 1, name, err)
                                                 : error_prefix(err, "--init-from");
    free(name);
    free(from);
    return ok;
}

static bool check_model(const RunConfig *config, const RunConfig *from, Error *err) {
    const char *dir = config->init_from;
    for (int i = 0; i < run_options.n_specs; i++) {
        const OptionSpec *spec = &run_options.specs[i];
        char given[OPTION_TEXT_MAX], there[OPTION_TEXT_MAX];
        if (!is_model_option(spec, dir)) continue;
        option_text(given, sizeof given, config, spec);
        if (!check_option(there, spec, given, from, dir, err)) return false;
    }
    return true;
}

bool init_from_weights(Model *model, Stream *stream, const RunConfig *config, Error *err) {
    const char *dir = config->init_from;
    RunState state;
    RunConfig *from = calloc(1, sizeof *from);
    ASSERT(from);
    bool ok = pretrained_config(from, dir, err) && check_model(config, from, err) &&
              pretrained_weights(&state, model, stream, dir, err);
    free(from);
    return ok || error_prefix(err, "--init-from");
}

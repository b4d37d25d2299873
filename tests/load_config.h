// tests/load_config.h - a resolved configuration from arguments, as `train` makes one, and values of it by name.
#ifndef POLAR_TESTS_LOAD_CONFIG_H
#define POLAR_TESTS_LOAD_CONFIG_H

#include "run/options/config.h"
#include "run/training/plan.h"

#include <stdlib.h>

static inline bool load_config(RunConfig *config, int argc, const char *const *argv, Error *err) {
    ConfigSources sources;
    RunData data = {0};
    bool ok = config_read(&sources, argc, argv, err) && config_build(config, &sources, err) &&
              run_data_open_vocab(&data, config, err) && config_resolve(config, data.vocab, err) &&
              (!config->resume[0] || config_check_resume(config, &sources, err));
    run_data_close(&data);
    config_sources_free(&sources);
    return ok;
}

// The text of an optimizer's option.
typedef struct {
    char text[OPTION_TEXT_MAX];
} GroupValue;

static inline GroupValue group_value(const ParamGroupOptions *group, const char *name) {
    Error err;
    GroupValue value;
    int i = optimizer_option_find(group->def, name, &err);
    ASSERT(i >= 0);
    param_group_text(value.text, sizeof value.text, group, i);
    return value;
}

static inline double group_number(const ParamGroupOptions *group, const char *name) {
    return strtod(group_value(group, name).text, NULL);
}
#endif

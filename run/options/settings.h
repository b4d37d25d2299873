// run/options/settings.h - settings from the command line and configuration files: `name = value`, each with its
// origin for error messages.
#ifndef POLAR_RUN_OPTIONS_SETTINGS_H
#define POLAR_RUN_OPTIONS_SETTINGS_H

#include "base/options.h"
#include "optim/optimizer.h"

#include <stdio.h>

// One setting. `spec` is its row in the option table; if it is NULL, the setting is an optimizer option of a
// parameter group and `option` is its name without the group's prefix. The origin is "" for the command line, else
// "FILE:LINE".
typedef struct {
    char *name, *text, *origin;
    const OptionSpec *spec;
    ParamGroup group;
    const char *option;
} Setting;

typedef struct {
    Setting *items;
    int count, capacity;
} Settings;

// The known names: those of a table and, with `optimizers`, the options of every optimizer for every group.
typedef struct {
    const OptionTable *table;
    bool optimizers;
} OptionNames;

// Adds a setting. For an unknown name returns false with an error that suggests the most similar one.
bool settings_add(Settings *settings, const OptionNames *names, const char *name, const char *text,
                  const char *origin, Error *err);
void settings_free(Settings *settings);

const Setting *settings_find(const Settings *settings,
                             const char *name); // the last of that name; NULL if there is none

// Applies the settings to the struct of the table; optimizer options are ignored.
bool settings_apply(void *base, const Settings *settings, Error *err);

// Prefixes an error about a setting with its origin; returns false.
bool setting_error(Error *err, const Setting *setting);

// Parses `--name value`, `--name=value`, `--flag`, `--no-flag`. Other arguments go to positional (room for argc
// entries), or are refused if that is NULL.
bool settings_from_arguments(Settings *settings, const char **positional, int *n_positional, int argc,
                             const char *const *argv, const OptionNames *names, Error *err);

// Parses arguments into the struct of a table, over the defaults.
bool options_from_arguments(void *base, const OptionTable *table, const char **positional, int *n_positional,
                            int argc, const char *const *argv, Error *err);

// The same for a command with one positional argument, the run; *run is NULL if there is none.
bool options_and_run(void *base, const OptionTable *table, const char **run, int argc, const char *const *argv,
                     Error *err);

// Adds the settings of a configuration file: `name = value` lines, # comments, "quoted" values with \n \t \" \\.
// Each name may occur once per file.
bool settings_from_file(Settings *settings, const char *path, const OptionNames *names, Error *err);

// Writes a `name = value` line, quoted if necessary.
void setting_print(FILE *out, const char *name, const char *text);
#endif

// run/options/settings.h - what is said on the command line and in configuration files: `name = value`, each with the
// place where it was said.
#ifndef POLAR_RUN_OPTIONS_SETTINGS_H
#define POLAR_RUN_OPTIONS_SETTINGS_H

#include "base/options.h"
#include "optim/optimizer.h"

#include <stdio.h>

// One setting. `spec` is its row in the table; where that is NULL it is an option of the optimizer of a group of
// parameters: `option` is its name there, without the prefix of the group. An origin is "" for the command line, else
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

// Which names there are: those of a table and, with `optimizers`, those of every optimizer for every group.
typedef struct {
    const OptionTable *table;
    bool optimizers;
} OptionNames;

// Adds a setting. False with an error that offers the nearest name where there is no such option.
bool settings_add(Settings *settings, const OptionNames *names, const char *name, const char *text,
                  const char *origin, Error *err);
void settings_free(Settings *settings);

const Setting *settings_find(const Settings *settings, const char *name); // the last of that name; NULL if none

// Sets the options of the table in its struct; those of optimizers are left alone.
bool settings_apply(void *base, const Settings *settings, Error *err);

// Puts where it was said before an error about a setting; returns false.
bool setting_error(Error *err, const Setting *setting);

// Reads `--name value`, `--name=value`, `--flag`, `--no-flag`. What does not begin with "--" goes to positional
// (room for argc entries) or, where that is NULL, is refused.
bool settings_from_arguments(Settings *settings, const char **positional, int *n_positional, int argc,
                             const char *const *argv, const OptionNames *names, Error *err);

// All of it for a struct with a table: defaults, then the arguments.
bool options_from_arguments(void *base, const OptionTable *table, const char **positional, int *n_positional,
                            int argc, const char *const *argv, Error *err);

// The same for a command on a run, whose name stands among the arguments; *run is NULL where none does.
bool options_and_run(void *base, const OptionTable *table, const char **run, int argc, const char *const *argv,
                     Error *err);

// Adds what a configuration file says: `name = value` lines, # comments, "quoted" values with \n \t \" \\. A name may
// stand in a file once.
bool settings_from_file(Settings *settings, const char *path, const OptionNames *names, Error *err);

// Writes a `name = value` line, quoted where that is needed.
void setting_print(FILE *out, const char *name, const char *text);
#endif

// run/options/options.h - options as a table: name, kind, place in a struct, default, range, help. The command line,
// configuration files, the help and the effective configuration are all derived from such a table.
#ifndef POLAR_RUN_OPTIONS_OPTIONS_H
#define POLAR_RUN_OPTIONS_OPTIONS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { OPTION_TEXT_MAX = 2048 }; // bytes of a text option, with its zero

typedef enum {
    KIND_TEXT,   // char[OPTION_TEXT_MAX]
    KIND_INT,    // int
    KIND_INT64,  // int64_t
    KIND_NUMBER, // double
    KIND_YES_NO, // bool
    KIND_ONE_OF  // int, an index into choices
} OptionKind;

typedef struct {
    const char *name;    // "batch-size"
    const char *section; // heading in the help and in the effective configuration
    OptionKind kind;
    size_t offset;   // in the struct the table describes
    const char *def; // text; NULL: none
    double min, max; // of numbers
    const char *const *choices;
    bool on_resume;    // may be given anew when a run is resumed
    bool not_stored;   // says what this process does, not what the run is: not part of a configuration
    const char *value; // what a text stands for, in the help: "DIR"; NULL: TEXT
    const char *help;
} OptionSpec;

// A table for a struct.
typedef struct {
    const OptionSpec *specs;
    int n_specs;
} OptionTable;

const OptionSpec *option_find(const OptionTable *table, const char *name);

// Sets every option of `base` that has a default.
void options_init(void *base, const OptionTable *table);

// Sets one option from text. Errors name the option, the text and what would be right.
bool option_set(void *base, const OptionSpec *spec, const char *text, Error *err);

// The value as text that option_set reads back to the same value.
void option_text(char *text, size_t size, const void *base, const OptionSpec *spec);

// Strict numbers: the whole text, no overflow.
bool parse_int64(int64_t *value, const char *text);
bool parse_double(double *value, const char *text);
bool parse_yes_no(bool *value, const char *text);

// What was said, where: one `name = value`. An origin is "" for the command line, else "FILE:LINE".
typedef struct {
    char *name, *text, *origin;
} Setting;

typedef struct {
    Setting *items;
    int count, capacity;
} Settings;

void settings_add(Settings *settings, const char *name, const char *text, const char *origin);
void settings_free(Settings *settings);
const Setting *settings_find(const Settings *settings, const char *name); // the last of that name; NULL if none

// Puts where it was said before an error about a setting; returns false.
bool setting_error(Error *err, const Setting *setting);

// Reads `--name value`, `--name=value`, `--flag`, `--no-flag`. What does not begin with "--" goes to positional
// (room for argc entries) or, where that is NULL, is refused.
typedef struct {
    const void *context;
    // Whether a name takes no value; *known is false where there is no such option.
    bool (*is_flag)(const void *context, const char *name, bool *known);
    // Writes the error about an unknown name; returns false.
    bool (*unknown)(const void *context, const char *name, Error *err);
} OptionNames;
bool settings_from_arguments(Settings *settings, const char **positional, int *n_positional, int argc,
                             const char *const *argv, const OptionNames *names, Error *err);

// All of it for a struct with a table: defaults, then the arguments.
bool options_from_arguments(void *base, const OptionTable *table, const char **positional, int *n_positional,
                            int argc, const char *const *argv, Error *err);

// Reads a configuration file: `name = value` lines, # comments, "quoted" values with \n \t \" \\. A name may stand
// in it once.
bool settings_from_file(Settings *settings, const char *path, Error *err);

// Writes a `name = value` line, quoted where that is needed.
void setting_print(FILE *out, const char *name, const char *text);
#endif

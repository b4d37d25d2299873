// base/options.h - options as a table: name, kind, place in a struct, default, range, help. Command line, configuration
// files, the help, the effective configuration and the options of every optimizer come from such tables.
#ifndef POLAR_BASE_OPTIONS_H
#define POLAR_BASE_OPTIONS_H

#include "base/error.h"

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { OPTION_TEXT_MAX = 2048 }; // bytes of a text option, with its zero

typedef enum {
    KIND_TEXT,    // char[OPTION_TEXT_MAX]
    KIND_INT,     // int
    KIND_INT64,   // int64_t
    KIND_NUMBER,  // double
    KIND_YES_NO,  // bool
    KIND_ONE_OF,  // int or an enum, the value of one of `choices`
    KIND_ENTRY_OF // a pointer to one of `entries`
} OptionKind;

// A word for a value of an enum. A row without a name ends the list.
typedef struct {
    const char *name;
    int value;
} OptionChoice;

typedef struct {
    const char *name;    // "batch-size"
    const char *section; // heading in the help and in the effective configuration, of this row and those after it
    OptionKind kind;
    size_t offset;   // in the struct the table describes
    const char *def; // text; NULL: none
    double min, max; // of numbers
    const OptionChoice *choices;
    const void *entries; // structs of entry_size bytes whose first member is their name, NULL behind the last
    size_t entry_size;
    bool on_resume;    // may be given anew when a run is resumed
    bool not_stored;   // says what this process does, not what the run is: not part of a configuration
    const char *value; // what a text stands for, in the help: "DIR"; NULL: TEXT
    const char *help;
} OptionSpec;

// The rows of a table for the struct OPTIONS_OF, which a file with tables defines before them; what is left of a row
// follows as named fields: OPTION_INT("keep", keep, "2", 0, INT_MAX, .help = "newest checkpoints to keep").
#define OPTION_ROW(kind_, name_, field, def_, ...)                                                                 \
    { .name = name_, .kind = kind_, .offset = offsetof(OPTIONS_OF, field), .def = def_, __VA_ARGS__ }
#define OPTION_TEXT(name, field, def, ...) OPTION_ROW(KIND_TEXT, name, field, def, __VA_ARGS__)
#define OPTION_FLAG(name, field, def, ...) OPTION_ROW(KIND_YES_NO, name, field, def, __VA_ARGS__)
#define OPTION_INT(name, field, def, lo, hi, ...)                                                                  \
    OPTION_ROW(KIND_INT, name, field, def, .min = lo, .max = hi, __VA_ARGS__)
#define OPTION_INT64(name, field, def, lo, hi, ...)                                                                \
    OPTION_ROW(KIND_INT64, name, field, def, .min = lo, .max = hi, __VA_ARGS__)
#define OPTION_NUMBER(name, field, def, lo, hi, ...)                                                               \
    OPTION_ROW(KIND_NUMBER, name, field, def, .min = lo, .max = hi, __VA_ARGS__)
#define OPTION_ONE_OF(name, field, def, words, ...)                                                                \
    OPTION_ROW(KIND_ONE_OF, name, field, def, .choices = words, __VA_ARGS__)

// Largest values of numbers whose range has no end.
#define OPTION_INT64_MAX 9e18
#define OPTION_NUMBER_MAX 1e300

// A table for a struct.
typedef struct {
    const OptionSpec *specs;
    int n_specs;
} OptionTable;

#define OPTION_TABLE(rows)                                                                                         \
    { rows, (int)(sizeof(rows) / sizeof *(rows)) }

const OptionSpec *option_find(const OptionTable *table, const char *name);

// The heading that a row stands under; "" where there is none.
const char *option_section(const OptionTable *table, const OptionSpec *spec);

// Sets every option of `base` that has a default.
void options_init(void *base, const OptionTable *table);

// Sets one option from text; `base` stays as it is after an error, which names the option, the text and what would be
// right.
bool option_set(void *base, const OptionSpec *spec, const char *text, Error *err);

// The value as text that option_set reads back to the same value.
void option_text(char *text, size_t size, const void *base, const OptionSpec *spec);

// The i-th word of an option that has words; NULL behind the last.
const char *option_word(const OptionSpec *spec, int i);

// The word of a value; NULL if it has none.
const char *option_choice_name(const OptionChoice *choices, int value);

// Strict numbers: the whole text, no overflow.
bool parse_int64(int64_t *value, const char *text);
bool parse_double(double *value, const char *text);
bool parse_yes_no(bool *value, const char *text); // yes, true, on, 1; no, false, off, 0

#ifdef __cplusplus
}
#endif
#endif

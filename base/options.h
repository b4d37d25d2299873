// base/options.h - option tables: name, kind, offset in a struct, default, range, help. The command line, configuration
// files, the help, the effective configuration and the options of every optimizer are all driven by such tables.
#ifndef POLAR_BASE_OPTIONS_H
#define POLAR_BASE_OPTIONS_H

#include "base/error.h"

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { OPTION_TEXT_MAX = 2048 }; // bytes of a text option, including its terminating zero

typedef enum {
    KIND_TEXT,    // char[OPTION_TEXT_MAX]
    KIND_INT,     // int
    KIND_INT64,   // int64_t
    KIND_NUMBER,  // double
    KIND_YES_NO,  // bool
    KIND_ONE_OF,  // int or an enum: the value of one of `choices`
    KIND_ENTRY_OF // a pointer to one of `entries`
} OptionKind;

// The name of an enum value. A row with name NULL ends the list.
typedef struct {
    const char *name;
    int value;
} OptionChoice;

typedef struct {
    const char *name;    // "batch-size"
    const char *section; // heading of this row and the following ones, in the help and the effective configuration
    OptionKind kind;
    size_t offset;   // of the field in the struct
    const char *def; // default as text; NULL: none
    double min, max; // range of a number
    const OptionChoice *choices;
    const void *entries; // structs of entry_size bytes whose first member is their name; a NULL name ends the list
    size_t entry_size;
    bool on_resume;    // may be changed when a run is resumed
    bool not_stored;   // describes this process, not the run: not part of a configuration
    const char *value; // placeholder in the help, such as "DIR"; NULL: TEXT
    const char *help;
} OptionSpec;

// Rows of a table for the struct OPTIONS_OF, a macro that the file defines first; further fields follow by name:
// OPTION_INT("keep", keep, "2", 0, INT_MAX, .help = "newest checkpoints to keep").
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

// Upper limits of otherwise unbounded numbers.
#define OPTION_INT64_MAX 9e18
#define OPTION_NUMBER_MAX 1e300

// The options of a struct.
typedef struct {
    const OptionSpec *specs;
    int n_specs;
} OptionTable;

#define OPTION_TABLE(rows)                                                                                         \
    { rows, (int)(sizeof(rows) / sizeof *(rows)) }

// Returns the row of this name; NULL if there is none.
const OptionSpec *option_find(const OptionTable *table, const char *name);

// Returns the section heading of a row; "" if it has none.
const char *option_section(const OptionTable *table, const OptionSpec *spec);

// Sets every option of `base` that has a default.
void options_init(void *base, const OptionTable *table);

// Sets one option from text. On error `base` is unchanged; the error names the option, the text and the values that are
// allowed.
bool option_set(void *base, const OptionSpec *spec, const char *text, Error *err);

// Formats the value; option_set parses the text back to the same value.
void option_text(char *text, size_t size, const void *base, const OptionSpec *spec);

// Returns the i-th choice of a KIND_ONE_OF or KIND_ENTRY_OF option; NULL after the last.
const char *option_word(const OptionSpec *spec, int i);

// Returns the name of a value; NULL if it has none.
const char *option_choice_name(const OptionChoice *choices, int value);

// Strict parsers: false unless the whole text is a value in range.
bool parse_int64(int64_t *value, const char *text);
bool parse_double(double *value, const char *text);
bool parse_yes_no(bool *value, const char *text); // yes, true, on, 1; no, false, off, 0

#ifdef __cplusplus
}
#endif
#endif

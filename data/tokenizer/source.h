// data/tokenizer/source.h - the texts to tokenize, as units of about a megabyte that can be encoded independently.
#ifndef POLAR_DATA_TOKENIZER_SOURCE_H
#define POLAR_DATA_TOKENIZER_SOURCE_H

#include "data/tokenizer/tokenize.h"

// Whole lines of JSON, or a part of a text that is cut where that does not change the tokens.
typedef struct {
    char *text;
    size_t size, capacity;
    const char *path; // for errors, with the number of its first line
    int64_t line;
    bool is_json;
    bool begins; // a document begins with it (text)
    bool to_val; // it is of the end of a text that goes to validation
} Unit;

typedef struct {
    const TokenizeConfig *config;
    int next_file; // in config->files
    int fd;        // of the open one; -1: none
    const char *path;
    bool is_json;
    int64_t left, val_left; // bytes of the open file before and in its end for validation; INT64_MAX: not known
    bool to_val, begins;    // the end for validation is being read; nothing of the document was read
    int64_t line;
    char *carry; // what was read behind the last unit's end
    size_t n_carry, carry_capacity;
} Source;

// Refuses files that cannot be read; *total_bytes is 0 where it is not known.
bool source_open(Source *source, int64_t *total_bytes, const TokenizeConfig *config, Error *err);
void source_close(Source *source);

// Reads the next unit; its memory is kept for the one after. *end: there is none.
bool source_next(Unit *unit, bool *end, Source *source, Error *err);
#endif

// data/tokenizer/source.h - the texts to tokenize, as units of about a megabyte that can be encoded independently.
#ifndef POLAR_DATA_TOKENIZER_SOURCE_H
#define POLAR_DATA_TOKENIZER_SOURCE_H

#include "data/tokenizer/input.h"

// Whole lines of JSON, or a part of a text that is cut where that does not change the tokens.
typedef struct {
    char *text;
    size_t size, capacity;
    const char *path; // for errors, with the number of its first line
    int64_t line;
    bool is_json;
    bool begins;        // a document begins with it (text)
    bool to_val;        // it is of the end of a text that goes to validation
    int64_t file_bytes; // read of all files when it was read, as they are stored
} Unit;

typedef struct {
    const TokenizeConfig *config;
    int next_file;          // in config->files
    Input input;            // the open file
    int64_t left, val_left; // bytes of its text before and in its end for validation; INT64_MAX: not known
    bool to_val, begins;    // the end for validation is being read; nothing of the document was read
    int64_t line;
    int64_t closed_bytes; // of the files that were read, as they are stored
    char *carry;          // what was read behind the last unit's end
    size_t n_carry, carry_capacity;
} Source;

// Refuses files that cannot be read or are not text. Sets the result's total_bytes, n_compressed and n_json.
bool source_open(Source *source, TokenizeResult *result, const TokenizeConfig *config, Error *err);
void source_close(Source *source);

// Reads the next unit; its memory is kept for the one after. *end: there is none.
bool source_next(Unit *unit, bool *end, Source *source, Error *err);
#endif

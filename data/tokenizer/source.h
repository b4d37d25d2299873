// data/tokenizer/source.h - reads the input texts as units of about 1 MiB that can be encoded independently.
#ifndef POLAR_DATA_TOKENIZER_SOURCE_H
#define POLAR_DATA_TOKENIZER_SOURCE_H

#include "data/tokenizer/input.h"

// Complete lines of JSON, or a part of a text, cut where that does not change the tokens.
typedef struct {
    char *text;
    size_t size, capacity;
    const char *path; // for error messages
    int64_t line;     // number of its first line
    bool is_json;
    bool begins;        // a document begins with it (plain text only)
    bool to_val;        // it belongs to the validation part at the end of a text
    int64_t file_bytes; // stored bytes read so far, of all files
} Unit;

typedef struct {
    const TokenizeConfig *config;
    int next_file;          // index in config->files
    Input input;            // the open file
    int64_t left, val_left; // unread bytes of the current part, and of the validation part; INT64_MAX: unknown
    bool to_val, begins;    // the validation part is being read; no byte of the document has been read yet
    int64_t line;
    int64_t closed_bytes; // stored bytes of the files read before
    char *carry;          // bytes read beyond the end of the last unit
    size_t n_carry, carry_capacity;
} Source;

// Refuses files that are unreadable or not text. Sets the result's total_bytes, n_compressed and n_json.
bool source_open(Source *source, TokenizeResult *result, const TokenizeConfig *config, Error *err);
void source_close(Source *source);

// Reads the next unit, reusing the memory of `unit`. *end: no more units.
bool source_next(Unit *unit, bool *end, Source *source, Error *err);
#endif

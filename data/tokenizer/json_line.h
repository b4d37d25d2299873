// data/tokenizer/json_line.h - the text of one document out of a line of JSON.
#ifndef POLAR_DATA_TOKENIZER_JSON_LINE_H
#define POLAR_DATA_TOKENIZER_JSON_LINE_H

#include "base/error.h"

#include <stddef.h>

typedef enum {
    JSON_LINE_TEXT,  // the field is a string of at least one byte
    JSON_LINE_EMPTY, // the field is missing, null or ""
    JSON_LINE_BAD,   // not a JSON object, or the field is of another type
} JsonLine;

// Finds the string `field` of the JSON object in line[0, size) and decodes it in place: *text points into the line,
// which is overwritten. Accepts what Python's json.loads accepts, at any depth of nesting: NaN and Infinity,
// numbers of any size, repeated keys (the last one counts). An unpaired surrogate escape becomes U+FFFD; bytes that
// are not UTF-8 are passed on. `err` is set for JSON_LINE_BAD, with the byte where it went wrong.
JsonLine json_line_text(char **text, size_t *text_size, char *line, size_t size, const char *field, Error *err);
#endif

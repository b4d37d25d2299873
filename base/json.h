// base/json.h - JSON (RFC 8259): a parser for untrusted text, and a writer whose output is always valid JSON.
#ifndef POLAR_BASE_JSON_H
#define POLAR_BASE_JSON_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef enum { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } JsonKind;

typedef struct Json {
    JsonKind kind;
    const char *key; // within an object; NULL elsewhere
    bool boolean;
    double number;
    bool is_integer; // written without fraction or exponent, and fits int64
    int64_t integer;
    const char *string; // UTF-8, zero-terminated; length without the zero
    size_t length;
    struct Json *first, *next; // children; next sibling
    size_t count;
} Json;

// Parses `size` bytes. Rejects duplicate keys, trailing text, invalid UTF-8 and nesting deeper than 64. The tree is one
// allocation, freed by json_free(root). Returns NULL with the byte offset in err.
Json *json_parse(const char *text, size_t size, Error *err);
void json_free(Json *root);
const Json *json_get(const Json *object, const char *key); // NULL if absent or not an object
// Typed lookups; errors name the key. A string that contains a zero byte is rejected.
bool json_get_int(int64_t *value, const Json *object, const char *key, Error *err);
bool json_get_double(double *value, const Json *object, const char *key, Error *err);
bool json_get_string(const char **value, const Json *object, const char *key, Error *err);

// Appends to a growing buffer; start from {0}. Inserts commas and escapes itself. Numbers round-trip (the shortest of
// %.15g to %.17g that does); NaN and infinities become null, invalid UTF-8 becomes U+FFFD. The buffer holds one
// top-level value on one line, zero-terminated; set size = 0 to start the next.
typedef struct {
    char *text;
    size_t size, capacity;
    int depth;        // at most 64
    uint64_t objects; // bit d: depth d + 1 is an object, whose values need keys
    bool need_comma;
} JsonWriter;

void json_begin_object(JsonWriter *w, const char *key); // key NULL: at top level or in an array
void json_end_object(JsonWriter *w);
void json_begin_array(JsonWriter *w, const char *key);
void json_end_array(JsonWriter *w);
void json_string(JsonWriter *w, const char *key, const char *value);
void json_int(JsonWriter *w, const char *key, int64_t value);
void json_double(JsonWriter *w, const char *key, double value);
void json_bool(JsonWriter *w, const char *key, bool value);
void json_writer_free(JsonWriter *w);
#endif

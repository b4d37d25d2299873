#include "base/json.h"

#include "base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void append(JsonWriter *w, const char *text, size_t size) {
    if (w->capacity - w->size <= size) {
        size_t capacity = w->capacity ? w->capacity : 256;
        while (capacity - w->size <= size) capacity *= 2;
        w->text = realloc(w->text, capacity);
        ASSERT(w->text);
        w->capacity = capacity;
    }
    memcpy(w->text + w->size, text, size);
    w->size += size;
    w->text[w->size] = 0;
}

static void append_text(JsonWriter *w, const char *text) {
    append(w, text, strlen(text));
}

// Each byte of invalid UTF-8 becomes U+FFFD.
static void append_quoted(JsonWriter *w, const char *text) {
    append(w, "\"", 1);
    for (size_t left = strlen(text); left > 0;) {
        int n = utf8_length(text, left);
        unsigned char c = (unsigned char)*text;
        char escape[8];
        if (n == 0) {
            append_text(w, "\xEF\xBF\xBD");
            n = 1;
        } else if (c == '"' || c == '\\') {
            snprintf(escape, sizeof escape, "\\%c", c);
            append_text(w, escape);
        } else if (c < 0x20) {
            snprintf(escape, sizeof escape, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\u%04x", c);
            append_text(w, escape);
        } else {
            append(w, text, (size_t)n);
        }
        text += n;
        left -= (size_t)n;
    }
    append(w, "\"", 1);
}

// Writes the prefix of a value: a comma if needed, and the key if it is in an object.
static void begin_value(JsonWriter *w, const char *key) {
    bool in_object = w->depth > 0 && (w->objects >> (w->depth - 1) & 1);
    ASSERT(in_object == (key != NULL));
    ASSERT(w->depth > 0 || w->size == 0); // one value at top level
    if (w->need_comma) append(w, ",", 1);
    if (key) {
        append_quoted(w, key);
        append(w, ":", 1);
    }
    w->need_comma = w->depth > 0;
}

static void begin_nested(JsonWriter *w, const char *key, bool object) {
    begin_value(w, key);
    ASSERT(w->depth < 64);
    uint64_t bit = (uint64_t)1 << w->depth++;
    w->objects = object ? w->objects | bit : w->objects & ~bit;
    w->need_comma = false;
    append(w, object ? "{" : "[", 1);
}

static void end_nested(JsonWriter *w, bool object) {
    ASSERT(w->depth > 0 && (w->objects >> (w->depth - 1) & 1) == object);
    w->depth--;
    w->need_comma = w->depth > 0;
    append(w, object ? "}" : "]", 1);
}

void json_begin_object(JsonWriter *w, const char *key) {
    begin_nested(w, key, true);
}
void json_end_object(JsonWriter *w) {
    end_nested(w, true);
}
void json_begin_array(JsonWriter *w, const char *key) {
    begin_nested(w, key, false);
}
void json_end_array(JsonWriter *w) {
    end_nested(w, false);
}

void json_string(JsonWriter *w, const char *key, const char *value) {
    begin_value(w, key);
    append_quoted(w, value);
}

void json_int(JsonWriter *w, const char *key, int64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    begin_value(w, key);
    append_text(w, text);
}

void json_double(JsonWriter *w, const char *key, double value) {
    char text[32] = "null";
    // Every decimal of 15 digits survives a round trip through double; 17 digits identify every double.
    for (int digits = 15; isfinite(value) && digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    begin_value(w, key);
    append_text(w, text);
}

void json_bool(JsonWriter *w, const char *key, bool value) {
    begin_value(w, key);
    append_text(w, value ? "true" : "false");
}

void json_writer_free(JsonWriter *w) {
    free(w->text);
    *w = (JsonWriter){0};
}

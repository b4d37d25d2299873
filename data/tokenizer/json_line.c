#include "data/tokenizer/json_line.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    char *start, *p, *end;
    unsigned char *open; // brackets that are open, '{' or '[', the outermost first
    size_t depth, capacity;
    Error *err;
} Scanner;

static bool bad(Scanner *s, const char *at, const char *what) {
    return error_set(s->err, "bad JSON at byte %lld: %s", (long long)(at - s->start), what);
}

static void skip_space(Scanner *s) {
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r')) s->p++;
}

static bool accept(Scanner *s, char c) {
    if (s->p == s->end || *s->p != c) return false;
    s->p++;
    return true;
}

// Four hexadecimal digits at p; -1 if they are not there.
static int32_t hex4(const char *p, const char *end) {
    int32_t code = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        code = code << 4 | digit;
    }
    return code;
}

// Behind the backslash. Writes at most 4 bytes, fewer than the escape has.
static bool decode_escape(Scanner *s, char **out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (s->p == s->end) return bad(s, s->p, "unterminated string");
    const char *found = *s->p ? strchr(from, *s->p) : NULL;
    if (found) {
        *(*out)++ = to[found - from];
        s->p++;
        return true;
    }
    int32_t code = *s->p == 'u' ? hex4(s->p + 1, s->end) : -1;
    if (code < 0) return bad(s, s->p - 1, "unknown escape");
    s->p += 5;
    if (code >= 0xD800 && code < 0xE000) {
        int32_t low =
            code < 0xDC00 && s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u' ? hex4(s->p + 2, s->end) : -1;
        bool pair = low >= 0xDC00 && low < 0xE000;
        code = pair ? 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00) : 0xFFFD;
        if (pair) s->p += 6;
    }
    *out += utf8_encode(*out, (uint32_t)code);
    return true;
}

// At the opening quote. Decodes in place: what is written never overtakes what is read.
static bool decode_string(Scanner *s, char **string, size_t *size) {
    char *out = ++s->p;
    *string = out;
    while (s->p < s->end && *s->p != '"') {
        if (*s->p == '\\') {
            s->p++;
            if (!decode_escape(s, &out)) return false;
        } else if ((unsigned char)*s->p < 0x20) {
            return bad(s, s->p, "control character in a string");
        } else {
            *out++ = *s->p++;
        }
    }
    if (s->p == s->end) return bad(s, s->p, "unterminated string");
    s->p++;
    *size = (size_t)(out - *string);
    return true;
}

static bool skip_word(Scanner *s, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0) return false;
    s->p += n;
    return true;
}

static bool skip_digits(Scanner *s) {
    const char *start = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9') s->p++;
    return s->p > start;
}

static bool skip_number(Scanner *s) {
    const char *start = s->p;
    if (accept(s, '-') && skip_word(s, "Infinity")) return true;
    if (!accept(s, '0') && !skip_digits(s)) return bad(s, start, "expected a value");
    if (accept(s, '.') && !skip_digits(s)) return bad(s, s->p, "expected a digit");
    if (accept(s, 'e') || accept(s, 'E')) {
        if (!accept(s, '+')) accept(s, '-');
        if (!skip_digits(s)) return bad(s, s->p, "expected a digit");
    }
    return true;
}

static void push(Scanner *s, char bracket) {
    if (s->depth == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 64;
        s->open = realloc(s->open, s->capacity);
        ASSERT(s->open);
    }
    s->open[s->depth++] = (unsigned char)bracket;
}

// A key and its colon, which stand before a value in an object.
static bool skip_key(Scanner *s, char **key, size_t *size) {
    skip_space(s);
    if (s->p == s->end || *s->p != '"') return bad(s, s->p, "expected a key in double quotes");
    if (!decode_string(s, key, size)) return false;
    skip_space(s);
    return accept(s, ':') || bad(s, s->p, "expected ':'");
}

// Everything from a comma or an opening bracket to the next value's first character; *closed: there is none, the
// array or object is empty.
static bool open_container(Scanner *s, bool *closed) {
    char bracket = *s->p++;
    skip_space(s);
    *closed = accept(s, bracket == '{' ? '}' : ']');
    if (*closed) return true;
    push(s, bracket);
    char *key;
    size_t size;
    return bracket == '[' || skip_key(s, &key, &size);
}

// Skips one value of any kind. Iterative: the depth is bounded by memory alone.
static bool skip_value(Scanner *s) {
    const size_t base = s->depth;
    for (;;) {
        skip_space(s);
        bool complete = true;
        char *string;
        size_t size;
        if (s->p == s->end) return bad(s, s->p, "expected a value");
        if (*s->p == '{' || *s->p == '[') {
            if (!open_container(s, &complete)) return false;
        } else if (*s->p == '"') {
            if (!decode_string(s, &string, &size)) return false;
        } else if (!skip_word(s, "true") && !skip_word(s, "false") && !skip_word(s, "null") &&
                   !skip_word(s, "NaN") && !skip_word(s, "Infinity") && !skip_number(s)) {
            return false;
        }
        while (complete) { // of the innermost container: the next element, or its end
            if (s->depth == base) return true;
            bool object = s->open[s->depth - 1] == '{';
            skip_space(s);
            if (accept(s, object ? '}' : ']')) {
                s->depth--;
                continue;
            }
            if (!accept(s, ',')) return bad(s, s->p, object ? "expected ',' or '}'" : "expected ',' or ']'");
            if (object && !skip_key(s, &string, &size)) return false;
            complete = false;
        }
    }
}

static const char *type_name(char first) {
    return first == '{'                   ? "an object"
           : first == '['                 ? "an array"
           : first == 't' || first == 'f' ? "true or false"
                                          : "a number";
}

static JsonLine scan(Scanner *s, char **text, size_t *text_size, const char *field) {
    const size_t field_size = strlen(field);
    JsonLine result = JSON_LINE_EMPTY;
    char other = 0; // the first character of a value of another type
    skip_space(s);
    if (!accept(s, '{')) return bad(s, s->p, "expected an object in braces"), JSON_LINE_BAD;
    skip_space(s);
    for (bool end = accept(s, '}'); !end;) {
        char *key, *value;
        size_t key_size;
        if (!skip_key(s, &key, &key_size)) return JSON_LINE_BAD;
        skip_space(s);
        value = s->p;
        char first = value < s->end ? *value : 0;
        bool asked = key_size == field_size && memcmp(key, field, field_size) == 0;
        if (asked && first == '"') {
            if (!decode_string(s, text, text_size)) return JSON_LINE_BAD;
            result = *text_size > 0 ? JSON_LINE_TEXT : JSON_LINE_EMPTY;
            other = 0;
        } else {
            if (!skip_value(s)) return JSON_LINE_BAD;
            if (asked) result = JSON_LINE_EMPTY, other = first == 'n' ? 0 : first;
        }
        skip_space(s);
        end = accept(s, '}');
        if (!end && !accept(s, ',')) return bad(s, s->p, "expected ',' or '}'"), JSON_LINE_BAD;
    }
    skip_space(s);
    if (s->p < s->end) return bad(s, s->p, "trailing text after the object"), JSON_LINE_BAD;
    if (!other) return result;
    error_set(s->err, "\"%s\" is %s, not a string; --field names the field with the text", field, type_name(other));
    return JSON_LINE_BAD;
}

JsonLine json_line_text(char **text, size_t *text_size, char *line, size_t size, const char *field, Error *err) {
    Scanner s = {.start = line, .p = line, .end = line + size, .err = err};
    JsonLine result = scan(&s, text, text_size, field);
    free(s.open);
    return result;
}

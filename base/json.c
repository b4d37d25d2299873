#include "base/json.h"

#include "base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

// The nodes and the decoded strings share one allocation; both parts have an upper bound that is counted beforehand.
typedef struct {
    const char *text, *p, *end;
    Json *nodes;
    size_t n_nodes, max_nodes;
    char *strings;
    Error *err;
} Parser;

static bool fail(Parser *s, const char *at, const char *what) {
    return error_set(s->err, "bad JSON at byte %lld: %s", (long long)(at - s->text), what);
}

static void skip_space(Parser *s) {
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r')) s->p++;
}

static bool at(const Parser *s, char c) {
    return s->p < s->end && *s->p == c;
}

static bool parse_hex4(Parser *s, uint32_t *code) {
    *code = 0;
    for (int i = 0; i < 4; i++) {
        char c = s->p < s->end ? *s->p : 0;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return fail(s, s->p, "\\u needs four hexadecimal digits");
        *code = *code << 4 | (uint32_t)digit;
        s->p++;
    }
    return true;
}

// Called after the backslash.
static bool parse_escape(Parser *s) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (s->p == s->end) return fail(s, s->p, "unterminated string");
    const char *start = s->p - 1, *found = *s->p ? strchr(from, *s->p) : NULL;
    if (found) {
        *s->strings++ = to[found - from];
        s->p++;
        return true;
    }
    if (*s->p != 'u') return fail(s, start, "unknown escape");
    s->p++;
    uint32_t code, low;
    if (!parse_hex4(s, &code)) return false;
    if (code >= 0xDC00 && code < 0xE000) return fail(s, start, "second half of a surrogate pair without the first");
    if (code >= 0xD800 && code < 0xDC00) {
        if (s->end - s->p < 2 || s->p[0] != '\\' || s->p[1] != 'u')
            return fail(s, start, "first half of a surrogate pair without the second");
        s->p += 2;
        if (!parse_hex4(s, &low)) return false;
        if (low < 0xDC00 || low >= 0xE000)
            return fail(s, start, "first half of a surrogate pair without the second");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    s->strings += utf8_encode(s->strings, code);
    return true;
}

// Called at the opening quote.
static bool parse_string(Parser *s, const char **string, size_t *length) {
    *string = s->strings;
    for (s->p++; s->p < s->end && *s->p != '"';) {
        unsigned char c = (unsigned char)*s->p;
        if (c == '\\') {
            s->p++;
            if (!parse_escape(s)) return false;
        } else if (c < 0x20) {
            return fail(s, s->p, "control character in a string");
        } else {
            int n = utf8_length(s->p, (size_t)(s->end - s->p));
            if (n == 0) return fail(s, s->p, "not UTF-8");
            memcpy(s->strings, s->p, (size_t)n);
            s->strings += n;
            s->p += n;
        }
    }
    if (s->p == s->end) return fail(s, s->p, "unterminated string");
    s->p++;
    *length = (size_t)(s->strings - *string);
    *s->strings++ = 0;
    return true;
}

static bool is_digit(const Parser *s) {
    return s->p < s->end && *s->p >= '0' && *s->p <= '9';
}

static bool skip_digits(Parser *s) {
    if (!is_digit(s)) return fail(s, s->p, "expected a digit");
    while (is_digit(s)) s->p++;
    return true;
}

static bool parse_number(Parser *s, Json *node) {
    const char *start = s->p;
    bool integer = true;
    if (at(s, '-')) s->p++;
    if (at(s, '0')) {
        s->p++;
        if (is_digit(s)) return fail(s, start, "a number with a leading zero");
    } else if (!skip_digits(s)) {
        return false;
    }
    if (at(s, '.')) {
        integer = false;
        s->p++;
        if (!skip_digits(s)) return false;
    }
    if (at(s, 'e') || at(s, 'E')) {
        integer = false;
        s->p++;
        if (at(s, '+') || at(s, '-')) s->p++;
        if (!skip_digits(s)) return false;
    }
    // strtod needs a terminating zero: the unused part of the string area is large enough for a copy.
    size_t length = (size_t)(s->p - start);
    memcpy(s->strings, start, length);
    s->strings[length] = 0;
    node->kind = JSON_NUMBER;
    node->number = strtod(s->strings, NULL);
    if (!isfinite(node->number)) return fail(s, start, "number out of range");
    errno = 0;
    if (integer) node->integer = strtoll(s->strings, NULL, 10);
    node->is_integer = integer && errno == 0;
    return true;
}

static bool parse_word(Parser *s, Json *node) {
    static const struct {
        const char *word;
        JsonKind kind;
        bool boolean;
    } words[] = {{"null", JSON_NULL, false}, {"true", JSON_BOOL, true}, {"false", JSON_BOOL, false}};
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(words[i].word);
        if ((size_t)(s->end - s->p) < length || memcmp(s->p, words[i].word, length) != 0) continue;
        node->kind = words[i].kind;
        node->boolean = words[i].boolean;
        s->p += length;
        return true;
    }
    return fail(s, s->p, s->p == s->end ? "unexpected end of text, expected a value" : "expected a value");
}

static int compare_keys(const void *a, const void *b) {
    return strcmp((*(const Json *const *)a)->key, (*(const Json *const *)b)->key);
}

static bool check_keys(Parser *s, const Json *object) {
    if (object->count < 2) return true;
    const Json **sorted = malloc(object->count * sizeof *sorted);
    if (!sorted) return fail(s, s->p, "out of memory");
    size_t n = 0;
    for (const Json *c = object->first; c; c = c->next) sorted[n++] = c;
    qsort(sorted, n, sizeof *sorted, compare_keys);
    bool ok = true;
    for (size_t i = 1; ok && i < n; i++)
        if (strcmp(sorted[i - 1]->key, sorted[i]->key) == 0)
            ok = error_set(s->err, "bad JSON: the object that ends at byte %lld has the key \"%.100s\" twice",
                           (long long)(s->p - s->text), sorted[i]->key);
    free(sorted);
    return ok;
}

static bool parse_value(Parser *s, Json **out, int depth);

static bool parse_key(Parser *s, const char **key) {
    const char *start = s->p;
    size_t length;
    if (!at(s, '"')) return fail(s, s->p, "expected a key in quotes");
    if (!parse_string(s, key, &length)) return false;
    if (strlen(*key) != length) return fail(s, start, "a key contains a zero byte");
    skip_space(s);
    if (!at(s, ':')) return fail(s, s->p, "expected ':'");
    s->p++;
    return true;
}

// Called at the opening bracket.
static bool parse_children(Parser *s, Json *node, int depth) {
    bool object = *s->p == '{';
    char close = object ? '}' : ']';
    if (depth == MAX_DEPTH) return fail(s, s->p, "nested deeper than 64");
    node->kind = object ? JSON_OBJECT : JSON_ARRAY;
    s->p++;
    skip_space(s);
    if (at(s, close)) {
        s->p++;
        return true;
    }
    for (Json **link = &node->first;; link = &(*link)->next) {
        const char *key = NULL;
        skip_space(s);
        if (object && !parse_key(s, &key)) return false;
        if (!parse_value(s, link, depth + 1)) return false;
        (*link)->key = key;
        node->count++;
        skip_space(s);
        if (at(s, close)) break;
        if (!at(s, ',')) return fail(s, s->p, object ? "expected ',' or '}'" : "expected ',' or ']'");
        s->p++;
    }
    s->p++;
    return !object || check_keys(s, node);
}

static bool parse_value(Parser *s, Json **out, int depth) {
    ASSERT(s->n_nodes < s->max_nodes);
    Json *node = *out = &s->nodes[s->n_nodes++];
    *node = (Json){0};
    skip_space(s);
    char c = s->p < s->end ? *s->p : 0;
    if (c == '{' || c == '[') return parse_children(s, node, depth);
    if (c == '-' || (c >= '0' && c <= '9')) return parse_number(s, node);
    if (c != '"') return parse_word(s, node);
    node->kind = JSON_STRING;
    return parse_string(s, &node->string, &node->length);
}

// An upper bound: outside strings, every value but the root follows a comma or an opening bracket.
static size_t count_values(const char *text, size_t size) {
    size_t n = 1;
    bool quoted = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (c == '"') quoted = !quoted;
        else if (quoted && c == '\\') i++;
        else if (!quoted && (c == ',' || c == '[' || c == '{')) n++;
    }
    return n;
}

Json *json_parse(const char *text, size_t size, Error *err) {
    size_t max_nodes = count_values(text, size);
    // A decoded string with its zero is never longer than its source text with the quotes.
    Json *nodes = malloc(max_nodes * sizeof *nodes + size + 1), *root;
    if (!nodes) {
        error_set(err, "out of memory for a JSON text of %zu bytes", size);
        return NULL;
    }
    Parser s = {.text = text,
                .p = text + utf8_bom_size(text, size),
                .end = text + size,
                .nodes = nodes,
                .max_nodes = max_nodes,
                .strings = (char *)(nodes + max_nodes),
                .err = err};
    bool ok = parse_value(&s, &root, 0);
    skip_space(&s);
    if (ok && s.p < s.end) ok = fail(&s, s.p, "text after the value");
    if (ok) return root;
    free(nodes);
    return NULL;
}

void json_free(Json *root) {
    free(root);
}

const Json *json_get(const Json *object, const char *key) {
    if (!object || object->kind != JSON_OBJECT) return NULL;
    for (const Json *c = object->first; c; c = c->next)
        if (strcmp(c->key, key) == 0) return c;
    return NULL;
}

static const Json *get_kind(const Json *object, const char *key, JsonKind kind, const char *what, Error *err) {
    const Json *value = json_get(object, key);
    if (!value) error_set(err, "\"%s\" is missing", key);
    else if (value->kind != kind) error_set(err, "\"%s\" is not %s", key, what);
    return value && value->kind == kind ? value : NULL;
}

bool json_get_int(int64_t *value, const Json *object, const char *key, Error *err) {
    const Json *node = get_kind(object, key, JSON_NUMBER, "a number", err);
    if (!node) return false;
    if (!node->is_integer) return error_set(err, "\"%s\" is not a 64-bit integer", key);
    *value = node->integer;
    return true;
}

bool json_get_double(double *value, const Json *object, const char *key, Error *err) {
    const Json *node = get_kind(object, key, JSON_NUMBER, "a number", err);
    if (node) *value = node->number;
    return node != NULL;
}

bool json_get_string(const char **value, const Json *object, const char *key, Error *err) {
    const Json *node = get_kind(object, key, JSON_STRING, "a string", err);
    if (!node) return false;
    if (strlen(node->string) != node->length) return error_set(err, "\"%s\" contains a zero byte", key);
    *value = node->string;
    return true;
}

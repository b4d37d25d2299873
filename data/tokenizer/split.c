#include "data/tokenizer/split.h"

#include "data/tokenizer/unicode.h"
#include "base/utf8.h"

#include <stdbool.h>

// Decodes a well-formed UTF-8 character of `length` bytes.
static uint32_t decode(const char *text, int length) {
    const unsigned char *p = (const unsigned char *)text;
    switch (length) {
    case 1:
        return p[0];
    case 2:
        return (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
    case 3:
        return (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    default:
        return (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
    }
}

// Returns the class of the character at `at` of well-formed text, and sets *length.
static inline CharClass class_at(int *length, const uint8_t *classes, const char *text, size_t at) {
    unsigned char first = (unsigned char)text[at];
    *length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    return (CharClass)classes[*length == 1 ? first : decode(text + at, *length)];
}

// Returns the end of the run of characters of class `wanted` that begins at `at`; *last: offset of its last character.
static inline size_t run_end(size_t *last, const uint8_t *classes, const char *text, size_t at, size_t size,
                             CharClass wanted) {
    int length;
    for (; at < size && class_at(&length, classes, text, at) == wanted; at += (size_t)length) *last = at;
    return at;
}

// Returns the length of the contraction ('s, 're, ...) at the start of the text; 0 if there is none.
static inline size_t contraction_length(const char *text, size_t size) {
    if (size < 2 || text[0] != '\'') return 0;
    char a = text[1], b = size > 2 ? text[2] : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

size_t split_piece_end(const uint8_t *classes, const char *text, size_t at, size_t size) {
    int length;
    size_t n = contraction_length(text + at, size - at), last = at;
    if (n > 0) return at + n;
    size_t start = text[at] == ' ' && at + 1 < size ? at + 1 : at;
    CharClass class = class_at(&length, classes, text, start);
    if (class != CHAR_SPACE) return run_end(&last, classes, text, start, size, class);
    // \s+(?!\S): white space leaves its last character to the next piece, unless it ends the text or is one character.
    size_t end = run_end(&last, classes, text, at, size, CHAR_SPACE);
    return end == size || last == at ? end : last;
}

// Returns true if there is always a piece boundary between two characters of these classes, and neither side's split
// depends on the other: no piece has white space after another class, or another class after a letter or a number.
static bool is_boundary(CharClass before, CharClass after) {
    if (before == CHAR_SPACE || before == after) return false;
    return before != CHAR_OTHER || after == CHAR_SPACE;
}

size_t split_cut(const uint8_t *classes, const char *text, size_t size) {
    for (size_t at = size > 4 ? size - 4 : 0; at > 0; at--) {
        if (((unsigned char)text[at] & 0xC0) == 0x80) continue; // inside a character
        int after = utf8_length(text + at, size - at), before = 0;
        for (int n = 1; n <= 4 && (size_t)n <= at && !before; n++)
            if (utf8_length(text + at - n, (size_t)n) == n) before = n;
        if (is_boundary(before ? (CharClass)classes[decode(text + at - before, before)] : CHAR_OTHER,
                        after ? (CharClass)classes[decode(text + at, after)] : CHAR_OTHER))
            return at;
    }
    return 0;
}

// data/tokenizer/unicode.h - the character classes of GPT-2's pattern, from Unicode 16.0.0.
#ifndef POLAR_DATA_TOKENIZER_UNICODE_H
#define POLAR_DATA_TOKENIZER_UNICODE_H

#include <stdint.h>

// LETTER and NUMBER: general categories L* and N*; SPACE: property White_Space; OTHER: all others, assigned or not.
typedef enum { CHAR_OTHER, CHAR_LETTER, CHAR_NUMBER, CHAR_SPACE } CharClass;

enum { UNICODE_CODES = 0x110000 };

extern const uint32_t unicode_ranges[];
extern const int unicode_n_ranges;

// Expands the ranges: classes[UNICODE_CODES] receives the CharClass of every code point.
static inline void unicode_fill_classes(uint8_t *classes) {
    for (int i = 0; i < unicode_n_ranges; i++) {
        uint32_t end = i + 1 < unicode_n_ranges ? unicode_ranges[i + 1] >> 2 : (uint32_t)UNICODE_CODES;
        for (uint32_t code = unicode_ranges[i] >> 2; code < end; code++) classes[code] = unicode_ranges[i] & 3;
    }
}
#endif

// base/utf8.h - UTF-8 encoding and validation, one character at a time.
#ifndef POLAR_BASE_UTF8_H
#define POLAR_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

// Length in bytes (1 to 4) of the well-formed character at the start of `text`; 0 if there is none: overlong forms,
// surrogates and code points above U+10FFFF are ill-formed (Unicode 15, table 3-7).
int utf8_length(const char *text, size_t size);

// Encodes a code point (at most U+10FFFF, not a surrogate); returns its length in bytes, 1 to 4.
int utf8_encode(char *out, uint32_t code);

// Returns the size of the byte order mark at the start of the text: 3, or 0 if there is none.
size_t utf8_bom_size(const char *text, size_t size);
#endif

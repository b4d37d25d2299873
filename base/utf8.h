// base/utf8.h - UTF-8, one character at a time.
#ifndef POLAR_BASE_UTF8_H
#define POLAR_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

// Bytes (1 to 4) of the well-formed character at the start of `text`; 0 if there is none: overlong forms,
// surrogates and code points above U+10FFFF are not well-formed (Unicode 15, table 3-7).
int utf8_length(const char *text, size_t size);

// Writes a code point (at most U+10FFFF, no surrogate); returns its bytes, 1 to 4.
int utf8_encode(char *out, uint32_t code);
#endif

// data/tokenizer/split.h - GPT-2's pre-tokenization: splits a text into pieces, within which byte pairs are merged:
//
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// The text must be well-formed UTF-8, except for split_cut. `classes` comes from unicode_fill_classes.
#ifndef POLAR_DATA_TOKENIZER_SPLIT_H
#define POLAR_DATA_TOKENIZER_SPLIT_H

#include <stddef.h>
#include <stdint.h>

// Returns the end of the piece that begins at `at` < size.
size_t split_piece_end(const uint8_t *classes, const char *text, size_t at, size_t size);

// Returns the last offset found at which a text may be cut, whatever follows its `size` bytes: encoding both sides
// separately gives the tokens of the whole. 0 if there is none. Invalid UTF-8 counts as U+FFFD.
size_t split_cut(const uint8_t *classes, const char *text, size_t size);
#endif

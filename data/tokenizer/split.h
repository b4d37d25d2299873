// data/tokenizer/split.h - GPT-2's cutting of a text into the pieces that byte pairs are merged within:
//
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// The text is well-formed UTF-8, but for split_cut. `classes` are those of unicode_fill_classes.
#ifndef POLAR_DATA_TOKENIZER_SPLIT_H
#define POLAR_DATA_TOKENIZER_SPLIT_H

#include <stddef.h>
#include <stdint.h>

// Where the piece that begins at `at`, which is less than `size`, ends.
size_t split_piece_end(const uint8_t *classes, const char *text, size_t at, size_t size);

// The last place found at which a text may be cut, whatever stands after its `size` bytes: encoding both sides alone
// gives the tokens of the whole. 0 where there is none. Bytes that are not UTF-8 count as U+FFFD.
size_t split_cut(const uint8_t *classes, const char *text, size_t size);
#endif

// data/tokenizer/bpe.h - byte-pair encoding as GPT-2 has it, with the tokens of a `.tiktoken` file.
//
// Such a file has a line `base64-of-the-token's-bytes rank` for every token; a token's number is its rank, and ranks
// say which pair is merged first. A text is cut into pieces (data/tokenizer/split.h); a piece that is a token is that token, any
// other begins as single bytes, of which the leftmost pair of lowest rank is merged until no pair is a token.
#ifndef POLAR_DATA_TOKENIZER_BPE_H
#define POLAR_DATA_TOKENIZER_BPE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

// With one more token, the end of text, all must fit 16 bits. GPT-2's longest token has 128 bytes.
enum { BPE_MAX_TOKENS = 65535, BPE_MAX_BYTES = 256, BPE_NO_TOKEN = 65535 };

// Read-only once it is open: any number of threads may use it.
typedef struct {
    int n_tokens;
    char *bytes;                    // of all tokens, one after the other
    uint32_t *starts;               // [n_tokens + 1] in bytes
    uint16_t *tokens;               // hash table of token numbers by their bytes; BPE_NO_TOKEN: empty
    uint64_t *pairs;                // hash table: left << 32 | right << 16 | merged; all ones: empty
    uint32_t n_slots, n_pair_slots; // powers of two
    uint16_t single[256];           // the tokens of single bytes
    uint8_t *classes;               // of characters, see data/tokenizer/unicode.h
} Bpe;

// NULL with an error that names the file and its line. Refused: more than BPE_MAX_TOKENS, ranks that are not 0, 1, 2, ...
// in some order, tokens that are there twice, empty or too long, single bytes that are missing.
Bpe *bpe_open(const char *path, Error *err);
void bpe_close(Bpe *bpe); // NULL is allowed

// The token of these bytes, or of a pair of tokens; BPE_NO_TOKEN if there is none.
uint16_t bpe_find(const Bpe *bpe, const char *bytes, size_t size);
uint16_t bpe_find_pair(const Bpe *bpe, uint16_t left, uint16_t right);

// What one thread encodes with: pieces that it has seen, scratch.
typedef struct BpeEncoder BpeEncoder;
BpeEncoder *bpe_encoder_create(const Bpe *bpe);
void bpe_encoder_free(BpeEncoder *encoder); // NULL is allowed

// Encodes any bytes, less than 4 GiB; what is not UTF-8 becomes U+FFFD as in Python's decode(errors="replace"): one for
// every maximal part of a character (Unicode 16, section 3.9). tokens has room for 3 size entries; returns their number.
// A piece of n bytes takes time n log n.
int64_t bpe_encode(uint16_t *tokens, BpeEncoder *encoder, const char *text, size_t size);
#endif

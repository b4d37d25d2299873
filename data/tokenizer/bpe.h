// data/tokenizer/bpe.h - GPT-2's byte-pair encoding, with the vocabulary of a `.tiktoken` file.
//
// The file has a line `base64-of-the-token's-bytes rank` for every token; a token's id is its rank, and pairs merge
// in order of rank. A text is split into pieces (data/tokenizer/split.h). A piece that is a token becomes that token;
// any other starts as single bytes, and the leftmost pair of lowest rank is merged until no pair is a token.
#ifndef POLAR_DATA_TOKENIZER_BPE_H
#define POLAR_DATA_TOKENIZER_BPE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

// Together with the end-of-text token, ids must fit 16 bits. GPT-2's longest token has 128 bytes.
enum { BPE_MAX_TOKENS = 65535, BPE_MAX_BYTES = 256, BPE_NO_TOKEN = 65535 };

// Immutable once open, so any number of threads may use it.
typedef struct {
    int n_tokens;
    char *bytes;                    // of all tokens, concatenated
    uint32_t *starts;               // (n_tokens + 1) offsets in bytes
    uint16_t *tokens;               // hash table of token ids, keyed by the token's bytes; BPE_NO_TOKEN: empty
    uint64_t *pairs;                // hash table of merges: left << 32 | right << 16 | merged; all ones: empty
    uint32_t n_slots, n_pair_slots; // powers of two
    uint16_t single[256];           // token of each single byte
    uint8_t *classes;               // CharClass per code point, see data/tokenizer/unicode.h
} Bpe;

// Returns NULL with an error that names the file and the line. Errors: more than BPE_MAX_TOKENS tokens, ranks that
// are not a permutation of 0, 1, 2, ..., duplicate, empty or too long tokens, a missing single byte.
Bpe *bpe_open(const char *path, Error *err);
void bpe_close(Bpe *bpe); // NULL is allowed

// Returns the token of these bytes, or of two merged tokens; BPE_NO_TOKEN if there is none.
uint16_t bpe_find(const Bpe *bpe, const char *bytes, size_t size);
uint16_t bpe_find_pair(const Bpe *bpe, uint16_t left, uint16_t right);

// The state of one encoding thread: a cache of encoded pieces.
typedef struct BpeEncoder BpeEncoder;
BpeEncoder *bpe_encoder_create(const Bpe *bpe);
void bpe_encoder_free(BpeEncoder *encoder); // NULL is allowed

// Encodes any bytes, less than 4 GiB. Invalid UTF-8 becomes U+FFFD as in Python's decode(errors="replace"): one per
// maximal subpart of a character (Unicode 16, section 3.9). `tokens` must have room for 3 size entries; returns the
// number of tokens. A piece of n bytes takes O(n log n) time.
int64_t bpe_encode(uint16_t *tokens, BpeEncoder *encoder, const char *text, size_t size);
#endif

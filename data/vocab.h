// data/vocab.h - vocabularies: text to tokens and back.
#ifndef POLAR_DATA_VOCAB_H
#define POLAR_DATA_VOCAB_H

#include "device/error.h" // defines: Error

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// NONE: tokens are only numbers. BYTES: token = byte value, 256 ends a document; 257 tokens.
typedef enum { VOCAB_NONE, VOCAB_BYTES, VOCAB_COUNT } VocabKind;

const char *vocab_name(VocabKind kind);
int vocab_size(VocabKind kind);               // 0 for NONE
int vocab_end_of_text(VocabKind kind);        // the token that precedes every document
double vocab_bytes_per_token(VocabKind kind); // for bits per byte; 0 where it is not a constant

// Encodes text; tokens has room for `size` entries; returns their number.
int64_t vocab_encode(uint16_t *tokens, VocabKind kind, const char *text, size_t size);
// Bytes of one token; returns their number, 0 for the end of text. out has room for 64.
int vocab_decode(char *out, VocabKind kind, int token);

#ifdef __cplusplus
}
#endif
#endif

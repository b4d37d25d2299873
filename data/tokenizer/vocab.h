// data/tokenizer/vocab.h - vocabularies: conversion between text and tokens.
//
// "none": tokens are plain numbers. "bytes": a token is a byte, and 256 is the end-of-text token, which begins a
// document. Any other name is the path of a `.tiktoken` file (data/tokenizer/bpe.h), whose end-of-text token follows
// its last token.
#ifndef POLAR_DATA_TOKENIZER_VOCAB_H
#define POLAR_DATA_TOKENIZER_VOCAB_H

#include "data/tokenizer/bpe.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct Vocab Vocab;

// Returns NULL with an error if `name` is not a vocabulary. Immutable, so any number of threads may use it.
Vocab *vocab_open(const char *name, Error *err);
void vocab_close(Vocab *vocab); // NULL is allowed

// Returns true if the name is "none" or "bytes" and not a path.
bool vocab_name_is_builtin(const char *name);

bool vocab_is_none(const Vocab *vocab);
int vocab_size(const Vocab *vocab);        // number of tokens, including end of text; 0 for "none"
int vocab_end_of_text(const Vocab *vocab); // the token before every document; -1 for "none"

// Identifies the tokens: equal vocabularies have equal fingerprints, whatever their files are named. 0 for "none".
uint32_t vocab_fingerprint(const Vocab *vocab);

// The BPE vocabulary; NULL for "none" and "bytes".
const Bpe *vocab_bpe(const Vocab *vocab);

// Returns the bytes of a token, not zero-terminated, and sets *length: 0 for the end of text, for tokens outside the
// vocabulary, and for "none". A UTF-8 character may span several tokens.
const char *vocab_decode(int *length, const Vocab *vocab, int token);
int vocab_token_bytes(const Vocab *vocab, int token); // the length alone

// The state of one encoding thread (a cache). The vocabulary, which may not be "none", must outlive it.
typedef struct VocabEncoder VocabEncoder;
VocabEncoder *vocab_encoder_create(const Vocab *vocab);
void vocab_encoder_free(VocabEncoder *encoder); // NULL is allowed

// Encodes a text of less than 1 GiB; `tokens` must have room for 3 size entries; returns the number of tokens. The
// string "<|endoftext|>" is encoded as ordinary text. Invalid UTF-8 becomes U+FFFD as in Python's
// decode(errors="replace"), except with "bytes", which encodes any bytes.
int64_t vocab_encode(uint16_t *tokens, VocabEncoder *encoder, const char *text, size_t size);

// Returns the last offset known to be a safe cut of a text that continues after `size` bytes: encoding the two parts
// separately gives the tokens of the whole. 0 if there is none.
size_t vocab_cut(const Vocab *vocab, const char *text, size_t size);
#endif

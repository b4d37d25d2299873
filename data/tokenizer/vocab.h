// data/tokenizer/vocab.h - vocabularies: text to tokens and back.
//
// "none": tokens are only numbers. "bytes": a token is a byte, 256 begins a document. Anything else is the path of a
// `.tiktoken` file (GPT-2's byte pairs, data/tokenizer/bpe.h); the token after its last begins a document.
#ifndef POLAR_DATA_TOKENIZER_VOCAB_H
#define POLAR_DATA_TOKENIZER_VOCAB_H

#include "data/tokenizer/bpe.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct Vocab Vocab;

// NULL with an error for a name that is no vocabulary. A vocabulary is read-only: any number of threads may use it.
Vocab *vocab_open(const char *name, Error *err);
void vocab_close(Vocab *vocab); // NULL is allowed

// Whether the name is "none" or "bytes" and not a path.
bool vocab_name_is_builtin(const char *name);

bool vocab_is_none(const Vocab *vocab);
int vocab_size(const Vocab *vocab);        // tokens, that of the end of text included; 0 for "none"
int vocab_end_of_text(const Vocab *vocab); // the token that precedes every document; -1 for "none"

// Its byte pairs; NULL for "none" and "bytes".
const Bpe *vocab_bpe(const Vocab *vocab);

// The bytes a token stands for, not zero-terminated, and their number: 0 for the end of text, tokens outside the
// vocabulary, and "none". A character may be spread over several tokens.
const char *vocab_decode(int *length, const Vocab *vocab, int token);
int vocab_token_bytes(const Vocab *vocab, int token); // that number alone

// What one thread encodes with: its memory of what came before. The vocabulary, which may not be "none", must outlive it.
typedef struct VocabEncoder VocabEncoder;
VocabEncoder *vocab_encoder_create(const Vocab *vocab);
void vocab_encoder_free(VocabEncoder *encoder); // NULL is allowed

// Encodes a text of less than 1 GiB; tokens has room for 3 size entries; returns their number. A "<|endoftext|>" that
// stands in the text is text. What is not UTF-8 becomes U+FFFD as Python's decode(errors="replace") has it, but for
// "bytes", which takes any.
int64_t vocab_encode(uint16_t *tokens, VocabEncoder *encoder, const char *text, size_t size);

// Where a text that goes on after `size` bytes may be cut so that its two parts, encoded alone, give the tokens of the
// whole: the last such place that can be told, 0 if there is none.
size_t vocab_cut(const Vocab *vocab, const char *text, size_t size);
#endif

#include "data/vocab.h"

#include <stdlib.h>
#include <string.h>

typedef enum { VOCAB_NONE, VOCAB_BYTES } VocabKind;
enum { BYTES_END_OF_TEXT = 256 };

struct Vocab {
    VocabKind kind;
    char bytes[256]; // what the tokens of VOCAB_BYTES stand for
};

struct VocabEncoder {
    const Vocab *vocab;
};

bool vocab_name_is_builtin(const char *name) {
    return strcmp(name, "none") == 0 || strcmp(name, "bytes") == 0;
}

Vocab *vocab_open(const char *name, Error *err) {
    if (!vocab_name_is_builtin(name)) {
        error_set(err, "%s is no vocabulary: give none, bytes, or a .tiktoken file", name);
        return NULL;
    }
    Vocab *vocab = calloc(1, sizeof *vocab);
    ASSERT(vocab);
    vocab->kind = strcmp(name, "none") == 0 ? VOCAB_NONE : VOCAB_BYTES;
    for (int i = 0; i < 256; i++) vocab->bytes[i] = (char)i;
    return vocab;
}

void vocab_close(Vocab *vocab) {
    free(vocab);
}

bool vocab_is_none(const Vocab *vocab) {
    return vocab->kind == VOCAB_NONE;
}

int vocab_size(const Vocab *vocab) {
    return vocab_end_of_text(vocab) + 1;
}

int vocab_end_of_text(const Vocab *vocab) {
    return vocab->kind == VOCAB_NONE ? -1 : BYTES_END_OF_TEXT;
}

const char *vocab_decode(int *length, const Vocab *vocab, int token) {
    *length = 0;
    if (token < 0 || token >= vocab_end_of_text(vocab)) return "";
    *length = 1;
    return vocab->bytes + token;
}

int vocab_token_bytes(const Vocab *vocab, int token) {
    int length;
    vocab_decode(&length, vocab, token);
    return length;
}

VocabEncoder *vocab_encoder_create(const Vocab *vocab) {
    ASSERT(!vocab_is_none(vocab));
    VocabEncoder *encoder = calloc(1, sizeof *encoder);
    ASSERT(encoder);
    encoder->vocab = vocab;
    return encoder;
}

void vocab_encoder_free(VocabEncoder *encoder) {
    free(encoder);
}

int64_t vocab_encode(uint16_t *tokens, VocabEncoder *encoder, const char *text, size_t size) {
    ASSERT(encoder->vocab->kind == VOCAB_BYTES);
    for (size_t i = 0; i < size; i++) tokens[i] = (unsigned char)text[i];
    return (int64_t)size;
}

#include "data/vocab.h"

enum { BYTES_END_OF_TEXT = 256, BYTES_SIZE = 257 };

const char *vocab_name(VocabKind kind) {
    static const char *const names[VOCAB_COUNT] = {[VOCAB_NONE] = "none", [VOCAB_BYTES] = "bytes"};
    ASSERT(kind < VOCAB_COUNT);
    return names[kind];
}

int vocab_size(VocabKind kind) {
    return kind == VOCAB_BYTES ? BYTES_SIZE : 0;
}

int vocab_end_of_text(VocabKind kind) {
    return kind == VOCAB_BYTES ? BYTES_END_OF_TEXT : -1;
}

double vocab_bytes_per_token(VocabKind kind) {
    return kind == VOCAB_BYTES ? 1 : 0;
}

int64_t vocab_encode(uint16_t *tokens, VocabKind kind, const char *text, size_t size) {
    ASSERT(kind == VOCAB_BYTES);
    for (size_t i = 0; i < size; i++) tokens[i] = (unsigned char)text[i];
    return (int64_t)size;
}

int vocab_decode(char *out, VocabKind kind, int token) {
    if (kind != VOCAB_BYTES || token < 0 || token >= BYTES_END_OF_TEXT) return 0;
    out[0] = (char)token;
    return 1;
}

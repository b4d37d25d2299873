#include "data/tokenizer/vocab.h"

#include "base/crc32c.h"
#include "data/tokenizer/split.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct Vocab {
    int end_of_text; // also the number of other tokens; -1: "none"
    char bytes[256]; // the bytes of the tokens of "bytes"
    Bpe *bpe;        // NULL: "none" or "bytes"
};

struct VocabEncoder {
    const Vocab *vocab;
    BpeEncoder *bpe; // NULL: "bytes"
};

bool vocab_name_is_builtin(const char *name) {
    return strcmp(name, "none") == 0 || strcmp(name, "bytes") == 0;
}

// Returns NULL with an error if the name is not a readable file.
static Bpe *open_file(const char *name, Error *err) {
    if (access(name, R_OK) == 0) return bpe_open(name, err);
    error_set(err,
              "%s is neither a vocabulary nor a readable file: use none, bytes, or the path of a .tiktoken file "
              "(scripts/get_vocab.sh makes vocab/gpt2.tiktoken)",
              name);
    return NULL;
}

Vocab *vocab_open(const char *name, Error *err) {
    Bpe *bpe = vocab_name_is_builtin(name) ? NULL : open_file(name, err);
    if (!bpe && !vocab_name_is_builtin(name)) return NULL;
    Vocab *vocab = calloc(1, sizeof *vocab);
    ASSERT(vocab);
    vocab->bpe = bpe;
    vocab->end_of_text = bpe ? bpe->n_tokens : strcmp(name, "none") == 0 ? -1 : 256;
    for (int i = 0; i < 256; i++) vocab->bytes[i] = (char)i;
    return vocab;
}

void vocab_close(Vocab *vocab) {
    if (vocab) bpe_close(vocab->bpe);
    free(vocab);
}

bool vocab_is_none(const Vocab *vocab) {
    return vocab->end_of_text < 0;
}

int vocab_size(const Vocab *vocab) {
    return vocab->end_of_text + 1;
}

int vocab_end_of_text(const Vocab *vocab) {
    return vocab->end_of_text;
}

uint32_t vocab_fingerprint(const Vocab *vocab) {
    const Bpe *bpe = vocab->bpe;
    if (vocab_is_none(vocab)) return 0;
    if (!bpe) return crc32c(0, vocab->bytes, sizeof vocab->bytes);
    uint32_t crc = crc32c(0, bpe->starts, ((size_t)bpe->n_tokens + 1) * sizeof *bpe->starts);
    crc = crc32c(crc, bpe->bytes, bpe->starts[bpe->n_tokens]);
    return crc ? crc : 1;
}

const Bpe *vocab_bpe(const Vocab *vocab) {
    return vocab->bpe;
}

const char *vocab_decode(int *length, const Vocab *vocab, int token) {
    *length = 0;
    if (token < 0 || token >= vocab->end_of_text) return "";
    *length = vocab->bpe ? (int)(vocab->bpe->starts[token + 1] - vocab->bpe->starts[token]) : 1;
    return vocab->bpe ? vocab->bpe->bytes + vocab->bpe->starts[token] : vocab->bytes + token;
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
    if (vocab->bpe) encoder->bpe = bpe_encoder_create(vocab->bpe);
    return encoder;
}

void vocab_encoder_free(VocabEncoder *encoder) {
    if (encoder) bpe_encoder_free(encoder->bpe);
    free(encoder);
}

int64_t vocab_encode(uint16_t *tokens, VocabEncoder *encoder, const char *text, size_t size) {
    if (encoder->bpe) return bpe_encode(tokens, encoder->bpe, text, size);
    for (size_t i = 0; i < size; i++) tokens[i] = (unsigned char)text[i];
    return (int64_t)size;
}

size_t vocab_cut(const Vocab *vocab, const char *text, size_t size) {
    return vocab->bpe ? split_cut(vocab->bpe->classes, text, size) : size;
}

// Vocabularies: an accepted one encodes any bytes to valid tokens, which decode to valid text.
#include "data/tokenizer/vocab.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] = "It's  a truth\n\n universally\xC2\xA0known, 42 \xE4\xB8\xAD\xE6\x96\x87 \xFF\xFE!";
    Error err;
    Vocab *vocab = vocab_open(fuzz_file(data, size), &err);
    if (!vocab) {
        fuzz_check_error(&err);
        return 0;
    }
    uint16_t tokens[3 * sizeof text];
    VocabEncoder *encoder = vocab_encoder_create(vocab);
    ASSERT(encoder);
    int64_t n = vocab_encode(tokens, encoder, text, sizeof text - 1);
    ASSERT(n > 0 && n <= (int64_t)(sizeof tokens / sizeof *tokens));
    for (int64_t i = 0; i < n; i++) {
        int length;
        ASSERT(tokens[i] < vocab_size(vocab) && vocab_decode(&length, vocab, tokens[i]) && length > 0);
    }
    vocab_encoder_free(encoder);
    vocab_close(vocab);
    return 0;
}

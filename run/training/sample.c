#include "run/training/sample.h"

#include "base/random.h"
#include "run/training/decode.h"
#include "run/training/utf8_stream.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Parses token numbers separated by spaces; returns -1 if the zero-terminated text is anything else.
static int64_t parse_numbers(int32_t *tokens, const char *text, int vocab_size) {
    int64_t n = 0;
    for (;;) {
        while (isspace((unsigned char)*text)) text++;
        if (!*text) return n;
        char *end;
        long value = strtol(text, &end, 10);
        if (end == text || (*end && !isspace((unsigned char)*end)) || value < 0 || value >= vocab_size) return -1;
        tokens[n++] = (int32_t)value;
        text = end;
    }
}

// Encodes the prompt as at least one token. Returns the number of tokens, 0 on errors.
static int64_t encode_prompt(int32_t **tokens, const SampleConfig *c, int vocab_size, Error *err) {
    int64_t n = 0;
    *tokens = malloc((3 * c->prompt_size + (size_t)c->tokens + 2) * sizeof **tokens); // 3: see vocab_encode
    ASSERT(*tokens);
    if (!vocab_is_none(c->vocab)) {
        VocabEncoder *encoder = vocab_encoder_create(c->vocab);
        uint16_t *narrow = malloc((3 * c->prompt_size + 1) * sizeof *narrow);
        ASSERT(narrow);
        n = vocab_encode(narrow, encoder, c->prompt, c->prompt_size);
        (*tokens)[0] = vocab_end_of_text(c->vocab);
        for (int64_t i = 0; i < n; i++) (*tokens)[1 + i] = narrow[i];
        free(narrow);
        vocab_encoder_free(encoder);
        return 1 + n;
    }
    n = strlen(c->prompt) == c->prompt_size ? parse_numbers(*tokens, c->prompt, vocab_size) : -1;
    if (n < 0) {
        error_set(err,
                  "the prompt '%.60s' is not a list of token numbers below %d: this run has no vocabulary "
                  "(--vocab none) to read text with",
                  c->prompt, vocab_size);
        return 0;
    }
    if (n == 0) (*tokens)[n++] = 0;
    return n;
}

static bool all_finite(const float *x, int n) {
    for (int i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

static void write_token(Utf8Stream *w, const Vocab *vocab, int token, bool first) {
    char number[16];
    int length;
    const char *bytes = vocab_decode(&length, vocab, token);
    if (vocab_is_none(vocab)) {
        bytes = number;
        length = snprintf(number, sizeof number, "%s%d", first ? "" : " ", token);
    }
    utf8_stream_write(w, bytes, (size_t)length);
}

// Appends sampled tokens to tokens[0, n); returns their number then, or -1 on errors.
static int64_t continue_tokens(int32_t *tokens, int64_t n, Utf8Stream *w, Decoder *decoder, const SampleConfig *c,
                               Error *err) {
    Model *model = decoder->model;
    int V = model->config.vocab_size;
    float *logits = malloc((size_t)V * sizeof *logits);
    Candidate *room = malloc((size_t)V * sizeof *room);
    ASSERT(logits && room);
    for (int i = 0; i < c->tokens && !(c->stop && c->stop()); i++) {
        decoder_logits(decoder, tokens, n);
        model_read_logits(logits, model, decoder->stream, V);
        if (!all_finite(logits, V)) {
            error_set(err, "the logits are not finite: the weights are corrupt, or too large for %s",
                      type_name(model->type));
            n = -1;
            break;
        }
        int token =
            draw_token(room, logits, V, &c->draw, random_uniform(c->seed, RANDOM_SAMPLE, c->index + (uint64_t)i));
        if (token == vocab_end_of_text(c->vocab)) break;
        tokens[n++] = token;
        write_token(w, c->vocab, token, false);
        if (fflush(w->out) != 0) break; // the caller reports it
    }
    free(room);
    free(logits);
    return n;
}

bool sample_text(int64_t *n_drawn, FILE *out, Model *model, Stream *stream, const SampleConfig *config,
                 Error *err) {
    int32_t *tokens;
    Utf8Stream w = {.out = out};
    int64_t n = encode_prompt(&tokens, config, model->config.vocab_size, err);
    Decoder decoder;
    bool ok = n > 0 && decoder_create(&decoder, model, stream, err);
    if (ok) {
        for (int64_t i = 0; i < n; i++) write_token(&w, config->vocab, tokens[i], i == 0);
        fflush(out);
        int64_t end = continue_tokens(tokens, n, &w, &decoder, config, err);
        *n_drawn = end - n;
        ok = end >= 0;
        utf8_stream_flush(&w);
        decoder_free(&decoder);
    }
    free(tokens);
    return ok;
}

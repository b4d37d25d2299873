#include "run/sample.h"

#include "data/utf8.h"     // defines: utf8_length
#include "device/random.h" // defines: random_uniform, RANDOM_SAMPLE

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Token numbers with blanks between them; -1 if the text is something else.
static int64_t parse_numbers(uint16_t *tokens, const char *text, int vocab_size) {
    int64_t n = 0;
    for (;;) {
        while (isspace((unsigned char)*text)) text++;
        if (!*text) return n;
        char *end;
        long value = strtol(text, &end, 10);
        if (end == text || (*end && !isspace((unsigned char)*end)) || value < 0 || value >= vocab_size) return -1;
        tokens[n++] = (uint16_t)value;
        text = end;
    }
}

// The tokens to begin with: at least one. Returns their number, 0 on errors.
static int64_t begin_tokens(uint16_t **tokens, const SampleConfig *c, int vocab_size, Error *err) {
    size_t size = strlen(c->prompt);
    int64_t n = 0;
    *tokens = malloc((3 * size + (size_t)c->tokens + 2) * sizeof **tokens); // 3: see vocab_encode
    ASSERT(*tokens);
    if (!vocab_is_none(c->vocab)) {
        VocabEncoder *encoder = vocab_encoder_create(c->vocab);
        (*tokens)[n++] = (uint16_t)vocab_end_of_text(c->vocab);
        n += vocab_encode(*tokens + 1, encoder, c->prompt, size);
        vocab_encoder_free(encoder);
        return n;
    }
    n = parse_numbers(*tokens, c->prompt, vocab_size);
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

typedef struct {
    float logit;
    int token;
} Candidate;

static int likelier_first(const void *a, const void *b) {
    const Candidate *x = a, *y = b;
    return x->logit != y->logit ? (x->logit < y->logit) - (x->logit > y->logit) : x->token - y->token;
}

// Draws from softmax(logits / temperature) over the k likeliest of V tokens, by the inverse of its distribution.
static int draw(const float *logits, Candidate *candidates, int V, const SampleConfig *c, uint64_t index) {
    for (int i = 0; i < V; i++) candidates[i] = (Candidate){logits[i], i};
    int k = c->top_k > 0 && c->top_k < V ? c->top_k : V;
    qsort(candidates, (size_t)V, sizeof *candidates, likelier_first);
    if (c->temperature == 0) return candidates[0].token;
    double sum = 0, top = candidates[0].logit;
    for (int i = 0; i < k; i++) sum += exp((candidates[i].logit - top) / c->temperature);
    double left = random_uniform(c->seed, RANDOM_SAMPLE, index) * sum;
    for (int i = 0; i < k; i++) {
        left -= exp((candidates[i].logit - top) / c->temperature);
        if (left < 0) return candidates[i].token;
    }
    return candidates[0].token;
}

static char *decode(const uint16_t *tokens, int64_t n, const Vocab *vocab) {
    char *raw = NULL, *text = NULL;
    size_t raw_size, size;
    FILE *out = open_memstream(&raw, &raw_size);
    ASSERT(out);
    for (int64_t i = 0; i < n; i++) {
        int length;
        const char *bytes = vocab_decode(&length, vocab, tokens[i]);
        if (vocab_is_none(vocab)) fprintf(out, "%s%d", i ? " " : "", tokens[i]);
        else fwrite(bytes, 1, (size_t)length, out);
    }
    fclose(out);
    out = open_memstream(&text, &size);
    ASSERT(out);
    for (size_t at = 0; at < raw_size;) {
        int length = raw[at] ? utf8_length(raw + at, raw_size - at) : 0;
        if (length > 0) fwrite(raw + at, 1, (size_t)length, out);
        else fputs("\xEF\xBF\xBD", out);
        at += length > 0 ? (size_t)length : 1;
    }
    fclose(out);
    free(raw);
    return text;
}

// Adds tokens to the n that are there; returns how many there are then.
static int64_t continue_tokens(uint16_t *tokens, int64_t n, Model *model, Stream *stream, const SampleConfig *c) {
    int V = model->config.vocab_size;
    float *logits = malloc((size_t)V * sizeof *logits);
    Candidate *candidates = malloc((size_t)V * sizeof *candidates);
    size_t bytes = (size_t)batch_bytes(1, model->run.T);
    char *host = device_alloc_host(model->device, bytes), *memory = device_alloc(model->device, bytes);
    ASSERT(logits && candidates && host && memory && model->type == TYPE_F32);
    for (int i = 0; i < c->tokens && !(c->stop && c->stop()); i++) {
        int T = n < model->run.T ? (int)n : model->run.T;
        Batch on_host, batch;
        batch_layout(&on_host, host, 1, T);
        batch_layout(&batch, memory, 1, T);
        for (int t = 0; t < T; t++) on_host.tokens[t] = tokens[n - T + t];
        device_copy(stream, batch.tokens, on_host.tokens, (size_t)T * sizeof *batch.tokens);
        const void *at = model_forward_logits(model, stream, &batch, T - 1, 0, NULL);
        device_copy(stream, logits, at, (size_t)V * sizeof *logits);
        stream_synchronize(stream);
        int token = draw(logits, candidates, V, c, c->index + (uint64_t)i);
        if (token == vocab_end_of_text(c->vocab)) break;
        tokens[n++] = (uint16_t)token;
    }
    device_free_host(model->device, host);
    device_free(model->device, memory);
    free(candidates);
    free(logits);
    return n;
}

char *sample_text(Model *model, Stream *stream, const SampleConfig *config, Error *err) {
    uint16_t *tokens;
    char *text = NULL;
    int64_t n = begin_tokens(&tokens, config, model->config.vocab_size, err);
    if (n > 0) {
        n = continue_tokens(tokens, n, model, stream, config);
        text = decode(tokens, n, config->vocab);
    }
    free(tokens);
    return text;
}

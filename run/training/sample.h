// run/training/sample.h - text generation.
#ifndef POLAR_RUN_TRAINING_SAMPLE_H
#define POLAR_RUN_TRAINING_SAMPLE_H

#include "data/tokenizer/vocab.h"
#include "model/model.h"
#include "run/training/sample_token.h"

#include <stdio.h>

typedef struct {
    const Vocab *vocab; // "none": prompt and text are token numbers separated by spaces
    const char *prompt; // preceded by the end-of-text token, if the vocabulary has one
    size_t prompt_size; // bytes
    int tokens;         // to generate
    DrawConfig draw;
    uint64_t seed, index; // token i is sampled with counter (seed, index + i)
    int (*stop)(void);    // called before each token; nonzero ends the text; NULL: never
} SampleConfig;

// Writes the prompt and the generated text, token by token, as valid UTF-8 (invalid bytes become U+FFFD). Stops
// early at an end-of-text token. *n_drawn is the number of generated tokens. Errors: a prompt that is not in the
// vocabulary and out of memory, before anything is written; logits that are not finite.
bool sample_text(int64_t *n_drawn, FILE *out, Model *model, Stream *stream, const SampleConfig *config, Error *err);
#endif

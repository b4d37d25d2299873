// run/training/sample.h - text from a network, one token after the other.
#ifndef POLAR_RUN_TRAINING_SAMPLE_H
#define POLAR_RUN_TRAINING_SAMPLE_H

#include "data/tokenizer/vocab.h"
#include "model/model.h"
#include "run/training/sample_token.h"

#include <stdio.h>

typedef struct {
    const Vocab *vocab; // "none": prompt and text are token numbers with blanks between them
    const char *prompt; // follows the end-of-text token, where the vocabulary has one
    size_t prompt_size; // bytes
    int tokens;         // to add
    DrawConfig draw;
    uint64_t seed, index; // token i is drawn by counter (seed, index + i)
    int (*stop)(void);    // asked before each token: not 0 ends the text there; NULL: never
} SampleConfig;

// Writes prompt and continuation, each token as it is drawn, in well-formed UTF-8 (what is not becomes U+FFFD). Ends
// early at an end-of-text token. *n_drawn is the number of tokens added. Errors, before anything is written: a
// prompt that the vocabulary does not have; no memory.
bool sample_text(int64_t *n_drawn, FILE *out, Model *model, Stream *stream, const SampleConfig *config, Error *err);
#endif

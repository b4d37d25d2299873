// run/sample.h - text from a network: one token after the other, the window run anew for each.
#ifndef POLAR_RUN_SAMPLE_H
#define POLAR_RUN_SAMPLE_H

#include "data/vocab.h"  // defines: Vocab
#include "model/model.h" // defines: Model

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const Vocab *vocab;   // "none": prompt and text are token numbers with blanks between them
    const char *prompt;   // follows the end-of-text token, where the vocabulary has one
    int tokens;           // to add
    double temperature;   // 0: always the most likely token
    int top_k;            // only the k most likely tokens; 0: all
    uint64_t seed, index; // token i is drawn by counter (seed, index + i)
    int (*stop)(void);    // asked before each token: not 0 ends the text there; NULL: never
} SampleConfig;

// Prompt and continuation, well-formed UTF-8 (what is not becomes U+FFFD), freed with free(). Ends early at an
// end-of-text token. NULL on errors: a prompt that the vocabulary does not have.
char *sample_text(Model *model, Stream *stream, const SampleConfig *config, Error *err);

#ifdef __cplusplus
}
#endif
#endif

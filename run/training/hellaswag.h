// run/training/hellaswag.h - a network's choice of endings.
//
// The score of an ending is the negative log-likelihood of its tokens after the context, the completion style of
// llm.c (GPT-2 124M: 0.2955 normalized, 0.2859 not; lm-evaluation-harness has other numbers). The ending with the lowest
// mean over its tokens (normalized) or the lowest sum is chosen, the first of equal ones.
#ifndef POLAR_RUN_TRAINING_HELLASWAG_H
#define POLAR_RUN_TRAINING_HELLASWAG_H

#include "data/hellaswag.h"
#include "run/training/evaluate.h"

// Whether a network and what it has room for can run the examples: none is cut to fit. Errors name the file.
bool hellaswag_check(const Hellaswag *set, const char *path, const ModelConfig *config, int64_t positions,
                     Error *err);

typedef struct {
    int examples;
    double acc_norm, acc;  // fractions chosen right, by the mean and by the sum
    double standard_error; // of acc_norm
    bool not_finite;       // a loss was: the accuracies mean nothing
} HellaswagResult;

// Scores all endings. *complete is false when a signal ended it early. hellaswag_check has passed; `meter` may be NULL.
HellaswagResult hellaswag_evaluate(bool *complete, const Forward *forward, const Hellaswag *set, Meter *meter);
#endif

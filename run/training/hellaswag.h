// run/training/hellaswag.h - HellaSwag accuracy.
//
// The score of an ending is the negative log-likelihood of its tokens after the context, the completion style of
// llm.c (GPT-2 124M: 0.2955 normalized, 0.2859 not; lm-evaluation-harness has other numbers). The ending with the
// lowest mean over its tokens (normalized) or the lowest sum is chosen, the first of equal ones.
#ifndef POLAR_RUN_TRAINING_HELLASWAG_H
#define POLAR_RUN_TRAINING_HELLASWAG_H

#include "data/hellaswag.h"
#include "run/training/evaluate.h"

// Checks that the model and its batch shape fit all examples, none truncated. Errors name the file.
bool hellaswag_check(const Hellaswag *set, const char *path, const ModelConfig *config, int64_t positions,
                     Error *err);

typedef struct {
    int examples;
    double acc_norm, acc;  // accuracy by the mean and by the sum
    double standard_error; // of acc_norm
    bool not_finite;       // a loss is not finite: the accuracies are meaningless
} HellaswagResult;

// Scores all endings. *complete is false if a signal ended it early. Call hellaswag_check first; `meter` may be NULL.
HellaswagResult hellaswag_evaluate(bool *complete, const Forward *forward, const Hellaswag *set, Meter *meter);
#endif

// run/training/sample_token.h - samples a token: temperature, then top-k, then top-p.
#ifndef POLAR_RUN_TRAINING_SAMPLE_TOKEN_H
#define POLAR_RUN_TRAINING_SAMPLE_TOKEN_H

typedef struct {
    double temperature; // of the softmax; 0: always the most likely token
    int top_k;          // only the k most likely tokens; 0: all
    double top_p;       // of these, the smallest set of most likely tokens with at least this probability; 1: all
                        // (nucleus sampling: Holtzman et al. 2020, section 3.1)
} DrawConfig;

// Scratch memory of draw_token: V entries.
typedef struct {
    float logit;
    int token;
} Candidate;

// Samples by inverting the distribution at u in [0, 1). Of equal logits, the lower token is the more likely one.
int draw_token(Candidate *room, const float *logits, int V, const DrawConfig *config, double u);
#endif

// run/training/sample_token.h - which token: temperature, then the k likeliest, then the likeliest that make up p of what is left.
#ifndef POLAR_RUN_TRAINING_SAMPLE_TOKEN_H
#define POLAR_RUN_TRAINING_SAMPLE_TOKEN_H

typedef struct {
    double temperature; // of the softmax; 0: always the likeliest token
    int top_k;          // only the k likeliest tokens; 0: all
    double top_p;       // of those only the likeliest, as few as have together at least this probability; 1: all
                        // (Holtzman et al. 2020, section 3.1)
} DrawConfig;

// What draw_token works in: V entries.
typedef struct {
    float logit;
    int token;
} Candidate;

// A token by the inverse of the distribution at u in [0, 1). Of equal logits the lower token is the likelier one.
int draw_token(Candidate *room, const float *logits, int V, const DrawConfig *config, double u);
#endif

// run/checkpoint/train_state.h - training state other than weights and optimizer state; checkpoints hold all of it.
#ifndef POLAR_RUN_CHECKPOINT_TRAIN_STATE_H
#define POLAR_RUN_CHECKPOINT_TRAIN_STATE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t step;          // completed steps; also the index of the next global batch
    int64_t data_position; // position in the token stream with --align-documents; else 0: it follows from step
    bool reported;         // the evaluations and sample due after `step` steps are done
    double applied;        // optimizer steps applied (skipped bad steps not counted)
    double loss_sum;       // exponential moving average of the loss with decay 0.99, bias-corrected: the average is
    double loss_weight;    // loss_sum / loss_weight
    int64_t skipped;       // bad steps so far
    int64_t skipped_in_row;
    double elapsed_s; // training time without evaluations, summed over all resumptions of the run
    uint32_t vocab;   // fingerprint of the vocabulary; 0: none, or a checkpoint of before it was recorded
    double val_loss;  // last validation loss; NaN before the first
} RunState;
#endif

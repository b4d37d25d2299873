// run/checkpoint/train_state.h - what a run knows beside its weights and optimizer state; all of it stands in checkpoints.
#ifndef POLAR_RUN_CHECKPOINT_TRAIN_STATE_H
#define POLAR_RUN_CHECKPOINT_TRAIN_STATE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t step;          // steps done; also the global batch that comes next
    int64_t data_position; // of the stream, with --align-documents; else the step says it, and this is 0
    bool reported;         // the evaluations and sample due after `step` steps have been made
    double applied;        // steps the optimizer applied (bad ones left out)
    double loss_sum;       // running mean of the loss: sum and weight of an exponential average with decay 0.99, so
    double loss_weight;    // that the mean is loss_sum / loss_weight from the first step on
    int64_t skipped;       // bad steps so far
    int64_t skipped_in_row;
    double elapsed_s; // training time, validations left out, over all processes of the run
    double val_loss;  // of the last validation; NaN before the first
} RunState;
#endif

// data/batch.h - a micro-batch of tokens, the model's input, with an index for the embedding's gradient.
#ifndef POLAR_DATA_BATCH_H
#define POLAR_DATA_BATCH_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The index lists the positions of each distinct token of the batch, so that the embedding's gradient is
// deterministic: a sum in fixed order, without atomics or a sort on the device.
typedef struct {
    int B, T;
    int32_t *tokens;   // (B, T) inputs
    int32_t *targets;  // (B, T) the next tokens; -1: no loss at this position
    int32_t *order;    // (B, T) positions sorted by token, equal tokens by position
    int32_t *start;    // (n_unique + 1) offsets in `order` of the positions of unique token u
    int32_t *unique;   // (n_unique) the distinct tokens, ascending
    int32_t *n_unique; // (1) in the same allocation, so that kernels can read it on the device
} Batch;

// batch_bytes is the size of one allocation that holds all arrays of a (B, T) batch; batch_layout sets the pointers
// within it, `tokens` first. Copying these bytes copies the batch.
int64_t batch_bytes(int B, int T);
void batch_layout(Batch *batch, void *memory, int B, int T);

// Computes order, start, unique and n_unique from tokens by counting sort; `scratch` holds vocab_size + 1 ints.
void batch_index(Batch *batch, int32_t *scratch, int vocab_size);

#ifdef __cplusplus
}
#endif
#endif

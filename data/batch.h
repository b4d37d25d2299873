// data/batch.h - a micro-batch of tokens as the network takes it. The loader fills one on the host, with its
// index.
#ifndef POLAR_DATA_BATCH_H
#define POLAR_DATA_BATCH_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The index lists, for each distinct token of the batch, the positions it stands at, so that the gradient of the
// embedding is a sum in fixed order with no sort and no atomics.
typedef struct {
    int B, T;
    int32_t *tokens;   // (B, T) inputs
    int32_t *targets;  // (B, T) the next tokens; -1: no loss at this position
    int32_t *order;    // (B, T) positions sorted by token, equal tokens in order of position
    int32_t *start;    // (n_unique + 1) where the positions of unique token u begin in order
    int32_t *unique;   // (n_unique) the distinct tokens, ascending
    int32_t *n_unique; // (1) in the same memory, so that work queued on a device reads it there
} Batch;

// Bytes of one allocation that holds all arrays of a (B, T) batch, and the layout of the pointers within `memory`, which
// `tokens` is the beginning of: a copy of these bytes is a copy of the batch.
int64_t batch_bytes(int B, int T);
void batch_layout(Batch *batch, void *memory, int B, int T);

// Fills order, start, unique and n_unique from tokens (counting sort; `scratch` holds vocab_size + 1 ints).
void batch_index(Batch *batch, int32_t *scratch, int vocab_size);

#ifdef __cplusplus
}
#endif
#endif

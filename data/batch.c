#include "data/batch.h"

#include "base/error.h"

#include <string.h>

enum { ALIGN = 64 };

static int64_t align_up(int64_t bytes) {
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

// Bytes of each of the five arrays: B T entries and one more, for `start`, which has up to B T + 1 entries, and for
// n_unique, which is stored after `unique`.
static int64_t array_bytes(int B, int T) {
    return align_up(((int64_t)B * T + 1) * (int64_t)sizeof(int32_t));
}

int64_t batch_bytes(int B, int T) {
    return 5 * array_bytes(B, T);
}

void batch_layout(Batch *batch, void *memory, int B, int T) {
    char *p = memory;
    int64_t step = array_bytes(B, T);
    *batch = (Batch){.B = B,
                     .T = T,
                     .tokens = (int32_t *)(void *)p,
                     .targets = (int32_t *)(void *)(p + step),
                     .order = (int32_t *)(void *)(p + 2 * step),
                     .start = (int32_t *)(void *)(p + 3 * step),
                     .unique = (int32_t *)(void *)(p + 4 * step)};
    batch->n_unique = batch->unique + (int64_t)B * T;
}

void batch_index(Batch *batch, int32_t *scratch, int vocab_size) {
    ASSERT((int64_t)batch->B * batch->T < INT32_MAX);
    int32_t n = batch->B * batch->T, n_unique = 0;
    memset(scratch, 0, ((size_t)vocab_size + 1) * sizeof *scratch);
    for (int32_t i = 0; i < n; i++) {
        ASSERT(batch->tokens[i] >= 0 && batch->tokens[i] < vocab_size);
        scratch[batch->tokens[i] + 1]++;
    }
    for (int v = 0; v < vocab_size; v++) {
        if (scratch[v + 1] > 0) {
            batch->unique[n_unique] = v;
            batch->start[n_unique++] = scratch[v];
        }
        scratch[v + 1] += scratch[v];
    }
    batch->start[n_unique] = n;
    *batch->n_unique = n_unique;
    for (int32_t i = 0; i < n; i++) batch->order[scratch[batch->tokens[i]]++] = i;
}

#include "model/cpu/ops.h"

void OP_TABLE(embedding_forward)(Stream *s, const EmbeddingForward *a) {
    (void)s;
    const Batch *batch = a->batch;
    elem *out = a->out;                      // (B, T, C)
    const elem *wte = a->wte, *wpe = a->wpe; // (Vp, C), (context, C)
    int64_t T = batch->T, N = batch->B * T;
    int C = a->C, pos_offset = a->pos_offset;
#pragma omp parallel for schedule(static) if (N * C > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < N; i++) {
        const elem *token = wte + (int64_t)batch->tokens[i] * C;
        const elem *position = wpe ? wpe + (pos_offset + i % T) * C : NULL;
        for (int c = 0; c < C; c++)
            out[i * C + c] = to_elem(from_elem(token[c]) + (position ? from_elem(position[c]) : 0));
    }
}

void OP_TABLE(embedding_backward)(Stream *s, const EmbeddingBackward *a) {
    (void)s;
    const Batch *batch = a->batch;
    real *dwte = a->dwte, *dwpe = a->dwpe; // (Vp, C), (context, C)
    const elem *dout = a->dout;            // (B, T, C)
    int64_t T = batch->T, N = batch->B * T;
    int C = a->C;
    // Each thread owns whole tokens; dynamic scheduling because token frequencies differ widely.
#pragma omp parallel for schedule(dynamic, 8) if (N * C > CPU_PARALLEL_MIN)
    for (int32_t u = 0; u < *batch->n_unique; u++) {
        real *row = dwte + (int64_t)batch->unique[u] * C;
        for (int32_t j = batch->start[u]; j < batch->start[u + 1]; j++) {
            const elem *d = dout + (int64_t)batch->order[j] * C;
            for (int c = 0; c < C; c++) row[c] += from_elem(d[c]);
        }
    }
    if (dwpe == NULL) return;
#pragma omp parallel for schedule(static) if (N * C > CPU_PARALLEL_MIN)
    for (int64_t t = 0; t < T; t++) {
        real *row = dwpe + t * C;
        for (int b = 0; b < batch->B; b++) {
            const elem *d = dout + (b * T + t) * C;
            for (int c = 0; c < C; c++) row[c] += from_elem(d[c]);
        }
    }
}

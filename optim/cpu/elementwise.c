// Elementwise operations and transposition for the polar methods on the CPU.
#include "optim/cpu/ops.h"

enum { TILE = 32 }; // rows per tile of a transposition

void OP_TABLE(add_diagonal)(Stream *s, const AddDiagonal *a) {
    (void)s;
    int64_t n = a->n;
    for (int64_t r = 0; r < a->count * n; r++) {
        elem *at = (elem *)a->x + r * n + r % n;
        *at = narrowed(wide(*at) + a->value);
    }
}

void OP_TABLE(stack_identity)(Stream *s, const StackIdentity *a) {
    (void)s;
    const elem *from = a->x;
    elem *to = a->y;
    int64_t rows = a->rows, cols = a->cols;
#pragma omp parallel for schedule(static) if (rows * cols >= CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < rows * cols; i++) to[i] = narrowed(a->a * wide(from[i]));
    to += rows * cols;
    for (int64_t r = 0; r < cols; r++)
        for (int64_t c = 0; c < cols; c++) to[r * cols + c] = narrowed(r == c ? a->b : 0);
}

void OP_TABLE(axpby)(Stream *s, const Axpby *args) {
    (void)s;
    const elem *x = args->x;
    elem *y = args->y;
    double a = args->a, b = args->b;
    int64_t n = args->n;
#pragma omp parallel for schedule(static) if (n >= CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) y[i] = narrowed(a * wide(x[i]) + (b == 0 ? 0 : b * wide(y[i])));
}

void OP_TABLE(transpose)(Stream *s, const Transpose *a) {
    (void)s;
    int64_t rows = a->rows, cols = a->cols, tiles = (rows + TILE - 1) / TILE;
#pragma omp parallel for schedule(static) if (a->count * rows * cols >= CPU_PARALLEL_MIN)
    for (int64_t t = 0; t < a->count * tiles; t++) {
        const elem *from = (const elem *)a->x + t / tiles * rows * cols;
        elem *to = (elem *)a->y + t / tiles * rows * cols;
        int64_t first = t % tiles * TILE, end = first + TILE < rows ? first + TILE : rows;
        for (int64_t c = 0; c < cols; c++)
            for (int64_t r = first; r < end; r++) to[c * rows + r] = from[r * cols + c];
    }
}

void OP_TABLE(drop_small)(Stream *s, const DropSmall *a) {
    (void)s;
    const elem *values = a->values;
    elem *u = a->u;
    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t i = 0; i < a->k; i++)
            if (wide(values[i]) <= a->tolerance * wide(values[0])) u[r * a->k + i] = narrowed(0);
}

void OP_TABLE(widen)(Stream *s, const Widen *a) {
    (void)s;
    const elem *x = a->x;
    for (int64_t i = 0; i < a->n; i++) a->y[i] = wide(x[i]);
}

void OP_TABLE(narrow)(Stream *s, const Narrow *a) {
    (void)s;
    elem *y = a->y;
    for (int64_t i = 0; i < a->n; i++) y[i] = narrowed(a->x[i]);
}

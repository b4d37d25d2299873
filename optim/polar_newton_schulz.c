// The Newton-Schulz iteration, three products a step over the short side of the matrix.
#include "optim/polar.h"

// What stays the same from step to step.
typedef struct {
    Stream *stream;
    Type type;
    int64_t rows, cols, k;
    bool wide;
    int batch;
    void *gram, *poly; // (batch, k, k): A and b A + c A^2
} Iteration;

// A = X X^T or X^T X.
static void gram_product(const Iteration *it, const void *x) {
    int64_t size = it->rows * it->cols;
    device_gemm(it->stream, &(Gemm){.type = it->type,
                                    .c_type = it->type,
                                    .transpose_a = !it->wide,
                                    .transpose_b = it->wide,
                                    .m = it->k,
                                    .n = it->k,
                                    .k = it->wide ? it->cols : it->rows,
                                    .alpha = 1,
                                    .a = x,
                                    .lda = it->cols,
                                    .stride_a = size,
                                    .b = x,
                                    .ldb = it->cols,
                                    .stride_b = size,
                                    .c = it->gram,
                                    .ldc = it->k,
                                    .stride_c = it->k * it->k,
                                    .batch = it->batch});
}

// poly = b A + c A^2.
static void square_product(const Iteration *it, PolarTriple t) {
    int64_t k = it->k;
    device_copy(it->stream, it->poly, it->gram, (size_t)(it->batch * k * k) * type_size(it->type));
    device_gemm(it->stream, &(Gemm){.type = it->type,
                                    .c_type = it->type,
                                    .m = k,
                                    .n = k,
                                    .k = k,
                                    .alpha = t.c,
                                    .beta = t.b,
                                    .a = it->gram,
                                    .lda = k,
                                    .stride_a = k * k,
                                    .b = it->gram,
                                    .ldb = k,
                                    .stride_b = k * k,
                                    .c = it->poly,
                                    .ldc = k,
                                    .stride_c = k * k,
                                    .batch = it->batch});
}

// y = a x + alpha P x (P x from the right for tall matrices), P (k, k).
static void apply_product(const Iteration *it, void *y, const void *x, const void *p, double a, double alpha) {
    int64_t size = it->rows * it->cols, k = it->k;
    device_copy(it->stream, y, x, (size_t)(it->batch * size) * type_size(it->type));
    device_gemm(it->stream, &(Gemm){.type = it->type,
                                    .c_type = it->type,
                                    .m = it->rows,
                                    .n = it->cols,
                                    .k = k,
                                    .alpha = alpha,
                                    .beta = a,
                                    .a = it->wide ? p : x,
                                    .lda = k, // the columns of x are k where it stands on the left
                                    .stride_a = it->wide ? k * k : size,
                                    .b = it->wide ? x : p,
                                    .ldb = it->cols,
                                    .stride_b = it->wide ? size : k * k,
                                    .c = y,
                                    .ldc = it->cols,
                                    .stride_c = size,
                                    .batch = it->batch});
}

int64_t polar_newton_schulz_scratch(const PolarProblem *p) {
    int64_t k = p->rows < p->cols ? p->rows : p->cols;
    return p->batch * (p->rows * p->cols + 2 * k * k) * (int64_t)type_size(p->type);
}

// The short side is the side of the Gram matrix: X X^T from the left for wide ones, X^T X from the right for tall ones.
void *polar_newton_schulz(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken) {
    const PolarMethod *method = p->method;
    bool wide = p->rows <= p->cols;
    int64_t k = wide ? p->rows : p->cols;
    char *gram = (char *)scratch + (size_t)(p->batch * p->rows * p->cols) * type_size(p->type);
    Iteration it = {.stream = p->stream,
                    .type = p->type,
                    .rows = p->rows,
                    .cols = p->cols,
                    .k = k,
                    .wide = wide,
                    .batch = p->batch,
                    .gram = gram,
                    .poly = gram + (size_t)(p->batch * k * k) * type_size(p->type)};
    void *y = scratch;
    p->ops->polar_scale(p->stream, x, row_sums, p->batch, p->rows, p->cols, method->norm_factor, p->norm_eps);
    for (int step = 0; step < p->steps; step++) {
        PolarTriple t = polar_triple(method, step);
        gram_product(&it, x);
        if (t.c != 0) {
            square_product(&it, t);
            apply_product(&it, y, x, it.poly, t.a, 1);
        } else {
            apply_product(&it, y, x, it.gram, t.a, t.b);
        }
        void *swap = x;
        x = y;
        y = swap;
    }
    if (steps_taken) *steps_taken = p->steps;
    return x;
}

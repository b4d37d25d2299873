#include "optim/polar/gram_products.h"

PolarGemms polar_gemms(const PolarProblem *p) {
    bool wide = p->rows <= p->cols;
    return (PolarGemms){.stream = p->stream,
                        .type = p->type,
                        .rows = p->rows,
                        .cols = p->cols,
                        .k = wide ? p->rows : p->cols,
                        .wide = wide,
                        .batch = p->batch};
}

static int64_t aligned(int64_t bytes) {
    return (bytes + 63) / 64 * 64;
}

int64_t polar_matrix_bytes(const PolarGemms *pp) {
    return aligned(pp->batch * pp->rows * pp->cols * (int64_t)type_size(pp->type));
}

int64_t polar_gram_bytes(const PolarGemms *pp) {
    return aligned(pp->batch * pp->k * pp->k * (int64_t)type_size(pp->type));
}

double polar_gram_flops(const PolarGemms *pp) {
    return 2.0 * (double)pp->k * (double)pp->rows * (double)pp->cols;
}

double polar_multiply_flops(const PolarGemms *pp) {
    return 2.0 * (double)pp->k * (double)pp->k * (double)pp->k;
}

void polar_gram(const PolarGemms *pp, void *gram, const void *x, double alpha) {
    int64_t size = pp->rows * pp->cols;
    device_gemm(pp->stream, &(Gemm){.type = pp->type,
                                    .c_type = pp->type,
                                    .transpose_a = !pp->wide,
                                    .transpose_b = pp->wide,
                                    .m = pp->k,
                                    .n = pp->k,
                                    .k = pp->wide ? pp->cols : pp->rows,
                                    .alpha = alpha,
                                    .a = x,
                                    .lda = pp->cols,
                                    .stride_a = size,
                                    .b = x,
                                    .ldb = pp->cols,
                                    .stride_b = size,
                                    .c = gram,
                                    .ldc = pp->k,
                                    .stride_c = pp->k * pp->k,
                                    .batch = pp->batch,
                                    .symmetric = true});
}

void polar_multiply(const PolarGemms *pp, void *out, const void *left, const void *right, double alpha,
                    const void *add, double beta) {
    int64_t k = pp->k;
    // right is symmetric. Passing it transposed lets device_gemm recognize A A^T if left == right, which costs half.
    device_gemm(pp->stream, &(Gemm){.type = pp->type,
                                    .c_type = pp->type,
                                    .transpose_b = true,
                                    .m = k,
                                    .n = k,
                                    .k = k,
                                    .alpha = alpha,
                                    .beta = beta,
                                    .a = left,
                                    .lda = k,
                                    .stride_a = k * k,
                                    .b = right,
                                    .ldb = k,
                                    .stride_b = k * k,
                                    .c = out,
                                    .ldc = k,
                                    .stride_c = k * k,
                                    .batch = pp->batch,
                                    .c_in = add,
                                    .symmetric = true});
}

void polar_apply(const PolarGemms *pp, void *y, const void *x, const void *p, double alpha, double beta) {
    int64_t size = pp->rows * pp->cols, k = pp->k;
    device_gemm(pp->stream, &(Gemm){.type = pp->type,
                                    .c_type = pp->type,
                                    .m = pp->rows,
                                    .n = pp->cols,
                                    .k = k,
                                    .alpha = alpha,
                                    .beta = beta,
                                    .a = pp->wide ? p : x,
                                    .lda = k, // also for x: a tall x has k columns
                                    .stride_a = pp->wide ? k * k : size,
                                    .b = pp->wide ? x : p,
                                    .ldb = pp->cols,
                                    .stride_b = pp->wide ? size : k * k,
                                    .c = y,
                                    .ldc = pp->cols,
                                    .stride_c = size,
                                    .batch = pp->batch,
                                    .c_in = x});
}

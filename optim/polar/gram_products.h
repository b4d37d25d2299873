// optim/polar/gram_products.h - the GEMMs of the polar methods, on Gram matrices of the short side. Internal to optim/.
#ifndef POLAR_OPTIM_POLAR_GRAM_PRODUCTS_H
#define POLAR_OPTIM_POLAR_GRAM_PRODUCTS_H

#include "optim/polar/polar.h"

// A batch of matrices X (rows, cols) and Gram matrices (k, k), k the short side: X X^T for wide matrices, applied from
// the left, X^T X for tall ones, applied from the right. A polynomial of the Gram matrix has the same effect on X
// either way, so nothing is ever transposed.
typedef struct {
    Stream *stream;
    Type type;
    int64_t rows, cols, k;
    bool wide; // rows <= cols
    int batch;
} PolarGemms;

PolarGemms polar_gemms(const PolarProblem *p);

// Bytes of a (batch, rows, cols) and of a (batch, k, k) array, rounded up to 64 so that arrays stay aligned.
int64_t polar_matrix_bytes(const PolarGemms *pp);
int64_t polar_gram_bytes(const PolarGemms *pp);

// Floating-point operations per matrix of polar_gram (the same as of polar_apply) and of polar_multiply.
double polar_gram_flops(const PolarGemms *pp);
double polar_multiply_flops(const PolarGemms *pp);

// gram = alpha X X^T or alpha X^T X.
void polar_gram(const PolarGemms *pp, void *gram, const void *x, double alpha);

// out = alpha left right + beta add, all (batch, k, k) polynomials of the same Gram matrix, so that the result is
// symmetric. out must not alias the inputs.
void polar_multiply(const PolarGemms *pp, void *out, const void *left, const void *right, double alpha,
                    const void *add, double beta);

// y = alpha p x + beta x (alpha x p + beta x for tall matrices), p (batch, k, k). y must not alias the inputs.
void polar_apply(const PolarGemms *pp, void *y, const void *x, const void *p, double alpha, double beta);
#endif

// optim/polar/gram_products.h - the products of which the polar methods are made, over the short side of the matrices. For
// the files of optim/ only.
#ifndef POLAR_OPTIM_POLAR_GRAM_PRODUCTS_H
#define POLAR_OPTIM_POLAR_GRAM_PRODUCTS_H

#include "optim/polar/polar.h"

// A batch of X (rows, cols) with its Gram matrices (k, k), k the short side: X X^T acts from the left on wide
// matrices, X^T X from the right on tall ones. A polynomial p of the Gram matrix G does the same to X either way,
// so that nothing is ever transposed.
typedef struct {
    Stream *stream;
    Type type;
    int64_t rows, cols, k;
    bool wide; // rows <= cols
    int batch;
} PolarGemms;

PolarGemms polar_gemms(const PolarProblem *p);

// Bytes of one (batch, rows, cols) and of one (batch, k, k) array, rounded up so that arrays can follow each other.
int64_t polar_matrix_bytes(const PolarGemms *x);
int64_t polar_gram_bytes(const PolarGemms *x);

// Floating-point operations of polar_gram, which polar_apply has too, and of polar_multiply, on one matrix.
double polar_gram_flops(const PolarGemms *pp);
double polar_multiply_flops(const PolarGemms *pp);

// gram = alpha X X^T or alpha X^T X.
void polar_gram(const PolarGemms *pp, void *gram, const void *x, double alpha);

// out = alpha left right + beta add, all (batch, k, k) polynomials of one Gram matrix, so that the result is symmetric;
// out is none of the others.
void polar_multiply(const PolarGemms *pp, void *out, const void *left, const void *right, double alpha,
                    const void *add, double beta);

// y = alpha p x + beta x (x p for tall matrices), p (batch, k, k); y is none of the others.
void polar_apply(const PolarGemms *pp, void *y, const void *x, const void *p, double alpha, double beta);
#endif

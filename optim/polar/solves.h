// optim/polar/solves.h - what the rational iterations share: u (u^T u + ...)^-1 of one tall matrix, by QR or Cholesky.
// For the files of optim/ only.
#ifndef POLAR_OPTIM_POLAR_SOLVES_H
#define POLAR_OPTIM_POLAR_SOLVES_H

#include "optim/polar/gram_products.h"

// Work on one matrix u (rows, cols), rows >= cols, of type products.type.
typedef struct {
    PolarGemms products;
    const PolarOps *ops;
    void *matrix; // (rows, cols)
    void *stack;  // (rows + cols, cols)
} PolarSolve;

// For matrices of p (which may be wide: then of their transposes) in a type of their own.
PolarSolve polar_solve_init(const PolarProblem *p, Type type);

// Lays `matrix` and `stack` into memory; returns their bytes. memory may be NULL, to ask for the bytes.
int64_t polar_solve_memory(PolarSolve *s, void *memory);

// out = alpha u (c u^T u + d I)^-1 + beta out, c and d > 0. out may be u. By Householder QR of [sqrt(c) u; sqrt(d) I],
// which is stable for any condition number, or by Cholesky, which is faster and is not where c / d is large.
void polar_solve_term(const PolarSolve *s, void *out, const void *u, double c, double d, double alpha, double beta,
                      bool qr);

// s->matrix = 1.5 u - 0.5 u u^T u: squares what is left of the distance to orthonormal columns.
void polar_solve_polish(const PolarSolve *s, const void *u);
#endif

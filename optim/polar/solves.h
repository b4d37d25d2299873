// optim/polar/solves.h - the common step of the rational iterations (QDWH, ZOLO-PD): u (c u^T u + d I)^-1 for one tall
// matrix, by QR or Cholesky. Internal to optim/.
#ifndef POLAR_OPTIM_POLAR_SOLVES_H
#define POLAR_OPTIM_POLAR_SOLVES_H

#include "optim/polar/gram_products.h"

// The workspace for one matrix u (rows, cols), rows >= cols, of type gemms.type.
typedef struct {
    PolarGemms gemms;
    const PolarOps *ops;
    void *matrix; // (rows, cols)
    void *stack;  // (rows + cols, cols)
} PolarSolve;

// For the matrices of p, or their transposes if they are wide, computed in `type`.
PolarSolve polar_solve_init(const PolarProblem *p, Type type);

// Places `matrix` and `stack` in memory; returns the bytes needed. memory may be NULL, to query the size.
int64_t polar_solve_memory(PolarSolve *s, void *memory);

// out = alpha u (c u^T u + d I)^-1 + beta out, c and d > 0. out may be u. Uses Householder QR of
// [sqrt(c) u; sqrt(d) I], which is stable for any condition number, or Cholesky, which is faster but unstable if c / d
// is large.
void polar_solve_term(const PolarSolve *s, void *out, const void *u, double c, double d, double alpha, double beta,
                      bool qr);

// s->matrix = 1.5 u - 0.5 u u^T u, a Newton-Schulz step: squares the remaining distance to orthonormal columns.
void polar_solve_polish(const PolarSolve *s, const void *u);
#endif

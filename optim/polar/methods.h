// optim/polar/methods.h - the functions of the registered methods (optim/polar/polar.c), as PolarMethod documents them.
// steps_taken is never NULL here. Internal to optim/.
#ifndef POLAR_OPTIM_POLAR_METHODS_H
#define POLAR_OPTIM_POLAR_METHODS_H

#include "optim/polar/gram_products.h"

// optim/polar/newton_schulz.c: a fixed number of polynomial steps, batched, without host synchronization.
int64_t polar_newton_schulz_scratch(const PolarProblem *p);
double polar_newton_schulz_flops(const PolarProblem *p, int steps);
void *polar_newton_schulz(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken);
int64_t polar_turbo_muon_scratch(const PolarProblem *p);
void *polar_turbo_muon(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken);
int64_t polar_gram_ns_scratch(const PolarProblem *p);
double polar_gram_ns_flops(const PolarProblem *p, int steps);
void *polar_gram_ns(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken);

// optim/polar/precond.c: Newton-Schulz until convergence; reads a distance back in every step.
int64_t polar_precond_ns_scratch(const PolarProblem *p);
double polar_precond_ns_flops(const PolarProblem *p, int steps);
void *polar_precond_ns(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken);

// optim/polar/qdwh.c, zolo.c, svd.c: by QR, Cholesky or SVD, one matrix at a time.
int64_t polar_qdwh_scratch(const PolarProblem *p);
double polar_qdwh_flops(const PolarProblem *p, int steps);
void *polar_qdwh(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken);
int64_t polar_zolo_scratch(const PolarProblem *p);
void *polar_zolo(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken);
int64_t polar_svd_scratch(const PolarProblem *p);
void *polar_svd(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken);
#endif

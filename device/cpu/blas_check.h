// device/cpu/blas_check.h - the part of CBLAS that is used, and a test of it. Private to device/cpu/.
#ifndef POLAR_DEVICE_CPU_BLAS_CHECK_H
#define POLAR_DEVICE_CPU_BLAS_CHECK_H

#include <stdbool.h>

// The numbers of CBLAS: 101 row-major, 111 not transposed, 112 transposed, 122 lower triangle.
typedef void Sgemm(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *,
                   int);
typedef void Dgemm(int, int, int, int, int, int, double, const double *, int, const double *, int, double, double *,
                   int);
typedef void Ssyrk(int, int, int, int, int, float, const float *, int, float, float *, int);
typedef void Dsyrk(int, int, int, int, int, double, const double *, int, double, double *, int);

typedef struct {
    Sgemm *sgemm;
    Dgemm *dgemm;
    Ssyrk *ssyrk; // NULL if either syrk is missing
    Dsyrk *dsyrk;
} Blas;

// Returns false if a product of small integers, whose sums are exact in any order, is wrong: there have been builds of
// BLAS that compute wrong on processors newer than themselves. Takes some milliseconds. Out of memory counts as wrong.
bool blas_check(const Blas *blas);
#endif

// optim/polar/accuracy.h - accuracy of a computed polar factor, and test matrices with a given spectrum.
#ifndef POLAR_OPTIM_POLAR_ACCURACY_H
#define POLAR_OPTIM_POLAR_ACCURACY_H

#include "optim/polar/polar.h"

// A (m, n) = L S R^T is the SVD, m >= n (otherwise of the transposes). The rank r counts the singular values above
// 4 eps S_1, eps that of the type. The polar factor of A is L_r R_r^T on the row space and arbitrary outside it; only
// the backward error includes that part. W = U R_r, H = (U^T A + A^T U) / 2. Norms are Frobenius norms, ||.||_* nuclear
// norms.
typedef struct {
    int64_t rank;
    double orthogonality;        // ||W^T W - I|| / sqrt(r)
    double backward_error;       // ||A - U H|| / ||A||
    double forward_error;        // ||W - L_r|| / sqrt(r); the condition number amplifies it
    double asymmetry;            // ||U^T A - H|| / ||A||
    double negative;             // |sum of the negative eigenvalues of H| / ||A||_*; 0 if H is semidefinite
    double nuclear_ratio;        // <A, U> / ||A||_*
    double sigma_min, sigma_max; // singular values of W
} PolarReport;

// Measures U (rows, cols) against A, both in device memory, in double by an SVD (needs device_can_solve). All numbers
// are NaN if an element is not finite, and 0 if A is zero. Errors: out of memory; the report is then undefined.
bool polar_measure(PolarReport *report, Stream *stream, const void *a, const void *u, Type type, int64_t rows,
                   int64_t cols, Error *err);

// Test matrices: given singular values with random orthonormal factors, or random elements.
typedef enum {
    SPECTRUM_GAUSSIAN,     // elements N(0, 1)
    SPECTRUM_HEAVY_TAILED, // elements of Student's t distribution with two degrees of freedom: no variance
    SPECTRUM_LOG,          // evenly spaced logarithms from 1 to `least`
    SPECTRUM_HALF_RANK,    // the first half are 1, the others 0
    SPECTRUM_RANK_2,       // two are 1, the others 0
    SPECTRUM_TWO_LARGE     // two are 1, the others 1e-3
} SpectrumKind;

typedef struct {
    SpectrumKind kind;
    double least; // SPECTRUM_LOG
} Spectrum;

// Parses gaussian, heavy-tailed, half-rank, rank-2, two-large, log:1e-10 or condition:1e6 (log to 1/1e6).
bool spectrum_parse(Spectrum *spectrum, const char *text, Error *err);

// Fills a (rows, cols), on the host, with the matrix of this seed. Needs device_can_solve. Errors: out of memory.
bool spectrum_matrix(double *a, Stream *stream, Spectrum spectrum, int64_t rows, int64_t cols, uint64_t seed,
                     Error *err);
#endif

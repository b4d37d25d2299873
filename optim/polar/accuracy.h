// optim/polar/accuracy.h - how good a polar factor is, and the matrices to ask it of.
#ifndef POLAR_OPTIM_POLAR_ACCURACY_H
#define POLAR_OPTIM_POLAR_ACCURACY_H

#include "optim/polar/polar.h"

// A (m, n) = L S R^T with m >= n (otherwise of the transposes), r its rank: singular values above 4 eps S_1, eps
// that of the type. The polar factor of A is L_r R_r^T on the row space and anything beyond it, which is left out
// of all but the backward error. W = U R_r, H = (U^T A + A^T U) / 2. Norms are Frobenius norms, ||.||_* sums of
// singular values.
typedef struct {
    int64_t rank;
    double orthogonality;        // ||W^T W - I|| / sqrt(r)
    double backward_error;       // ||A - U H|| / ||A||
    double forward_error;        // ||W - L_r|| / sqrt(r): at most the condition number times more
    double asymmetry;            // ||U^T A - H|| / ||A||
    double negative;             // negative eigenvalues of H, their sum / ||A||_*: 0 where H is semidefinite
    double nuclear_ratio;        // <A, U> / ||A||_*
    double sigma_min, sigma_max; // singular values of W
} PolarReport;

// Measures U (rows, cols) against A, both in device memory, in double by an SVD (the device must solve). All
// numbers are NaN where an element is not finite, and 0 where A is zero. Errors: out of memory, for which the report means
// nothing.
bool polar_measure(PolarReport *report, Stream *stream, const void *a, const void *u, Type type, int64_t rows,
                   int64_t cols, Error *err);

// Matrices by their singular values between random orthonormal factors, or by their elements.
typedef enum {
    SPECTRUM_GAUSSIAN,     // elements N(0, 1)
    SPECTRUM_HEAVY_TAILED, // elements of Student's t distribution with two degrees of freedom: no variance
    SPECTRUM_LOG,          // evenly spaced logarithms from 1 to `least`
    SPECTRUM_HALF_RANK,    // the first half 1, the others 0
    SPECTRUM_RANK_2,       // two of 1, the others 0
    SPECTRUM_TWO_LARGE     // two of 1, the others 1e-3
} SpectrumKind;

typedef struct {
    SpectrumKind kind;
    double least; // SPECTRUM_LOG
} Spectrum;

// "gaussian", "log:1e-10", "half-rank", "rank-2", "two-large", "heavy-tailed", "condition:1e6" (log to 1/1e6).
bool spectrum_parse(Spectrum *spectrum, const char *text, Error *err);

// a (rows, cols), on the host; another seed, another matrix. The device must solve. Errors: out of memory.
bool spectrum_matrix(double *a, Stream *stream, Spectrum spectrum, int64_t rows, int64_t cols, uint64_t seed,
                     Error *err);
#endif

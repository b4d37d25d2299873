// optim/polar/polar.h - the polar factor of a matrix: the registry behind --polar.
//
// The polar factor of X = U S V^T is U V^T. A Newton-Schulz iteration approximates it by an odd polynomial of the
// singular values: X <- a X + (b A + c A^2) X with A = X X^T maps every one by p(s) = a s + b s^3 + c s^5, and a list
// of triples (a, b, c) is composed so that s in (0, 1] comes near 1. The other methods are in files of their own. See
// docs/optimizers.md for how they compare.
#ifndef POLAR_OPTIM_POLAR_POLAR_H
#define POLAR_OPTIM_POLAR_POLAR_H

#include "optim/ops.h"

typedef struct {
    double a, b, c;
} PolarTriple;

typedef struct PolarMethod PolarMethod;

// `batch` dense (rows, cols) matrices of `type` whose polar factors are wanted, and how.
typedef struct {
    Stream *stream;
    const OptimOps *ops;
    const PolarMethod *method;
    Type type;
    int steps;       // of the iteration; 0: until it has converged, for methods that do
    double norm_eps; // added to the Frobenius norm where the method divides by it
    int64_t rows, cols;
    int batch;
} PolarProblem;

struct PolarMethod {
    const char *name; // "polar-express": --polar NAME
    const char *summary;
    const char *source;
    int default_steps; // the source's; 0: until it has converged
    bool converges;    // takes steps = 0
    bool solves;       // needs device_can_solve
    bool
        needs_host_sync; // numbers are read on the host in between, or cuSOLVER is at work, which does not say whether
                         // it waits: it cannot be recorded
    int max_steps;       // where there are no triples
    double norm_eps;     // where the method uses it
    int64_t (*scratch_bytes)(const PolarProblem *p);
    // As polar_factor below.
    void *(*factor)(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken);

    // Nominal floating-point operations of a number of steps on one matrix; NULL where the data decide.
    double (*flops)(const PolarProblem *p, int steps);

    // Polynomial methods only.
    const PolarTriple *triples;
    int n_triples;
    bool repeat_last;   // steps beyond the list repeat its last triple; otherwise they are refused
    double safety;      // all triples but a repeated one are divided by safety, safety^3, safety^5
    double norm_factor; // X is first divided by ||X||_F norm_factor + norm_eps
    double sigma_max;   // largest singular value (1 but for rounding) that the list keeps bounded and positive
};

// The registry, in the order of the help: the values of an option. A row without a name ends it.
extern const PolarMethod POLAR_METHODS[];
const PolarMethod *polar_methods(int *count);

// The type in which a method works where the network's is `type`: bf16 where that is bf16 and the method is a polynomial
// that stays bounded for singular values a rounding of bf16 above 1; else the accumulation type.
Type polar_factor_type(const PolarMethod *method, Type type);

// The most steps a method can take, and, for polynomial ones, the triple of one (0-based) with the safety factor.
int polar_max_steps(const PolarMethod *method);
PolarTriple polar_triple(const PolarMethod *method, int step);

// Nominal floating-point operations of polar_factor where it took these steps; 0 where they are not known.
double polar_flops(const PolarProblem *p, int steps);

// Bytes of scratch that polar_factor needs.
int64_t polar_scratch_bytes(const PolarProblem *p);

// The polar factors of x (batch, rows, cols), or what the method makes of them; row_sums (batch, rows) are the sums of
// squares of its rows. Overwrites x and scratch; returns where the result stands (x, or within scratch). *steps_taken,
// if not NULL, becomes the number of steps (the most in the batch). A zero matrix gives zero, whatever the method;
// numbers that are not finite give NaN or infinities, never a hang.
void *polar_factor(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken);
#endif

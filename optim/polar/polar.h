// optim/polar/polar.h - methods for the polar factor of a matrix (--polar).
//
// The polar factor of X = U S V^T is U V^T. A Newton-Schulz iteration approximates it by an odd polynomial of the
// singular values: X <- a X + (b A + c A^2) X with A = X X^T maps each of them to p(s) = a s + b s^3 + c s^5, and a
// list of triples (a, b, c) is composed so that s in (0, 1] ends up near 1. docs/optimizers.md compares all methods.
#ifndef POLAR_OPTIM_POLAR_POLAR_H
#define POLAR_OPTIM_POLAR_POLAR_H

#include "optim/ops.h"

typedef struct {
    double a, b, c;
} PolarTriple;

typedef struct PolarMethod PolarMethod;

// The arguments of polar_factor: a batch of dense (rows, cols) matrices of `type`, and the method.
typedef struct {
    Stream *stream;
    const OptimOps *ops;
    const PolarMethod *method;
    Type type;
    int steps;       // of the iteration; 0: until convergence, for methods that converge
    double norm_eps; // added to the Frobenius norm, if the method divides by it
    int64_t rows, cols;
    int batch;
    // Each matrix, which fits its cache, by one thread of a CPU; not for methods that converge.
    bool one_thread_each;
} PolarProblem;

struct PolarMethod {
    const char *name; // "polar-express": --polar NAME
    const char *summary;
    const char *source;
    int default_steps; // the source's; 0: until convergence
    bool converges;    // supports steps = 0: iterates until convergence
    bool solves;       // needs device_can_solve
    // Reads numbers back, or calls cuSOLVER, which does not document whether it synchronizes: cannot be captured.
    bool needs_host_sync;
    int max_steps;   // if there are no triples
    double norm_eps; // default of PolarProblem.norm_eps
    int64_t (*scratch_bytes)(const PolarProblem *p);
    // As polar_factor below.
    void *(*factor)(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken);

    // Nominal floating-point operations of `steps` steps on one matrix; NULL if they depend on the data.
    double (*flops)(const PolarProblem *p, int steps);

    // Polynomial methods only.
    const PolarTriple *triples;
    int n_triples;
    bool repeat_last;   // steps beyond the list repeat its last triple; otherwise they are rejected
    double safety;      // a, b, c of all triples but a repeated one are divided by safety, safety^3, safety^5
    double norm_factor; // X is first divided by ||X||_F norm_factor + norm_eps
    double sigma_max;   // the iteration stays bounded and positive up to this singular value (nominally 1)
};

// All methods, in the order of the help; a row without a name ends the array.
extern const PolarMethod POLAR_METHODS[];
const PolarMethod *polar_methods(int *count);

// The type in which a method computes for a model of `type`: bf16 if the model's is bf16 and the method is a
// polynomial that stays bounded for singular values that bf16 rounding lifts above 1; otherwise the accumulation
// type.
Type polar_factor_type(const PolarMethod *method, Type type);

// The maximum number of steps of a method; and the triple of a step (0-based), with the safety factor applied.
int polar_max_steps(const PolarMethod *method);
PolarTriple polar_triple(const PolarMethod *method, int step);

// Nominal floating-point operations of polar_factor with this number of steps; 0 if unknown.
double polar_flops(const PolarProblem *p, int steps);

// Bytes of scratch that polar_factor needs.
int64_t polar_scratch_bytes(const PolarProblem *p);

// Computes the (approximate) polar factors of x (batch, rows, cols); row_sums (batch, rows) are the sums of squares
// of its rows. Overwrites x and scratch; returns a pointer to the result, which is x or lies within scratch.
// *steps_taken, if not NULL, is set to the number of steps (the maximum over the batch). A zero matrix gives zero
// with every method; NaN and infinities give NaN or infinities, never a hang.
void *polar_factor(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken);
#endif

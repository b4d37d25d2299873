// optim/polar.h - the polar factor of a matrix: the registry behind --polar, and the Newton-Schulz iteration.
//
// The polar factor of X = U S V^T is U V^T. A Newton-Schulz iteration approximates it by an odd polynomial of the
// singular values: X <- a X + (b A + c A^2) X with A = X X^T maps every one by p(s) = a s + b s^3 + c s^5, and a list
// of triples (a, b, c) is composed so that s in (0, 1] comes near 1. See docs/optimizers.md for how the lists compare.
#ifndef POLAR_OPTIM_POLAR_H
#define POLAR_OPTIM_POLAR_H

#include "device/device.h" // defines: Stream, Type

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    double a, b, c;
} PolarTriple;

typedef struct {
    const char *name; // "polar-express": --polar NAME
    const char *summary;
    const char *source;
    const PolarTriple *triples;
    int n_triples;
    bool repeat_last;   // steps beyond the list repeat its last triple; otherwise they are refused
    int default_steps;  // the source's
    double safety;      // all triples but a repeated one are divided by safety, safety^3, safety^5
    double norm_factor; // X is first divided by ||X||_F norm_factor + norm_eps
    double norm_eps;
    double sigma_max; // largest singular value (1 but for rounding) that the list keeps bounded and positive
} PolarMethod;

// The registry, in the order of the help.
const PolarMethod *polar_methods(int *count);
// The names of it, NULL-terminated: the choices of an option whose value is the index in the registry.
extern const char *const POLAR_NAMES[];

// The most steps a method can take, and the triple of one (0-based) with the safety factor applied.
int polar_max_steps(const PolarMethod *method);
PolarTriple polar_triple(const PolarMethod *method, int step);

// Elements of scratch for `batch` matrices beside X itself.
int64_t polar_scratch_elements(int64_t rows, int64_t cols, int batch);

// Newton-Schulz on `batch` dense (rows, cols) matrices of `type` that polar_scale has divided by their norm. The
// short side is the side of the Gram matrix: X X^T from the left for wide ones, X^T X from the right for tall ones.
// Overwrites x and scratch; returns where the result stands (x or the start of scratch). A zero matrix gives zero.
void *polar_newton_schulz(Stream *stream, const PolarMethod *method, int steps, void *x, void *scratch, Type type,
                          int64_t rows, int64_t cols, int batch);

#ifdef __cplusplus
}
#endif
#endif

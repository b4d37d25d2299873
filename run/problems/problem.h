// run/problems/problem.h - the matrix problems of the PolarGrad paper (Lau, Long, Su 2025, section 6): one or two
// matrices, a loss and its gradient, on random data of our own generator.
//
//   quadratic   min over X of 1/2 ||A X B - C||_F^2, normally distributed data; section 6.1
//   logistic    min over X of the sum of log(1 + exp(-C (A X B))), C = +-1, on batches of rows of A; section 6.2
//   completion  min over X, Y of the mean of (X Y^T - M)^2 over the known entries of M; section 6.3
#ifndef POLAR_RUN_PROBLEMS_PROBLEM_H
#define POLAR_RUN_PROBLEMS_PROBLEM_H

#include "device/device.h"
#include "model/params.h"

// Sizes. One that is 0 in a problem's defaults does not apply to it.
typedef struct {
    int rows, cols;     // of C, or of M
    int x_rows, x_cols; // of X
    int rank;           // columns of X and Y
    int batch;          // rows of A per step
    double mask;        // fraction of M that is known
} ProblemSizes;

typedef struct Problem Problem;

// What the factor of a default learning rate is divided by: updates whose size is fixed need a rate that fits the
// distance to the solution, those proportional to the gradient one that fits the curvature L of the objective, and
// those proportional to the gradient's nuclear norm one that fits L times the rank.
typedef enum { RATE_FIXED, RATE_PER_CURVATURE, RATE_PER_CURVATURE_AND_RANK } RateUnit;

// The default learning rate of an optimizer on a problem. A row without a name ends a table.
typedef struct {
    const char *optimizer; // its name in --optimizer
    double factor;
    RateUnit unit;
} DefaultRate;

// Definition of a problem.
typedef struct {
    const char *name;
    const char *summary;
    ProblemSizes sizes; // defaults: the paper's
    int64_t steps;
    const DefaultRate *rates; // measured at the paper's sizes and at a quarter of them (docs/results.md)
    // The expected largest curvature (Lipschitz constant of the gradient) at these sizes.
    double (*curvature)(const ProblemSizes *sizes);
    bool newton;      // has Newton directions
    bool alternating; // has two matrices, stepped alternately
    bool solves;      // needs device_can_solve

    // Rejects invalid sizes. May be NULL.
    bool (*check)(const ProblemSizes *sizes, Error *err);
    // Shapes (rows, cols) of the matrices; returns their number.
    int (*shapes)(int64_t shapes[2][2], const ProblemSizes *sizes);
    // Generates the data. If out of memory, p->out_of_memory is set and the caller reports it.
    void (*create)(Problem *p);
    // Sets p->grads and returns the loss of step t at p->x.
    double (*gradient)(Problem *p, int64_t t);
    // The reported loss, computed after `gradient`. NULL: the loss itself.
    double (*reported)(Problem *p, double loss);
    // Replaces the gradient by the Newton direction. NULL if there is none.
    void (*newton_direction)(Problem *p);
} ProblemDef;

enum { MAX_PROBLEM_MEMORY = 32 };

struct Problem {
    const ProblemDef *def;
    ProblemSizes sizes;
    uint64_t seed;
    Device *device;
    Stream *stream;
    Type type;
    ParamTable table;
    void *x, *grads; // arenas of the table
    double *loss;    // device: the loss of the last gradient
    void *data;      // private data of the problem
    void *residual;  // (rows, cols) residual of the last gradient, whose condition number is reported; NULL: none
    double relative_error; // over all entries of M; NaN if there is no M
    double optimum;        // minimum of the loss; NaN if unknown

    void *memory[MAX_PROBLEM_MEMORY]; // all allocations of problem_alloc
    int n_memory;
    bool out_of_memory;
    double *sums; // device: row sums
};

// All problems; *count is their number.
const ProblemDef *const *problem_registry(int *count);
const ProblemDef *problem_find(const char *name, Error *err); // the error suggests the closest name

// Generates the data and the starting point from the seed. Errors: unsupported type, no LAPACK or cuSOLVER where
// needed, out of memory.
bool problem_create(Problem *p, const ProblemDef *def, const ProblemSizes *sizes, uint64_t seed, Type type,
                    Device *device, Error *err);
void problem_free(Problem *p);

// Computes the gradient of step t into p->grads. Returns the loss, which is also stored in p->loss.
double problem_gradient(Problem *p, int64_t t);

// Condition number s_max / s_min and nuclear norm of a (rows, cols) matrix of the problem's type.
typedef struct {
    double condition, nuclear;
} Spectrum;
Spectrum problem_spectrum(Problem *p, const void *matrix, int64_t rows, int64_t cols);

// The first element of parameter i in an arena.
void *problem_param(const Problem *p, void *arena, int i);

// ------------------------------------------------------------------------------- for the problem definitions

// Returns zeroed device memory that problem_free frees. If out of memory, sets p->out_of_memory and returns NULL.
void *problem_alloc(Problem *p, int64_t elements, Type type);

// Copies n elements between host (double) and device (`type`), with conversion.
void problem_upload(Problem *p, void *to, Type type, const double *from, int64_t n);
void problem_download(Problem *p, double *to, const void *from, Type type, int64_t n);

// Fills out (n) with sample(seed, random stream of the name, element), in the problem's type.
void problem_fill_random(Problem *p, void *out, const char *name, double (*sample)(uint64_t, uint64_t, uint64_t),
                         int64_t n);

// GEMM of contiguous matrices: c (m, n) = alpha op(a) op(b) + beta c; op(a) is (m, k).
void problem_gemm(Problem *p, Type type, void *c, double alpha, const void *a, bool transpose_a, const void *b,
                  bool transpose_b, double beta, int64_t m, int64_t n, int64_t k);

// The sum of squares of x (rows, cols); the sum of p->sums (rows).
double problem_sum_squares(Problem *p, const void *x, Type type, int64_t rows, int64_t cols);
double problem_sum(Problem *p, int64_t rows);

extern const ProblemDef problem_quadratic, problem_logistic, problem_completion;
#endif

// run/problems/problem.h - the matrix problems of the PolarGrad paper (Lau, Long, Su 2025, section 6): one or two matrices, a loss
// and its gradient, on data of our own random draw.
//
//   quadratic   min over X of 1/2 ||A X B - C||_F^2, everything normal; section 6.1
//   logistic    min over X of the sum of log(1 + exp(-C (A X B))), C = +-1, on batches of rows of A; section 6.2
//   completion  min over X, Y of the mean of (X Y^T - M)^2 over the entries of M that are known; section 6.3
#ifndef POLAR_RUN_PROBLEMS_PROBLEM_H
#define POLAR_RUN_PROBLEMS_PROBLEM_H

#include "device/device.h"
#include "model/params.h"

// Sizes; one that is 0 in a problem's defaults means nothing to it.
typedef struct {
    int rows, cols;     // of C, or of M
    int x_rows, x_cols; // of X
    int rank;           // columns of X and Y
    int batch;          // rows of A in a step
    double mask;        // fraction of M that is known
} ProblemSizes;

typedef struct Problem Problem;

// What one problem is made of.
typedef struct {
    const char *name;
    const char *summary;
    ProblemSizes sizes; // the paper's
    int64_t steps;
    bool newton;      // has Newton directions
    bool alternating; // has two matrices, to be stepped in turn
    bool solves;      // needs device_can_solve

    // Refuses sizes for which the problem makes no sense. May be NULL.
    bool (*check)(const ProblemSizes *sizes, Error *err);
    // Shapes of its matrices (rows, cols); returns their number.
    int (*shapes)(int64_t shapes[2][2], const ProblemSizes *sizes);
    // Draws the data. Memory that was not to be had is seen by the caller.
    void (*create)(Problem *p);
    // Sets p->grads and returns the loss of step t at p->x.
    double (*gradient)(Problem *p, int64_t t);
    // The loss as it is reported, from what `gradient` left. May be NULL: the loss itself.
    double (*reported)(Problem *p, double loss);
    // The gradient becomes Newton's direction. NULL where there is none.
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
    void *data;      // the problem's own
    void *residual;  // (rows, cols) that the last gradient left, whose condition number is reported; NULL: none
    double relative_error; // of the whole M; NaN where there is no M
    double optimum;        // the least loss; NaN: not known

    void *memory[MAX_PROBLEM_MEMORY]; // everything that problem_memory gave
    int n_memory;
    bool out_of_memory;
    double *sums; // device: partial sums of rows
};

// All problems; *count of them.
const ProblemDef *const *problem_registry(int *count);
const ProblemDef *problem_find(const char *name, Error *err); // offers the nearest name

// Draws the problem of this seed and its starting point. Errors: no operations for the type, no solves, out of memory.
bool problem_create(Problem *p, const ProblemDef *def, const ProblemSizes *sizes, uint64_t seed, Type type,
                    Device *device, Error *err);
void problem_free(Problem *p);

// Makes the gradient of step t; the loss is returned and put into p->loss.
double problem_gradient(Problem *p, int64_t t);

// Condition number s_max / s_min and nuclear norm of a (rows, cols) matrix of the problem's type.
typedef struct {
    double condition, nuclear;
} Spectrum;
Spectrum problem_spectrum(Problem *p, const void *matrix, int64_t rows, int64_t cols);

// The first element of parameter i in an arena.
void *problem_param(const Problem *p, void *arena, int i);

// ------------------------------------------------------------------------------- for the files of the problems

// Zeroed device memory that problem_free gives back. NULL, and p->out_of_memory set, when there is not enough.
void *problem_memory(Problem *p, int64_t elements, Type type);

// Copies with a change of type.
void problem_upload(Problem *p, void *to, Type type, const double *from, int64_t n);
void problem_download(Problem *p, double *to, const void *from, Type type, int64_t n);

// Fills out (n) with draw(seed, stream of the name, element), in the problem's type.
void problem_draw(Problem *p, void *out, const char *name, double (*draw)(uint64_t, uint64_t, uint64_t), int64_t n);

// c (m, n) = alpha op(a) op(b) + beta c of dense matrices; op(a) is (m, k).
void problem_product(Problem *p, Type type, void *c, double alpha, const void *a, bool transpose_a, const void *b,
                     bool transpose_b, double beta, int64_t m, int64_t n, int64_t k);

// The sum of squares of x (rows, cols), and the sum of p->sums (rows).
double problem_sum_squares(Problem *p, const void *x, Type type, int64_t rows, int64_t cols);
double problem_sum(Problem *p, int64_t rows);

extern const ProblemDef problem_quadratic, problem_logistic, problem_completion;
#endif

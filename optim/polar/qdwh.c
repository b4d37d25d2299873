// QDWH: the QR-based dynamically weighted Halley iteration (Nakatsukasa, Bai, Gygi 2010)
//   u <- u (a I + b u^T u) (I + c u^T u)^-1 = (b/c) u + (a - b/c) u (I + c u^T u)^-1
// with weights that depend only on l, a lower bound of the singular values that starts at the rounding error, followed
// by Halley's own (a, b, c) = (3, 1, 3). As in the published PolarGrad code, a final Newton-Schulz step is taken even
// if the number of steps was too small to converge: its learning rates are tuned to that.
#include "optim/polar/methods.h"
#include "optim/polar/solves.h"

#include <float.h>
#include <math.h>

static const double CHOLESKY_MAX_C = 100; // steps with a larger c use QR
enum { CONVERGED_STEPS = 10 };            // 9 suffice even for singular values below the rounding error

// The workspace of one matrix.
typedef struct {
    PolarSolve solve;
    double *norms, *distance, *sums;
    char *tall, *previous; // the transpose of a wide matrix, and the previous iterate
    int64_t bytes;
} Work;

static Work work_of(const PolarProblem *p, char *scratch) {
    Work w = {.solve = polar_solve_init(p, p->type), .norms = (double *)(void *)scratch};
    int64_t matrix = polar_matrix_bytes(&w.solve.gemms), doubles = (3 + w.solve.gemms.rows + 7) / 8 * 64;
    w.distance = w.norms + 2;
    w.sums = w.norms + 3;
    w.previous = scratch + doubles;
    w.tall = w.previous + matrix;
    w.bytes = doubles + 2 * matrix + polar_solve_memory(&w.solve, w.tall + matrix);
    return w;
}

int64_t polar_qdwh_scratch(const PolarProblem *p) {
    char none[64];
    return work_of(p, none).bytes;
}

// A QR step: the QR of an (m + n, n) matrix, forming Q, and a GEMM. A Cholesky step: a Gram matrix, n^3 / 3 for the
// factorization, and two triangular solves. The first two steps use QR in either type.
double polar_qdwh_flops(const PolarProblem *p, int steps) {
    PolarSolve s = polar_solve_init(p, p->type);
    double m = (double)s.gemms.rows, n = (double)s.gemms.cols, gemm = 2 * m * n * n;
    double qr = 4 * (m + n) * n * n - 4 * n * n * n / 3 + gemm, cholesky = 2 * gemm + n * n * n / 3;
    int by_qr = steps < 2 ? steps : 2;
    return by_qr * qr + (steps - by_qr) * cholesky + 2 * gemm;
}

// The weights for the lower bound *l, which is updated to the bound after the step.
static PolarTriple weights(double *l) {
    double l2 = *l * *l, d = cbrt(4 * (1 / l2 - 1) / l2), root = sqrt(1 + d);
    PolarTriple t;
    t.a = root + sqrt(2 - d + 2 * (2 - l2) / (l2 * root));
    t.b = (t.a - 1) * (t.a - 1) / 4;
    t.c = t.a + t.b - 1;
    *l = *l * (t.a + t.b * l2) / (1 + t.c * l2);
    return t;
}

static double step_distance(const PolarProblem *p, const Work *w, const void *u) {
    const PolarGemms *pp = &w->solve.gemms;
    double d;
    Distance distance = {.distances = w->distance,
                         .row_sums = w->sums,
                         .x = w->previous,
                         .y = u,
                         .count = 1,
                         .rows = pp->rows,
                         .cols = pp->cols};
    w->solve.ops->distance(p->stream, &distance);
    device_copy(p->stream, &d, w->distance, sizeof d);
    stream_synchronize(p->stream);
    return d;
}

// Overwrites the tall u (rows, cols); its polar factor is left in w->solve.matrix. Returns the number of steps.
static int iterate(const PolarProblem *p, const Work *w, void *u) {
    const PolarGemms *pp = &w->solve.gemms;
    double eps = p->type == TYPE_F64 ? DBL_EPSILON : (double)FLT_EPSILON;
    double l = eps, tolerance = cbrt(5 * eps);
    int limit = p->steps ? p->steps : CONVERGED_STEPS, step = 0;
    MatrixNorms norms = {.norms = w->norms, .x = u, .count = 1, .rows = pp->rows, .cols = pp->cols};
    w->solve.ops->matrix_norms(p->stream, &norms);
    DivideByBound divide = {.x = u, .norms = w->norms, .count = 1, .rows = pp->rows, .cols = pp->cols};
    w->solve.ops->divide_by_bound(p->stream, &divide);
    for (bool moving = true; moving && step < limit; step++) {
        bool weighted = l + 5 * eps < 1;
        PolarTriple t = weighted ? weights(&l) : (PolarTriple){3, 1, 3};
        bool qr = t.c > CHOLESKY_MAX_C, last_weighted = weighted && !(l + 5 * eps < 1);
        bool test = !qr && (!weighted || last_weighted);
        if (test) device_copy(p->stream, w->previous, u, (size_t)(pp->rows * pp->cols) * type_size(pp->type));
        polar_solve_term(&w->solve, u, u, t.c, 1, t.a - t.b / t.c, t.b / t.c, qr);
        if (test) moving = step_distance(p, w, u) > tolerance; // false for NaN
    }
    polar_solve_polish(&w->solve, u);
    return step;
}

void *polar_qdwh(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken) {
    (void)row_sums;
    Work w = work_of(p, scratch);
    w.solve.ops = p->ops->polar;
    size_t bytes = (size_t)(p->rows * p->cols) * type_size(p->type);
    *steps_taken = 0;
    for (int j = 0; j < p->batch; j++) {
        char *matrix = (char *)x + (size_t)j * bytes;
        bool wide = p->rows < p->cols;
        Transpose to_tall = {.y = w.tall, .x = matrix, .count = 1, .rows = p->rows, .cols = p->cols};
        if (wide) w.solve.ops->transpose(p->stream, &to_tall);
        int steps = iterate(p, &w, wide ? w.tall : matrix);
        if (steps > *steps_taken) *steps_taken = steps;
        Transpose from_tall = {.y = matrix, .x = w.solve.matrix, .count = 1, .rows = p->cols, .cols = p->rows};
        if (wide) w.solve.ops->transpose(p->stream, &from_tall);
        else device_copy(p->stream, matrix, w.solve.matrix, bytes);
    }
    return x;
}

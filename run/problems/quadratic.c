// Matrix quadratic regression (PolarGrad, section 6.1): f(X) = 1/2 ||A X B - C||_F^2 with A (rows, x_rows),
// X (x_rows, x_cols), B (x_cols, cols). The reported loss is f - f*.
#include "base/random.h"
#include "run/problems/problem.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    void *a, *b, *c;                // data
    void *ax, *r, *rb;              // (rows, x_cols), (rows, cols), (rows, x_cols)
    void *a_inverse, *b_inverse;    // (A^T A)^-1, (B B^T)^-1
    void *d;                        // shape of X
    double *a64, *b64, *ax64, *r64; // in double, for f - f*
    double *optimal, *e64;          // X* and X - X*
} Quadratic;

static bool check(const ProblemSizes *s, Error *err) {
    if (s->rows >= s->x_rows && s->cols >= s->x_cols) return true;
    return error_set(err, "quadratic needs --rows >= --x-rows and --cols >= --x-cols: otherwise the solution is "
                          "not unique");
}

static int shapes(int64_t out[2][2], const ProblemSizes *s) {
    out[0][0] = s->x_rows, out[0][1] = s->x_cols;
    return 1;
}

// Returns a copy in double of data in the problem's type.
static double *upcast(Problem *p, const void *x, int64_t n) {
    double *wide = problem_alloc(p, n, TYPE_F64), *host = malloc((size_t)n * sizeof *host);
    ASSERT(host);
    if (wide) {
        problem_download(p, host, x, p->type, n);
        problem_upload(p, wide, TYPE_F64, host, n);
    }
    free(host);
    return wide;
}

// inverse = z^-1 of a symmetric positive definite z (n, n), in double; z is overwritten.
static void invert(Problem *p, double *inverse, double *z, int64_t n) {
    double *host = calloc((size_t)(n * n), sizeof *host);
    ASSERT(host);
    for (int64_t i = 0; i < n; i++) host[i * n + i] = 1;
    problem_upload(p, inverse, TYPE_F64, host, n * n);
    device_cholesky_solve_right(p->stream, inverse, z, TYPE_F64, n, n);
    free(host);
}

// Copies from double to the problem's type.
static void downcast(Problem *p, void *to, const double *from, int64_t n) {
    double *host = malloc((size_t)n * sizeof *host);
    ASSERT(host);
    problem_download(p, host, from, TYPE_F64, n);
    problem_upload(p, to, p->type, host, n);
    free(host);
}

// X* = (A^T A)^-1 A^T C B^T (B B^T)^-1 and f* = f(X*), in double from the data rounded to the problem's type.
static void solve(Problem *p, Quadratic *q) {
    int64_t m = p->sizes.rows, n = p->sizes.cols, k = p->sizes.x_rows, l = p->sizes.x_cols;
    double *a_inverse = problem_alloc(p, k * k, TYPE_F64), *b_inverse = problem_alloc(p, l * l, TYPE_F64);
    double *gram = problem_alloc(p, k > l ? k * k : l * l, TYPE_F64), *c64 = upcast(p, q->c, m * n);
    double *g = q->e64; // (x_rows, x_cols)
    if (p->out_of_memory) return;
    problem_gemm(p, TYPE_F64, gram, 1, q->a64, true, q->a64, false, 0, k, k, m);
    invert(p, a_inverse, gram, k);
    problem_gemm(p, TYPE_F64, gram, 1, q->b64, false, q->b64, true, 0, l, l, n);
    invert(p, b_inverse, gram, l);
    problem_gemm(p, TYPE_F64, q->ax64, 1, c64, false, q->b64, true, 0, m, l, n);
    problem_gemm(p, TYPE_F64, g, 1, q->a64, true, q->ax64, false, 0, k, l, m);
    problem_gemm(p, TYPE_F64, q->optimal, 1, a_inverse, false, g, false, 0, k, l, k);
    problem_gemm(p, TYPE_F64, g, 1, q->optimal, false, b_inverse, false, 0, k, l, l);
    device_copy(p->stream, q->optimal, g, (size_t)(k * l) * sizeof *g);

    problem_gemm(p, TYPE_F64, q->ax64, 1, q->a64, false, q->optimal, false, 0, m, l, k);
    problem_gemm(p, TYPE_F64, c64, 1, q->ax64, false, q->b64, false, -1, m, n, l);
    p->optimum = 0.5 * problem_sum_squares(p, c64, TYPE_F64, m, n);
    downcast(p, q->a_inverse, a_inverse, k * k);
    downcast(p, q->b_inverse, b_inverse, l * l);
}

static void create(Problem *p) {
    int64_t m = p->sizes.rows, n = p->sizes.cols, k = p->sizes.x_rows, l = p->sizes.x_cols;
    Quadratic *q = p->data = calloc(1, sizeof *q);
    ASSERT(q);
    q->a = problem_alloc(p, m * k, p->type);
    q->b = problem_alloc(p, l * n, p->type);
    q->c = problem_alloc(p, m * n, p->type);
    q->ax = problem_alloc(p, m * l, p->type);
    q->r = problem_alloc(p, m * n, p->type);
    q->rb = problem_alloc(p, m * l, p->type);
    q->d = problem_alloc(p, k * l, p->type);
    q->a_inverse = problem_alloc(p, k * k, p->type);
    q->b_inverse = problem_alloc(p, l * l, p->type);
    q->ax64 = problem_alloc(p, m * l, TYPE_F64);
    q->r64 = problem_alloc(p, m * n, TYPE_F64);
    q->optimal = problem_alloc(p, k * l, TYPE_F64);
    q->e64 = problem_alloc(p, k * l, TYPE_F64);
    p->residual = q->r;
    if (p->out_of_memory) return;
    problem_fill_random(p, q->a, "a", random_normal, m * k);
    problem_fill_random(p, q->b, "b", random_normal, l * n);
    problem_fill_random(p, q->c, "c", random_normal, m * n);
    q->a64 = upcast(p, q->a, m * k);
    q->b64 = upcast(p, q->b, l * n);
    if (!p->out_of_memory) solve(p, q);
}

// R = A X B - C; the gradient is A^T R B^T.
static double gradient(Problem *p, int64_t t) {
    (void)t;
    int64_t m = p->sizes.rows, n = p->sizes.cols, k = p->sizes.x_rows, l = p->sizes.x_cols;
    const Quadratic *q = p->data;
    problem_gemm(p, p->type, q->ax, 1, q->a, false, p->x, false, 0, m, l, k);
    device_copy(p->stream, q->r, q->c, (size_t)(m * n) * type_size(p->type));
    problem_gemm(p, p->type, q->r, 1, q->ax, false, q->b, false, -1, m, n, l);
    problem_gemm(p, p->type, q->rb, 1, q->r, false, q->b, true, 0, m, l, n);
    problem_gemm(p, p->type, p->grads, 1, q->a, true, q->rb, false, 0, k, l, m);
    return 0.5 * problem_sum_squares(p, q->r, p->type, m, n);
}

// f(X) - f* = 1/2 ||A (X - X*) B||_F^2, since the residual of X* is orthogonal to every A E B. This avoids the
// cancellation of computing the difference.
static double reported(Problem *p, double loss) {
    (void)loss;
    int64_t m = p->sizes.rows, n = p->sizes.cols, k = p->sizes.x_rows, l = p->sizes.x_cols;
    const Quadratic *q = p->data;
    double *x = malloc((size_t)(k * l) * sizeof *x), *best = malloc((size_t)(k * l) * sizeof *best);
    ASSERT(x && best);
    problem_download(p, x, p->x, p->type, k * l);
    problem_download(p, best, q->optimal, TYPE_F64, k * l);
    for (int64_t i = 0; i < k * l; i++) x[i] -= best[i];
    problem_upload(p, q->e64, TYPE_F64, x, k * l);
    free(x);
    free(best);
    problem_gemm(p, TYPE_F64, q->ax64, 1, q->a64, false, q->e64, false, 0, m, l, k);
    problem_gemm(p, TYPE_F64, q->r64, 1, q->ax64, false, q->b64, false, 0, m, n, l);
    return 0.5 * problem_sum_squares(p, q->r64, TYPE_F64, m, n);
}

// (A^T A)^-1 G (B B^T)^-1
static void newton_direction(Problem *p) {
    int64_t k = p->sizes.x_rows, l = p->sizes.x_cols;
    const Quadratic *q = p->data;
    problem_gemm(p, p->type, q->d, 1, q->a_inverse, false, p->grads, false, 0, k, l, k);
    problem_gemm(p, p->type, p->grads, 1, q->d, false, q->b_inverse, false, 0, k, l, l);
}

// The largest eigenvalue of the Hessian, ||A||_2^2 ||B||_2^2, with the expected norms of normally distributed
// matrices.
static double curvature(const ProblemSizes *s) {
    double a = sqrt(s->rows) + sqrt(s->x_rows), b = sqrt(s->cols) + sqrt(s->x_cols);
    return a * a * b * b;
}

static const DefaultRate rates[] = {{"adamw", 0.01, RATE_FIXED},
                                    {"sgd", 1, RATE_PER_CURVATURE},
                                    {"lion", 0.003, RATE_FIXED},
                                    {"signum", 0.003, RATE_FIXED},
                                    {"muon", 0.05, RATE_FIXED},
                                    {"normuon", 0.05, RATE_FIXED},
                                    {"polargrad", 6, RATE_PER_CURVATURE_AND_RANK},
                                    {"rownorm", 0.05, RATE_FIXED},
                                    {"newton", 0.25, RATE_FIXED},
                                    {.optimizer = NULL}};

const ProblemDef problem_quadratic = {
    .name = "quadratic",
    .summary = "min over X of 1/2 ||A X B - C||^2",
    .sizes = {.rows = 1000, .cols = 250, .x_rows = 500, .x_cols = 100},
    .steps = 4000,
    .rates = rates,
    .curvature = curvature,
    .newton = true,
    .solves = true,
    .check = check,
    .shapes = shapes,
    .create = create,
    .gradient = gradient,
    .reported = reported,
    .newton_direction = newton_direction,
};

// Low-rank matrix completion (PolarGrad, section 6.3): M = U V^T (rows, cols) of rank `rank`, with a random fraction
// `mask` of its entries known. The loss is the mean of (X Y^T - M)^2 over the known entries, X (rows, rank), Y (cols,
// rank).
#include "base/random.h"
#include "run/problems/problem.h"
#include "run/problems/ops.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    void *m, *mask, *r; // (rows, cols)
    double known;       // number of known entries
    double m_squares;   // ||M||_F^2
} Completion;

static int shapes(int64_t out[2][2], const ProblemSizes *s) {
    out[0][0] = s->rows, out[0][1] = s->rank;
    out[1][0] = s->cols, out[1][1] = s->rank;
    return 2;
}

static void create(Problem *p) {
    int64_t m = p->sizes.rows, n = p->sizes.cols, r = p->sizes.rank;
    Completion *q = p->data = calloc(1, sizeof *q);
    double *mask = malloc((size_t)(m * n) * sizeof *mask);
    ASSERT(q && mask);
    void *u = problem_alloc(p, m * r, p->type), *v = problem_alloc(p, n * r, p->type);
    q->m = problem_alloc(p, m * n, p->type);
    q->mask = problem_alloc(p, m * n, p->type);
    q->r = problem_alloc(p, m * n, p->type);
    problem_fill_random(p, u, "u", random_normal, m * r);
    problem_fill_random(p, v, "v", random_normal, n * r);
    problem_fill_random(p, q->mask, "mask", random_uniform, m * n);
    if (!p->out_of_memory) {
        problem_gemm(p, p->type, q->m, 1, u, false, v, true, 0, m, n, r);
        q->m_squares = problem_sum_squares(p, q->m, p->type, m, n);
        problem_download(p, mask, q->mask, p->type, m * n);
        for (int64_t i = 0; i < m * n; i++) q->known += mask[i] = mask[i] < p->sizes.mask ? 1 : 0;
        problem_upload(p, q->mask, p->type, mask, m * n);
    }
    free(mask);
}

// R = mask (X Y^T - M); the gradients are 2 R Y / known and 2 R^T X / known.
static double gradient(Problem *p, int64_t t) {
    (void)t;
    int64_t m = p->sizes.rows, n = p->sizes.cols, r = p->sizes.rank;
    const Completion *q = p->data;
    const void *x = problem_param(p, p->x, 0), *y = problem_param(p, p->x, 1);
    device_copy(p->stream, q->r, q->m, (size_t)(m * n) * type_size(p->type));
    problem_gemm(p, p->type, q->r, 1, x, false, y, true, -1, m, n, r);
    p->relative_error = sqrt(problem_sum_squares(p, q->r, p->type, m, n) / q->m_squares);
    problem_ops(p->device, p->type)->multiply(p->stream, &(Multiply){.x = q->r, .mask = q->mask, .n = m * n});
    double scale = 2 / q->known;
    problem_gemm(p, p->type, problem_param(p, p->grads, 0), scale, q->r, false, y, false, 0, m, r, n);
    problem_gemm(p, p->type, problem_param(p, p->grads, 1), scale, q->r, true, x, false, 0, n, r, m);
    return problem_sum_squares(p, q->r, p->type, m, n) / q->known;
}

static bool check(const ProblemSizes *s, Error *err) {
    if (s->mask * s->rows * s->cols < 1)
        return error_set(err, "--mask %g: no entry of the %d x %d matrix is known", s->mask, s->rows, s->cols);
    if (s->rank <= s->rows && s->rank <= s->cols) return true;
    return error_set(err, "--rank %d is larger than --rows or --cols", s->rank);
}

// The curvature in one factor at the solution, where the other has normally distributed entries: that of
// ||X V^T||_F^2 / (rows cols).
static double curvature(const ProblemSizes *s) {
    double longer = s->rows > s->cols ? s->rows : s->cols, v = sqrt(longer) + sqrt(s->rank);
    return 2 * v * v / ((double)s->rows * s->cols);
}

static const DefaultRate rates[] = {{"adamw", 0.03, RATE_FIXED},
                                    {"sgd", 0.36, RATE_PER_CURVATURE},
                                    {"lion", 0.01, RATE_FIXED},
                                    {"signum", 0.01, RATE_FIXED},
                                    {"muon", 0.03, RATE_FIXED},
                                    {"normuon", 0.1, RATE_FIXED},
                                    {"polargrad", 2.4, RATE_PER_CURVATURE_AND_RANK},
                                    {"rownorm", 0.03, RATE_FIXED},
                                    {"altgd", 0.48, RATE_PER_CURVATURE},
                                    {.optimizer = NULL}};

const ProblemDef problem_completion = {
    .name = "completion",
    .summary = "min over X, Y of the mean of (X Y^T - M)^2 over the known entries of M",
    .sizes = {.rows = 500, .cols = 250, .rank = 5, .mask = 0.3},
    .steps = 1000,
    .rates = rates,
    .curvature = curvature,
    .alternating = true,
    .check = check,
    .shapes = shapes,
    .create = create,
    .gradient = gradient,
};

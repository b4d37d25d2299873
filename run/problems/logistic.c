// Matrix logistic regression (PolarGrad, section 6.2): the sum of log(1 + exp(-C (A X B))) over `batch` rows of A
// (rows, x_rows) and of the labels C (rows, cols), sampled with replacement at every step.
#include "base/random.h"
#include "run/problems/problem.h"
#include "run/problems/ops.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    void *a, *b, *labels;
    void *batch_a, *batch_labels; // (batch, x_rows), (batch, cols)
    void *ax, *z, *zb;            // (batch, x_cols), (batch, cols), (batch, x_cols)
    int32_t *rows;                // device: (batch)
} Logistic;

static int shapes(int64_t out[2][2], const ProblemSizes *s) {
    out[0][0] = s->x_rows, out[0][1] = s->x_cols;
    return 1;
}

// +1 if a normal sample is above 1/2 (31 % of the labels), as in the authors' code of 2026.
static double random_label(uint64_t seed, uint64_t stream, uint64_t index) {
    return random_normal(seed, stream, index) > 0.5 ? 1 : -1;
}

static void create(Problem *p) {
    int64_t m = p->sizes.rows, n = p->sizes.cols, k = p->sizes.x_rows, l = p->sizes.x_cols, s = p->sizes.batch;
    Logistic *q = p->data = calloc(1, sizeof *q);
    ASSERT(q);
    q->a = problem_alloc(p, m * k, p->type);
    q->b = problem_alloc(p, l * n, p->type);
    q->labels = problem_alloc(p, m * n, p->type);
    q->batch_a = problem_alloc(p, s * k, p->type);
    q->batch_labels = problem_alloc(p, s * n, p->type);
    q->ax = problem_alloc(p, s * l, p->type);
    q->z = problem_alloc(p, s * n, p->type);
    q->zb = problem_alloc(p, s * l, p->type);
    q->rows = problem_alloc(p, s, TYPE_I32);
    if (p->out_of_memory) return;
    problem_fill_random(p, q->a, "a", random_normal, m * k);
    problem_fill_random(p, q->b, "b", random_normal, l * n);
    problem_fill_random(p, q->labels, "labels", random_label, m * n);
}

static void sample_batch(Problem *p, const Logistic *q, int64_t t) {
    const ProblemOps *ops = problem_ops(p->device, p->type);
    int64_t s = p->sizes.batch;
    uint64_t stream = random_stream(RANDOM_PROBLEM, "rows");
    int32_t *rows = malloc((size_t)s * sizeof *rows);
    ASSERT(rows);
    for (int64_t i = 0; i < s; i++) // < rows, since the sample is < 1 and rows < 2^53
        rows[i] = (int32_t)(random_uniform(p->seed, stream, (uint64_t)(t * s + i)) * p->sizes.rows);
    device_copy(p->stream, q->rows, rows, (size_t)s * sizeof *rows);
    stream_synchronize(p->stream);
    free(rows);
    Gather a = {.out = q->batch_a, .in = q->a, .index = q->rows, .rows = s, .cols = p->sizes.x_rows};
    ops->gather(p->stream, &a);
    Gather labels = {.out = q->batch_labels, .in = q->labels, .index = q->rows, .rows = s, .cols = p->sizes.cols};
    ops->gather(p->stream, &labels);
}

// The gradient is A^T S B^T, where S is the derivative of the loss with respect to the scores A X B.
static double gradient(Problem *p, int64_t t) {
    int64_t n = p->sizes.cols, k = p->sizes.x_rows, l = p->sizes.x_cols, s = p->sizes.batch;
    const Logistic *q = p->data;
    sample_batch(p, q, t);
    problem_gemm(p, p->type, q->ax, 1, q->batch_a, false, p->x, false, 0, s, l, k);
    problem_gemm(p, p->type, q->z, 1, q->ax, false, q->b, false, 0, s, n, l);
    LogisticLoss loss = {.losses = p->sums, .z = q->z, .labels = q->batch_labels, .rows = s, .cols = n};
    problem_ops(p->device, p->type)->logistic(p->stream, &loss);
    problem_gemm(p, p->type, q->zb, 1, q->z, false, q->b, true, 0, s, l, n);
    problem_gemm(p, p->type, p->grads, 1, q->batch_a, true, q->zb, false, 0, k, l, s);
    return problem_sum(p, s);
}

static bool check(const ProblemSizes *s, Error *err) {
    if (s->batch <= s->rows) return true;
    return error_set(err, "--batch %d is larger than --rows %d", s->batch, s->rows);
}

// The Hessian is at most that of 1/8 ||A X B||_F^2, since the logistic function's second derivative is at most 1/4.
static double curvature(const ProblemSizes *s) {
    double a = sqrt(s->batch) + sqrt(s->x_rows), b = sqrt(s->cols) + sqrt(s->x_cols);
    return a * a * b * b / 4;
}

static const DefaultRate rates[] = {{"adamw", 5e-3, RATE_FIXED},
                                    {"sgd", 0.3, RATE_PER_CURVATURE},
                                    {"lion", 0.003, RATE_FIXED},
                                    {"signum", 0.003, RATE_FIXED},
                                    {"muon", 0.03, RATE_FIXED},
                                    {"normuon", 0.02, RATE_FIXED},
                                    {"polargrad", 4, RATE_PER_CURVATURE_AND_RANK},
                                    {"rownorm", 0.02, RATE_FIXED},
                                    {.optimizer = NULL}};

const ProblemDef problem_logistic = {
    .name = "logistic",
    .summary = "min over X of the sum of log(1 + exp(-C (A X B))), on batches of rows",
    .sizes = {.rows = 10000, .cols = 400, .x_rows = 1000, .x_cols = 100, .batch = 1000},
    .steps = 1500,
    .rates = rates,
    .curvature = curvature,
    .check = check,
    .shapes = shapes,
    .create = create,
    .gradient = gradient,
};

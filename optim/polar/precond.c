// Preconditioned Newton-Schulz, which converges for any condition number (Lewis 2022): cubic steps
//   X <- a X - (4/27) a^3 X X^T X
// that map (0, 1] into (0, 1] and multiply the smallest singular values by a = 1.5 sqrt(3) - 0.1, until one of the size
// of the rounding error would have reached 0.1; then X <- 1.5 X - 0.5 X X^T X until X no longer changes.
#include "optim/polar/methods.h"

#include <float.h>
#include <math.h>

static const double LIFTED = 0.1;

typedef struct {
    double *sums, *distances; // (batch, rows), (batch)
    void *y, *gram;
    int64_t bytes;
} Layout;

static Layout layout_of(const PolarGemms *pp, void *scratch) {
    int64_t sums = (pp->batch * pp->rows + pp->batch + 7) / 8 * 8 * (int64_t)sizeof(double);
    char *at = scratch;
    return (Layout){.sums = scratch,
                    .distances = (double *)scratch + pp->batch * pp->rows,
                    .y = at + sums,
                    .gram = at + sums + polar_matrix_bytes(pp),
                    .bytes = sums + polar_matrix_bytes(pp) + polar_gram_bytes(pp)};
}

int64_t polar_precond_ns_scratch(const PolarProblem *p) {
    PolarGemms pp = polar_gemms(p);
    char none;
    return layout_of(&pp, &none).bytes;
}

double polar_precond_ns_flops(const PolarProblem *p, int steps) {
    PolarGemms pp = polar_gemms(p);
    return steps * 2 * polar_gram_flops(&pp);
}

static double largest_distance(const PolarProblem *p, const Layout *l, const void *x, const void *y) {
    double most = 0;
    Distance distance = {.distances = l->distances,
                         .row_sums = l->sums,
                         .x = x,
                         .y = y,
                         .count = p->batch,
                         .rows = p->rows,
                         .cols = p->cols};
    p->ops->polar->distance(p->stream, &distance);
    for (int j = 0; j < p->batch; j++) {
        double d;
        device_copy(p->stream, &d, l->distances + j, sizeof d);
        stream_synchronize(p->stream);
        if (!(d <= most)) most = d;
    }
    return most;
}

void *polar_precond_ns(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken) {
    PolarGemms pp = polar_gemms(p);
    Layout l = layout_of(&pp, scratch);
    double eps = p->type == TYPE_F64 ? DBL_EPSILON : (double)FLT_EPSILON;
    double tolerance = (double)(p->rows > p->cols ? p->rows : p->cols) * eps;
    double a = 1.5 * sqrt(3) - LIFTED, b = -4.0 / 27 * a * a * a, least = eps;
    int limit = p->steps ? p->steps : p->method->max_steps, step = 0;
    PolarScale scale = {.x = x,
                        .row_sums = row_sums,
                        .count = p->batch,
                        .rows = p->rows,
                        .cols = p->cols,
                        .factor = 1,
                        .eps = p->norm_eps};
    p->ops->polar_scale(p->stream, &scale);
    for (bool moving = true; moving && step < limit; step++) {
        bool lifting = least < LIFTED;
        polar_gram(&pp, l.gram, x, 1);
        polar_apply(&pp, l.y, x, l.gram, lifting ? b : -0.5, lifting ? a : 1.5);
        if (lifting) least = a * least + b * least * least * least;
        else moving = largest_distance(p, &l, x, l.y) > tolerance; // false for NaN
        void *swap = x;
        x = l.y, l.y = swap;
    }
    *steps_taken = step;
    return x;
}

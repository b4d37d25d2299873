// Newton-Schulz iterations: plain, with Almost-Orthogonal Layer scaling (Turbo-Muon), and on the Gram matrix.
#include "optim/polar/methods.h"

int64_t polar_newton_schulz_scratch(const PolarProblem *p) {
    PolarGemms pp = polar_gemms(p);
    return polar_matrix_bytes(&pp) + 2 * polar_gram_bytes(&pp);
}

double polar_newton_schulz_flops(const PolarProblem *p, int steps) {
    PolarGemms pp = polar_gemms(p);
    double flops = 0;
    for (int step = 0; step < steps; step++)
        flops += 2 * polar_gram_flops(&pp) + (polar_triple(p->method, step).c != 0 ? polar_multiply_flops(&pp) : 0);
    return flops;
}

typedef struct {
    PolarGemms pp;
    void *x, *y;       // current and next X
    void *gram, *poly; // (batch, k, k): A and b A + c A^2
} Iteration;

static Iteration iteration_of(const PolarProblem *p, void *x, void *scratch) {
    Iteration it = {.pp = polar_gemms(p), .x = x, .y = scratch};
    it.gram = (char *)scratch + polar_matrix_bytes(&it.pp);
    it.poly = (char *)it.gram + polar_gram_bytes(&it.pp);
    return it;
}

// X <- a X + (b A + c A^2) X, with the Gram matrix A in it->gram.
static void quintic_step(Iteration *it, PolarTriple t) {
    if (t.c != 0) {
        polar_multiply(&it->pp, it->poly, it->gram, it->gram, t.c, it->gram, t.b);
        polar_apply(&it->pp, it->y, it->x, it->poly, 1, t.a);
    } else {
        polar_apply(&it->pp, it->y, it->x, it->gram, t.b, t.a);
    }
    void *swap = it->x;
    it->x = it->y;
    it->y = swap;
}

static void frobenius_scale(const PolarProblem *p, void *x, const double *row_sums) {
    PolarScale scale = {.x = x,
                        .row_sums = row_sums,
                        .count = p->batch,
                        .rows = p->rows,
                        .cols = p->cols,
                        .factor = p->method->norm_factor,
                        .eps = p->norm_eps};
    p->ops->polar_scale(p->stream, &scale);
}

void *polar_newton_schulz(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken) {
    Iteration it = iteration_of(p, x, scratch);
    frobenius_scale(p, x, row_sums);
    for (int step = 0; step < p->steps; step++) {
        polar_gram(&it.pp, it.gram, it.x, 1);
        quintic_step(&it, polar_triple(p->method, step));
    }
    *steps_taken = p->steps;
    return it.x;
}

int64_t polar_turbo_muon_scratch(const PolarProblem *p) {
    PolarGemms pp = polar_gemms(p);
    return polar_newton_schulz_scratch(p) + pp.batch * pp.k * (int64_t)sizeof(double);
}

// Turbo-Muon: the first Gram matrix A gives the scaling S = diag(1 / sqrt(sum_j |A_ij|)) of AOL (Prach and Lampert
// 2022), after which no singular value of S X exceeds 1; S A S is the Gram matrix of the first step. The division by
// the Frobenius norm cancels out; it only keeps squares in range.
void *polar_turbo_muon(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken) {
    Iteration it = iteration_of(p, x, scratch);
    const PolarOps *ops = p->ops->polar;
    const PolarGemms *pp = &it.pp;
    double *factors = (double *)(void *)((char *)it.poly + polar_gram_bytes(pp));
    frobenius_scale(p, x, row_sums);
    polar_gram(pp, it.gram, x, 1);
    InverseRootSums sums = {.factors = factors, .a = it.gram, .count = p->batch, .n = pp->k};
    ops->inverse_root_sums(p->stream, &sums);
    ScaleSides sides = {.x = x,
                        .left = pp->wide ? factors : NULL,
                        .right = pp->wide ? NULL : factors,
                        .count = p->batch,
                        .rows = p->rows,
                        .cols = p->cols};
    ops->scale_sides(p->stream, &sides);
    ScaleSides gram_sides = {
        .x = it.gram, .left = factors, .right = factors, .count = p->batch, .rows = pp->k, .cols = pp->k};
    ops->scale_sides(p->stream, &gram_sides);
    for (int step = 0; step < p->steps; step++) {
        if (step > 0) polar_gram(pp, it.gram, it.x, 1);
        quintic_step(&it, polar_triple(p->method, step));
    }
    *steps_taken = p->steps;
    return it.x;
}

int64_t polar_gram_ns_scratch(const PolarProblem *p) {
    PolarGemms pp = polar_gemms(p);
    return polar_matrix_bytes(&pp) + 4 * polar_gram_bytes(&pp);
}

enum { RESTART = 2 }; // before this step Q is applied to X and R is recomputed

double polar_gram_ns_flops(const PolarProblem *p, int steps) {
    if (p->rows == p->cols) return polar_newton_schulz_flops(p, steps);
    PolarGemms pp = polar_gemms(p);
    double flops = 0;
    for (int step = 0; step < steps; step++) {
        bool first = step == 0 || step == RESTART, last = step + 1 == steps || step + 1 == RESTART;
        int gemms = 1 + (first ? 0 : 1) + (last ? 0 : 2);
        flops += (first + last) * polar_gram_flops(&pp) + gemms * polar_multiply_flops(&pp);
    }
    return flops;
}

// Gram Newton-Schulz: with R = X X^T and X_t = Q_t X, a step is a polynomial of R,
//   Z = b R + c R^2,  Q <- Q Z + a Q,  R <- (a I + Z) R (a I + Z) = Z (R Z + a R) + a (R Z + a R),
// so that only (k, k) matrices are multiplied. Rounding makes small eigenvalues of R negative, and the steps amplify
// negative ones: hence the restart. a I is never added to Z, because that would round Z.
void *polar_gram_ns(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken) {
    PolarGemms pp = polar_gemms(p);
    if (p->rows == p->cols) return polar_newton_schulz(p, x, row_sums, scratch, steps_taken);
    int64_t gram_bytes = polar_gram_bytes(&pp);
    char *y = scratch, *r = y + polar_matrix_bytes(&pp), *z = r + gram_bytes, *q = z + gram_bytes,
         *next = q + gram_bytes;
    frobenius_scale(p, x, row_sums);
    for (int step = 0; step < p->steps; step++) {
        PolarTriple t = polar_triple(p->method, step);
        bool restart = step == 0 || step == RESTART;
        if (restart) polar_gram(&pp, r, x, 1);
        polar_multiply(&pp, z, r, r, t.c, r, t.b);
        if (restart) {
            device_copy(p->stream, q, z, (size_t)(pp.batch * pp.k * pp.k) * type_size(p->type));
            AddDiagonal add = {.x = q, .value = t.a, .count = p->batch, .n = pp.k};
            p->ops->polar->add_diagonal(p->stream, &add);
        } else {
            polar_multiply(&pp, next, q, z, 1, q, t.a);
            char *swap = q;
            q = next, next = swap;
        }
        if (step + 1 == p->steps || step + 1 == RESTART) {
            polar_apply(&pp, y, x, q, 1, 0);
            void *swap = x;
            x = y, y = swap;
        } else {
            polar_multiply(&pp, next, r, z, 1, r, t.a);
            polar_multiply(&pp, r, z, next, 1, next, t.a);
        }
    }
    *steps_taken = p->steps;
    return x;
}

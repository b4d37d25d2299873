#include "optim/polar/solves.h"

#include <math.h>

PolarSolve polar_solve_init(const PolarProblem *p, Type type) {
    PolarProblem tall = *p;
    tall.rows = p->rows > p->cols ? p->rows : p->cols;
    tall.cols = p->rows > p->cols ? p->cols : p->rows;
    tall.type = type;
    tall.batch = 1;
    PolarSolve s = {.gemms = polar_gemms(&tall)};
    s.gemms.wide = false; // square matrices are treated as tall
    return s;
}

int64_t polar_solve_memory(PolarSolve *s, void *memory) {
    int64_t matrix = polar_matrix_bytes(&s->gemms);
    s->matrix = memory;
    s->stack = memory ? (char *)memory + matrix : NULL;
    return 2 * matrix + polar_gram_bytes(&s->gemms);
}

// out = alpha Q1 Q2^T + beta out with [sqrt(c) u; sqrt(d) I] = [Q1; Q2] R: Q1 Q2^T = sqrt(c d) u (c u^T u + d I)^-1.
static void term_by_qr(const PolarSolve *s, void *out, const void *u, double c, double d, double alpha,
                       double beta) {
    const PolarGemms *pp = &s->gemms;
    int64_t m = pp->rows, n = pp->cols;
    StackIdentity stack = {.y = s->stack, .x = u, .a = sqrt(c), .b = sqrt(d), .rows = m, .cols = n};
    s->ops->stack_identity(pp->stream, &stack);
    device_qr_q(pp->stream, s->stack, pp->type, m + n, n);
    device_gemm(pp->stream, &(Gemm){.type = pp->type,
                                    .c_type = pp->type,
                                    .transpose_b = true,
                                    .m = m,
                                    .n = n,
                                    .k = n,
                                    .alpha = alpha / sqrt(c * d),
                                    .beta = beta,
                                    .a = s->stack,
                                    .lda = n,
                                    .b = (char *)s->stack + (size_t)(m * n) * type_size(pp->type),
                                    .ldb = n,
                                    .c = out,
                                    .ldc = n});
}

void polar_solve_term(const PolarSolve *s, void *out, const void *u, double c, double d, double alpha, double beta,
                      bool qr) {
    const PolarGemms *pp = &s->gemms;
    int64_t m = pp->rows, n = pp->cols;
    if (qr) {
        term_by_qr(s, out, u, c, d, alpha, beta);
        return;
    }
    polar_gram(pp, s->stack, u, c);
    s->ops->add_diagonal(pp->stream, &(AddDiagonal){.x = s->stack, .value = d, .count = 1, .n = n});
    device_copy(pp->stream, s->matrix, u, (size_t)(m * n) * type_size(pp->type));
    device_cholesky_solve_right(pp->stream, s->matrix, s->stack, pp->type, m, n);
    s->ops->axpby(pp->stream, &(Axpby){.y = out, .a = alpha, .x = s->matrix, .b = beta, .n = m * n});
}

void polar_solve_polish(const PolarSolve *s, const void *u) {
    polar_gram(&s->gemms, s->stack, u, 1);
    polar_apply(&s->gemms, s->matrix, u, s->stack, -0.5, 1.5);
}

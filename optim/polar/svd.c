// The polar factor by singular value decomposition: U V^T without the directions whose singular values are rounding
// errors, because those are arbitrary. Zero rows and columns thus stay zero.
#include "optim/polar/methods.h"

#include <float.h>

typedef struct {
    char *values, *u, *vt;
    int64_t bytes;
} Layout;

static Layout layout_of(const PolarProblem *p, char *scratch) {
    int64_t element = (int64_t)type_size(p->type), k = p->rows < p->cols ? p->rows : p->cols;
    int64_t values = (k * element + 63) / 64 * 64, u = (p->rows * k * element + 63) / 64 * 64;
    return (Layout){.values = scratch,
                    .u = scratch + values,
                    .vt = scratch + values + u,
                    .bytes = values + u + k * p->cols * element};
}

int64_t polar_svd_scratch(const PolarProblem *p) {
    char none;
    return layout_of(p, &none).bytes;
}

void *polar_svd(const PolarProblem *p, void *x, const double *row_sums, void *scratch, int *steps_taken) {
    (void)row_sums;
    Layout l = layout_of(p, scratch);
    int64_t m = p->rows, n = p->cols, k = m < n ? m : n;
    double eps = p->type == TYPE_F64 ? DBL_EPSILON : (double)FLT_EPSILON;
    for (int j = 0; j < p->batch; j++) {
        char *matrix = (char *)x + (size_t)(j * m * n) * type_size(p->type);
        device_svd(p->stream, l.values, l.u, l.vt, matrix, p->type, m, n);
        DropSmall drop = {.u = l.u, .values = l.values, .tolerance = eps, .rows = m, .k = k};
        p->ops->polar->drop_small(p->stream, &drop);
        device_gemm(p->stream, &(Gemm){.type = p->type,
                                       .c_type = p->type,
                                       .m = m,
                                       .n = n,
                                       .k = k,
                                       .alpha = 1,
                                       .a = l.u,
                                       .lda = k,
                                       .b = l.vt,
                                       .ldb = n,
                                       .c = matrix,
                                       .ldc = n});
    }
    *steps_taken = 1;
    return x;
}

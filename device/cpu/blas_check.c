#include "device/cpu/blas_check.h"

#include "device/cpu/gemm.h"

#include <stdint.h>
#include <stdlib.h>

// Sizes around those of the kernels' tiles and, for the second shape, of their blocks.
static const int shapes[][3] = {{37, 45, 71}, {193, 130, 389}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, LARGEST = 193 * 389 };

typedef struct {
    float a[LARGEST], b[LARGEST], c[LARGEST];
    double wide_a[LARGEST], wide_b[LARGEST], wide_c[LARGEST], ref[LARGEST];
} Matrices;

// Small integers: all sums of products are exact in fp32.
static void fill(float *x, double *wide, uint32_t seed) {
    for (int i = 0; i < LARGEST; i++) {
        seed = seed * 1664525 + 1013904223;
        x[i] = (float)((int)(seed >> 28) - 8);
        wide[i] = (double)x[i];
    }
}

static bool gemm_is_right(const Blas *blas, Matrices *x, const int shape[3], bool ta, bool tb) {
    int m = shape[0], n = shape[1], k = shape[2], lda = ta ? m : k, ldb = tb ? k : n;
    for (int i = 0; i < m * n; i++) x->c[i] = x->a[i], x->ref[i] = x->wide_c[i] = x->wide_a[i];
    cpu_gemm_builtin_f64(ta, tb, m, n, k, 2, x->wide_a, lda, x->wide_b, ldb, -1, x->ref, n, NULL);
    blas->sgemm(101, ta ? 112 : 111, tb ? 112 : 111, m, n, k, 2, x->a, lda, x->b, ldb, -1, x->c, n);
    blas->dgemm(101, ta ? 112 : 111, tb ? 112 : 111, m, n, k, 2, x->wide_a, lda, x->wide_b, ldb, -1, x->wide_c, n);
    for (int i = 0; i < m * n; i++)
        if ((double)x->c[i] != x->ref[i] || x->wide_c[i] != x->ref[i]) return false;
    return true;
}

static bool syrk_is_right(const Blas *blas, Matrices *x, const int shape[3], bool ta) {
    int n = shape[0], k = shape[1], ld = ta ? n : k;
    for (int i = 0; i < n * n; i++) x->c[i] = x->b[i], x->ref[i] = x->wide_c[i] = x->wide_b[i];
    cpu_gemm_builtin_f64(ta, !ta, n, n, k, 2, x->wide_a, ld, x->wide_a, ld, -1, x->ref, n, NULL);
    blas->ssyrk(101, 122, ta ? 112 : 111, n, k, 2, x->a, ld, -1, x->c, n);
    blas->dsyrk(101, 122, ta ? 112 : 111, n, k, 2, x->wide_a, ld, -1, x->wide_c, n);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double expected = j <= i ? x->ref[i * n + j] : x->wide_b[i * n + j]; // the upper triangle stays
            if ((double)x->c[i * n + j] != expected || x->wide_c[i * n + j] != expected) return false;
        }
    return true;
}

bool blas_check(const Blas *blas) {
    Matrices *x = malloc(sizeof *x);
    bool right = x != NULL;
    if (right) fill(x->a, x->wide_a, 1), fill(x->b, x->wide_b, 2);
    for (int s = 0; s < N_SHAPES; s++)
        for (int transposes = 0; transposes < 4 && right; transposes++)
            right = gemm_is_right(blas, x, shapes[s], transposes & 1, transposes & 2);
    for (int s = 0; s < N_SHAPES && blas->ssyrk; s++)
        for (int transpose = 0; transpose < 2 && right; transpose++)
            right = syrk_is_right(blas, x, shapes[s], transpose);
    free(x);
    return right;
}

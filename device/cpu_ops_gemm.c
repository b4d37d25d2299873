// The blocked product that stands in where no BLAS is found: packed panels and one small kernel that the compiler
// turns into registers. Rows of C are shared out over the threads, so the order of every sum is fixed.
#include "device/cpu_gemm.h"

#include <omp.h>
#include <string.h>

enum { MR = 4, NR = 128 / sizeof(real), KC = 256, MC = 64 };

// A panel of B: (kc, NR) with columns beyond n zero.
static void pack_b(real *restrict to, const real *b, int64_t ldb, bool tb, int64_t p0, int64_t kc, int64_t j0,
                   int64_t nr) {
    for (int64_t p = 0; p < kc; p++)
        for (int64_t j = 0; j < NR; j++)
            to[p * NR + j] = j >= nr ? 0 : tb ? b[(j0 + j) * ldb + p0 + p] : b[(p0 + p) * ldb + j0 + j];
}

// A panel of A: (kc, MR) with rows beyond m zero.
static void pack_a(real *restrict to, const real *a, int64_t lda, bool ta, int64_t i0, int64_t mr, int64_t p0,
                   int64_t kc) {
    for (int64_t p = 0; p < kc; p++)
        for (int64_t i = 0; i < MR; i++)
            to[p * MR + i] = i >= mr ? 0 : ta ? a[(p0 + p) * lda + i0 + i] : a[(i0 + i) * lda + p0 + p];
}

// C (mr, nr) += alpha A B for one panel of each.
static void kernel(real *restrict c, int64_t ldc, int64_t mr, int64_t nr, real alpha, const real *restrict a,
                   const real *restrict b, int64_t kc) {
    real sum[MR][NR] = {{0}};
    for (int64_t p = 0; p < kc; p++)
        for (int i = 0; i < MR; i++)
#pragma omp simd
            for (int j = 0; j < NR; j++) sum[i][j] += a[p * MR + i] * b[p * NR + j];
    for (int64_t i = 0; i < mr; i++)
        for (int64_t j = 0; j < nr; j++) c[i * ldc + j] += alpha * sum[i][j];
}

// Rows [i0, i0 + m) of C.
static void block(bool ta, bool tb, int64_t i0, int64_t m, int64_t n, int64_t k, real alpha, const real *a,
                  int64_t lda, const real *b, int64_t ldb, real beta, real *c, int64_t ldc) {
    real pa[MC * KC], pb[NR * KC];
    for (int64_t i = i0; i < i0 + m; i++)
        for (int64_t j = 0; j < n; j++) c[i * ldc + j] = beta == 0 ? 0 : beta * c[i * ldc + j];
    for (int64_t p0 = 0; p0 < k; p0 += KC) {
        int64_t kc = k - p0 < KC ? k - p0 : KC;
        for (int64_t i = 0; i < m; i += MR)
            pack_a(pa + i * KC, a, lda, ta, i0 + i, m - i < MR ? m - i : MR, p0, kc);
        for (int64_t j = 0; j < n; j += NR) {
            int64_t nr = n - j < NR ? n - j : NR;
            pack_b(pb, b, ldb, tb, p0, kc, j, nr);
            for (int64_t i = 0; i < m; i += MR)
                kernel(c + (i0 + i) * ldc + j, ldc, m - i < MR ? m - i : MR, nr, alpha, pa + i * KC, pb, kc);
        }
    }
}

void OP_TABLE(gemm_own)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, real alpha, const real *a, int64_t lda,
                        const real *b, int64_t ldb, real beta, real *c, int64_t ldc) {
#pragma omp parallel for schedule(static) if (m * n * k > 64 * CPU_PARALLEL_MIN && !omp_in_parallel())
    for (int64_t i0 = 0; i0 < m; i0 += MC)
        block(ta, tb, i0, m - i0 < MC ? m - i0 : MC, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

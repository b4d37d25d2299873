#include "device/cpu/syrk.h"

#include "base/error.h"
#include "base/integers.h"
#include "device/cpu/blas.h"
#include "device/cpu/threads.h"

#include <omp.h>
#include <string.h>

// Tile size: small enough to keep all threads busy, large enough for an efficient GEMM.
enum { TILE_MIN = 64, TILE_MAX = 256, MIRROR_BAND = 16 };

static int64_t tile_size(int64_t n) {
    return max_i64(TILE_MIN, min_i64(round_up(n / 4, TILE_MIN), TILE_MAX));
}

static char *element_at(void *x, int64_t row, int64_t col, int64_t ld, Type type) {
    return (char *)x + (row * ld + col) * (int64_t)type_size(type);
}

// One GEMM of the batch.
typedef struct {
    const Gemm *g;
    const char *a, *b, *c_in; // c_in: NULL if it is C itself
    char *c;
} SymmetricGemm;

// Initializes rows [i, i + m), columns [j, j + n) of C with C_in, or zeros if beta is 0; the GEMM is then accumulated.
static void init_tile(const SymmetricGemm *p, int64_t i, int64_t m, int64_t j, int64_t n) {
    const Gemm *g = p->g;
    size_t bytes = (size_t)n * type_size(g->type);
    for (int64_t r = i; r < i + m; r++) {
        char *row = element_at(p->c, r, j, g->ldc, g->type);
        if (g->beta == 0) memset(row, 0, bytes);
        else if (p->c_in) memcpy(row, p->c_in + (row - p->c), bytes);
    }
}

static void add_rectangle(const SymmetricGemm *p, int64_t i, int64_t m, int64_t j, int64_t n) {
    const Gemm *g = p->g;
    int64_t element = (int64_t)type_size(g->type);
    cpu_gemm(g->type, g->transpose_a, g->transpose_b, m, n, g->k, g->alpha,
             p->a + (g->transpose_a ? i : i * g->lda) * element, g->lda,
             p->b + (g->transpose_b ? j * g->ldb : j) * element, g->ldb, g->beta == 0 ? 1 : g->beta,
             element_at(p->c, i, j, g->ldc, g->type), g->ldc, NULL);
}

// Computes the lower triangle of rows and columns [i, i + m) recursively: only small diagonal squares are computed in
// full.
static void add_triangle(const SymmetricGemm *p, int64_t i, int64_t m) {
    int64_t upper = m > TILE_MIN ? round_up(m / 2, TILE_MIN / 2) : m;
    if (upper == m) {
        add_rectangle(p, i, m, i, m);
        return;
    }
    add_triangle(p, i, upper);
    add_triangle(p, i + upper, m - upper);
    add_rectangle(p, i + upper, m - upper, i, upper);
}

// If op(A) op(B) is A A^T or A^T A, uses the library's syrk; returns false otherwise.
static bool add_syrk_triangle(const SymmetricGemm *p, int64_t i, int64_t m) {
    const Gemm *g = p->g;
    if (p->a != p->b || g->lda != g->ldb || g->transpose_a == g->transpose_b) return false;
    const char *a = p->a + (g->transpose_a ? i : i * g->lda) * (int64_t)type_size(g->type);
    return cpu_syrk_lower(g->type, g->transpose_a, m, g->k, g->alpha, a, g->lda, g->beta == 0 ? 1 : g->beta,
                          element_at(p->c, i, i, g->ldc, g->type), g->ldc);
}

// Mirrors the part of rows [i, i + m) and columns [j, j + n) below the diagonal: C[r][s] = C[s][r] for s > r. In
// bands, so that the written cache lines stay in cache until they are full.
#define MIRROR(type)                                                                                               \
    for (int64_t band = i; band < i + m; band += MIRROR_BAND)                                                      \
        for (int64_t r = j; r < j + n; r++) {                                                                      \
            const type *from = (const type *)p->c + r;                                                             \
            type *to = (type *)p->c + r * ldc;                                                                     \
            for (int64_t s = max_i64(band, r + 1); s < min_i64(band + MIRROR_BAND, i + m); s++)                    \
                to[s] = from[s * ldc];                                                                             \
        }

static void mirror(const SymmetricGemm *p, int64_t i, int64_t m, int64_t j, int64_t n) {
    int64_t ldc = p->g->ldc;
    if (p->g->type == TYPE_F32) {
        MIRROR(float)
    } else {
        MIRROR(double)
    }
}

static void compute_tile(const SymmetricGemm *p, int64_t i, int64_t j, int64_t size) {
    int64_t m = min_i64(p->g->n - i, size), n = min_i64(p->g->n - j, size);
    init_tile(p, i, m, j, n);
    if (i > j) add_rectangle(p, i, m, j, n);
    else if (!add_syrk_triangle(p, i, m)) add_triangle(p, i, m);
    mirror(p, i, m, j, n);
}

void cpu_gemm_symmetric(const Gemm *g, const void *a, const void *b, void *c, const void *c_in) {
    SymmetricGemm p = {g, a, b, c_in, c};
    int64_t size = tile_size(g->n), side = (g->n + size - 1) / size, below = side * (side - 1) / 2;
    // The diagonal tiles are half the work and come last, for load balance.
#pragma omp parallel for schedule(dynamic, 1) if (g->n * g->n * g->k > 64 * CPU_PARALLEL_MIN && !omp_in_parallel())
    for (int64_t t = 0; t < below + side; t++) {
        int64_t row = t - below, col = row;
        if (t < below) {
            for (row = 1; row * (row + 1) / 2 <= t;) row++;
            col = t - row * (row - 1) / 2;
        }
        compute_tile(&p, row * size, col * size, size);
    }
}

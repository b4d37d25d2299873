#include "device/cpu/syrk.h"

#include "base/error.h"
#include "base/integers.h"
#include "device/cpu/blas.h"
#include "device/cpu/threads.h"

#include <omp.h>
#include <string.h>

// Rows and columns of a tile: enough tiles to keep the threads busy, and large enough for the product's rate.
enum { TILE_MIN = 64, TILE_MAX = 256, MIRROR_BAND = 16 };

static int64_t tile_size(int64_t n) {
    return max_i64(TILE_MIN, min_i64(round_up(n / 4, TILE_MIN), TILE_MAX));
}

static char *element_at(void *x, int64_t row, int64_t col, int64_t ld, Type type) {
    return (char *)x + (row * ld + col) * (int64_t)type_size(type);
}

// What device_gemm multiplies, one product of its batch.
typedef struct {
    const Gemm *g;
    const char *a, *b, *add; // add: NULL where C itself is added to
    char *c;
} Product;

// Lays down what the product of C's rows [i, i + m) and columns [j, j + n) is added to; 0 where it is not read.
static void lay_down(const Product *p, int64_t i, int64_t m, int64_t j, int64_t n) {
    const Gemm *g = p->g;
    size_t bytes = (size_t)n * type_size(g->type);
    for (int64_t r = i; r < i + m; r++) {
        char *row = element_at(p->c, r, j, g->ldc, g->type);
        if (g->beta == 0) memset(row, 0, bytes);
        else if (p->add) memcpy(row, p->add + (row - p->c), bytes);
    }
}

static void add_rectangle(const Product *p, int64_t i, int64_t m, int64_t j, int64_t n) {
    const Gemm *g = p->g;
    int64_t element = (int64_t)type_size(g->type);
    cpu_gemm(g->type, g->transpose_a, g->transpose_b, m, n, g->k, g->alpha,
             p->a + (g->transpose_a ? i : i * g->lda) * element, g->lda,
             p->b + (g->transpose_b ? j * g->ldb : j) * element, g->ldb, g->beta == 0 ? 1 : g->beta,
             element_at(p->c, i, j, g->ldc, g->type), g->ldc, NULL);
}

// The lower triangle of rows and columns [i, i + m), by halves: the squares left over at the end are small.
static void add_triangle(const Product *p, int64_t i, int64_t m) {
    int64_t upper = m > TILE_MIN ? round_up(m / 2, TILE_MIN / 2) : m;
    if (upper == m) {
        add_rectangle(p, i, m, i, m);
        return;
    }
    add_triangle(p, i, upper);
    add_triangle(p, i + upper, m - upper);
    add_rectangle(p, i + upper, m - upper, i, upper);
}

// op(A) op(B) is A A^T or A^T A: the library has a product that computes one triangle of it.
static bool add_square_triangle(const Product *p, int64_t i, int64_t m) {
    const Gemm *g = p->g;
    if (p->a != p->b || g->lda != g->ldb || g->transpose_a == g->transpose_b) return false;
    const char *a = p->a + (g->transpose_a ? i : i * g->lda) * (int64_t)type_size(g->type);
    return cpu_syrk_lower(g->type, g->transpose_a, m, g->k, g->alpha, a, g->lda, g->beta == 0 ? 1 : g->beta,
                          element_at(p->c, i, i, g->ldc, g->type), g->ldc);
}

// C[r][s] = C[s][r] above the diagonal, from the rows [i, i + m) and columns [j, j + n) below it: in bands of columns that
// stay in the cache until their lines are full.
#define MIRROR(type)                                                                                               \
    for (int64_t band = i; band < i + m; band += MIRROR_BAND)                                                      \
        for (int64_t r = j; r < j + n; r++) {                                                                      \
            const type *from = (const type *)p->c + r;                                                             \
            type *to = (type *)p->c + r * ldc;                                                                     \
            for (int64_t s = max_i64(band, r + 1); s < min_i64(band + MIRROR_BAND, i + m); s++)                    \
                to[s] = from[s * ldc];                                                                             \
        }

static void mirror(const Product *p, int64_t i, int64_t m, int64_t j, int64_t n) {
    int64_t ldc = p->g->ldc;
    if (p->g->type == TYPE_F32) {
        MIRROR(float)
    } else {
        MIRROR(double)
    }
}

static void compute_tile(const Product *p, int64_t i, int64_t j, int64_t size) {
    int64_t m = min_i64(p->g->n - i, size), n = min_i64(p->g->n - j, size);
    lay_down(p, i, m, j, n);
    if (i > j) add_rectangle(p, i, m, j, n);
    else if (!add_square_triangle(p, i, m)) add_triangle(p, i, m);
    mirror(p, i, m, j, n);
}

void cpu_gemm_symmetric(const Gemm *g, const void *a, const void *b, void *c, const void *add) {
    Product p = {g, a, b, add, c};
    int64_t size = tile_size(g->n), side = (g->n + size - 1) / size, below = side * (side - 1) / 2;
    // The diagonal's tiles are half the work and come last.
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

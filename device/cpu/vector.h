// device/cpu/vector.h - SIMD vectors of the instance's element type and instruction set, and a GEMM micro-kernel whose
// accumulators stay in registers. For files that are compiled once per instance.
#ifndef POLAR_DEVICE_CPU_VECTOR_H
#define POLAR_DEVICE_CPU_VECTOR_H

#include "device/cpu/cpu.h"

#include <string.h>

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64, NV = 4 };
#elif defined(__AVX2__)
enum { VECTOR_BYTES = 32, NV = 2 };
#elif defined(__aarch64__)
enum { VECTOR_BYTES = 16, NV = 4 };
#else
enum { VECTOR_BYTES = 16, NV = 2 };
#endif

// The micro-tile is MR rows of NV vectors: its accumulators, a row of B and one element of A fit into the 32
// registers of AVX-512 and NEON, or 16. Of the tiles that fit into 32 registers, 6 x 4 vectors is one of those with
// the fewest loads, 10 for 24 multiply-adds (8 x 3: 11), and has the accumulators that four pipelines with a latency
// of four cycles need.
enum { MR = 6, LANES = VECTOR_BYTES / sizeof(real), NR = NV * LANES };

// Loads after it are not moved before it: gcc for aarch64 otherwise begins an iteration of the micro-kernel with all
// of its loads, and has no registers left for an accumulator.
#if defined(__aarch64__)
#define KEEP_LOADS_BELOW() __asm__ volatile("" ::: "memory")
#else
#define KEEP_LOADS_BELOW() (void)0
#endif

typedef real Vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

typedef real Quad __attribute__((vector_size(4 * sizeof(real)), aligned(sizeof(real)), may_alias));
// Elements i, j, k, l of the concatenation of x and y: clang's builtin, which gcc has since version 12, or gcc's own.
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(x, y, i, j, k, l) __builtin_shufflevector(x, y, i, j, k, l)
#elif defined(REAL_F64)
typedef int64_t QuadIndex __attribute__((vector_size(32)));
#define SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (QuadIndex){__VA_ARGS__})
#else
typedef int32_t QuadIndex __attribute__((vector_size(16)));
#define SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (QuadIndex){__VA_ARGS__})
#endif

// to (4, 4), row stride `width`, = the transpose of from (4, 4), row stride ld.
static inline void transpose_4x4(real *restrict to, int64_t width, const real *from, int64_t ld) {
    Quad r0 = *(const Quad *)from, r1 = *(const Quad *)(from + ld), r2 = *(const Quad *)(from + 2 * ld),
         r3 = *(const Quad *)(from + 3 * ld);
    Quad a = SHUFFLE(r0, r1, 0, 4, 1, 5), b = SHUFFLE(r2, r3, 0, 4, 1, 5);
    Quad c = SHUFFLE(r0, r1, 2, 6, 3, 7), d = SHUFFLE(r2, r3, 2, 6, 3, 7);
    *(Quad *)to = SHUFFLE(a, b, 0, 1, 4, 5);
    *(Quad *)(to + width) = SHUFFLE(a, b, 2, 3, 6, 7);
    *(Quad *)(to + 2 * width) = SHUFFLE(c, d, 0, 1, 4, 5);
    *(Quad *)(to + 3 * width) = SHUFFLE(c, d, 2, 3, 6, 7);
}

// Packs x^T (depth, columns) into a panel (depth, width), zero-padded; x (columns, depth) is at `from`, row stride ld.
static inline void pack_transposed(real *restrict to, const real *from, int64_t ld, int64_t depth, int64_t columns,
                                   const int width) {
    if (columns < width) memset(to, 0, (size_t)(depth * width) * sizeof(real));
    int64_t i = 0;
    for (; i + 4 <= columns; i += 4) {
        int64_t p = 0;
        for (; p + 4 <= depth; p += 4) transpose_4x4(to + p * width + i, width, from + i * ld + p, ld);
        for (; p < depth; p++)
            for (int64_t q = i; q < i + 4; q++) to[p * width + q] = from[q * ld + p];
    }
    for (; i < columns; i++)
        for (int64_t p = 0; p < depth; p++) to[p * width + i] = from[i * ld + p];
}

// micro_kernel for n in (LANES (nv - 1), LANES nv].
static inline __attribute__((always_inline)) void micro_kernel_vectors(real *restrict c, int64_t ldc, int64_t m,
                                                                       int64_t n, real alpha, real beta,
                                                                       const real *bias, const real *const a[MR],
                                                                       int64_t a_step, const real *restrict b,
                                                                       int64_t ldb, int64_t depth, const int nv) {
    Vec sum[MR][NV];
    const real *rows[MR];
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++) {
        rows[i] = a[i];
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) sum[i][v] = (Vec){0};
    }
    for (int64_t p = 0; p < depth; p++, b += ldb) {
        Vec row[NV];
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) row[v] = *(const Vec *)(b + v * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) {
            if (i == MR / 2) KEEP_LOADS_BELOW();
            real x = rows[i][p * a_step];
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) sum[i][v] += x * row[v];
        }
    }
    if (n == nv * LANES) {
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) {
            if (i == m) return;
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) {
                Vec *to = (Vec *)(c + i * ldc + v * LANES), y = alpha * sum[i][v];
                if (bias) y += *(const Vec *)(bias + v * LANES);
                if (beta != 0) y += beta * *to;
                *to = y;
            }
        }
        return;
    }
    real tile[MR][NR];
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) *(Vec *)(tile[i] + v * LANES) = sum[i][v];
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            c[i * ldc + j] = (beta == 0 ? 0 : beta * c[i * ldc + j]) + alpha * tile[i][j] + (bias ? bias[j] : 0);
}

// c (m, n), at most (MR, NR), = alpha A B + beta c + bias. With beta = 0 c is not read; bias (n) may be NULL. Element
// (i, p) of A (MR, depth) is a[i][p a_step], element (p, j) of B (depth, n) is b[p ldb + j]. Rows beyond m, and
// columns beyond n up to the end of their vector, are read but ignored.
static inline void micro_kernel(real *restrict c, int64_t ldc, int64_t m, int64_t n, real alpha, real beta,
                                const real *bias, const real *const a[MR], int64_t a_step, const real *restrict b,
                                int64_t ldb, int64_t depth) {
#define TILE_VECTORS(nv) micro_kernel_vectors(c, ldc, m, n, alpha, beta, bias, a, a_step, b, ldb, depth, nv)
    if (n <= LANES) TILE_VECTORS(1);
    else if (n <= 2 * LANES) TILE_VECTORS(2);
#if defined(__AVX512F__) || defined(__aarch64__)
    else if (n <= 3 * LANES) TILE_VECTORS(3);
    else TILE_VECTORS(4);
#endif
#undef TILE_VECTORS
}

#endif

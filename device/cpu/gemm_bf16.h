// device/cpu/gemm_bf16.h - GEMMs of bf16 matrices on the CPU, accumulated in fp32 and rounded once. Private to
// device/.
//
// A kernel's operands are packed: depth (the inner dimension, zero-padded to whole steps of BF16_STEP) is split into
// steps. With AVX-512
//   a panel of A is (steps, rows, BF16_STEP): the rows of a tile of C, in each step BF16_STEP numbers of every row;
//   a panel of B is (steps, BF16_STEP / 2, BF16_COLS, 2): the columns of a tile, in pairs along the depth.
// So pairs of A and B are operands of VDPBF16PS, and a step of a panel is a tile of TDPBF16PS. For fp32 multiply-adds
// a panel of A is (steps, rows, 2, BF16_STEP / 2) floats: the first numbers of all pairs, then the second ones.
//
// On aarch64
//   a panel of A is (depth / 4, rows, 4), and
//   a panel of B is (BF16_COLS / 8, depth / 4, 8, 4): the columns of a tile in groups of 8.
// So two rows of A and two columns of B, four numbers of each, are operands of BFMMLA, and both panels are read in
// order.
#ifndef POLAR_DEVICE_CPU_GEMM_BF16_H
#define POLAR_DEVICE_CPU_GEMM_BF16_H

#include "device/cpu/bf16.h"
#include "device/gemm.h"

enum { BF16_STEP = 32, BF16_COLS = 32, BF16_MAX_ROWS = 32 };

// One matrix of a batch: C = alpha op(A) op(B) + beta C_in + bias, as in device/gemm.h. c_in: not NULL if beta is not
// 0.
typedef struct {
    const Gemm *g;
    const Bf16 *a, *b;
    void *c;
    const void *c_in;
} GemmBf16;

// A kernel for tiles of C of (rows, BF16_COLS).
typedef struct Bf16Kernel {
    int rows;
    bool wide_a; // A is packed as floats
    // Packs panel `panel` of op(A) (m, k), from depth p0 on, or of op(B) (k, n).
    void (*pack_a)(void *to, const GemmBf16 *p, int64_t panel, const struct Bf16Kernel *kernel, int64_t p0,
                   int64_t depth);
    void (*pack_b)(Bf16 *to, const GemmBf16 *p, int64_t panel, int64_t p0, int64_t depth);
    // Writes rows [i, i + rows), columns [j, j + BF16_COLS) of C, as far as it has them, from a tile of op(A) op(B). A
    // symmetric C is written on and below the diagonal, and mirrored.
    void (*store_tile)(const GemmBf16 *p, const float *tile, int64_t i, int rows, int64_t j);
    // Called by every thread before its first and after its last tile; may be NULL.
    void (*begin)(void);
    void (*end)(void);
    // tile (rows, BF16_COLS) = (or, if add, +=) a panel of A times a panel of B, `steps` steps deep.
    void (*multiply)(float *tile, const void *a, const Bf16 *b, int64_t steps, bool add);
    // Runs a loop of the kernel's instructions in registers; returns its FLOPs. NULL: the peak is that of fp32.
    double (*peak_loop)(int64_t iterations);
} Bf16Kernel;

extern const Bf16Kernel bf16_kernel_fma, bf16_kernel_dot, bf16_kernel_amx; // x86-64
extern const Bf16Kernel bf16_kernel_mmla;                                  // aarch64

// pack_a, pack_b and store_tile of the kernels for x86-64, by AVX-512.
void avx512_pack_a(void *to, const GemmBf16 *p, int64_t panel, const Bf16Kernel *kernel, int64_t p0, int64_t depth);
void avx512_pack_b(Bf16 *to, const GemmBf16 *p, int64_t panel, int64_t p0, int64_t depth);
void avx512_store_tile(const GemmBf16 *p, const float *tile, int64_t i, int rows, int64_t j);

// Writes elements [j, j + n) of row i of C, as far as it has them, from x, the same of op(A) op(B). A symmetric C is
// written on and below the diagonal, and mirrored. For any processor.
void bf16_store_row(const GemmBf16 *p, const float *x, float alpha, int64_t i, int64_t j, int64_t n);

// Copies elements (row, col) to (row, col + n) of C to their places on the other side of the diagonal.
void bf16_mirror_row(const GemmBf16 *p, int64_t row, int64_t col, int64_t n);

// The GEMM of cpu_gemm_bf16 by a kernel, or by widening blocks to fp32.
void cpu_gemm_bf16_packed(const Bf16Kernel *kernel, const GemmBf16 *p);
void cpu_gemm_bf16_widened(const GemmBf16 *p);

// The kernel of cpu_bf16_unit(); NULL: none, the GEMM is widened.
const Bf16Kernel *cpu_bf16_kernel(void);

// Runs one GEMM on all threads, or on the calling one in a parallel region, with the kernel of the processor. The
// result does not depend on the number of threads (widened: as far as that is true of cpu_gemm).
void cpu_gemm_bf16(const GemmBf16 *p);
#endif

// device/cpu/gemm_bf16.h - GEMMs of bf16 matrices on the CPU, accumulated in fp32 and rounded once. Private to device/.
//
// With AVX-512 both operands are packed: depth (the inner dimension, zero-padded to whole steps of BF16_STEP) is split
// into steps, and
//   a panel of A is (steps, rows, BF16_STEP): the rows of a tile of C, in each step BF16_STEP numbers of every row;
//   a panel of B is (steps, BF16_STEP / 2, BF16_COLS, 2): the columns of a tile, in pairs along the depth.
// So pairs of A and B are operands of VDPBF16PS, and a step of a panel is a tile of TDPBF16PS. For fp32 multiply-adds
// a panel of A is (steps, rows, 2, BF16_STEP / 2) floats: the first numbers of all pairs, then the second ones.
#ifndef POLAR_DEVICE_CPU_GEMM_BF16_H
#define POLAR_DEVICE_CPU_GEMM_BF16_H

#include "device/cpu/bf16.h"
#include "device/gemm.h"

enum { BF16_STEP = 32, BF16_COLS = 32, BF16_MAX_ROWS = 32 };

// One matrix of a batch: C = alpha op(A) op(B) + beta C_in + bias, as in device/gemm.h. c_in: not NULL if beta is not 0.
typedef struct {
    const Gemm *g;
    const Bf16 *a, *b;
    void *c;
    const void *c_in;
} GemmBf16;

// A kernel for tiles of C of (rows, BF16_COLS).
typedef struct {
    int rows;
    bool wide_a; // A is packed as floats
    // Called by every thread before its first and after its last tile; may be NULL.
    void (*begin)(void);
    void (*end)(void);
    // tile (rows, BF16_COLS) = (or, if add, +=) a panel of A times a panel of B, `steps` steps deep.
    void (*multiply)(float *tile, const void *a, const Bf16 *b, int64_t steps, bool add);
    // Runs a loop of the kernel's instructions in registers; returns its FLOPs. NULL: the peak is that of fp32.
    double (*peak_loop)(int64_t iterations);
} Bf16Kernel;

extern const Bf16Kernel bf16_kernel_fma, bf16_kernel_dot, bf16_kernel_amx;

// Packs panel `panel` of op(A) (m, k), from depth p0 on, or of op(B) (k, n).
void bf16_pack_a(void *to, const GemmBf16 *p, int64_t panel, const Bf16Kernel *kernel, int64_t p0, int64_t depth);
void bf16_pack_b(Bf16 *to, const GemmBf16 *p, int64_t panel, int64_t p0, int64_t depth);

// Writes rows [i, i + rows), columns [j, j + BF16_COLS) of C, as far as it has them, from a tile of op(A) op(B). A
// symmetric C is written on and below the diagonal, and mirrored.
void bf16_store_tile(const GemmBf16 *p, const float *tile, int64_t i, int rows, int64_t j);

// The GEMM of cpu_gemm_bf16 by a kernel, or by widening blocks to fp32.
void cpu_gemm_bf16_packed(const Bf16Kernel *kernel, const GemmBf16 *p);
void cpu_gemm_bf16_widened(const GemmBf16 *p);

// The kernel of cpu_bf16_unit(); NULL: none, the GEMM is widened.
const Bf16Kernel *cpu_bf16_kernel(void);

// Runs one GEMM on all threads, or on the calling one in a parallel region, with the kernel of the processor. The result
// does not depend on the number of threads (widened: as far as that is true of cpu_gemm).
void cpu_gemm_bf16(const GemmBf16 *p);
#endif

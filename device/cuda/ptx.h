// device/cuda/ptx.h - wrappers of PTX instructions of sm_80 and newer: tensor-core mma, ldmatrix, and asynchronous
// copies to shared memory (cp.async).
//
// The first three are warp-wide: all 32 lanes must call them. With lane = threadIdx % 32, g = lane / 4, t = lane % 4,
// a register with two bf16 holds the one of the lower column (of b: row) in its lower half. PTX ISA, "Matrix
// Fragments for mma.m16n8k16" and "ldmatrix".
#ifndef POLAR_DEVICE_CUDA_PTX_H
#define POLAR_DEVICE_CUDA_PTX_H

#include "device/cuda/launch.h"

#include <stdint.h>

#ifdef CUDA_EMULATOR
#include "emulator_ptx.h" // the same functions for the CPU emulator of CUDA
#else

// d (16, 8) += a (16, 16) b (16, 8), bf16 inputs, fp32 accumulation.
// d: [0], [1] are row g, columns 2t, 2t + 1; [2], [3] row g + 8.
// a: [0] row g, columns 2t, 2t + 1; [1] row g + 8; [2] row g, columns 2t + 8, 2t + 9; [3] row g + 8 of those.
// b: b0 rows 2t, 2t + 1 of column g; b1 rows 2t + 8, 2t + 9.
static __device__ __forceinline__ void mma_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Loads four 8 x 8 matrices of 16-bit elements from shared memory: lanes 8 i to 8 i + 7 pass the addresses of the
// rows of matrix i (16-byte aligned). r[i] receives row g, columns 2t, 2t + 1 of matrix i.
static __device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void *row) {
    const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

// The same with transposed matrices: r[i] receives rows 2t, 2t + 1 of column g of matrix i.
static __device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void *row) {
    const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

// Starts an asynchronous copy of 16 bytes from global to shared memory, both 16-byte aligned: `bytes` (0 to 16) are
// read, the rest is zero-filled. Visible to this thread after cp_async_wait for its group, to others after a
// subsequent barrier.
static __device__ __forceinline__ void cp_async_16(void *to, const void *from, int bytes = 16) {
    const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(address),
                 "l"(__cvta_generic_to_global(from)), "r"(bytes)
                 : "memory");
}

// Commits this thread's copies since the last call as a group.
static __device__ __forceinline__ void cp_async_commit() {
    asm volatile("cp.async.commit_group;\n" ::: "memory");
}

// Waits for all of this thread's groups except the latest N.
template <int N> static __device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory");
}

// 2^x by the hardware approximation (relative error 2^-22); results below 2^-126 are flushed to 0. Not warp-wide.
static __device__ __forceinline__ float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
    return y;
}

#endif
#endif

// emulator_ptx.h - the functions of device/cuda/ptx.h, which says what they do, by the layouts of the PTX ISA.
#ifndef POLAR_CUDA_EMULATOR_PTX_H
#define POLAR_CUDA_EMULATOR_PTX_H

#include "emulator_warp.h"

#include <float.h>
#include <math.h>
#include <stdint.h>

namespace emulator {
struct Multiplied {
    float *d;
    const uint32_t *a, *b;
};
void multiply_combine(void *const operands[32], unsigned mask);

struct Loaded {
    uint32_t *r;
    const void *row;
};
void load_combine(void *const operands[32], unsigned mask);
void load_transposed_combine(void *const operands[32], unsigned mask);
void load(uint32_t *r, const void *row, Combine combine, Place place);

// Copies in the background. The destination is poisoned until the wait.
void copy_begin(void *to, const void *from, int bytes);
void copy_commit();
void copy_wait(int groups_left);
} // namespace emulator

inline void mma_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, CUDA_EMULATOR_PLACE) {
    const uint32_t b[2] = {b0, b1};
    emulator::Multiplied own = {d, a, b};
    emulator::warp_wait(0xffffffffu, &own, emulator::multiply_combine, {"mma_16816", file, line});
}

inline void ldmatrix_x4(uint32_t (&r)[4], const void *row, CUDA_EMULATOR_PLACE) {
    emulator::load(r, row, emulator::load_combine, {"ldmatrix_x4", file, line});
}
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void *row, CUDA_EMULATOR_PLACE) {
    emulator::load(r, row, emulator::load_transposed_combine, {"ldmatrix_x4_trans", file, line});
}

inline void cp_async_16(void *to, const void *from, int bytes = 16) {
    emulator::copy_begin(to, from, bytes);
}
inline void cp_async_commit() {
    emulator::copy_commit();
}
template <int N> void cp_async_wait() {
    emulator::copy_wait(N);
}

inline float exp2_approx(float x) {
    float y = exp2f(x);
    return y < FLT_MIN ? 0 : y; // NaN stays
}

#endif

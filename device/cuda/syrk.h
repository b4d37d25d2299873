// device/cuda/syrk.h - symmetric GEMM in bf16 on tensor cores: computes the tiles of one triangle and writes each
// twice. Private to device/, its tests and benchmarks.
#ifndef POLAR_DEVICE_CUDA_SYRK_H
#define POLAR_DEVICE_CUDA_SYRK_H

#include "device/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SYRK_TILE = 128 }; // rows and columns of the tile of C that a thread block computes

// Returns true if cuda_syrk supports g: symmetric, bf16 inputs, A B^T or A^T B, and A, B and their row and batch
// strides are 16-byte aligned. C may have any alignment.
bool cuda_syrk_is_supported(const Gemm *g);

// Returns true if cuda_syrk is assumed to be faster than a full cuBLASLt GEMM on compute capability `capability`
// (10 major + minor). Depends on nothing else, so that a run is bitwise identical on all cards of a generation.
bool cuda_syrk_is_faster(int capability, int64_t m, int64_t k, int64_t batch);

// Computes g, which must be supported. C is exactly symmetric: its upper triangle is a copy of the lower, and only
// the lower triangle of C_in is read. Accumulates in fp32, in an order that depends only on k: each element of C has
// the error of an fp32 sum of k products and of one rounding to c_type.
void cuda_syrk(Stream *stream, const Gemm *g);

#ifdef __cplusplus
}
#endif
#endif

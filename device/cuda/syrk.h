// device/cuda/syrk.h - products that are symmetric, of bf16 on the tensor cores: the tiles of one triangle are
// computed and each is written twice. For device/ and its tests and measurements.
#ifndef POLAR_DEVICE_CUDA_SYRK_H
#define POLAR_DEVICE_CUDA_SYRK_H

#include "device/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SYRK_TILE = 128 }; // rows, and columns, of C that a block computes

// Whether cuda_syrk can compute g: symmetric, bf16 in, A B^T or A^T B, and A, B with row and batch strides that are
// multiples of 16 bytes. C may stand anywhere.
bool cuda_syrk_is_supported(const Gemm *g);

// Whether it is taken to be faster than cuBLASLt computing the whole, on a GPU of compute capability `capability`
// (10 major + minor): of nothing else, so that the same run has the same bits on every card of a kind.
bool cuda_syrk_is_faster(int capability, int64_t m, int64_t k, int64_t batch);

// g, which must suit. C is symmetric to the last bit: its upper triangle is a copy of the lower, and of D the lower one
// counts. Sums are fp32, in an order that depends on nothing but k. Each element of C has the error of a sum of k
// products in fp32 and of one rounding to c_type.
void cuda_syrk(Stream *stream, const Gemm *g);

#ifdef __cplusplus
}
#endif
#endif

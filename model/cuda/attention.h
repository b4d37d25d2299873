// model/cuda/attention.h - the kernels that attention on CUDA chooses from. The operations themselves
// (model/cuda/ops.h) take head_dim <= CUDA_MAX_HEAD_DIM and give the same bits for a query whatever other queries are
// asked for with it: a sequence read at once and one read through a cache agree.
#ifndef POLAR_MODEL_CUDA_ATTENTION_H
#define POLAR_MODEL_CUDA_ATTENTION_H

#include "device/cuda/launch.h"
#include "model/cuda/ops.h" // declares the operations

enum {
    MAX_GRID_YZ = 65535, // of a launch: heads and batch entries
    CUDA_MAX_HEAD_DIM = 256,
};

// Any head_dim up to 256, plain multiplications in fp32. delta is an input.
template <typename T> void attention_simple_forward(cudaStream_t stream, const AttentionForward &a);
template <typename T> void attention_simple_backward(cudaStream_t stream, const AttentionBackward &a);

// bf16, head_dim 64 or 128 and scale > 0, on the tensor cores. delta is an input.
void attention_tensor_forward(cudaStream_t stream, const AttentionForward &a);
void attention_tensor_backward(cudaStream_t stream, const AttentionBackward &a);

#endif

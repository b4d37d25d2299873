// model/cuda/attention.h - the attention kernels. The operations (model/cuda/ops.h) support head_dim up to
// CUDA_MAX_HEAD_DIM. The result of a query does not depend on the other queries of the call: decoding with a KV cache
// is bitwise identical to processing the whole sequence at once.
#ifndef POLAR_MODEL_CUDA_ATTENTION_H
#define POLAR_MODEL_CUDA_ATTENTION_H

#include "device/cuda/launch.h"
#include "model/cuda/ops.h" // declares the operations

enum {
    MAX_GRID_YZ = 65535, // CUDA limit of gridDim.y and gridDim.z, which are heads and batch entries
    CUDA_MAX_HEAD_DIM = 256,
};

// Any head_dim up to 256, fp32 arithmetic without tensor cores. delta is an input.
template <typename T> void attention_simple_forward(cudaStream_t stream, const AttentionForward &a);
template <typename T> void attention_simple_backward(cudaStream_t stream, const AttentionBackward &a);

// bf16, head_dim 64 or 128 and scale > 0, on the tensor cores. delta is an input.
void attention_tensor_forward(cudaStream_t stream, const AttentionForward &a);
void attention_tensor_backward(cudaStream_t stream, const AttentionBackward &a);

#endif

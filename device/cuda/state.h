// device/cuda/state.h - what stands behind a Device and a Stream on a GPU. For device/ only.
#ifndef POLAR_DEVICE_CUDA_STATE_H
#define POLAR_DEVICE_CUDA_STATE_H

#include "device/backend.h"
#include "device/cuda/libraries.h"

typedef struct GemmPlans GemmPlans;

// What is allocated on a device, so that it can be counted: cudaFree does not say how much it frees.
typedef struct {
    struct CudaBlock {
        void *memory;
        size_t bytes;
    } * blocks; // (count, of `room`), in no order
    int count, room;
    size_t bytes, most; // of all blocks: now, and at most so far
} CudaMemory;

typedef struct {
    Device base;    // first: a Device * is a CudaDevice *
    int number;     // as CUDA counts
    int capability; // 10 major + minor
    const CudaLibraries *lib;
    cublasLtHandle_t blas;
    GemmPlans *plans;
    cusolverDnHandle_t solver; // these from the first solve on
    cusolverDnParams_t solver_params;
    void *solver_host; // its workspace on the host
    size_t solver_host_bytes;
    CudaMemory memory;
} CudaDevice;

// What cuBLASLt may use beside the operands: NVIDIA's advice for the largest GPUs. A constant, as the choice of the
// algorithm depends on it.
enum { CUDA_GEMM_WORKSPACE = 32 << 20 };

// Scratch at least doubles when it grows, so that 64 buffers are enough for any size.
enum { CUDA_SCRATCH_BUFFERS = 64 };

typedef struct {
    Stream base; // first: a Stream * is a CudaStream *
    void *scratch[CUDA_SCRATCH_BUFFERS];
    size_t scratch_bytes; // of the last
    int n_scratch;
    void *gemm_workspace;
} CudaStream;

static inline CudaDevice *cuda_device(Device *device) {
    return (CudaDevice *)device;
}
static inline CudaStream *cuda_stream_state(Stream *stream) {
    return (CudaStream *)stream;
}
#endif

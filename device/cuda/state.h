// device/cuda/state.h - the CUDA backend's Device and Stream. Private to device/.
#ifndef POLAR_DEVICE_CUDA_STATE_H
#define POLAR_DEVICE_CUDA_STATE_H

#include "device/backend.h"
#include "device/cuda/libraries.h"

typedef struct GemmPlans GemmPlans;

// The allocations on a device, recorded because cudaFree does not tell the size that it frees.
typedef struct {
    struct CudaBlock {
        void *memory;
        size_t bytes;
    } * blocks; // (count), unordered
    int count, capacity;
    size_t bytes, peak; // total of all blocks: current and maximum
} CudaMemory;

typedef struct {
    Device base;    // first: a Device * is a CudaDevice *
    int number;     // CUDA device ordinal
    int capability; // 10 major + minor
    const CudaLibraries *lib;
    cublasLtHandle_t blas;
    GemmPlans *plans;
    cusolverDnHandle_t solver; // these are created by the first solver call
    cusolverDnParams_t solver_params;
    void *solver_host; // host workspace
    size_t solver_host_bytes;
    CudaMemory memory;
} CudaDevice;

// Workspace of cuBLASLt: NVIDIA's recommendation for the largest GPUs. A constant, as the choice of the algorithm
// depends on it.
enum { CUDA_GEMM_WORKSPACE = 32 << 20 };

// The scratch buffer at least doubles when it grows, so 64 buffers suffice for any size.
enum { CUDA_SCRATCH_BUFFERS = 64 };

typedef struct {
    Stream base; // first: a Stream * is a CudaStream *
    void *scratch[CUDA_SCRATCH_BUFFERS];
    size_t scratch_bytes; // of the last buffer
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

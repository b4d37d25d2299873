// device/cuda/check.h - a call of the CUDA runtime that fails ends the program: one line that says which and what to do,
// exit status 1. Checkpoints are complete or not there, so a run goes on from the last one.
#ifndef POLAR_DEVICE_CUDA_CHECK_H
#define POLAR_DEVICE_CUDA_CHECK_H

#ifdef __cplusplus
extern "C" {
#endif

// Prints the line and exits. `error` is the call's cudaError_t.
void cuda_failed(int error, const char *call, const char *file, int line) __attribute__((noreturn));

#ifdef __cplusplus
}
#endif

// CUDA_CHECK(cudaEventRecord(event, stream));
#define CUDA_CHECK(call)                                                                                           \
    do {                                                                                                           \
        int cuda_error_ = (int)(call);                                                                             \
        if (cuda_error_ != 0) cuda_failed(cuda_error_, #call, __FILE__, __LINE__);                                 \
    } while (0)

// After each launch: whether it could be started. What fails later is seen by the next call that waits.
#define CUDA_CHECK_LAUNCH()                                                                                        \
    do {                                                                                                           \
        int cuda_error_ = (int)cudaGetLastError();                                                                 \
        if (cuda_error_ != 0) cuda_failed(cuda_error_, "the launch of a kernel", __FILE__, __LINE__);              \
    } while (0)

#endif

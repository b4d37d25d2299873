// device/cuda/check.h - error checks of CUDA runtime calls. A failed call ends the program with exit status 1 and one
// line that names the call and says what to do. Checkpoints are atomic, so the run can be resumed from the last one.
#ifndef POLAR_DEVICE_CUDA_CHECK_H
#define POLAR_DEVICE_CUDA_CHECK_H

#ifdef __cplusplus
extern "C" {
#endif

// Prints the line and exits. `error` is the cudaError_t of the call.
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

// Checks each kernel launch. Errors during execution are reported by the next synchronizing call.
#define CUDA_CHECK_LAUNCH()                                                                                        \
    do {                                                                                                           \
        int cuda_error_ = (int)cudaGetLastError();                                                                 \
        if (cuda_error_ != 0) cuda_failed(cuda_error_, "a kernel launch", __FILE__, __LINE__);                     \
    } while (0)

#endif

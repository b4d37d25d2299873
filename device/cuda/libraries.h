// device/cuda/libraries.h - cuBLASLt and cuSOLVER, loaded with dlopen when a GPU is opened. Private to device/.
#ifndef POLAR_DEVICE_CUDA_LIBRARIES_H
#define POLAR_DEVICE_CUDA_LIBRARIES_H

#include "base/error.h"

#include <cublasLt.h>
#include <cusolverDn.h>

// The functions used from each library.
#define CUBLASLT_FUNCTIONS(F)                                                                                      \
    F(cublasLtGetVersion)                                                                                          \
    F(cublasLtCreate)                                                                                              \
    F(cublasLtDestroy)                                                                                             \
    F(cublasLtMatmulDescCreate)                                                                                    \
    F(cublasLtMatmulDescDestroy)                                                                                   \
    F(cublasLtMatmulDescSetAttribute)                                                                              \
    F(cublasLtMatrixLayoutCreate)                                                                                  \
    F(cublasLtMatrixLayoutDestroy)                                                                                 \
    F(cublasLtMatrixLayoutSetAttribute)                                                                            \
    F(cublasLtMatmulPreferenceCreate)                                                                              \
    F(cublasLtMatmulPreferenceDestroy)                                                                             \
    F(cublasLtMatmulPreferenceSetAttribute)                                                                        \
    F(cublasLtMatmulAlgoGetHeuristic)                                                                              \
    F(cublasLtMatmul)

#define CUSOLVER_FUNCTIONS(F)                                                                                      \
    F(cusolverDnCreate)                                                                                            \
    F(cusolverDnDestroy)                                                                                           \
    F(cusolverDnSetStream)                                                                                         \
    F(cusolverDnCreateParams)                                                                                      \
    F(cusolverDnDestroyParams)                                                                                     \
    F(cusolverDnXgeqrf_bufferSize)                                                                                 \
    F(cusolverDnXgeqrf)                                                                                            \
    F(cusolverDnSorgqr_bufferSize)                                                                                 \
    F(cusolverDnSorgqr)                                                                                            \
    F(cusolverDnDorgqr_bufferSize)                                                                                 \
    F(cusolverDnDorgqr)                                                                                            \
    F(cusolverDnXpotrf_bufferSize)                                                                                 \
    F(cusolverDnXpotrf)                                                                                            \
    F(cusolverDnXpotrs)                                                                                            \
    F(cusolverDnXtrtri_bufferSize)                                                                                 \
    F(cusolverDnXtrtri)                                                                                            \
    F(cusolverDnXgesvd_bufferSize)                                                                                 \
    F(cusolverDnXgesvd)

#define CUDA_FUNCTION_MEMBER(name) __typeof__(name) *name;
typedef struct {
    CUBLASLT_FUNCTIONS(CUDA_FUNCTION_MEMBER)
    CUSOLVER_FUNCTIONS(CUDA_FUNCTION_MEMBER)
    bool can_solve;       // cuSOLVER was loaded
    char description[96]; // "cuBLASLt 13.1.0, cuSOLVER"
} CudaLibraries;
#undef CUDA_FUNCTION_MEMBER

// Loads the libraries once: from the directories in POLAR_CUDA_LIBRARIES (DIR[:DIR...]), then the loader's search
// path, $CUDA_HOME/lib64 and /usr/local/cuda*/lib64. Prefers the version whose headers the program was compiled with,
// then those of CUDA 13, 12 and 11. cuSOLVER may be missing. Errors: no cuBLASLt.
bool cuda_libraries_load(const CudaLibraries **libraries, Error *err);

#endif

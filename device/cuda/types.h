// device/cuda/types.h - storage and accumulation types of kernels and their conversions, the warp size, stream
// handles. For .cu files.
#ifndef POLAR_DEVICE_CUDA_TYPES_H
#define POLAR_DEVICE_CUDA_TYPES_H

#include "base/error.h"
#include "device/backend.h"
#include "device/cuda/launch.h"

constexpr int WARP = 32;
constexpr unsigned FULL_MASK = 0xffffffffu; // all lanes of a warp

// Accumulation type: kernels upcast elements to it, and optimizer state, gradients and master weights are stored in it.
template <typename T> struct Accumulation { using Type = float; };
template <> struct Accumulation<double> { using Type = double; };
template <typename T> using Acc = typename Accumulation<T>::Type;

// Upcasts to the accumulation type.
static __device__ inline float widened(float x) {
    return x;
}
static __device__ inline double widened(double x) {
    return x;
}
static __device__ inline float widened(__nv_bfloat16 x) {
    return __bfloat162float(x);
}

// Rounds to nearest even in the storage type.
static __device__ inline void narrow_to(float &out, float x) {
    out = x;
}
static __device__ inline void narrow_to(double &out, double x) {
    out = x;
}
static __device__ inline void narrow_to(__nv_bfloat16 &out, float x) {
    out = __float2bfloat16_rn(x);
}

// x rounded to T and upcast again.
template <typename T> static __device__ inline Acc<T> rounded(Acc<T> x) {
    T y;
    narrow_to(y, x);
    return widened(y);
}

static inline cudaStream_t cuda_stream(const Stream *s) {
    return static_cast<cudaStream_t>(s->handle);
}

#endif

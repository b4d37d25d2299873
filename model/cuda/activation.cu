// Elementwise operations: activations, SwiGLU, soft-cap, casts. Each reads its inputs and writes its outputs once.
#include "device/cuda/kernel.h"
#include "model/cuda/math.h"
#include "model/cuda/ops.h"

constexpr int ELEMENTWISE_THREADS = 256;

// Calls op(i, left) for every pack, one per thread: i is its first element, left = n - i.
template <typename Op> static __global__ void elementwise_kernel(Op op, int64_t n) {
    int64_t i = (static_cast<int64_t>(blockIdx.x) * ELEMENTWISE_THREADS + threadIdx.x) * Op::W;
    if (i < n) op(i, n - i);
}

template <typename Op> static void elementwise(Stream *s, const Op &op, int64_t n) {
    CUDA_LAUNCH(elementwise_kernel<Op>, whole_grid(n, ELEMENTWISE_THREADS * Op::W), ELEMENTWISE_THREADS, 0,
                cuda_stream(s), op, n);
    CUDA_CHECK_LAUNCH();
}

// ---- unary activations: value and derivative ----

constexpr float TWO_SQRT_2_PI = 1.5957691216057307f, GELU_CUBIC = 0.044715f;
constexpr float SQRT_HALF = 0.70710678118654752f, INV_SQRT_2PI = 0.39894228040143268f;

// tanh-GELU as x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3): (1 + tanh u) / 2 = sigmoid(2 u) has no cancellation.
struct GeluTanh {
    static __device__ float gate(float x) { return sigmoid(TWO_SQRT_2_PI * (x + GELU_CUBIC * x * x * x)); }
    static __device__ float value(float x) { return x * gate(x); }
    static __device__ float derivative(float x) {
        float g = gate(x);
        return g + x * g * (1 - g) * (TWO_SQRT_2_PI * (1 + 3 * GELU_CUBIC * x * x));
    }
};

struct Gelu {
    static __device__ float cdf(float x) { return 0.5f * erfcf(-x * SQRT_HALF); }
    static __device__ float value(float x) { return x * cdf(x); }
    static __device__ float derivative(float x) { return cdf(x) + x * INV_SQRT_2PI * expf(-0.5f * x * x); }
};

struct Relu2 {
    static __device__ float value(float x) { return x < 0 ? 0 : x * x; } // NaN stays NaN
    static __device__ float derivative(float x) { return x < 0 ? 0 : 2 * x; }
};

template <typename T, typename F> struct ForwardOp {
    static constexpr int W = PACK<T>;
    T *out;
    const T *in;
    bool aligned;
    __device__ void operator()(int64_t i, int64_t left) const {
        float x[W];
        load(x, in + i, left, aligned);
#pragma unroll
        for (int j = 0; j < W; j++) x[j] = F::value(x[j]);
        store(out + i, x, left, aligned);
    }
};

template <typename T, typename F> struct BackwardOp {
    static constexpr int W = PACK<T>;
    T *din;
    const T *dout, *in;
    bool aligned;
    __device__ void operator()(int64_t i, int64_t left) const {
        float x[W], d[W];
        load(x, in + i, left, aligned);
        load(d, dout + i, left, aligned);
#pragma unroll
        for (int j = 0; j < W; j++) d[j] *= F::derivative(x[j]);
        store(din + i, d, left, aligned);
    }
};

template <typename T> void activation_forward_cuda(Stream *s, const ActivationForward *a) {
    T *out = static_cast<T *>(a->out);
    const T *in = static_cast<const T *>(a->in);
    bool aligned = aligned_16(0, out, in);
    switch (a->kind) {
    case ACTIVATION_GELU_TANH:
        return elementwise(s, ForwardOp<T, GeluTanh>{out, in, aligned}, a->n);
    case ACTIVATION_GELU:
        return elementwise(s, ForwardOp<T, Gelu>{out, in, aligned}, a->n);
    case ACTIVATION_RELU2:
        return elementwise(s, ForwardOp<T, Relu2>{out, in, aligned}, a->n);
    case ACTIVATION_SWIGLU:
        ASSERT(!"SwiGLU has its own operation");
    }
}

template <typename T> void activation_backward_cuda(Stream *s, const ActivationBackward *a) {
    T *din = static_cast<T *>(a->din);
    const T *dout = static_cast<const T *>(a->dout), *in = static_cast<const T *>(a->in);
    bool aligned = aligned_16(0, din, dout, in);
    switch (a->kind) {
    case ACTIVATION_GELU_TANH:
        return elementwise(s, BackwardOp<T, GeluTanh>{din, dout, in, aligned}, a->n);
    case ACTIVATION_GELU:
        return elementwise(s, BackwardOp<T, Gelu>{din, dout, in, aligned}, a->n);
    case ACTIVATION_RELU2:
        return elementwise(s, BackwardOp<T, Relu2>{din, dout, in, aligned}, a->n);
    case ACTIVATION_SWIGLU:
        ASSERT(!"SwiGLU has its own operation");
    }
}

// ---- SwiGLU ----

template <typename T> struct SwigluForwardOp {
    static constexpr int W = PACK<T>;
    T *out;
    const T *gate, *up;
    bool aligned;
    __device__ void operator()(int64_t i, int64_t left) const {
        float g[W], u[W];
        load(g, gate + i, left, aligned);
        load(u, up + i, left, aligned);
#pragma unroll
        for (int j = 0; j < W; j++) u[j] *= g[j] * sigmoid(g[j]);
        store(out + i, u, left, aligned);
    }
};

template <typename T> struct SwigluBackwardOp {
    static constexpr int W = PACK<T>;
    T *dgate, *dup;
    const T *dout, *gate, *up;
    bool aligned;
    __device__ void operator()(int64_t i, int64_t left) const {
        float g[W], u[W], d[W];
        load(g, gate + i, left, aligned);
        load(u, up + i, left, aligned);
        load(d, dout + i, left, aligned);
#pragma unroll
        for (int j = 0; j < W; j++) {
            float sig = sigmoid(g[j]);
            u[j] *= d[j] * (sig + g[j] * sig * (1 - sig));
            d[j] *= g[j] * sig;
        }
        store(dgate + i, u, left, aligned);
        store(dup + i, d, left, aligned);
    }
};

template <typename T> void swiglu_forward_cuda(Stream *s, const SwigluForward *a) {
    T *out = static_cast<T *>(a->out);
    const T *gate = static_cast<const T *>(a->gate), *up = static_cast<const T *>(a->up);
    elementwise(s, SwigluForwardOp<T>{out, gate, up, aligned_16(0, out, gate, up)}, a->n);
}

template <typename T> void swiglu_backward_cuda(Stream *s, const SwigluBackward *a) {
    T *dgate = static_cast<T *>(a->dgate), *dup = static_cast<T *>(a->dup);
    const T *dout = static_cast<const T *>(a->dout);
    const T *gate = static_cast<const T *>(a->gate), *up = static_cast<const T *>(a->up);
    elementwise(s, SwigluBackwardOp<T>{dgate, dup, dout, gate, up, aligned_16(0, dgate, dup, dout, gate, up)},
                a->n);
}

// ---- soft-cap and casts ----

template <typename T> struct SoftcapOp {
    static constexpr int W = PACK<T>;
    T *logits;
    SoftcapParams cap;
    bool aligned;
    __device__ void operator()(int64_t i, int64_t left) const {
        float x[W];
        load(x, logits + i, left, aligned);
#pragma unroll
        for (int j = 0; j < W; j++) x[j] = softcapped(x[j], cap);
        store(logits + i, x, left, aligned);
    }
};

template <typename T> void softcap_cuda(Stream *s, const Softcap *a) {
    T *logits = static_cast<T *>(a->logits);
    elementwise(s, SoftcapOp<T>{logits, softcap_params(a->kind, a->cap), aligned_16(0, logits)}, a->n);
}

template <typename T> struct CastOp {
    static constexpr int W = PACK<T>;
    T *out;
    const float *in;
    bool aligned;
    __device__ void operator()(int64_t i, int64_t left) const {
        float x[W];
        load(x, in + i, left, aligned);
        store(out + i, x, left, aligned);
    }
};

template <typename T> void cast_weights_cuda(Stream *s, const CastWeights *a) {
    T *weights = static_cast<T *>(a->weights);
    const float *master = static_cast<const float *>(a->master);
    elementwise(s, CastOp<T>{weights, master, aligned_16(0, weights, master)}, a->n);
}

CUDA_INSTANCES(activation_forward_cuda)
CUDA_INSTANCES(activation_backward_cuda)
CUDA_INSTANCES(swiglu_forward_cuda)
CUDA_INSTANCES(swiglu_backward_cuda)
CUDA_INSTANCES(softcap_cuda)
template void cast_weights_cuda<__nv_bfloat16>(Stream *, const CastWeights *);

// Functions of single numbers. Each reads its inputs and writes its outputs once.
#include "device/cuda/kernel.h"
#include "model/cuda/math.h"
#include "model/cuda/ops.h"

constexpr int EACH_THREADS = 256;

// op(i, left) for the pack that begins at element i, of which `left` elements and more are there.
template <typename Op> static __global__ void each_kernel(Op op, int64_t n) {
    int64_t i = (static_cast<int64_t>(blockIdx.x) * EACH_THREADS + threadIdx.x) * Op::W;
    if (i < n) op(i, n - i);
}

template <typename Op> static void each_pack(Stream *s, const Op &op, int64_t n) {
    CUDA_LAUNCH(each_kernel<Op>, whole_grid(n, EACH_THREADS * Op::W), EACH_THREADS, 0, cuda_stream(s), op, n);
    CUDA_CHECK_LAUNCH();
}

// ---- activations of one input: f with its value and slope ----

constexpr float TWO_SQRT_2_PI = 1.5957691216057307f, GELU_CUBIC = 0.044715f;
constexpr float SQRT_HALF = 0.70710678118654752f, INV_SQRT_2PI = 0.39894228040143268f;

// tanh-GELU as x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3): (1 + tanh u) / 2 = sigmoid(2 u), without
// cancellation.
struct GeluTanh {
    static __device__ float gate(float x) { return sigmoid(TWO_SQRT_2_PI * (x + GELU_CUBIC * x * x * x)); }
    static __device__ float value(float x) { return x * gate(x); }
    static __device__ float slope(float x) {
        float g = gate(x);
        return g + x * g * (1 - g) * (TWO_SQRT_2_PI * (1 + 3 * GELU_CUBIC * x * x));
    }
};

struct Gelu {
    static __device__ float cdf(float x) { return 0.5f * erfcf(-x * SQRT_HALF); }
    static __device__ float value(float x) { return x * cdf(x); }
    static __device__ float slope(float x) { return cdf(x) + x * INV_SQRT_2PI * expf(-0.5f * x * x); }
};

struct Relu2 {
    static __device__ float value(float x) { return x < 0 ? 0 : x * x; } // NaN stays NaN
    static __device__ float slope(float x) { return x < 0 ? 0 : 2 * x; }
};

template <typename T, typename F> struct Value {
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

template <typename T, typename F> struct Slope {
    static constexpr int W = PACK<T>;
    T *din;
    const T *dout, *in;
    bool aligned;
    __device__ void operator()(int64_t i, int64_t left) const {
        float x[W], d[W];
        load(x, in + i, left, aligned);
        load(d, dout + i, left, aligned);
#pragma unroll
        for (int j = 0; j < W; j++) d[j] *= F::slope(x[j]);
        store(din + i, d, left, aligned);
    }
};

template <typename T> void activation_forward_cuda(Stream *s, const ActivationForward *a) {
    T *out = static_cast<T *>(a->out);
    const T *in = static_cast<const T *>(a->in);
    bool aligned = aligned_16(0, out, in);
    switch (a->kind) {
    case ACTIVATION_GELU_TANH:
        return each_pack(s, Value<T, GeluTanh>{out, in, aligned}, a->n);
    case ACTIVATION_GELU:
        return each_pack(s, Value<T, Gelu>{out, in, aligned}, a->n);
    case ACTIVATION_RELU2:
        return each_pack(s, Value<T, Relu2>{out, in, aligned}, a->n);
    case ACTIVATION_SWIGLU:
        ASSERT(!"SwiGLU has an operation of its own");
    }
}

template <typename T> void activation_backward_cuda(Stream *s, const ActivationBackward *a) {
    T *din = static_cast<T *>(a->din);
    const T *dout = static_cast<const T *>(a->dout), *in = static_cast<const T *>(a->in);
    bool aligned = aligned_16(0, din, dout, in);
    switch (a->kind) {
    case ACTIVATION_GELU_TANH:
        return each_pack(s, Slope<T, GeluTanh>{din, dout, in, aligned}, a->n);
    case ACTIVATION_GELU:
        return each_pack(s, Slope<T, Gelu>{din, dout, in, aligned}, a->n);
    case ACTIVATION_RELU2:
        return each_pack(s, Slope<T, Relu2>{din, dout, in, aligned}, a->n);
    case ACTIVATION_SWIGLU:
        ASSERT(!"SwiGLU has an operation of its own");
    }
}

// ---- SwiGLU ----

template <typename T> struct SwigluValue {
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

template <typename T> struct SwigluSlope {
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
            float gated = sigmoid(g[j]);
            u[j] *= d[j] * (gated + g[j] * gated * (1 - gated));
            d[j] *= g[j] * gated;
        }
        store(dgate + i, u, left, aligned);
        store(dup + i, d, left, aligned);
    }
};

template <typename T> void swiglu_forward_cuda(Stream *s, const SwigluForward *a) {
    T *out = static_cast<T *>(a->out);
    const T *gate = static_cast<const T *>(a->gate), *up = static_cast<const T *>(a->up);
    each_pack(s, SwigluValue<T>{out, gate, up, aligned_16(0, out, gate, up)}, a->n);
}

template <typename T> void swiglu_backward_cuda(Stream *s, const SwigluBackward *a) {
    T *dgate = static_cast<T *>(a->dgate), *dup = static_cast<T *>(a->dup);
    const T *dout = static_cast<const T *>(a->dout);
    const T *gate = static_cast<const T *>(a->gate), *up = static_cast<const T *>(a->up);
    each_pack(s, SwigluSlope<T>{dgate, dup, dout, gate, up, aligned_16(0, dgate, dup, dout, gate, up)}, a->n);
}

// ---- soft-cap, copies in another type ----

template <typename T> struct CapLogits {
    static constexpr int W = PACK<T>;
    T *logits;
    Cap cap;
    bool aligned;
    __device__ void operator()(int64_t i, int64_t left) const {
        float x[W];
        load(x, logits + i, left, aligned);
#pragma unroll
        for (int j = 0; j < W; j++) x[j] = capped(x[j], cap);
        store(logits + i, x, left, aligned);
    }
};

template <typename T> void softcap_cuda(Stream *s, const Softcap *a) {
    T *logits = static_cast<T *>(a->logits);
    each_pack(s, CapLogits<T>{logits, cap_of(a->kind, a->cap), aligned_16(0, logits)}, a->n);
}

template <typename T> struct Cast {
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
    each_pack(s, Cast<T>{weights, master, aligned_16(0, weights, master)}, a->n);
}

CUDA_INSTANCES(activation_forward_cuda)
CUDA_INSTANCES(activation_backward_cuda)
CUDA_INSTANCES(swiglu_forward_cuda)
CUDA_INSTANCES(swiglu_backward_cuda)
CUDA_INSTANCES(softcap_cuda)
template void cast_weights_cuda<__nv_bfloat16>(Stream *, const CastWeights *);

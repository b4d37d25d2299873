#include "model/cpu/math.h"
#include "model/cpu/ops.h"

// tanh-GELU as x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3): equal because (1 + tanh u) / 2 = sigmoid(2 u), but
// without cancellation for negative x.
#define TWO_SQRT_2_PI ((real)1.5957691216057307117597842397375)
#define GELU_CUBIC ((real)0.044715)
#define INV_SQRT_2PI ((real)0.39894228040143267793994605993438)

static inline real gelu_tanh_gate(real x) {
    return real_sigmoid(TWO_SQRT_2_PI * (x + GELU_CUBIC * x * x * x));
}

static inline real gelu_tanh(real x) {
    return x * gelu_tanh_gate(x);
}

static inline real gelu_tanh_derivative(real x) {
    real gate = gelu_tanh_gate(x);
    return gate + x * gate * (1 - gate) * (TWO_SQRT_2_PI * (1 + 3 * GELU_CUBIC * x * x));
}

static inline real gelu(real x) {
    return x * real_normal_cdf(x);
}

static inline real gelu_derivative(real x) {
    return real_normal_cdf(x) + x * INV_SQRT_2PI * real_exp((real)-0.5 * x * x);
}

static inline real relu2(real x) {
    return x < 0 ? 0 : x * x; // NaN stays NaN
}

static inline real relu2_derivative(real x) {
    return x < 0 ? 0 : 2 * x;
}

#define FORWARD(f)                                                                                                 \
    _Pragma("omp parallel for simd schedule(static) if (n > CPU_PARALLEL_MIN)") for (int64_t i = 0; i < n; i++)    \
        out[i] = to_elem(f(from_elem(in[i])));                                                                     \
    break
#define BACKWARD(derivative)                                                                                       \
    _Pragma("omp parallel for simd schedule(static) if (n > CPU_PARALLEL_MIN)") for (int64_t i = 0; i < n; i++)    \
        din[i] = to_elem(from_elem(dout[i]) * derivative(from_elem(in[i])));                                       \
    break

void OP_TABLE(activation_forward)(Stream *s, const ActivationForward *a) {
    (void)s;
    elem *out = a->out;
    const elem *in = a->in;
    int64_t n = a->n;
    switch (a->kind) {
    case ACTIVATION_GELU_TANH:
        FORWARD(gelu_tanh);
    case ACTIVATION_GELU:
        FORWARD(gelu);
    case ACTIVATION_RELU2:
        FORWARD(relu2);
    case ACTIVATION_SWIGLU:
        ASSERT(!"SwiGLU has its own operation");
    }
}

void OP_TABLE(activation_backward)(Stream *s, const ActivationBackward *a) {
    (void)s;
    elem *din = a->din;
    const elem *dout = a->dout, *in = a->in;
    int64_t n = a->n;
    switch (a->kind) {
    case ACTIVATION_GELU_TANH:
        BACKWARD(gelu_tanh_derivative);
    case ACTIVATION_GELU:
        BACKWARD(gelu_derivative);
    case ACTIVATION_RELU2:
        BACKWARD(relu2_derivative);
    case ACTIVATION_SWIGLU:
        ASSERT(!"SwiGLU has its own operation");
    }
}

void OP_TABLE(swiglu_forward)(Stream *s, const SwigluForward *a) {
    (void)s;
    elem *out = a->out;
    const elem *gate = a->gate, *up = a->up;
    int64_t n = a->n;
#pragma omp parallel for simd schedule(static) if (n > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) {
        real g = from_elem(gate[i]);
        out[i] = to_elem(g * real_sigmoid(g) * from_elem(up[i]));
    }
}

void OP_TABLE(swiglu_backward)(Stream *s, const SwigluBackward *a) {
    (void)s;
    elem *dgate = a->dgate, *dup = a->dup;
    const elem *dout = a->dout, *gate = a->gate, *up = a->up;
    int64_t n = a->n;
#pragma omp parallel for simd schedule(static) if (n > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) {
        real g = from_elem(gate[i]), d = from_elem(dout[i]), sigmoid = real_sigmoid(g);
        dgate[i] = to_elem(d * from_elem(up[i]) * (sigmoid + g * sigmoid * (1 - sigmoid)));
        dup[i] = to_elem(d * g * sigmoid);
    }
}

void OP_TABLE(softcap)(Stream *s, const Softcap *a) {
    (void)s;
    elem *x = a->logits;
    bool root = a->kind == SOFTCAP_ROOT;
    double cap = a->cap;
    int64_t n = a->n;
#pragma omp parallel for simd schedule(static) if (n > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) x[i] = to_elem(softcapped(from_elem(x[i]), root, (real)cap));
}

#if defined(REAL_BF16)
void OP_TABLE(cast_weights)(Stream *s, const CastWeights *a) {
    (void)s;
    elem *weights = a->weights;
    const real *master = a->master;
    int64_t n = a->n;
#pragma omp parallel for simd schedule(static) if (n > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) weights[i] = to_elem(master[i]);
}
#endif

#include "model/cpu_math.h" // defines: real_exp
#include "model/cpu_ops.h"

// tanh-GELU as x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3): the same function, as (1 + tanh u) / 2 = sigmoid(2 u),
// without the cancellation for negative x.
#define TWO_SQRT_2_PI ((real)1.5957691216057307117597842397375)
#define GELU_CUBIC ((real)0.044715)

static inline real gelu_gate(real x) {
    return 1 / (1 + real_exp(-TWO_SQRT_2_PI * (x + GELU_CUBIC * x * x * x)));
}

void OP_TABLE(activation_forward)(Stream *s, void *out_, const void *in_, ActivationKind kind, int64_t n) {
    (void)s;
    ASSERT(kind == ACTIVATION_GELU_TANH);
    real *out = out_;
    const real *in = in_;
#pragma omp parallel for simd schedule(static) if (n > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) out[i] = in[i] * gelu_gate(in[i]);
}

void OP_TABLE(activation_backward)(Stream *s, void *din_, const void *dout_, const void *in_, ActivationKind kind,
                                   int64_t n) {
    (void)s;
    ASSERT(kind == ACTIVATION_GELU_TANH);
    real *din = din_;
    const real *dout = dout_, *in = in_;
#pragma omp parallel for simd schedule(static) if (n > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) {
        real x = in[i], gate = gelu_gate(x);
        real slope = TWO_SQRT_2_PI * (1 + 3 * GELU_CUBIC * x * x);
        din[i] = dout[i] * (gate + x * gate * (1 - gate) * slope);
    }
}

// Elementwise operations (activations, SwiGLU, soft-cap) and cross-entropy on every instance, against references in
// long double.
#include "tests/fixtures/ops_check.h"

// Checks |data - ref| <= factor eps size for every element; `size` is the scale of its rounding errors. Absolute errors
// below 1e-25, near the end of the range of floats, are ignored.
static void expect_each(const Instance *in, const char *what, const void *data, const double *ref,
                        const double *size, int64_t n, double factor) {
    double eps = type_eps(in->type), stored = storage_error(data);
    const double *x = values_of(data, n);
    for (int64_t i = 0; i < n; i++) {
        double error = fabs(x[i] - ref[i]), allowed = factor * eps * size[i] + 1e-25;
        if (!(error <= allowed + stored * (fabs(ref[i]) + allowed)))
            fail_msg("%s, %s: element %lld is %.9g, not %.9g: error %.3g, allowed %.3g", what, in->name,
                     (long long)i, x[i], ref[i], error, allowed);
    }
}

// Normal samples with standard deviation std; the first ones are replaced with zeros, tiny and large values.
static double *draw_with_extremes(const Instance *in, int64_t n, double std) {
    const double extremes[] = {0, -0.0, 30, -30, 1e4, -1e4, 1e-20, -1e-20, -6.5, 6.5, -2.25, -11};
    double *x = draw(n, 0, std);
    for (int64_t i = 0; i < (int64_t)(sizeof extremes / sizeof *extremes) && i < n; i++)
        x[i] = as_stored(in->type, (double)(float)extremes[i]);
    return x;
}

// ---- unary activations ----

// f(x), f'(x), and the sum of the absolute values of the terms of f'(x).
typedef struct {
    long double value, derivative, derivative_size;
} Point;

static Point activation_at(ActivationKind kind, long double x) {
    const long double pi = acosl(-1), a = 0.044715L, k = 2 * sqrtl(2 / pi);
    if (kind == ACTIVATION_RELU2) return (Point){x > 0 ? x * x : 0, x > 0 ? 2 * x : 0, x > 0 ? 2 * x : 0};
    long double gate, dgate; // f = x gate, f' = gate + x dgate
    if (kind == ACTIVATION_GELU) {
        gate = erfcl(-x / sqrtl(2)) / 2;
        dgate = expl(-x * x / 2) / sqrtl(2 * pi);
    } else { // (1 + tanh u) / 2 = 1 / (1 + exp(-2u))
        long double u2 = k * (x + a * x * x * x);
        gate = 1 / (1 + expl(-u2));
        dgate = gate / (1 + expl(u2)) * k * (1 + 3 * a * x * x);
    }
    return (Point){x * gate, gate + x * dgate, gate + fabsl(x) * dgate};
}

static void check_activation_case(const Instance *in, ActivationKind kind, int64_t n, bool in_place) {
    double *x = draw_with_extremes(in, n, 2), *dout = draw(n, 0, 1), *out_ref = case_doubles(n),
           *din_ref = case_doubles(n);
    double *out_size = case_doubles(n), *din_size = case_doubles(n);
    for (int64_t i = 0; i < n; i++) {
        Point f = activation_at(kind, (long double)x[i]);
        // The tails decay like exp(-x^2/2), so a relative rounding error of the exponent is amplified by x^2.
        long double tail = 1 + (x[i] * x[i] < 1000 ? (long double)(x[i] * x[i]) : 0);
        out_ref[i] = (double)f.value, out_size[i] = (double)((x[i] < 0 ? tail : 1) * fabsl(f.value));
        din_ref[i] = (double)(dout[i] * f.derivative),
        din_size[i] = (double)(tail * fabsl(dout[i] * f.derivative_size));
    }
    for (int run = 0; run < RUNS; run++) {
        run_begin(run);
        void *xx = typed(in->type, x, n), *out = typed(in->type, NULL, n), *dd = typed(in->type, dout, n);
        void *din = in_place ? dd : typed(in->type, NULL, n);
        in->ops->activation_forward(in->stream, &(ActivationForward){.out = out, .in = xx, .kind = kind, .n = n});
        in->ops->activation_backward(in->stream,
                                     &(ActivationBackward){.din = din, .dout = dd, .in = xx, .kind = kind, .n = n});
        expect(in, "activation_forward", out, out_ref, n, 8, 1);
        expect(in, "activation_backward", din, din_ref, n, 8, 1);
        expect_each(in, "activation_forward", out, out_ref, out_size, n, 8);
        expect_each(in, "activation_backward", din, din_ref, din_size, n, 8);
        run_end();
    }
    case_end();
}

static void check_activation(const Instance *in) {
    const ActivationKind kinds[] = {ACTIVATION_GELU_TANH, ACTIVATION_GELU, ACTIVATION_RELU2};
    for (int i = 0; i < 3; i++) {
        check_activation_case(in, kinds[i], 13, false);
        check_activation_case(in, kinds[i], 40007, true);
    }
}

// ---- SwiGLU ----

static void check_swiglu_case(const Instance *in, int64_t n, bool in_place) {
    double *gate = draw_with_extremes(in, n, 2), *up = draw(n, 0.3, 1), *dout = draw(n, 0, 1);
    double *out_ref = case_doubles(n), *dgate_ref = case_doubles(n), *dup_ref = case_doubles(n);
    double *out_size = case_doubles(n), *dgate_size = case_doubles(n), *dup_size = case_doubles(n);
    for (int64_t i = 0; i < n; i++) {
        long double g = gate[i], sigmoid = 1 / (1 + expl(-g)), rest = 1 / (1 + expl(g));
        out_ref[i] = (double)(g * sigmoid * up[i]), out_size[i] = fabs(out_ref[i]);
        dup_ref[i] = (double)(dout[i] * g * sigmoid), dup_size[i] = fabs(dup_ref[i]);
        dgate_ref[i] = (double)(dout[i] * up[i] * sigmoid * (1 + g * rest));
        dgate_size[i] = (double)(fabsl(dout[i] * up[i]) * sigmoid * (1 + fabsl(g) * (rest + (g > 0))));
    }
    for (int run = 0; run < RUNS; run++) {
        run_begin(run);
        void *g = typed(in->type, gate, n), *u = typed(in->type, up, n), *d = typed(in->type, dout, n);
        void *out = typed(in->type, NULL, n), *dgate = typed(in->type, NULL, n);
        void *dup = in_place ? d : typed(in->type, NULL, n);
        in->ops->swiglu_forward(in->stream, &(SwigluForward){.out = out, .gate = g, .up = u, .n = n});
        in->ops->swiglu_backward(
            in->stream, &(SwigluBackward){.dgate = dgate, .dup = dup, .dout = d, .gate = g, .up = u, .n = n});
        expect(in, "swiglu_forward", out, out_ref, n, 8, 1);
        expect(in, "swiglu_backward, gate", dgate, dgate_ref, n, 8, 1);
        expect(in, "swiglu_backward, up", dup, dup_ref, n, 8, 1);
        expect_each(in, "swiglu_forward", out, out_ref, out_size, n, 8);
        expect_each(in, "swiglu_backward, gate", dgate, dgate_ref, dgate_size, n, 8);
        expect_each(in, "swiglu_backward, up", dup, dup_ref, dup_size, n, 8);
        run_end();
    }
    case_end();
}

static void check_swiglu(const Instance *in) {
    check_swiglu_case(in, 15, false);
    check_swiglu_case(in, 40009, true);
    check_swiglu_case(in, 1, true);
}

// ---- soft-caps ----

static long double softcapped(SoftcapKind kind, long double cap, long double x) {
    return kind == SOFTCAP_ROOT ? cap * x / sqrtl(x * x + cap * cap) : cap * tanhl(x / cap);
}

static long double softcap_derivative(SoftcapKind kind, long double cap, long double x) {
    long double root = sqrtl(cap * cap / (x * x + cap * cap)), tanh = tanhl(x / cap);
    return kind == SOFTCAP_ROOT ? root * root * root : 1 - tanh * tanh;
}

static void check_softcap_case(const Instance *in, SoftcapKind kind, double cap, int64_t n) {
    double *x = draw_with_extremes(in, n, 1.5 * cap), *ref = case_doubles(n), *size = case_doubles(n);
    for (int64_t i = 0; i < n; i++) {
        ref[i] = (double)softcapped(kind, (long double)cap, (long double)x[i]);
        size[i] = fabs(ref[i]);
    }
    for (int run = 0; run < RUNS; run++) {
        run_begin(run);
        void *logits = typed(in->type, x, n);
        in->ops->softcap(in->stream, &(Softcap){.logits = logits, .kind = kind, .cap = cap, .n = n});
        expect(in, "softcap", logits, ref, n, 8, 0);
        expect_each(in, "softcap", logits, ref, size, n, 8);
        const double *z = values_of(logits, n);
        for (int64_t i = 0; i < n; i++) assert_true(fabs(z[i]) <= cap);
        run_end();
    }
    case_end();
}

static void check_softcap(const Instance *in) {
    check_softcap_case(in, SOFTCAP_TANH, 30, 11);
    check_softcap_case(in, SOFTCAP_ROOT, 15, 11);
    check_softcap_case(in, SOFTCAP_TANH, 2.5, 40011);
    check_softcap_case(in, SOFTCAP_ROOT, 50, 40011);
}

// ---- cross-entropy ----

typedef struct {
    int64_t n;
    int V, Vp;
    double scale, shift, std;
    SoftcapKind kind;
    double cap; // 0: none
} LossCase;

static void check_cross_entropy_case(const Instance *in, const LossCase *c) {
    int64_t n = c->n;
    int V = c->V, Vp = c->Vp;
    double *logits = draw(n * Vp, c->shift, c->std), *grad_ref = case_doubles(n * Vp), *loss_ref = case_doubles(n);
    int32_t *targets = malloc((size_t)n * sizeof *targets);
    long double *z = malloc((size_t)V * sizeof *z);
    assert_true(targets && z);
    double largest = fabs(c->shift) + 5 * c->std;
    for (int64_t i = 0; i < n; i++) {
        double *row = logits + i * Vp, *grad = grad_ref + i * Vp;
        targets[i] = i % 5 == 3 ? -1 : i % 7 == 1 ? V - 1 : (int32_t)(i * 13 % V);
        // The padding would dominate the softmax if it were included.
        for (int64_t j = V; j < Vp; j++) row[j] = as_stored(in->type, largest);
        for (int64_t j = 0; j < V; j++)
            z[j] = c->cap > 0 ? softcapped(c->kind, (long double)c->cap, row[j]) : row[j];
        long double max = z[0], sum = 0;
        for (int64_t j = 1; j < V; j++) max = fmaxl(max, z[j]);
        for (int64_t j = 0; j < V; j++) sum += expl(z[j] - max);
        if (targets[i] < 0) continue;
        loss_ref[i] = (double)(max + logl(sum) - z[targets[i]]);
        for (int64_t j = 0; j < V; j++) {
            long double derivative = c->cap > 0 ? softcap_derivative(c->kind, (long double)c->cap, row[j]) : 1;
            grad[j] = (double)(c->scale * (expl(z[j] - max) / sum - (j == targets[i])) * derivative);
        }
    }
    // The soft-cap adds rounding errors to the exponents and, by cancellation, to its derivative.
    double terms = sqrt((double)V), factor = c->cap > 0 ? 8 : 4, size = c->cap > 0 ? c->cap : largest;
    for (int run = 0; run < RUNS; run++) {
        run_begin(run);
        void *x = typed(in->type, logits, n * Vp), *losses = typed(in->acc, NULL, n);
        CrossEntropy cross_entropy = {.losses = losses,                           // (n)
                                      .logits = x,                                // (n, Vp)
                                      .targets = on_device(TYPE_I32, targets, n), // (n)
                                      .scale = c->scale,
                                      .cap_kind = c->kind,
                                      .cap = c->cap,
                                      .n = n,
                                      .V = V,
                                      .Vp = Vp};
        in->ops->cross_entropy(in->stream, &cross_entropy);
        expect(in, "cross_entropy, losses", losses, loss_ref, n, 4, terms + size);
        if (c->scale != 0)
            expect(in, "cross_entropy, gradient", x, grad_ref, n * Vp, factor * terms, fabs(c->scale) / V);
        else expect_unchanged(in, "cross_entropy, logits", x, logits, n * Vp);
        const double *gradient = values_of(x, n * Vp);
        for (int64_t i = 0; i < n * Vp && c->scale != 0; i++)
            if (i % Vp >= V || targets[i / Vp] < 0) assert_true(gradient[i] == 0);
        run_end();
    }
    free(targets), free(z);
    case_end();
}

static void check_cross_entropy(const Instance *in) {
    const LossCase cases[] = {
        {9, 61, 64, 0.25, 0, 3, SOFTCAP_TANH, 0},
        {9, 61, 64, 0, -500, 3, SOFTCAP_TANH, 0},
        {8, 5, 5, 1, 2000, 3, SOFTCAP_TANH, 0},
        {131, 257, 272, 1.0 / 131, 0, 3, SOFTCAP_TANH, 0},
        {12, 2309, 2320, 1, 10, 3, SOFTCAP_TANH, 0}, // several class blocks
        {9, 61, 64, 0.25, 0, 3, SOFTCAP_TANH, 2},
        {9, 61, 64, 0.25, 0, 3, SOFTCAP_ROOT, 2},
        {9, 61, 64, 0, 0, 30, SOFTCAP_TANH, 30},
        {9, 61, 64, 0, 0, 30, SOFTCAP_ROOT, 15},
        {8, 5, 5, 1, 0, 1e6, SOFTCAP_TANH, 15}, // huge: all logits are at the cap
        {8, 5, 5, 1, 0, 1e6, SOFTCAP_ROOT, 15},
        {131, 257, 272, 1.0 / 131, 1, 10, SOFTCAP_TANH, 30},
        {131, 257, 272, 1.0 / 131, -1, 10, SOFTCAP_ROOT, 15},
        {12, 2309, 2320, 1, 10, 3, SOFTCAP_ROOT, 15},
        {12, 2309, 2320, 1, 10, 3, SOFTCAP_TANH, 30},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_cross_entropy_case(in, &cases[i]);
}

// ---- NaN ----

enum { NAN_N = 21, NAN_AT = 13 };

// A NaN in the input gives a NaN at the same index of the output and nowhere else.
static void expect_nan(const Instance *in, const char *what, const void *out) {
    const double *x = values_of(out, NAN_N);
    for (int i = 0; i < NAN_N; i++)
        if (!isnan(x[i]) != (i != NAN_AT)) fail_msg("%s, %s: element %d is %g", what, in->name, i, x[i]);
}

static void check_nan(const Instance *in) {
    double *clean = draw(NAN_N, 0, 1), *dirty = draw(NAN_N, 0, 1);
    dirty[NAN_AT] = (double)NAN;
    run_begin(0);
    Type t = in->type;
    void *good = typed(t, clean, NAN_N), *bad = typed(t, dirty, NAN_N);
    void *out = typed(t, NULL, NAN_N), *other = typed(t, NULL, NAN_N);
    const ActivationKind kinds[] = {ACTIVATION_GELU_TANH, ACTIVATION_GELU, ACTIVATION_RELU2};
    for (int i = 0; i < 3; i++) {
        in->ops->activation_forward(in->stream,
                                    &(ActivationForward){.out = out, .in = bad, .kind = kinds[i], .n = NAN_N});
        expect_nan(in, "activation_forward", out);
        ActivationBackward backward = {.din = out, .dout = good, .in = bad, .kind = kinds[i], .n = NAN_N};
        in->ops->activation_backward(in->stream, &backward);
        expect_nan(in, "activation_backward, input", out);
        backward.dout = bad, backward.in = good;
        in->ops->activation_backward(in->stream, &backward);
        expect_nan(in, "activation_backward, gradient", out);
    }
    for (int which = 0; which < 2; which++) {
        const void *gate = which ? good : bad, *up = which ? bad : good;
        in->ops->swiglu_forward(in->stream, &(SwigluForward){.out = out, .gate = gate, .up = up, .n = NAN_N});
        expect_nan(in, "swiglu_forward", out);
    }
    in->ops->swiglu_backward(
        in->stream,
        &(SwigluBackward){.dgate = out, .dup = other, .dout = good, .gate = bad, .up = good, .n = NAN_N});
    expect_nan(in, "swiglu_backward, gate", out);
    expect_nan(in, "swiglu_backward, up", other);
    for (SoftcapKind kind = SOFTCAP_TANH; kind <= SOFTCAP_ROOT; kind++) {
        void *logits = typed(t, dirty, NAN_N);
        in->ops->softcap(in->stream, &(Softcap){.logits = logits, .kind = kind, .cap = 15, .n = NAN_N});
        expect_nan(in, "softcap", logits);
        for (int scaled = 0; scaled < 2; scaled++)
            for (int is_capped = 0; is_capped < 2; is_capped++) {
                void *loss = typed(in->acc, &(double){0}, 1), *target = on_device(TYPE_I32, &(int32_t){2}, 1);
                CrossEntropy cross_entropy = {.losses = loss,                   // (1)
                                              .logits = typed(t, dirty, NAN_N), // (1, NAN_N)
                                              .targets = target,                // (1)
                                              .scale = scaled,
                                              .cap_kind = kind,
                                              .cap = is_capped ? 15 : 0,
                                              .n = 1,
                                              .V = NAN_N,
                                              .Vp = NAN_N};
                in->ops->cross_entropy(in->stream, &cross_entropy);
                assert_true(isnan(*values_of(loss, 1)));
            }
    }
    run_end();
    case_end();
}

#define TEST(name)                                                                                                 \
    static void test_##name(void **state) {                                                                        \
        (void)state;                                                                                               \
        for_each_instance(check_##name);                                                                           \
    }
TEST(activation)
TEST(swiglu)
TEST(softcap)
TEST(cross_entropy)
TEST(nan)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activation),    cmocka_unit_test(test_swiglu), cmocka_unit_test(test_softcap),
        cmocka_unit_test(test_cross_entropy), cmocka_unit_test(test_nan),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}

// Every operation of model/ops.h but the attention, on every instance, against references in long double.
#include "tests/ops_check.h"

// ---- embedding ----

// Tokens with repetitions, a first and a last class, and some that never occur.
static void make_batch(Batch *batch, int32_t *memory, int B, int T, int V) {
    int32_t *scratch = calloc((size_t)V + 1, sizeof *scratch);
    assert_non_null(scratch);
    batch_layout(batch, memory, B, T);
    for (int i = 0; i < B * T; i++) {
        batch->tokens[i] = (int32_t)(random_uniform(11, RANDOM_TEST, (uint64_t)i) * V) / 3 * 3 % V;
        batch->targets[i] = -1;
    }
    batch->tokens[0] = V - 1;
    batch->tokens[B * T - 1] = 0;
    batch_index(batch, scratch, V);
    free(scratch);
}

static void check_embedding_case(const Instance *in, int B, int T, int V, int C, bool positions) {
    int context = T + 9, offset = 4, N = B * T;
    double *wte = draw((int64_t)V * C, 0, 1), *wpe = draw((int64_t)context * C, 0, 1);
    double *dout = draw((int64_t)N * C, 0.1, 1);
    double *dwte = draw((int64_t)V * C, 0, 1), *dwpe = draw((int64_t)context * C, 0, 1);
    double *out_ref = case_doubles((int64_t)N * C);
    double *dwte_ref = case_doubles((int64_t)V * C), *dwpe_ref = case_doubles((int64_t)context * C);
    int32_t *memory = malloc((size_t)batch_bytes(B, T));
    assert_non_null(memory);
    Batch batch;
    make_batch(&batch, memory, B, T, V);

    for (int64_t c = 0; c < C; c++) {
        for (int64_t v = 0; v < V; v++) {
            long double sum = dwte[v * C + c];
            for (int64_t i = 0; i < N; i++)
                if (batch.tokens[i] == v) sum += dout[i * C + c];
            dwte_ref[v * C + c] = (double)sum;
        }
        for (int64_t t = 0; t < T; t++) {
            long double sum = dwpe[t * C + c];
            for (int64_t b = 0; b < B; b++) {
                int64_t i = b * T + t;
                out_ref[i * C + c] = wte[batch.tokens[i] * C + c] + (positions ? wpe[(t + offset) * C + c] : 0);
                sum += dout[i * C + c];
            }
            dwpe_ref[t * C + c] = (double)sum;
        }
    }
    double terms = sqrt((double)N);
    for (int run = 0; run < RUNS; run++) {
        run_begin(run);
        void *x = typed(in->type, NULL, (int64_t)N * C);
        void *dt = typed(in->type, dwte, (int64_t)V * C), *dp = typed(in->type, dwpe, (int64_t)context * C);
        in->ops->embedding_forward(in->stream, x, typed(in->type, wte, (int64_t)V * C),
                                   positions ? typed(in->type, wpe, (int64_t)context * C) : NULL, &batch, C,
                                   offset);
        in->ops->embedding_backward(in->stream, dt, positions ? dp : NULL, typed(in->type, dout, (int64_t)N * C),
                                    &batch, C);
        expect(in, "embedding_forward", x, out_ref, (int64_t)N * C, 1, 0);
        expect(in, "embedding_backward, tokens", dt, dwte_ref, (int64_t)V * C, terms, 1);
        if (positions) expect(in, "embedding_backward, positions", dp, dwpe_ref, (int64_t)T * C, terms, 1);
        else expect_unchanged(in, "dwpe", dp, dwpe, (int64_t)context * C);
        run_end();
    }
    free(memory);
    case_end();
}

static void check_embedding(const Instance *in) {
    check_embedding_case(in, 3, 7, 11, 5, true);
    check_embedding_case(in, 2, 9, 40, 33, false);
    check_embedding_case(in, 5, 61, 101, 67, true);
}

// ---- norm ----

typedef enum { RESID_NONE, RESID_OWN, RESID_IS_X, RESID_IS_DELTA } ResidMode;

static void check_norm_case(const Instance *in, int64_t N, int C, bool affine, ResidMode mode, bool accumulate) {
    const double eps = 1e-5;
    int64_t n = N * C;
    double *x = draw(n, 0.7, 2), *delta = draw(n, 0, 1), *gain = draw(C, 1, 0.5), *bias = draw(C, 0, 1);
    double *dout = draw(n, 0.1, 1), *dx = draw(n, 0, 1), *dgain = draw(C, 0, 1), *dbias = draw(C, 0, 1);
    double *sum_ref = case_doubles(n), *out_ref = case_doubles(n), *dx_ref = case_doubles(n);
    double *mean_ref = case_doubles(N), *rstd_ref = case_doubles(N);
    double *dgain_ref = case_doubles(C), *dbias_ref = case_doubles(C);
    long double *dg = calloc((size_t)C, sizeof *dg), *db = calloc((size_t)C, sizeof *db);
    assert_true(dg && db);
    for (int64_t i = 0; i < N; i++) {
        long double mean = 0, variance = 0, a = 0, b = 0;
        // The sum is rounded to the instance's type before it is normalized.
        for (int64_t j = i * C; j < (i + 1) * C; j++) {
            double s = mode == RESID_NONE ? x[j] : x[j] + delta[j];
            sum_ref[j] = in->type == TYPE_F32 ? (float)s : s;
            mean += sum_ref[j];
        }
        mean /= C;
        for (int64_t j = i * C; j < (i + 1) * C; j++) variance += (sum_ref[j] - mean) * (sum_ref[j] - mean);
        long double rstd = 1 / sqrtl(variance / C + (long double)eps);
        mean_ref[i] = (double)mean, rstd_ref[i] = (double)rstd;
        for (int64_t c = 0, j = i * C; c < C; c++, j++) {
            long double hat = (sum_ref[j] - mean) * rstd, dhat = dout[j] * (affine ? gain[c] : 1);
            out_ref[j] = (double)(affine ? hat * gain[c] + bias[c] : hat);
            a += dhat, b += dhat * hat;
            dg[c] += dout[j] * hat, db[c] += dout[j];
        }
        for (int64_t c = 0, j = i * C; c < C; c++, j++) {
            long double hat = (sum_ref[j] - mean) * rstd, dhat = dout[j] * (affine ? gain[c] : 1);
            dx_ref[j] = (double)(dx[j] + rstd * (dhat - a / C - hat * b / C));
        }
    }
    for (int64_t c = 0; c < C; c++) {
        dgain_ref[c] = (double)(dg[c] + (accumulate ? dgain[c] : 0));
        dbias_ref[c] = (double)(db[c] + (accumulate ? dbias[c] : 0));
    }
    free(dg), free(db);

    Type type = in->type;
    for (int run = 0; run < RUNS; run++) {
        run_begin(run);
        void *xx = typed(type, x, n), *dd = typed(type, delta, n);
        void *own = typed(type, NULL, n);
        void *resid = mode == RESID_NONE ? NULL : mode == RESID_OWN ? own : mode == RESID_IS_X ? xx : dd;
        void *out = typed(type, NULL, n), *mean = typed(type, NULL, N), *rstd = typed(type, NULL, N);
        void *g = affine ? typed(type, gain, C) : NULL, *b = affine ? typed(type, bias, C) : NULL;
        in->ops->norm_forward(in->stream, resid, out, mean, rstd, xx, mode == RESID_NONE ? NULL : dd, g, b,
                              NORM_LAYERNORM, eps, N, C);
        if (resid) expect(in, "norm_forward, resid", resid, sum_ref, n, 1, 0);
        else expect_unchanged(in, "norm_forward, x", xx, x, n);
        double terms = 4 * sqrt((double)C);
        expect(in, "norm_forward, out", out, out_ref, n, terms, 1);
        expect(in, "norm_forward, mean", mean, mean_ref, N, terms, 2);
        expect(in, "norm_forward, rstd", rstd, rstd_ref, N, terms, 0);

        // The backward pass is given the exact statistics, so that its errors are its own.
        void *dxx = typed(type, dx, n);
        void *dgg = typed(type, accumulate ? dgain : NULL, C), *dbb = typed(type, accumulate ? dbias : NULL, C);
        in->ops->norm_backward(in->stream, dxx, affine ? dgg : NULL, affine ? dbb : NULL, typed(type, dout, n),
                               typed(type, sum_ref, n), typed(type, mean_ref, N), typed(type, rstd_ref, N), g,
                               NORM_LAYERNORM, N, C, accumulate);
        expect(in, "norm_backward, dx", dxx, dx_ref, n, terms, 1);
        if (affine) {
            expect(in, "norm_backward, dgain", dgg, dgain_ref, C, 4 * sqrt((double)N), 1);
            expect(in, "norm_backward, dbias", dbb, dbias_ref, C, 4 * sqrt((double)N), 1);
        }
        run_end();
    }
    case_end();
}

static void check_norm(const Instance *in) {
    check_norm_case(in, 5, 7, true, RESID_NONE, false);
    check_norm_case(in, 33, 24, true, RESID_OWN, true);
    check_norm_case(in, 4, 50, false, RESID_IS_X, false);
    check_norm_case(in, 1, 3, true, RESID_IS_DELTA, true);
    check_norm_case(in, 307, 65, true, RESID_IS_X, false);
    check_norm_case(in, 307, 65, true, RESID_OWN, true);
    check_norm_case(in, 71, 391, true, RESID_OWN, true); // several blocks of columns
}

// ---- activation ----

static void check_activation_case(const Instance *in, int64_t n, bool in_place) {
    double *x = draw(n, 0, 2), *dout = draw(n, 0, 1);
    double *out_ref = case_doubles(n), *din_ref = case_doubles(n);
    const double far[] = {0, -0.0, 30, -30, 1e4, -1e4, 1e-20, -6.5};
    for (int64_t i = 0; i < 8 && i < n; i++) x[i] = (float)far[i];
    for (int64_t i = 0; i < n; i++) {
        const long double k = sqrtl(2 / acosl(-1)), a = 0.044715L;
        long double v = x[i], t = tanhl(k * (v + a * v * v * v)), s = 1 - t * t;
        out_ref[i] = (double)(0.5L * v * (1 + t));
        din_ref[i] = (double)(dout[i] * (0.5L * (1 + t) + 0.5L * v * s * k * (1 + 3 * a * v * v)));
    }
    for (int run = 0; run < RUNS; run++) {
        run_begin(run);
        void *xx = typed(in->type, x, n), *out = typed(in->type, NULL, n), *dd = typed(in->type, dout, n);
        void *din = in_place ? dd : typed(in->type, NULL, n);
        in->ops->activation_forward(in->stream, out, xx, ACTIVATION_GELU_TANH, n);
        in->ops->activation_backward(in->stream, din, dd, xx, ACTIVATION_GELU_TANH, n);
        // The far ones, exact or nearly so, are large: they are compared apart.
        int64_t near = n < 8 ? n : 8;
        expect(in, "activation_forward, far", out, out_ref, near, 8, 1);
        expect(in, "activation_backward, far", din, din_ref, near, 8, 1);
        size_t skip = (size_t)near * type_size(in->type);
        expect(in, "activation_forward", (char *)out + skip, out_ref + near, n - near, 8, 1);
        expect(in, "activation_backward", (char *)din + skip, din_ref + near, n - near, 8, 1);
        run_end();
    }
    case_end();
}

static void check_activation(const Instance *in) {
    check_activation_case(in, 13, false);
    check_activation_case(in, 40007, true);
}

// ---- cross-entropy ----

static void check_cross_entropy_case(const Instance *in, int64_t n, int V, int Vp, double scale, double shift) {
    double *logits = draw(n * Vp, shift, 3), *grad_ref = case_doubles(n * Vp), *loss_ref = case_doubles(n);
    int32_t *targets = malloc((size_t)n * sizeof *targets);
    assert_non_null(targets);
    double largest = fabs(shift) + 15;
    for (int64_t i = 0; i < n; i++) {
        targets[i] = i % 5 == 3 ? -1 : i % 7 == 1 ? V - 1 : (int32_t)(i * 13 % V);
        // Padding would win the softmax if it took part.
        for (int64_t j = V; j < Vp; j++) logits[i * Vp + j] = largest;
        long double largest_logit = logits[i * Vp], sum = 0;
        for (int64_t j = 1; j < V; j++) largest_logit = fmaxl(largest_logit, logits[i * Vp + j]);
        for (int64_t j = 0; j < V; j++) sum += expl(logits[i * Vp + j] - largest_logit);
        if (targets[i] >= 0) loss_ref[i] = (double)(largest_logit + logl(sum) - logits[i * Vp + targets[i]]);
        for (int64_t j = 0; j < V && targets[i] >= 0; j++) {
            long double p = expl(logits[i * Vp + j] - largest_logit) / sum;
            grad_ref[i * Vp + j] = (double)(scale * (p - (j == targets[i])));
        }
    }
    double terms = sqrt((double)V);
    for (int run = 0; run < RUNS; run++) {
        run_begin(run);
        void *x = typed(in->type, logits, n * Vp), *losses = typed(in->type, NULL, n);
        in->ops->cross_entropy(in->stream, losses, x, targets, scale, SOFTCAP_TANH, 0, n, V, Vp);
        expect(in, "cross_entropy, losses", losses, loss_ref, n, 4, terms + largest);
        if (scale != 0) expect(in, "cross_entropy, gradient", x, grad_ref, n * Vp, 4 * terms, fabs(scale) / V);
        else expect_unchanged(in, "cross_entropy, logits", x, logits, n * Vp);
        for (int64_t i = 0; i < n * Vp && scale != 0; i++)
            if (i % Vp >= V || targets[i / Vp] < 0) assert_true(element_of(in->type, x, i) == 0);
        run_end();
    }
    free(targets);
    case_end();
}

static void check_cross_entropy(const Instance *in) {
    check_cross_entropy_case(in, 9, 61, 64, 0.25, 0);
    check_cross_entropy_case(in, 9, 61, 64, 0, -500);
    check_cross_entropy_case(in, 8, 5, 5, 1, 2000);
    check_cross_entropy_case(in, 131, 257, 272, 1.0 / 131, 0);
    check_cross_entropy_case(in, 12, 2309, 2320, 1, 10); // several blocks of classes
}

// ---- sums ----

static void check_bias_case(const Instance *in, int64_t N, int C, bool accumulate) {
    double *dout = draw(N * C, 0.2, 1), *before = draw(C, 0, 1), *ref = case_doubles(C);
    for (int64_t c = 0; c < C; c++) {
        long double sum = accumulate ? before[c] : 0;
        for (int64_t i = 0; i < N; i++) sum += dout[i * C + c];
        ref[c] = (double)sum;
    }
    for (int run = 0; run < RUNS; run++) {
        run_begin(run);
        void *dbias = typed(in->type, accumulate ? before : NULL, C);
        in->ops->bias_backward(in->stream, dbias, typed(in->type, dout, N * C), N, C, accumulate);
        expect(in, "bias_backward", dbias, ref, C, sqrt((double)N), 1);
        run_end();
    }
    case_end();
}

static void check_bias(const Instance *in) {
    check_bias_case(in, 1, 1, false);
    check_bias_case(in, 7, 35, true);
    check_bias_case(in, 1023, 41, false);
    check_bias_case(in, 1023, 41, true);
    check_bias_case(in, 77, 391, true);
}

static void check_loss_sum(const Instance *in) {
    for (int64_t n = 1; n < 40000; n = n * 33 + 1) {
        double *losses = draw(n, 5, 2);
        long double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += losses[i];
        double first = 0;
        for (int run = 0; run < RUNS; run++) {
            run_begin(run);
            void *x = typed(in->type, losses, n);
            double total = 0;
            in->ops->loss_sum(in->stream, &total, x, n);
            assert_true(fabs(total - (double)sum) <= (double)n * DBL_EPSILON * fabs((double)sum));
            if (run == 0) first = total;
            assert_true(total == first);
            in->ops->loss_sum(in->stream, &total, x, n);
            assert_true(fabs(total - 2 * (double)sum) <= 3 * (double)n * DBL_EPSILON * fabs((double)sum));
            run_end();
        }
        case_end();
    }
}

#define TEST(name)                                                                                                 \
    static void test_##name(void **state) {                                                                        \
        (void)state;                                                                                               \
        for_each_instance(check_##name);                                                                           \
    }
TEST(embedding)
TEST(norm)
TEST(activation)
TEST(cross_entropy)
TEST(bias)
TEST(loss_sum)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embedding),     cmocka_unit_test(test_norm), cmocka_unit_test(test_activation),
        cmocka_unit_test(test_cross_entropy), cmocka_unit_test(test_bias), cmocka_unit_test(test_loss_sum),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}

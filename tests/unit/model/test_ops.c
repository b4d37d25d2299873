// Embedding, norms, query/key norm and RoPE, and column sums on every instance, against references in long double.
// Attention is tested in tests/unit/model/test_attention.c, the other operations of model/ops.h in
// tests/unit/model/test_ops_nonlinear.c.
#include "tests/fixtures/fixed_batch.h"
#include "tests/fixtures/ops_check.h"

// ---- embedding ----

// A batch on the instance's device with repeated tokens, the first and last token, and tokens that never occur.
static FixedBatch make_batch(const Instance *in, int B, int T, int V) {
    int32_t *tokens = calloc(2 * (size_t)(B * T), sizeof *tokens), *targets = tokens + B * T;
    assert_non_null(tokens);
    for (int i = 0; i < B * T; i++) {
        tokens[i] = (int32_t)(random_uniform(11, RANDOM_TEST, (uint64_t)i) * V) / 3 * 3 % V;
        targets[i] = -1;
    }
    tokens[0] = V - 1;
    tokens[B * T - 1] = 0;
    FixedBatch batch = fixed_batch_create(in->stream->device, in->stream, tokens, targets, B, T, V);
    free(tokens);
    return batch;
}

static void check_embedding_case(const Instance *in, int B, int T, int V, int C, bool positions) {
    int context = T + 9, offset = 4, N = B * T;
    double *wte = draw((int64_t)V * C, 0, 1), *wpe = draw((int64_t)context * C, 0, 1);
    double *dout = draw((int64_t)N * C, 0.1, 1);
    double *dwte = draw((int64_t)V * C, 0, 1), *dwpe = draw((int64_t)context * C, 0, 1);
    double *out_ref = case_doubles((int64_t)N * C);
    double *dwte_ref = case_doubles((int64_t)V * C), *dwpe_ref = case_doubles((int64_t)context * C);
    FixedBatch fixed = make_batch(in, B, T, V);
    const Batch *batch = &fixed.device;
    const int32_t *tokens = fixed.host.tokens;

    for (int64_t c = 0; c < C; c++) {
        for (int64_t v = 0; v < V; v++) {
            long double sum = dwte[v * C + c];
            for (int64_t i = 0; i < N; i++)
                if (tokens[i] == v) sum += dout[i * C + c];
            dwte_ref[v * C + c] = (double)sum;
        }
        for (int64_t t = 0; t < T; t++) {
            long double sum = dwpe[t * C + c];
            for (int64_t b = 0; b < B; b++) {
                int64_t i = b * T + t;
                out_ref[i * C + c] = wte[tokens[i] * C + c] + (positions ? wpe[(t + offset) * C + c] : 0);
                sum += dout[i * C + c];
            }
            dwpe_ref[t * C + c] = (double)sum;
        }
    }
    double terms = sqrt((double)N);
    for (int run = 0; run < RUNS; run++) {
        run_begin(run);
        void *x = typed(in->type, NULL, (int64_t)N * C);
        void *dt = typed(in->acc, dwte, (int64_t)V * C), *dp = typed(in->acc, dwpe, (int64_t)context * C);
        EmbeddingForward forward = {.out = x,                                    // (N, C)
                                    .wte = typed(in->type, wte, (int64_t)V * C), // (V, C)
                                    .wpe = positions ? typed(in->type, wpe, (int64_t)context * C) : NULL,
                                    .batch = batch,
                                    .pos_offset = offset,
                                    .C = C};
        EmbeddingBackward backward = {.dwte = dt,                                    // (V, C)
                                      .dwpe = positions ? dp : NULL,                 // (context, C)
                                      .dout = typed(in->type, dout, (int64_t)N * C), // (N, C)
                                      .batch = batch,
                                      .C = C};
        in->ops->embedding_forward(in->stream, &forward);
        in->ops->embedding_backward(in->stream, &backward);
        expect(in, "embedding_forward", x, out_ref, (int64_t)N * C, 1, 0);
        expect(in, "embedding_backward, tokens", dt, dwte_ref, (int64_t)V * C, terms, 1);
        if (positions) expect(in, "embedding_backward, positions", dp, dwpe_ref, (int64_t)T * C, terms, 1);
        else expect_unchanged(in, "dwpe", dp, dwpe, (int64_t)context * C);
        run_end();
    }
    fixed_batch_free(&fixed, in->stream->device);
    case_end();
}

static void check_embedding(const Instance *in) {
    check_embedding_case(in, 3, 7, 11, 5, true);
    check_embedding_case(in, 2, 9, 40, 33, false);
    check_embedding_case(in, 5, 61, 101, 67, true);
    check_embedding_case(in, 5, 61, 11, 9, true); // every token occurs many times
    check_embedding_case(in, 7, 45, 2, 1040, true);
}

// ---- norm ----

typedef enum { RESID_NONE, RESID_OWN, RESID_IS_X, RESID_IS_DELTA } ResidMode;

static void check_norm_case(const Instance *in, NormKind kind, double eps, int64_t N, int C, bool affine,
                            ResidMode mode, bool accumulate) {
    bool center = kind == NORM_LAYERNORM;
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
        // resid is rounded to the instance's type before the norm.
        for (int64_t j = i * C; j < (i + 1) * C; j++) {
            double s = mode == RESID_NONE ? x[j] : x[j] + delta[j];
            sum_ref[j] = as_stored(in->type, s);
            mean += sum_ref[j];
        }
        mean = center ? mean / C : 0;
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
            dx_ref[j] = (double)(dx[j] + rstd * (dhat - (center ? a / C : 0) - hat * b / C));
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
        void *out = typed(type, NULL, n), *mean = center ? typed(in->acc, NULL, N) : NULL;
        void *rstd = typed(in->acc, NULL, N);
        void *g = affine ? typed(type, gain, C) : NULL, *b = affine ? typed(type, bias, C) : NULL;
        NormForward forward = {.resid = resid,                          // (N, C)
                               .out = out,                              // (N, C)
                               .mean = mean,                            // (N)
                               .rstd = rstd,                            // (N)
                               .x = xx,                                 // (N, C)
                               .delta = mode == RESID_NONE ? NULL : dd, // (N, C)
                               .gain = g,                               // (C)
                               .bias = b,                               // (C)
                               .kind = kind,
                               .eps = eps,
                               .N = N,
                               .C = C};
        in->ops->norm_forward(in->stream, &forward);
        if (resid) expect(in, "norm_forward, resid", resid, sum_ref, n, 1, 0);
        else expect_unchanged(in, "norm_forward, x", xx, x, n);
        double terms = 4 * sqrt((double)C);
        expect(in, "norm_forward, out", out, out_ref, n, terms, 1);
        if (center) expect(in, "norm_forward, mean", mean, mean_ref, N, terms, 2);
        expect(in, "norm_forward, rstd", rstd, rstd_ref, N, terms, 0);

        // The backward pass gets exact statistics, so that only its own errors count.
        void *dxx = typed(type, dx, n);
        void *dgg = typed(in->acc, accumulate ? dgain : NULL, C);
        void *dbb = typed(in->acc, accumulate ? dbias : NULL, C);
        NormBackward backward = {.dx = dxx,                                           // (N, C)
                                 .dgain = affine ? dgg : NULL,                        // (C)
                                 .dbias = affine ? dbb : NULL,                        // (C)
                                 .dout = typed(type, dout, n),                        // (N, C)
                                 .x = typed(type, sum_ref, n),                        // (N, C)
                                 .mean = center ? typed(in->acc, mean_ref, N) : NULL, // (N)
                                 .rstd = typed(in->acc, rstd_ref, N),                 // (N)
                                 .gain = g,                                           // (C)
                                 .kind = kind,
                                 .accumulate = accumulate,
                                 .N = N,
                                 .C = C};
        in->ops->norm_backward(in->stream, &backward);
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
    for (NormKind kind = NORM_LAYERNORM; kind <= NORM_RMSNORM; kind++) {
        check_norm_case(in, kind, 1e-5, 5, 7, true, RESID_NONE, false);
        check_norm_case(in, kind, 0.3, 33, 24, true, RESID_OWN, true); // large eps: shows where it is added
        check_norm_case(in, kind, 1e-6, 4, 50, false, RESID_IS_X, false);
        check_norm_case(in, kind, 1e-5, 1, 3, true, RESID_IS_DELTA, true);
        check_norm_case(in, kind, 1e-5, 307, 65, true, RESID_IS_X, false);
        check_norm_case(in, kind, 1e-5, 307, 65, true, RESID_OWN, true);
        check_norm_case(in, kind, 1e-5, 71, 391, true, RESID_OWN, true); // several column blocks
        check_norm_case(in, kind, 1e-5, 9, 1024, true, RESID_IS_DELTA, false);
        check_norm_case(in, kind, 1e-5, 19, 1031, true, RESID_OWN, true); // several warps per row
        check_norm_case(in, kind, 1e-5, 9, 8203, true, RESID_OWN, true);  // rows that do not fit in registers
    }
}

// ---- queries and keys ----

typedef struct {
    int B, T, n_heads, head_dim, offset;
    int gap, batch_gap; // unused elements after each row and after each sequence
    bool norm, rotation;
    double eps;
} HeadsCase;

// One head: y = RoPE(x rstd), and dx from the gradient g of y. xhat = x rstd is taken from y as stored, like in the
// operation.
static void reference_head(double *y, double *dx, double *rstd, const double *x, const double *g, const double *cos,
                           const double *sin, const HeadsCase *c, Type type) {
    int D = c->head_dim, half = D / 2;
    long double square = 0, sum = 0, r = 1, unrotated[128], hat[128];
    for (int d = 0; d < D; d++) square += (long double)x[d] * x[d];
    if (c->norm) r = 1 / sqrtl(square / D + (long double)c->eps);
    *rstd = (double)r;
    for (int d = 0; d < D; d++) y[d] = (double)(x[d] * r), unrotated[d] = g[d];
    for (int j = 0; j < half && c->rotation; j++) {
        long double a = x[j] * r, b = x[j + half] * r;
        y[j] = (double)(a * cos[j] - b * sin[j]), y[j + half] = (double)(b * cos[j] + a * sin[j]);
        unrotated[j] = (long double)g[j] * cos[j] + (long double)g[j + half] * sin[j];
        unrotated[j + half] = (long double)g[j + half] * cos[j] - (long double)g[j] * sin[j];
    }
    for (int d = 0; d < D; d++) hat[d] = type == TYPE_BF16 ? as_stored(type, y[d]) : x[d] * r;
    for (int j = 0; j < half && c->rotation && type == TYPE_BF16; j++) {
        long double a = hat[j], b = hat[j + half];
        hat[j] = a * cos[j] + b * sin[j], hat[j + half] = b * cos[j] - a * sin[j];
    }
    for (int d = 0; d < D; d++) sum += unrotated[d] * hat[d];
    for (int d = 0; d < D; d++) dx[d] = (double)(c->norm ? r * (unrotated[d] - hat[d] * sum / D) : unrotated[d]);
}

static void check_heads_case(const Instance *in, const HeadsCase *c) {
    int D = c->head_dim, half = D / 2, context = c->offset + c->T + 3;
    int64_t row = (int64_t)c->n_heads * D + c->gap, batch = c->T * row + c->batch_gap, n = c->B * batch;
    int64_t rows = (int64_t)c->B * c->T, stats = rows * c->n_heads;
    // The gaps between rows and sequences must not be modified.
    double *x = draw(n, 0.2, 1), *g = draw(n, 0, 1), *y_ref = case_doubles(n), *dx_ref = case_doubles(n);
    double *rstd_ref = case_doubles(stats), *cosines = case_doubles((int64_t)context * half);
    double *sines = case_doubles((int64_t)context * half);
    for (int64_t i = 0; i < (int64_t)context * half; i++) {
        double angle = (double)(i / half) * pow(37, -(double)(i % half) / half);
        cosines[i] = cos(angle), sines[i] = sin(angle);
    }
    memcpy(y_ref, x, (size_t)n * sizeof *x);
    memcpy(dx_ref, g, (size_t)n * sizeof *g);
    for (int d = 0; d < D; d++) x[d] = 0; // a head of zeros
    for (int64_t i = 0; i < rows; i++)
        for (int h = 0; h < c->n_heads; h++) {
            int64_t at = i / c->T * batch + i % c->T * row + h * D, angles = (c->offset + i % c->T) * half;
            reference_head(y_ref + at, dx_ref + at, rstd_ref + i * c->n_heads + h, x + at, g + at, cosines + angles,
                           sines + angles, c, in->type);
        }
    HeadsShape shape = {c->B, c->T, c->n_heads, D, c->offset, row, batch, c->eps};
    Type type = in->type;
    double terms = 4 * sqrt((double)D);
    for (int run = 0; run < RUNS; run++) {
        run_begin(run);
        void *xx = typed(type, x, n), *dx = typed(type, g, n), *rstd = c->norm ? typed(in->acc, NULL, stats) : NULL;
        void *cc = c->rotation ? typed(in->acc, cosines, (int64_t)context * half) : NULL;
        void *ss = c->rotation ? typed(in->acc, sines, (int64_t)context * half) : NULL;
        in->ops->qk_forward(in->stream, &(QkForward){.x = xx, .rstd = rstd, .cos = cc, .sin = ss, .shape = shape});
        expect(in, "qk_forward", xx, y_ref, n, terms, 1);
        if (c->norm) expect(in, "qk_forward, rstd", rstd, rstd_ref, stats, terms, 0);
        // The backward pass gets exact statistics and outputs, so that only its own errors count.
        QkBackward backward = {.dx = dx,
                               .y = c->norm ? typed(type, y_ref, n) : NULL,
                               .rstd = c->norm ? typed(in->acc, rstd_ref, stats) : NULL,
                               .cos = cc,
                               .sin = ss,
                               .shape = shape};
        in->ops->qk_backward(in->stream, &backward);
        expect(in, "qk_backward", dx, dx_ref, n, terms, 1);
        const double *x_now = values_of(xx, n), *dx_now = values_of(dx, n);
        for (int64_t i = 0; i < n; i++) {
            bool head = i % batch < c->T * row && i % batch % row < (int64_t)c->n_heads * D;
            if (!head) assert_true(x_now[i] == x[i] && dx_now[i] == g[i]);
        }
        run_end();
    }
    case_end();
}

static void check_heads(const Instance *in) {
    const HeadsCase cases[] = {
        {2, 5, 3, 6, 0, 4, 0, true, true, 0.4}, // large eps: shows where it is added
        {2, 5, 3, 6, 2, 0, 7, true, true, 1e-2},    {1, 1, 1, 2, 9, 0, 0, false, true, 0},
        {3, 7, 2, 7, 0, 5, 3, true, false, 1e-2},   {2, 9, 5, 10, 1, 3, 11, false, true, 0},
        {1, 3, 2, 1, 0, 1, 0, true, false, 0.1},    {2, 67, 4, 128, 5, 64, 33, true, true, 1e-2},
        {3, 33, 9, 34, 3, 17, 0, true, true, 1e-2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_heads_case(in, &cases[i]);
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
        void *dbias = typed(in->acc, accumulate ? before : NULL, C);
        BiasBackward backward = {.dbias = dbias,                       // (C)
                                 .dout = typed(in->type, dout, N * C), // (N, C)
                                 .accumulate = accumulate,
                                 .N = N,
                                 .C = C};
        in->ops->bias_backward(in->stream, &backward);
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
            void *x = typed(in->acc, losses, n), *sums = typed(TYPE_F64, &(double){0}, 1);
            LossSum loss_sum = {.total = sums, .losses = x, .n = n};
            in->ops->loss_sum(in->stream, &loss_sum);
            double total = *values_of(sums, 1);
            assert_true(fabs(total - (double)sum) <= (double)n * DBL_EPSILON * fabs((double)sum));
            if (run == 0) first = total;
            assert_true(total == first);
            in->ops->loss_sum(in->stream, &loss_sum);
            total = *values_of(sums, 1);
            assert_true(fabs(total - 2 * (double)sum) <= 3 * (double)n * DBL_EPSILON * fabs((double)sum));
            run_end();
        }
        case_end();
    }
}

// ---- weights ----

static void check_cast(const Instance *in) {
    if (in->ops->cast_weights == NULL) return assert_true(in->type == in->acc);
    for (int64_t n = 1; n < 5000; n = n * 7 + 3) {
        double *master = draw(n, 0, 1), *ref = case_doubles(n);
        for (int64_t i = 0; i < n; i++) {
            master[i] += 1e-3 * master[(i + 1) % n]; // not exact in the type
            ref[i] = as_stored(in->type, master[i]);
        }
        for (int run = 0; run < RUNS; run++) {
            run_begin(run);
            void *weights = typed(in->type, NULL, n);
            void *from = typed(in->acc, master, n);
            in->ops->cast_weights(in->stream, &(CastWeights){.weights = weights, .master = from, .n = n});
            expect_unchanged(in, "cast_weights", weights, ref, n);
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
TEST(heads)
TEST(bias)
TEST(loss_sum)
TEST(cast)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embedding), cmocka_unit_test(test_norm),     cmocka_unit_test(test_heads),
        cmocka_unit_test(test_bias),      cmocka_unit_test(test_loss_sum), cmocka_unit_test(test_cast),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}

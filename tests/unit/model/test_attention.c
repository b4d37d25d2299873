// Attention on every instance against a reference that materializes the softmax, in long double.
#include "tests/fixtures/ops_check.h"

// Sizes of a case. q, k, v are packed in one array, like the output of the model's qkv GEMM, or are separate arrays.
typedef struct {
    int B, n_head, n_kv_head, head_dim, q_len, kv_len, q_offset;
    bool packed;
    int gap;      // unused elements at the end of every row
    bool aligned; // arrays are 16-byte aligned in every run, which the vectorized paths require
} Case;

typedef struct {
    AttentionShape s;
    int64_t q_size, kv_size, out_size, rows; // elements of the arrays; rows = B n_head q_len
    int64_t k_at, v_at;                      // packed: offsets of k and v in q's array
    bool packed;
} Layout;

static Layout make_layout(const Case *c) {
    int64_t A = (int64_t)c->n_head * c->head_dim, K = (int64_t)c->n_kv_head * c->head_dim;
    Layout l = {.s = {.B = c->B,
                      .n_head = c->n_head,
                      .n_kv_head = c->n_kv_head,
                      .head_dim = c->head_dim,
                      .q_len = c->q_len,
                      .kv_len = c->kv_len,
                      .q_offset = c->q_offset,
                      .scale = 0.7 / sqrt(c->head_dim)},
                .packed = c->packed};
    l.s.q_row = c->packed ? A + 2 * K + c->gap : A + c->gap;
    l.s.kv_row = c->packed ? l.s.q_row : K + c->gap;
    l.s.out_row = A + c->gap;
    l.s.q_batch = l.s.q_row * c->q_len + c->gap;
    l.s.kv_batch = c->packed ? l.s.q_batch : l.s.kv_row * c->kv_len + c->gap;
    l.s.out_batch = l.s.out_row * c->q_len + c->gap;
    l.q_size = l.s.q_batch * c->B, l.kv_size = l.s.kv_batch * c->B, l.out_size = l.s.out_batch * c->B;
    l.k_at = A, l.v_at = A + K;
    l.rows = (int64_t)c->B * c->n_head * c->q_len;
    return l;
}

static int64_t q_at(const AttentionShape *s, int b, int t, int h) {
    return b * s->q_batch + t * s->q_row + (int64_t)h * s->head_dim;
}

static int64_t kv_at(const AttentionShape *s, int b, int t, int h) {
    return b * s->kv_batch + t * s->kv_row + (int64_t)(h / (s->n_head / s->n_kv_head)) * s->head_dim;
}

static int64_t out_at(const AttentionShape *s, int b, int t, int h) {
    return b * s->out_batch + t * s->out_row + (int64_t)h * s->head_dim;
}

static long double dot(const double *x, const double *y, int n) {
    long double sum = 0;
    for (int i = 0; i < n; i++) sum += (long double)x[i] * y[i];
    return sum;
}

// Outputs of the operations, or elementwise bounds of their errors due to intermediate bf16 rounding.
typedef struct {
    double *out, *lse, *dq, *dk, *dv;
} Results;

// Relative rounding errors of the attention weights (P and dS, rounded for bf16 products) and of `out`, an input of
// the backward pass.
typedef struct {
    double weights, out;
} Rounding;

static Rounding rounding_of(const Instance *in, int head_dim) {
    bool tensor_cores = in->stream->device->kind == DEVICE_CUDA && (head_dim == 64 || head_dim == 128);
    if (in->type != TYPE_BF16) return (Rounding){0, 0};
    return (Rounding){tensor_cores ? BF16_ROUNDING : 0, BF16_ROUNDING};
}

// Computes out, lse and the gradients by definition: P = softmax(scale Q K^T) below the diagonal, O = P V,
// dV = P^T dO, dS = P (dO V^T - rowsum(dO O)), dQ = scale dS K, dK = scale dS^T Q. Bounds: a relative
// error r of a weight w changes a sum by at most r |w| |term|; a relative error r of O changes rowsum by r rowsum(|dO|
// |O|).
static void reference(const Results *ref, const Results *bound, Rounding rounding, const double *dout,
                      const double *q, const double *k, const double *v, const AttentionShape *s) {
    int D = s->head_dim;
    long double *p = calloc((size_t)s->kv_len, sizeof *p);
    assert_non_null(p);
    for (int b = 0; b < s->B; b++)
        for (int h = 0; h < s->n_head; h++)
            for (int t = 0; t < s->q_len; t++) {
                int64_t iq = q_at(s, b, t, h), io = out_at(s, b, t, h);
                int visible = s->q_offset + t + 1;
                long double largest = -INFINITY, sum = 0, row = 0, row_bound = 0;
                for (int j = 0; j < visible; j++) {
                    p[j] = s->scale * dot(q + iq, k + kv_at(s, b, j, h), D);
                    largest = fmaxl(largest, p[j]);
                }
                for (int j = 0; j < visible; j++) sum += p[j] = expl(p[j] - largest);
                ref->lse[((int64_t)b * s->n_head + h) * s->q_len + t] = (double)(largest + logl(sum));
                for (int d = 0; d < D; d++) {
                    long double o = 0, o_bound = 0;
                    for (int j = 0; j < visible; j++) {
                        long double term = p[j] / sum * v[kv_at(s, b, j, h) + d];
                        o += term;
                        o_bound += fabsl(term);
                    }
                    ref->out[io + d] = (double)o;
                    bound->out[io + d] = (double)(rounding.weights * o_bound);
                    row += o * dout[io + d];
                    row_bound += fabsl(dout[io + d]) * (rounding.weights * o_bound + rounding.out * fabsl(o));
                }
                for (int j = 0; j < visible; j++) {
                    int64_t jk = kv_at(s, b, j, h);
                    long double w = p[j] / sum, ds = s->scale * w * (dot(dout + io, v + jk, D) - row);
                    double ds_bound = (double)(rounding.weights * fabsl(ds) + s->scale * w * row_bound);
                    for (int d = 0; d < D; d++) {
                        ref->dq[iq + d] += (double)(ds * k[jk + d]);
                        ref->dk[jk + d] += (double)(ds * q[iq + d]);
                        ref->dv[jk + d] += (double)(w * dout[io + d]);
                        bound->dq[iq + d] += ds_bound * fabs(k[jk + d]);
                        bound->dk[jk + d] += ds_bound * fabs(q[iq + d]);
                        bound->dv[jk + d] += rounding.weights * (double)w * fabs(dout[io + d]);
                    }
                }
            }
    free(p);
}

static Results results_new(const Layout *l) {
    Results r = {case_doubles(l->out_size), case_doubles(l->rows), case_doubles(l->q_size), NULL, NULL};
    r.dk = l->packed ? r.dq + l->k_at : case_doubles(l->kv_size);
    r.dv = l->packed ? r.dq + l->v_at : case_doubles(l->kv_size);
    return r;
}

// Like typed(), but 16-byte aligned if `aligned`.
static char *array(Type type, const double *values, int64_t n, bool aligned) {
    int pad = aligned ? 16 - run_number : 0;
    double *padded = calloc((size_t)(n + pad), sizeof *padded);
    assert_non_null(padded);
    memcpy(padded + pad, values, (size_t)n * sizeof *padded);
    char *data = typed(type, padded, n + pad);
    free(padded);
    return data + (size_t)pad * type_size(type);
}

// expect() with an additional elementwise error bound.
static void expect_within(const Instance *in, const char *what, const void *data, const double *ref,
                          const double *bound, int64_t n, double factor, double floor) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += bound[i] * bound[i];
    expect(in, what, data, ref, n, factor, floor + sqrt(sum / (double)n) / (factor * type_eps(in->type)));
}

// Copies the marks to the reference where the operation must not write (gaps between rows).
static void mark(double *ref, const double *written, const double *marks, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (written[i] == 0) ref[i] = marks[i];
}

// Sets the elements of a (B, rows, width) view with these strides to 1.
static void cover(double *to, int B, int64_t batch, int rows, int64_t row, int64_t width) {
    for (int b = 0; b < B; b++)
        for (int t = 0; t < rows; t++)
            for (int64_t i = 0; i < width; i++) to[b * batch + t * row + i] = 1;
}

static void check_case(const Instance *in, const Case *c) {
    Layout l = make_layout(c);
    const AttentionShape *s = &l.s;
    int64_t A = (int64_t)s->n_head * s->head_dim, K = (int64_t)s->n_kv_head * s->head_dim;
    int64_t nq = l.q_size, nkv = l.packed ? 0 : l.kv_size, no = l.out_size;
    double *q = draw(nq, 0.1, 1.5), *k = l.packed ? q + l.k_at : draw(nkv, -0.2, 1.5);
    double *v = l.packed ? q + l.v_at : draw(nkv, 0.3, 1), *dout = draw(no, 0, 1);
    Results ref = results_new(&l), bound = results_new(&l);
    reference(&ref, &bound, rounding_of(in, c->head_dim), dout, q, k, v, s);

    // The gaps between rows must not be modified.
    double *marks = draw(nq + nkv + no, 3, 1), *written = case_doubles(nq + nkv + no);
    cover(written, s->B, s->out_batch, s->q_len, s->out_row, A);
    mark(ref.out, written, marks, no);
    memset(written, 0, (size_t)(nq + nkv + no) * sizeof *written);
    cover(written, s->B, s->q_batch, s->q_len, s->q_row, l.packed ? A + 2 * K : A);
    mark(ref.dq, written, marks, nq);
    memset(written, 0, (size_t)(nq + nkv + no) * sizeof *written);
    if (!l.packed) {
        cover(written, s->B, s->kv_batch, s->kv_len, s->kv_row, K);
        mark(ref.dk, written, marks, nkv);
        mark(ref.dv, written, marks, nkv);
    }

    // A score has an error of about sqrt(head_dim) eps times its magnitude (a few here), which becomes the relative
    // error of its weight, and a sum over the keys adds sqrt(kv_len) eps. In dQ and dK terms of order one cancel,
    // completely if there is a single key.
    double forward = 2 * sqrt(s->head_dim) + sqrt(s->kv_len), backward = 2 * forward;
    for (int run = 0; run < RUNS; run++) {
        run_begin(run);
        Type type = in->type;
        size_t element = type_size(type);
        bool aligned = c->aligned;
        char *qq = array(type, q, nq, aligned),
             *kk = l.packed ? qq + (size_t)l.k_at * element : array(type, k, nkv, aligned);
        char *vv = l.packed ? qq + (size_t)l.v_at * element : array(type, v, nkv, aligned);
        void *out = array(type, marks, no, aligned), *lse = typed(in->acc, NULL, l.rows);
        AttentionForward forward_pass = {.out = out, .lse = lse, .q = qq, .k = kk, .v = vv, .shape = *s};
        in->ops->attention_forward(in->stream, &forward_pass);
        expect_within(in, "attention_forward, out", out, ref.out, bound.out, no, forward, 0);
        expect(in, "attention_forward, lse", lse, ref.lse, l.rows, forward, 1);

        char *dq = array(type, marks, nq, aligned);
        char *dk = l.packed ? dq + (size_t)l.k_at * element : array(type, marks, nkv, aligned);
        char *dv = l.packed ? dq + (size_t)l.v_at * element : array(type, marks, nkv, aligned);
        AttentionBackward backward_pass = {.dq = dq,
                                           .dk = dk,
                                           .dv = dv,
                                           .delta = typed(in->acc, NULL, l.rows),
                                           .dout = array(type, dout, no, aligned),
                                           .q = qq,
                                           .k = kk,
                                           .v = vv,
                                           .out = out,
                                           .lse = lse,
                                           .shape = *s};
        in->ops->attention_backward(in->stream, &backward_pass);
        expect_within(in, "attention_backward, dq", dq, ref.dq, bound.dq, nq, backward, 1);
        if (!l.packed) {
            expect_within(in, "attention_backward, dk", dk, ref.dk, bound.dk, nkv, backward, 1);
            expect_within(in, "attention_backward, dv", dv, ref.dv, bound.dv, nkv, backward, 0);
        }
        run_end();
    }
    case_end();
}

static void check_packed(const Instance *in) {
    // B, n_head, n_kv_head, head_dim, q_len, kv_len, q_offset, packed, gap, aligned
    check_case(in, &(Case){1, 1, 1, 1, 1, 1, 0, true, 0, false});
    check_case(in, &(Case){2, 3, 3, 8, 17, 17, 0, true, 0, false});
    check_case(in, &(Case){2, 2, 2, 64, 131, 131, 0, true, 0, false});
    check_case(in, &(Case){1, 2, 2, 13, 200, 200, 0, true, 5, false});
}

static void check_grouped(const Instance *in) {
    check_case(in, &(Case){2, 4, 2, 6, 23, 23, 0, true, 0, false});
    check_case(in, &(Case){2, 6, 1, 10, 70, 70, 0, true, 3, false});
    check_case(in, &(Case){1, 4, 4, 5, 65, 65, 0, false, 2, false});
}

static void check_cache(const Instance *in) {
    check_case(in, &(Case){2, 3, 3, 8, 1, 1, 0, false, 0, false});
    check_case(in, &(Case){2, 3, 3, 8, 1, 90, 77, false, 0, false});
    check_case(in, &(Case){2, 4, 2, 16, 5, 40, 30, false, 1, false});
    check_case(in, &(Case){1, 2, 2, 12, 70, 150, 75, false, 0, false});
}

// Head dimensions with tensor-core kernels, at sizes around the tile boundaries.
static void check_tensor_cores(const Instance *in) {
    for (int aligned = 0; aligned < 2; aligned++) {
        check_case(in, &(Case){1, 1, 1, 64, 1, 1, 0, true, 0, aligned});
        check_case(in, &(Case){1, 2, 2, 64, 200, 200, 0, true, 0, aligned});
        check_case(in, &(Case){2, 4, 1, 64, 70, 70, 0, true, 8, aligned});
        check_case(in, &(Case){1, 8, 1, 64, 33, 160, 127, false, 0, aligned});
        check_case(in, &(Case){1, 2, 2, 64, 20, 300, 65, false, 0, aligned}); // keys that no query attends to
        check_case(in, &(Case){1, 1, 1, 128, 129, 129, 0, true, 0, aligned});
        check_case(in, &(Case){1, 2, 1, 128, 65, 193, 128, false, 8, aligned});
        check_case(in, &(Case){2, 2, 2, 128, 1, 77, 76, false, 0, aligned});
    }
}

// On a GPU, a single query with cached keys is bitwise identical to the same query in its whole sequence.
static void check_one_by_one(const Instance *in) {
    int T = 70, D = 64;
    Layout l = make_layout(&(Case){1, 1, 1, D, T, T, 0, false, 0, false});
    run_begin(0);
    double *q = draw(l.q_size, 0.1, 1.5), *k = draw(l.kv_size, -0.2, 1.5), *v = draw(l.kv_size, 0.3, 1);
    char *qq = typed(in->type, q, l.q_size), *kk = typed(in->type, k, l.kv_size),
         *vv = typed(in->type, v, l.kv_size);
    void *out = typed(in->type, NULL, l.out_size), *one = typed(in->type, NULL, D), *lse = typed(in->acc, NULL, T);
    AttentionForward forward = {.out = out, .lse = lse, .q = qq, .k = kk, .v = vv, .shape = l.s};
    in->ops->attention_forward(in->stream, &forward);
    const double *expected = values_of(out, l.out_size);
    for (int t = 0; t < T; t += 23) {
        forward.out = one, forward.q = qq + (size_t)(t * D) * type_size(in->type);
        forward.shape.q_len = 1, forward.shape.q_offset = t;
        in->ops->attention_forward(in->stream, &forward);
        assert_memory_equal(values_of(one, D), expected + t * D, (size_t)D * sizeof *expected);
    }
    run_end();
    case_end();
}

#define TEST(name, instances)                                                                                      \
    static void test_attention_##name(void **state) {                                                              \
        (void)state;                                                                                               \
        instances(check_##name);                                                                                   \
    }
TEST(packed, for_each_instance)
TEST(grouped, for_each_instance)
TEST(cache, for_each_instance)
TEST(tensor_cores, for_each_gpu_instance)
TEST(one_by_one, for_each_gpu_instance)

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_attention_packed),
                                       cmocka_unit_test(test_attention_grouped),
                                       cmocka_unit_test(test_attention_cache)};
    const struct CMUnitTest on_gpu[] = {cmocka_unit_test(test_attention_tensor_cores),
                                        cmocka_unit_test(test_attention_one_by_one)};
    int failed = cmocka_run_group_tests(tests, open_device, close_device);
    return there_is_a_gpu() ? failed + cmocka_run_group_tests(on_gpu, open_device, close_device) : failed;
}

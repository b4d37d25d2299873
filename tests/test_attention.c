// The attention of model/ops.h on every instance against the full softmax in long double.
#include "tests/ops_check.h"

// Sizes of a case; q, k, v are packed as the network's product leaves them, or stand apart as with a cache.
typedef struct {
    int B, n_head, n_kv_head, head_dim, q_len, kv_len, q_offset;
    bool packed;
    int gap; // unused elements at the end of every row
} Case;

typedef struct {
    AttentionShape s;
    int64_t q_size, kv_size, out_size, rows; // elements of the arrays; rows = B n_head q_len
    int64_t k_at, v_at;                      // packed: where k and v begin within q's array
    bool packed;
} Layout;

static Layout layout_of(const Case *c) {
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

// out, lse and the gradients, from the definition: P = softmax(scale Q K^T) below the diagonal, O = P V,
// dV = P^T dO, dS = P (dO V^T - rowsum(dO O)), dQ = scale dS K, dK = scale dS^T Q.
static void reference(double *out, double *lse, double *dq, double *dk, double *dv, const double *dout,
                      const double *q, const double *k, const double *v, const AttentionShape *s) {
    int D = s->head_dim;
    long double *p = calloc((size_t)s->kv_len, sizeof *p);
    assert_non_null(p);
    for (int b = 0; b < s->B; b++)
        for (int h = 0; h < s->n_head; h++)
            for (int t = 0; t < s->q_len; t++) {
                int64_t iq = q_at(s, b, t, h), io = out_at(s, b, t, h);
                int visible = s->q_offset + t + 1;
                long double largest = -INFINITY, sum = 0, row = 0;
                for (int j = 0; j < visible; j++) {
                    p[j] = s->scale * dot(q + iq, k + kv_at(s, b, j, h), D);
                    largest = fmaxl(largest, p[j]);
                }
                for (int j = 0; j < visible; j++) sum += p[j] = expl(p[j] - largest);
                lse[((int64_t)b * s->n_head + h) * s->q_len + t] = (double)(largest + logl(sum));
                for (int d = 0; d < D; d++) {
                    long double o = 0;
                    for (int j = 0; j < visible; j++) o += p[j] / sum * v[kv_at(s, b, j, h) + d];
                    out[io + d] = (double)o;
                    row += o * dout[io + d];
                }
                for (int j = 0; j < visible; j++) {
                    int64_t jk = kv_at(s, b, j, h);
                    long double w = p[j] / sum, ds = s->scale * w * (dot(dout + io, v + jk, D) - row);
                    for (int d = 0; d < D; d++) {
                        dq[iq + d] += (double)(ds * k[jk + d]);
                        dk[jk + d] += (double)(ds * q[iq + d]);
                        dv[jk + d] += (double)(w * dout[io + d]);
                    }
                }
            }
    free(p);
}

// Where the operation leaves the mark in place (gaps between rows), the reference has it too.
static void mark(double *ref, const double *written, const double *marks, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (written[i] == 0) ref[i] = marks[i];
}

// 1 where a (rows, width) view with these strides lies.
static void cover(double *to, int B, int64_t batch, int rows, int64_t row, int64_t width) {
    for (int b = 0; b < B; b++)
        for (int t = 0; t < rows; t++)
            for (int64_t i = 0; i < width; i++) to[b * batch + t * row + i] = 1;
}

static void check_case(const Instance *in, const Case *c) {
    Layout l = layout_of(c);
    const AttentionShape *s = &l.s;
    int64_t A = (int64_t)s->n_head * s->head_dim, K = (int64_t)s->n_kv_head * s->head_dim;
    int64_t nq = l.q_size, nkv = l.packed ? 0 : l.kv_size, no = l.out_size;
    double *q = draw(nq, 0.1, 1.5), *k = l.packed ? q + l.k_at : draw(nkv, -0.2, 1.5);
    double *v = l.packed ? q + l.v_at : draw(nkv, 0.3, 1), *dout = draw(no, 0, 1);
    double *out_ref = case_doubles(no), *lse_ref = case_doubles(l.rows);
    double *dq_ref = case_doubles(nq), *dk_ref = l.packed ? dq_ref + l.k_at : case_doubles(nkv);
    double *dv_ref = l.packed ? dq_ref + l.v_at : case_doubles(nkv);
    reference(out_ref, lse_ref, dq_ref, dk_ref, dv_ref, dout, q, k, v, s);

    // What lies between the rows must stay as it is.
    double *marks = draw(nq + nkv + no, 3, 1), *written = case_doubles(nq + nkv + no);
    cover(written, s->B, s->out_batch, s->q_len, s->out_row, A);
    mark(out_ref, written, marks, no);
    memset(written, 0, (size_t)(nq + nkv + no) * sizeof *written);
    cover(written, s->B, s->q_batch, s->q_len, s->q_row, l.packed ? A + 2 * K : A);
    mark(dq_ref, written, marks, nq);
    memset(written, 0, (size_t)(nq + nkv + no) * sizeof *written);
    if (!l.packed) {
        cover(written, s->B, s->kv_batch, s->kv_len, s->kv_row, K);
        mark(dk_ref, written, marks, nkv);
        mark(dv_ref, written, marks, nkv);
    }

    // A score has an error of about sqrt(head_dim) eps times its own size (a few here), a weight that
    // relative error, and a sum over the keys adds sqrt(kv_len) eps. In dQ and dK numbers of order one cancel: all of
    // them where there is a single key.
    double forward = 2 * sqrt(s->head_dim) + sqrt(s->kv_len), backward = 2 * forward;
    for (int run = 0; run < RUNS; run++) {
        run_begin(run);
        Type type = in->type;
        size_t element = type_size(type);
        char *qq = typed(type, q, nq), *kk = l.packed ? qq + (size_t)l.k_at * element : typed(type, k, nkv);
        char *vv = l.packed ? qq + (size_t)l.v_at * element : typed(type, v, nkv);
        void *out = typed(type, marks, no), *lse = typed(type, NULL, l.rows);
        in->ops->attention_forward(in->stream, out, lse, qq, kk, vv, s);
        expect(in, "attention_forward, out", out, out_ref, no, forward, 0);
        expect(in, "attention_forward, lse", lse, lse_ref, l.rows, forward, 1);

        char *dq = typed(type, marks, nq), *dk = l.packed ? dq + (size_t)l.k_at * element : typed(type, marks, nkv);
        char *dv = l.packed ? dq + (size_t)l.v_at * element : typed(type, marks, nkv);
        in->ops->attention_backward(in->stream, dq, dk, dv, typed(type, NULL, l.rows), typed(type, dout, no), qq,
                                    kk, vv, out, lse, s);
        expect(in, "attention_backward, dq", dq, dq_ref, nq, backward, 1);
        if (!l.packed) {
            expect(in, "attention_backward, dk", dk, dk_ref, nkv, backward, 1);
            expect(in, "attention_backward, dv", dv, dv_ref, nkv, backward, 0);
        }
        run_end();
    }
    case_end();
}

static void check_packed(const Instance *in) {
    // B, n_head, n_kv_head, head_dim, q_len, kv_len, q_offset, packed, gap
    check_case(in, &(Case){1, 1, 1, 1, 1, 1, 0, true, 0});
    check_case(in, &(Case){2, 3, 3, 8, 17, 17, 0, true, 0});
    check_case(in, &(Case){2, 2, 2, 64, 131, 131, 0, true, 0});
    check_case(in, &(Case){1, 2, 2, 13, 200, 200, 0, true, 5});
}

static void check_grouped(const Instance *in) {
    check_case(in, &(Case){2, 4, 2, 6, 23, 23, 0, true, 0});
    check_case(in, &(Case){2, 6, 1, 10, 70, 70, 0, true, 3});
    check_case(in, &(Case){1, 4, 4, 5, 65, 65, 0, false, 2});
}

static void check_cache(const Instance *in) {
    check_case(in, &(Case){2, 3, 3, 8, 1, 1, 0, false, 0});
    check_case(in, &(Case){2, 3, 3, 8, 1, 90, 77, false, 0});
    check_case(in, &(Case){2, 4, 2, 16, 5, 40, 30, false, 1});
    check_case(in, &(Case){1, 2, 2, 12, 70, 150, 75, false, 0});
}

#define TEST(name)                                                                                                 \
    static void test_attention_##name(void **state) {                                                              \
        (void)state;                                                                                               \
        for_each_instance(check_##name);                                                                           \
    }
TEST(packed)
TEST(grouped)
TEST(cache)

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_attention_packed),
                                       cmocka_unit_test(test_attention_grouped),
                                       cmocka_unit_test(test_attention_cache)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}

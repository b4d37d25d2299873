// Causal attention by tiles of scores, forward with a running softmax and backward by recomputing the probabilities
// (Dao, Fu, Ermon, Rudra, Re, "FlashAttention", 2022, algorithms 1 and 4). Products of tiles go to the matrix library
// within the calling thread.
#include "model/cpu_math.h" // defines: real_exp
#include "model/cpu_ops.h"

enum { TILE_Q = 64, TILE_K = 128 }; // rows and columns of a tile of scores

typedef struct {
    const real *q, *k, *v; // first elements of this batch entry and head
    int64_t q_row, kv_row;
} Head;

static int min_int(int a, int b) {
    return a < b ? a : b;
}

static Head head_of(const real *q, const real *k, const real *v, const AttentionShape *a, int b, int h) {
    int kv = h / (a->n_head / a->n_kv_head);
    int64_t kv_offset = b * a->kv_batch + (int64_t)kv * a->head_dim;
    return (Head){q + b * a->q_batch + (int64_t)h * a->head_dim, k + kv_offset, v + kv_offset, a->q_row, a->kv_row};
}

// scores (n, m), row stride TILE_K = scale Q K^T for queries [t, t + n) and keys [j, j + m).
static void tile_scores(real *scores, const Head *head, int t, int n, int j, int m, int D, real scale) {
    cpu_gemm_real(false, true, n, m, D, scale, head->q + t * head->q_row, head->q_row, head->k + j * head->kv_row,
                  head->kv_row, 0, scores, TILE_K);
}

// One tile of queries [t, t + n) of one head: out (n, D) with row stride out_row, lse (n).
static void forward_tile(real *out, int64_t out_row, real *lse, const Head *head, const AttentionShape *a, int t,
                         int n) {
    int D = a->head_dim, keys = min_int(a->q_offset + t + n, a->kv_len);
    real scores[TILE_Q * TILE_K], max[TILE_Q], sum[TILE_Q];
    for (int i = 0; i < n; i++) max[i] = -(real)INFINITY, sum[i] = 0;
    for (int j = 0; j < keys; j += TILE_K) {
        int m = min_int(keys - j, TILE_K);
        tile_scores(scores, head, t, n, j, m, D, (real)a->scale);
        for (int i = 0; i < n; i++) {
            real *row = scores + i * TILE_K, new_max = max[i], total = 0;
            int seen = min_int(a->q_offset + t + i + 1 - j, m); // keys of this tile that query i may see
            if (seen < 0) seen = 0;
#pragma omp simd reduction(max : new_max)
            for (int c = 0; c < seen; c++) new_max = row[c] > new_max ? row[c] : new_max;
#pragma omp simd reduction(+ : total)
            for (int c = 0; c < seen; c++) {
                row[c] = real_exp(row[c] - new_max);
                total += row[c];
            }
            for (int c = seen; c < m; c++) row[c] = 0;
            real shrink = j == 0 ? 0 : real_exp(max[i] - new_max);
            sum[i] = sum[i] * shrink + total;
            max[i] = new_max;
            if (j > 0)
                for (int d = 0; d < D; d++) out[i * out_row + d] *= shrink;
        }
        cpu_gemm_real(false, false, n, D, m, 1, scores, TILE_K, head->v + j * head->kv_row, head->kv_row, j > 0,
                      out, out_row);
    }
    for (int i = 0; i < n; i++) {
        real inverse = 1 / sum[i];
        for (int d = 0; d < D; d++) out[i * out_row + d] *= inverse;
        lse[i] = max[i] + (real)log((double)sum[i]);
    }
}

void OP_TABLE(attention_forward)(Stream *s, void *out_, void *lse_, const void *q, const void *k, const void *v,
                                 const AttentionShape *a) {
    (void)s;
    real *out = out_, *lse = lse_; // as the shape says, (B, n_head, q_len)
    int tiles = (a->q_len + TILE_Q - 1) / TILE_Q;
    // The last tiles see the most keys: they are handed out first.
#pragma omp parallel for collapse(3) schedule(dynamic, 1)
    for (int tile = tiles - 1; tile >= 0; tile--)
        for (int b = 0; b < a->B; b++)
            for (int h = 0; h < a->n_head; h++) {
                int t = tile * TILE_Q;
                Head head = head_of(q, k, v, a, b, h);
                forward_tile(out + b * a->out_batch + t * a->out_row + (int64_t)h * a->head_dim, a->out_row,
                             lse + ((int64_t)b * a->n_head + h) * a->q_len + t, &head, a, t,
                             min_int(a->q_len - t, TILE_Q));
            }
}

// The backward pass of one head. dq is overwritten, dk and dv are added to.
static void backward_head(real *dq, real *dk, real *dv, real *delta, const real *dout, const real *out,
                          const real *lse, const Head *head, const AttentionShape *a) {
    int D = a->head_dim;
    int64_t out_row = a->out_row;
    real p[TILE_Q * TILE_K], dp[TILE_Q * TILE_K];
    for (int t = 0; t < a->q_len; t += TILE_Q) {
        int n = min_int(a->q_len - t, TILE_Q), keys = min_int(a->q_offset + t + n, a->kv_len);
        const real *dout_tile = dout + t * out_row;
        for (int i = t; i < t + n; i++) {
            real sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int d = 0; d < D; d++) sum += dout[i * out_row + d] * out[i * out_row + d];
            delta[i] = sum;
        }
        for (int j = 0; j < keys; j += TILE_K) {
            int m = min_int(keys - j, TILE_K);
            tile_scores(p, head, t, n, j, m, D, (real)a->scale);
            cpu_gemm_real(false, true, n, m, D, 1, dout_tile, out_row, head->v + j * head->kv_row, head->kv_row, 0,
                          dp, TILE_K);
            for (int i = 0; i < n; i++) {
                real *restrict row = p + i * TILE_K, *restrict drow = dp + i * TILE_K;
                real row_lse = lse[t + i], row_delta = delta[t + i], scale = (real)a->scale;
                int seen = min_int(a->q_offset + t + i + 1 - j, m);
                if (seen < 0) seen = 0;
#pragma omp simd
                for (int c = 0; c < seen; c++) {
                    row[c] = real_exp(row[c] - row_lse);
                    drow[c] = scale * row[c] * (drow[c] - row_delta);
                }
                for (int c = seen; c < m; c++) row[c] = drow[c] = 0;
            }
            cpu_gemm_real(false, false, n, D, m, 1, dp, TILE_K, head->k + j * head->kv_row, head->kv_row, j > 0,
                          dq + t * head->q_row, head->q_row);
            cpu_gemm_real(true, false, m, D, n, 1, dp, TILE_K, head->q + t * head->q_row, head->q_row, 1,
                          dk + j * head->kv_row, head->kv_row);
            cpu_gemm_real(true, false, m, D, n, 1, p, TILE_K, dout_tile, out_row, 1, dv + j * head->kv_row,
                          head->kv_row);
        }
    }
}

void OP_TABLE(attention_backward)(Stream *s, void *dq_, void *dk_, void *dv_, void *delta_, const void *dout_,
                                  const void *q, const void *k, const void *v, const void *out_, const void *lse_,
                                  const AttentionShape *a) {
    (void)s;
    real *dq = dq_, *dk = dk_, *dv = dv_, *delta = delta_;
    const real *dout = dout_, *out = out_, *lse = lse_;
    int group = a->n_head / a->n_kv_head;
    // A thread owns a key/value head with all its query heads: their sums into dk and dv keep one order.
#pragma omp parallel for collapse(2) schedule(dynamic, 1)
    for (int b = 0; b < a->B; b++)
        for (int kv = 0; kv < a->n_kv_head; kv++) {
            int64_t kv_offset = b * a->kv_batch + (int64_t)kv * a->head_dim;
            for (int j = 0; j < a->kv_len; j++) {
                memset(dk + kv_offset + j * a->kv_row, 0, (size_t)a->head_dim * sizeof(real));
                memset(dv + kv_offset + j * a->kv_row, 0, (size_t)a->head_dim * sizeof(real));
            }
            for (int h = kv * group; h < (kv + 1) * group; h++) {
                Head head = head_of(q, k, v, a, b, h);
                int64_t q_offset = b * a->q_batch + (int64_t)h * a->head_dim;
                int64_t out_offset = b * a->out_batch + (int64_t)h * a->head_dim;
                int64_t stat = ((int64_t)b * a->n_head + h) * a->q_len;
                backward_head(dq + q_offset, dk + kv_offset, dv + kv_offset, delta + stat, dout + out_offset,
                              out + out_offset, lse + stat, &head, a);
            }
        }
}

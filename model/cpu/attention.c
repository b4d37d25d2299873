// Causal attention by tiles of scores, forward with a running softmax and backward by recomputing the probabilities
// (Dao, Fu, Ermon, Rudra, Re, "FlashAttention", 2022, algorithms 1 and 4). The products of a tile go by blocks of MR
// rows, each as far as the mask lets it.
#include "base/integers.h"
#include "device/cpu/vector.h"
#include "model/cpu/math.h"
#include "model/cpu/ops.h"

// Rows and columns of a tile of scores; rows of a transposed block of keys; what rows of scores are padded to.
enum { TILE_Q = 64, TILE_K = 128, DEPTH = 64, PAD = 16 };

typedef struct {
    const real *q, *k, *v; // first elements of this batch entry and head
    int64_t q_row, kv_row;
} Head;

static Head head_of(const real *q, const real *k, const real *v, const AttentionShape *a, int b, int h) {
    int kv = h / (a->n_head / a->n_kv_head);
    int64_t kv_offset = b * a->kv_batch + (int64_t)kv * a->head_dim;
    return (Head){q + b * a->q_batch + (int64_t)h * a->head_dim, k + kv_offset, v + kv_offset, a->q_row, a->kv_row};
}

// A matrix of which a block of rows is multiplied: element (i, p) at x[i row + p step].
typedef struct {
    const real *x;
    int64_t row, step;
} Rows;

// Rows i to i + m of a; the last one stands in for those there are not.
static void row_pointers(const real *rows[MR], Rows a, int i, int m) {
    for (int r = 0; r < MR; r++) rows[r] = a.x + (i + min_int(r, m - 1)) * a.row;
}

// c (m, n), m <= MR, = alpha a (m, depth) b (depth, n) + beta c, a's rows from the i-th on.
static void rows_product(real *c, int64_t ldc, int m, int n, real alpha, real beta, Rows a, int i, const real *b,
                         int64_t ldb, int depth) {
    const real *rows[MR];
    real edge[TILE_K * NR];
    row_pointers(rows, a, i, m);
    for (int j = 0; j < n; j += NR) {
        int columns = min_int(n - j, NR);
        const real *from = b + j;
        int64_t step = ldb;
        if (columns % LANES != 0) { // b ends within a vector
            for (int p = 0; p < depth; p++)
                for (int q = 0; q < NR; q++) edge[p * NR + q] = q < columns ? from[p * ldb + q] : 0;
            from = edge, step = NR;
        }
        tile_product(c + j, ldc, m, columns, alpha, beta, NULL, rows, a.step, from, step, depth);
    }
}

// What query i of a tile sees of its keys: those before `diagonal` + i + 1, of m.
static int seen_keys(int diagonal, int i, int m) {
    int seen = min_int(diagonal + i + 1, m);
    return seen < 0 ? 0 : seen;
}

// scores (n, m), row stride TILE_K = scale X Y^T where a query sees a key, x (n, D), y (m, D).
static void tile_scores(real *scores, const real *x, int64_t x_row, int n, const real *y, int64_t y_row, int m,
                        int D, real scale, int diagonal) {
    real block[DEPTH * TILE_K];
    for (int d = 0; d < D; d += DEPTH) {
        int depth = min_int(D - d, DEPTH);
        for (int j = 0; j < m; j += NR)
            pack_transposed(block + j * DEPTH, y + j * y_row + d, y_row, depth, min_int(m - j, NR), NR);
        for (int i = 0; i < n; i += MR) {
            int rows = min_int(n - i, MR), keys = seen_keys(diagonal, i + rows - 1, m);
            const real *lines[MR];
            row_pointers(lines, (Rows){x + d, x_row, 1}, i, rows);
            int columns = (keys + LANES - 1) / LANES * LANES;
            for (int j = 0; j < columns; j += NR)
                tile_product(scores + i * TILE_K + j, TILE_K, rows, min_int(columns - j, NR), scale, d > 0, NULL,
                             lines, 1, block + j * DEPTH, NR, depth);
        }
    }
}

// out (n, D) = or += weights (n, m) y (m, D), the weights 0 where a query does not see a key.
static void add_values(real *out, int64_t out_row, const real *weights, int n, const real *y, int64_t y_row, int m,
                       int D, int diagonal, bool add) {
    for (int i = 0; i < n; i += MR) {
        int rows = min_int(n - i, MR);
        rows_product(out + i * out_row, out_row, rows, D, 1, add, (Rows){weights, TILE_K, 1}, i, y, y_row,
                     seen_keys(diagonal, i + rows - 1, m));
    }
}

// out (m, D) += weights^T (m, n) y (n, D).
static void add_transposed(real *out, int64_t out_row, const real *weights, int n, const real *y, int64_t y_row,
                           int m, int D, int diagonal) {
    for (int j = 0; j < m; j += MR) {
        int first = j - diagonal < 0 ? 0 : min_int(j - diagonal, n); // the first query that sees key j
        rows_product(out + j * out_row, out_row, min_int(m - j, MR), D, 1, 1,
                     (Rows){weights + first * TILE_K, 1, TILE_K}, j, y + first * y_row, y_row, n - first);
    }
}

// One tile of queries [t, t + n) of one head: out (n, D) with row stride out_row, lse (n).
static void forward_tile(real *out, int64_t out_row, real *lse, const Head *head, const AttentionShape *a, int t,
                         int n) {
    int D = a->head_dim, keys = min_int(a->q_offset + t + n, a->kv_len);
    real scores[TILE_Q * TILE_K], max[TILE_Q], sum[TILE_Q];
    for (int i = 0; i < n; i++) max[i] = -(real)INFINITY, sum[i] = 0;
    for (int j = 0; j < keys; j += TILE_K) {
        int m = min_int(keys - j, TILE_K);
        int diagonal = a->q_offset + t - j;
        tile_scores(scores, head->q + t * head->q_row, head->q_row, n, head->k + j * head->kv_row, head->kv_row, m,
                    D, (real)a->scale, diagonal);
        for (int i = 0; i < n; i++) {
            real *row = scores + i * TILE_K, new_max = max[i], total = 0;
            int seen = seen_keys(diagonal, i, m);
            // Whole vectors: the exponential of what is not seen is 0.
            int padded = (seen + PAD - 1) / PAD * PAD;
            for (int c = seen; c < padded; c++) row[c] = -(real)INFINITY;
#pragma omp simd reduction(max : new_max)
            for (int c = 0; c < padded; c++) new_max = row[c] > new_max ? row[c] : new_max;
#pragma omp simd reduction(+ : total)
            for (int c = 0; c < padded; c++) {
                row[c] = real_exp(row[c] - new_max);
                total += row[c];
            }
            for (int c = padded; c < m; c++) row[c] = 0;
            real shrink = j == 0 ? 0 : real_exp(max[i] - new_max);
            sum[i] = sum[i] * shrink + total;
            max[i] = new_max;
            if (j > 0)
                for (int d = 0; d < D; d++) out[i * out_row + d] *= shrink;
        }
        add_values(out, out_row, scores, n, head->v + j * head->kv_row, head->kv_row, m, D, diagonal, j > 0);
    }
    for (int i = 0; i < n; i++) {
        real inverse = 1 / sum[i];
        for (int d = 0; d < D; d++) out[i * out_row + d] *= inverse;
        lse[i] = max[i] + (real)log((double)sum[i]);
    }
}

void OP_TABLE(attention_forward)(Stream *s, const AttentionForward *x) {
    (void)s;
    const AttentionShape *a = &x->shape;
    real *out = x->out, *lse = x->lse; // as the shape says, (B, n_head, q_len)
    const real *q = x->q, *k = x->k, *v = x->v;
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
            int diagonal = a->q_offset + t - j;
            const real *q_tile = head->q + t * head->q_row, *k_tile = head->k + j * head->kv_row;
            tile_scores(p, q_tile, head->q_row, n, k_tile, head->kv_row, m, D, (real)a->scale, diagonal);
            tile_scores(dp, dout_tile, out_row, n, head->v + j * head->kv_row, head->kv_row, m, D, 1, diagonal);
            for (int i = 0; i < n; i++) {
                real *restrict row = p + i * TILE_K, *restrict drow = dp + i * TILE_K;
                real row_lse = lse[t + i], row_delta = delta[t + i], scale = (real)a->scale;
                int seen = seen_keys(diagonal, i, m);
                int padded = (seen + PAD - 1) / PAD * PAD;
                for (int c = seen; c < padded; c++) row[c] = -(real)INFINITY, drow[c] = 0;
#pragma omp simd
                for (int c = 0; c < padded; c++) {
                    row[c] = real_exp(row[c] - row_lse);
                    drow[c] = scale * row[c] * (drow[c] - row_delta);
                }
                for (int c = padded; c < m; c++) row[c] = drow[c] = 0;
            }
            add_values(dq + t * head->q_row, head->q_row, dp, n, k_tile, head->kv_row, m, D, diagonal, j > 0);
            add_transposed(dk + j * head->kv_row, head->kv_row, dp, n, q_tile, head->q_row, m, D, diagonal);
            add_transposed(dv + j * head->kv_row, head->kv_row, p, n, dout_tile, out_row, m, D, diagonal);
        }
    }
}

void OP_TABLE(attention_backward)(Stream *s, const AttentionBackward *x) {
    (void)s;
    const AttentionShape *a = &x->shape;
    real *dq = x->dq, *dk = x->dk, *dv = x->dv, *delta = x->delta;
    const real *dout = x->dout, *q = x->q, *k = x->k, *v = x->v, *out = x->out, *lse = x->lse;
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

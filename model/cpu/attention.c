// Causal attention by tiles of scores: forward with an online softmax, backward by recomputing the probabilities
// (Dao, Fu, Ermon, Rudra, Re, "FlashAttention", 2022, algorithms 1 and 4). The GEMMs of a tile process blocks of MR
// rows and skip the columns that the causal mask hides.
#include "base/integers.h"
#include "device/cpu/thread_buffer.h"
#include "device/cpu/vector.h"
#include "model/cpu/math.h"
#include "model/cpu/ops.h"

// A tile of scores is TILE_Q x TILE_K, its rows padded to multiples of PAD. DEPTH: rows of a transposed block of keys.
enum { TILE_Q = 64, TILE_K = 128, DEPTH = 64, PAD = 16 };

// The arrays of a thread: scores and (backward) their gradients, running maxima and sums of the softmax, a
// transposed block of keys, and a zero-padded copy of the last columns of a right operand.
typedef struct {
    real scores[TILE_Q * TILE_K], dscores[TILE_Q * TILE_K], max[TILE_Q], sum[TILE_Q];
    real block[DEPTH * TILE_K], edge[TILE_K * NR];
    real copies[]; // in bf16: copies of tiles and accumulators in fp32, see `copy_of`
} Workspace;

// Everything is computed in `real`. In bf16, tiles of the operands are widened to the arrays of Workspace.copies, and
// results are accumulated there and rounded once. Otherwise the arrays of the arguments are used where they are.
static const bool copies_tiles = sizeof(elem) != sizeof(real);

// Copies are dense, (TILE_Q, D), (TILE_K, D) or, of the gradients of keys and values, (kv_len, D).
typedef enum { COPY_Q, COPY_K, COPY_V, COPY_OUT, COPY_DOUT, COPY_DQ, COPY_DK, COPY_DV } Copy;

static real *copy_of(Workspace *w, Copy copy, const AttentionShape *a) {
    return w->copies + (int64_t)a->head_dim * (copy * TILE_K + (copy == COPY_DV ? a->kv_len : 0));
}

static Workspace *workspace(const AttentionShape *a) {
    int64_t copies = copies_tiles ? (int64_t)a->head_dim * (COPY_DV * TILE_K + 2 * (int64_t)a->kv_len) : 0;
    return cpu_thread_buffer(sizeof(Workspace) + (size_t)copies * sizeof(real));
}

// n rows of x as numbers to compute with; *row becomes their stride.
static const real *widened(Workspace *w, Copy copy, const AttentionShape *a, const elem *x, int n, int64_t *row) {
    if (!copies_tiles) return (const real *)(const void *)x;
    int D = a->head_dim;
    real *to = copy_of(w, copy, a);
    for (int i = 0; i < n; i++)
        for (int d = 0; d < D; d++) to[i * D + d] = from_elem(x[i * *row + d]);
    *row = D;
    return to;
}

// Where n rows of x are to be accumulated; *row becomes their stride.
static real *accumulator(Workspace *w, Copy copy, const AttentionShape *a, elem *x, int64_t *row) {
    if (!copies_tiles) return (real *)(void *)x;
    *row = a->head_dim;
    return copy_of(w, copy, a);
}

// Stores n rows of an accumulator in x.
static void store_accumulator(Workspace *w, Copy copy, const AttentionShape *a, elem *x, int n, int64_t row) {
    if (!copies_tiles) return;
    int D = a->head_dim;
    const real *from = copy_of(w, copy, a);
    for (int i = 0; i < n; i++)
        for (int d = 0; d < D; d++) x[i * row + d] = to_elem(from[i * D + d]);
}

typedef struct {
    const elem *q, *k, *v; // first elements of this batch entry and head
    int64_t q_row, kv_row;
} Head;

static Head head_of(const elem *q, const elem *k, const elem *v, const AttentionShape *a, int b, int h) {
    int kv = h / (a->n_head / a->n_kv_head);
    int64_t kv_offset = b * a->kv_batch + (int64_t)kv * a->head_dim;
    return (Head){q + b * a->q_batch + (int64_t)h * a->head_dim, k + kv_offset, v + kv_offset, a->q_row, a->kv_row};
}

// Strided left operand of a GEMM: element (i, p) is at x[i row + p step].
typedef struct {
    const real *x;
    int64_t row, step;
} Rows;

// Pointers to rows [i, i + m) of a; the remaining pointers repeat the last row.
static void row_pointers(const real *rows[MR], Rows a, int i, int m) {
    for (int r = 0; r < MR; r++) rows[r] = a.x + (i + min_int(r, m - 1)) * a.row;
}

// c (m, n) = alpha a (m, depth) b (depth, n) + beta c, m <= MR; uses rows [i, i + m) of a.
static void rows_gemm(Workspace *w, real *c, int64_t ldc, int m, int n, real alpha, real beta, Rows a, int i,
                      const real *b, int64_t ldb, int depth) {
    const real *rows[MR];
    real *restrict edge = w->edge;
    row_pointers(rows, a, i, m);
    for (int j = 0; j < n; j += NR) {
        int columns = min_int(n - j, NR);
        const real *from = b + j;
        int64_t step = ldb;
        if (columns % LANES != 0) { // partial vector: copy b with zero padding
            for (int p = 0; p < depth; p++)
                for (int q = 0; q < NR; q++) edge[p * NR + q] = q < columns ? from[p * ldb + q] : 0;
            from = edge, step = NR;
        }
        micro_kernel(c + j, ldc, m, columns, alpha, beta, NULL, rows, a.step, from, step, depth);
    }
}

// Number of the tile's m keys that query i attends to: those with index <= diagonal + i.
static int visible_keys(int diagonal, int i, int m) {
    int visible = min_int(diagonal + i + 1, m);
    return visible < 0 ? 0 : visible;
}

// scores (n, m), row stride TILE_K, = scale X Y^T for x (n, D), y (m, D). Masked elements may be left unset.
static void tile_scores(Workspace *w, real *scores, const real *x, int64_t x_row, int n, const real *y,
                        int64_t y_row, int m, int D, real scale, int diagonal) {
    real *block = w->block;
    for (int d = 0; d < D; d += DEPTH) {
        int depth = min_int(D - d, DEPTH);
        for (int j = 0; j < m; j += NR)
            pack_transposed(block + j * DEPTH, y + j * y_row + d, y_row, depth, min_int(m - j, NR), NR);
        for (int i = 0; i < n; i += MR) {
            int rows = min_int(n - i, MR), keys = visible_keys(diagonal, i + rows - 1, m);
            const real *lines[MR];
            row_pointers(lines, (Rows){x + d, x_row, 1}, i, rows);
            int columns = (keys + LANES - 1) / LANES * LANES;
            for (int j = 0; j < columns; j += NR)
                micro_kernel(scores + i * TILE_K + j, TILE_K, rows, min_int(columns - j, NR), scale, d > 0, NULL,
                             lines, 1, block + j * DEPTH, NR, depth);
        }
    }
}

// out (n, D) = (or +=) weights (n, m) y (m, D); masked weights are 0.
static void add_values(Workspace *w, real *out, int64_t out_row, const real *weights, int n, const real *y,
                       int64_t y_row, int m, int D, int diagonal, bool add) {
    for (int i = 0; i < n; i += MR) {
        int rows = min_int(n - i, MR);
        rows_gemm(w, out + i * out_row, out_row, rows, D, 1, add, (Rows){weights, TILE_K, 1}, i, y, y_row,
                  visible_keys(diagonal, i + rows - 1, m));
    }
}

// out (m, D) += weights^T (m, n) y (n, D).
static void add_transposed(Workspace *w, real *out, int64_t out_row, const real *weights, int n, const real *y,
                           int64_t y_row, int m, int D, int diagonal) {
    for (int j = 0; j < m; j += MR) {
        int first = j - diagonal < 0 ? 0 : min_int(j - diagonal, n); // first query that attends to key j
        rows_gemm(w, out + j * out_row, out_row, min_int(m - j, MR), D, 1, 1,
                  (Rows){weights + first * TILE_K, 1, TILE_K}, j, y + first * y_row, y_row, n - first);
    }
}

// Queries [t, t + n) of one head: out (n, D) with row stride out_row, lse (n).
static void forward_tile(elem *out_tile, real *lse, const Head *head, const AttentionShape *a, int t, int n) {
    int D = a->head_dim, keys = min_int(a->q_offset + t + n, a->kv_len);
    Workspace *w = workspace(a);
    int64_t q_row = head->q_row, out_row = a->out_row;
    const real *q = widened(w, COPY_Q, a, head->q + t * head->q_row, n, &q_row);
    real *out = accumulator(w, COPY_OUT, a, out_tile, &out_row);
    real *scores = w->scores, *max = w->max, *sum = w->sum;
    for (int i = 0; i < n; i++) max[i] = -(real)INFINITY, sum[i] = 0;
    for (int j = 0; j < keys; j += TILE_K) {
        int m = min_int(keys - j, TILE_K);
        int diagonal = a->q_offset + t - j;
        int64_t k_row = head->kv_row, v_row = head->kv_row;
        const real *k = widened(w, COPY_K, a, head->k + j * head->kv_row, m, &k_row);
        const real *v = widened(w, COPY_V, a, head->v + j * head->kv_row, m, &v_row);
        tile_scores(w, scores, q, q_row, n, k, k_row, m, D, (real)a->scale, diagonal);
        for (int i = 0; i < n; i++) {
            real *row = scores + i * TILE_K, new_max = max[i], total = 0;
            int visible = visible_keys(diagonal, i, m);
            // Whole vectors: masked scores are -infinity, so their exponential is 0.
            int padded = (visible + PAD - 1) / PAD * PAD;
            for (int c = visible; c < padded; c++) row[c] = -(real)INFINITY;
#pragma omp simd reduction(max : new_max)
            for (int c = 0; c < padded; c++) new_max = row[c] > new_max ? row[c] : new_max;
#pragma omp simd reduction(+ : total)
            for (int c = 0; c < padded; c++) {
                row[c] = real_exp(row[c] - new_max);
                total += row[c];
            }
            for (int c = padded; c < m; c++) row[c] = 0;
            real rescale = j == 0 ? 0 : real_exp(max[i] - new_max);
            sum[i] = sum[i] * rescale + total;
            max[i] = new_max;
            if (j > 0)
                for (int d = 0; d < D; d++) out[i * out_row + d] *= rescale;
        }
        add_values(w, out, out_row, scores, n, v, v_row, m, D, diagonal, j > 0);
    }
    for (int i = 0; i < n; i++) {
        real inverse = 1 / sum[i];
        for (int d = 0; d < D; d++) out[i * out_row + d] *= inverse;
        lse[i] = max[i] + (real)log((double)sum[i]);
    }
    store_accumulator(w, COPY_OUT, a, out_tile, n, a->out_row);
}

void OP_TABLE(attention_forward)(Stream *s, const AttentionForward *args) {
    (void)s;
    const AttentionShape *a = &args->shape;
    elem *out = args->out;                               // AttentionShape
    real *lse = args->lse;                               // (B, n_head, q_len)
    const elem *q = args->q, *k = args->k, *v = args->v; // AttentionShape
    int tiles = (a->q_len + TILE_Q - 1) / TILE_Q;
    // The last tiles attend to the most keys, so they are scheduled first.
#pragma omp parallel for collapse(3) schedule(dynamic, 1)
    for (int tile = tiles - 1; tile >= 0; tile--)
        for (int b = 0; b < a->B; b++)
            for (int h = 0; h < a->n_head; h++) {
                int t = tile * TILE_Q;
                Head head = head_of(q, k, v, a, b, h);
                forward_tile(out + b * a->out_batch + t * a->out_row + (int64_t)h * a->head_dim,
                             lse + ((int64_t)b * a->n_head + h) * a->q_len + t, &head, a, t,
                             min_int(a->q_len - t, TILE_Q));
            }
}

// Backward pass of one head. Overwrites dq_head; adds to dk and dv, which have a row stride of grad_row.
static void backward_head(Workspace *w, elem *dq_head, real *dk, real *dv, int64_t grad_row, real *delta,
                          const elem *dout_head, const elem *out, const real *lse, const Head *head,
                          const AttentionShape *a) {
    int D = a->head_dim;
    int64_t head_row = a->out_row;
    real *p = w->scores, *dp = w->dscores;
    for (int t = 0; t < a->q_len; t += TILE_Q) {
        int n = min_int(a->q_len - t, TILE_Q), keys = min_int(a->q_offset + t + n, a->kv_len);
        for (int i = t; i < t + n; i++) {
            real sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int d = 0; d < D; d++)
                sum += from_elem(dout_head[i * head_row + d]) * from_elem(out[i * head_row + d]);
            delta[i] = sum;
        }
        int64_t q_row = head->q_row, out_row = a->out_row, dq_row = head->q_row;
        const real *q = widened(w, COPY_Q, a, head->q + t * head->q_row, n, &q_row);
        const real *dout = widened(w, COPY_DOUT, a, dout_head + t * a->out_row, n, &out_row);
        real *dq = accumulator(w, COPY_DQ, a, dq_head + t * head->q_row, &dq_row);
        for (int j = 0; j < keys; j += TILE_K) {
            int m = min_int(keys - j, TILE_K);
            int diagonal = a->q_offset + t - j;
            int64_t k_row = head->kv_row, v_row = head->kv_row;
            const real *k = widened(w, COPY_K, a, head->k + j * head->kv_row, m, &k_row);
            const real *v = widened(w, COPY_V, a, head->v + j * head->kv_row, m, &v_row);
            tile_scores(w, p, q, q_row, n, k, k_row, m, D, (real)a->scale, diagonal);
            tile_scores(w, dp, dout, out_row, n, v, v_row, m, D, 1, diagonal);
            for (int i = 0; i < n; i++) {
                real *restrict row = p + i * TILE_K, *restrict drow = dp + i * TILE_K;
                real row_lse = lse[t + i], row_delta = delta[t + i], scale = (real)a->scale;
                int visible = visible_keys(diagonal, i, m);
                int padded = (visible + PAD - 1) / PAD * PAD;
                for (int c = visible; c < padded; c++) row[c] = -(real)INFINITY, drow[c] = 0;
#pragma omp simd
                for (int c = 0; c < padded; c++) {
                    row[c] = real_exp(row[c] - row_lse);
                    drow[c] = scale * row[c] * (drow[c] - row_delta);
                }
                for (int c = padded; c < m; c++) row[c] = drow[c] = 0;
            }
            add_values(w, dq, dq_row, dp, n, k, k_row, m, D, diagonal, j > 0);
            add_transposed(w, dk + j * grad_row, grad_row, dp, n, q, q_row, m, D, diagonal);
            add_transposed(w, dv + j * grad_row, grad_row, p, n, dout, out_row, m, D, diagonal);
        }
        store_accumulator(w, COPY_DQ, a, dq_head + t * head->q_row, n, head->q_row);
    }
}

void OP_TABLE(attention_backward)(Stream *s, const AttentionBackward *args) {
    (void)s;
    const AttentionShape *a = &args->shape;
    elem *dq = args->dq, *dk = args->dk, *dv = args->dv; // AttentionShape
    real *delta = args->delta;                           // (B, n_head, q_len)
    const real *lse = args->lse;                         // (B, n_head, q_len)
    const elem *dout = args->dout, *out = args->out;     // AttentionShape
    const elem *q = args->q, *k = args->k, *v = args->v; // AttentionShape
    int group = a->n_head / a->n_kv_head, D = a->head_dim;
    // A thread owns a key/value head and all its query heads, so dk and dv are summed in a fixed order.
#pragma omp parallel for collapse(2) schedule(dynamic, 1)
    for (int b = 0; b < a->B; b++)
        for (int kv = 0; kv < a->n_kv_head; kv++) {
            Workspace *w = workspace(a);
            int64_t kv_offset = b * a->kv_batch + (int64_t)kv * D, row = a->kv_row;
            real *dk_sum = accumulator(w, COPY_DK, a, dk + kv_offset, &row);
            real *dv_sum = accumulator(w, COPY_DV, a, dv + kv_offset, &row);
            for (int j = 0; j < a->kv_len; j++) {
                memset(dk_sum + j * row, 0, (size_t)D * sizeof(real));
                memset(dv_sum + j * row, 0, (size_t)D * sizeof(real));
            }
            for (int h = kv * group; h < (kv + 1) * group; h++) {
                Head head = head_of(q, k, v, a, b, h);
                int64_t out_offset = b * a->out_batch + (int64_t)h * D;
                int64_t stat = ((int64_t)b * a->n_head + h) * a->q_len;
                backward_head(w, dq + b * a->q_batch + (int64_t)h * D, dk_sum, dv_sum, row, delta + stat,
                              dout + out_offset, out + out_offset, lse + stat, &head, a);
            }
            store_accumulator(w, COPY_DK, a, dk + kv_offset, a->kv_len, a->kv_row);
            store_accumulator(w, COPY_DV, a, dv + kv_offset, a->kv_len, a->kv_row);
        }
}

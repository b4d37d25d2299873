#include "model/cpu/ops.h"
#include "model/cpu/sums.h"

// Sums over rows: pieces of the rows, each the work of one thread, in double; within a piece blocks of rows in the
// instance's type. Columns are taken in blocks for which there is room.
enum { PIECES = 16, COLUMN_BLOCK = 1024, ROW_BLOCK = 64, ROWS = 4 };

// sums (n) += the rows of d, 1 or ROWS of them.
static inline void add_rows(real *restrict sums, const real *d, int rows, int64_t C, int n) {
    if (rows == ROWS)
        for (int c = 0; c < n; c++) sums[c] += (d[c] + d[C + c]) + (d[2 * C + c] + d[3 * C + c]);
    else
        for (int c = 0; c < n; c++) sums[c] += d[c];
}

// sums (n) += the rows of d xhat.
static inline void add_gains(real *restrict sums, const real *d, const real *x, const real *mean, const real *rstd,
                             int rows, int64_t C, int n) {
    real m[ROWS];
    for (int i = 0; i < rows; i++) m[i] = mean ? mean[i] : 0;
    if (rows == ROWS)
        for (int c = 0; c < n; c++)
            sums[c] +=
                (d[c] * (x[c] - m[0]) * rstd[0] + d[C + c] * (x[C + c] - m[1]) * rstd[1]) +
                (d[2 * C + c] * (x[2 * C + c] - m[2]) * rstd[2] + d[3 * C + c] * (x[3 * C + c] - m[3]) * rstd[3]);
    else
        for (int c = 0; c < n; c++) sums[c] += d[c] * (x[c] - m[0]) * rstd[0];
}

// gain and bias (n) = the sums over the rows [i0, end) of the columns [c0, c0 + n).
static void sum_piece(double *gain, double *bias, const ColumnSums *s, int64_t i0, int64_t end, int64_t c0, int n) {
    memset(gain, 0, (size_t)n * sizeof *gain);
    memset(bias, 0, (size_t)n * sizeof *bias);
    for (; i0 < end; i0 += ROW_BLOCK) {
        real block_gain[COLUMN_BLOCK], block_bias[COLUMN_BLOCK];
        for (int c = 0; c < n; c++) block_gain[c] = block_bias[c] = 0;
        int64_t block_end = end - i0 < ROW_BLOCK ? end : i0 + ROW_BLOCK;
        for (int64_t i = i0; i < block_end;) {
            int rows = block_end - i < ROWS ? 1 : ROWS;
            const real *d = s->dout + i * s->C + c0;
            if (s->dgain)
                add_gains(block_gain, d, s->x + i * s->C + c0, s->mean ? s->mean + i : NULL, s->rstd + i, rows,
                          s->C, n);
            if (s->dbias) add_rows(block_bias, d, rows, s->C, n);
            i += rows;
        }
        for (int c = 0; c < n; c++) gain[c] += (double)block_gain[c], bias[c] += (double)block_bias[c];
    }
}

// sums (n) = or += the pieces, in order.
static void add_pieces(real *sums, double pieces[][COLUMN_BLOCK], int n, bool accumulate) {
    for (int p = 1; p < PIECES; p++)
        for (int c = 0; c < n; c++) pieces[0][c] += pieces[p][c];
    for (int c = 0; c < n; c++) sums[c] = (real)pieces[0][c] + (accumulate ? sums[c] : 0);
}

void OP_TABLE(column_sums)(const ColumnSums *s, int64_t N, bool accumulate) {
    double gain[PIECES][COLUMN_BLOCK], bias[PIECES][COLUMN_BLOCK];
    for (int64_t c0 = 0; c0 < s->C; c0 += COLUMN_BLOCK) {
        int n = s->C - c0 < COLUMN_BLOCK ? (int)(s->C - c0) : COLUMN_BLOCK;
#pragma omp parallel for schedule(static) if (N * s->C > CPU_PARALLEL_MIN)
        for (int p = 0; p < PIECES; p++)
            sum_piece(gain[p], bias[p], s, N * p / PIECES, N * (p + 1) / PIECES, c0, n);
        if (s->dgain) add_pieces(s->dgain + c0, gain, n, accumulate);
        if (s->dbias) add_pieces(s->dbias + c0, bias, n, accumulate);
    }
}

void OP_TABLE(bias_backward)(Stream *s, const BiasBackward *a) {
    (void)s;
    OP_TABLE(column_sums)(&(ColumnSums){.dbias = a->dbias, .dout = a->dout, .C = a->C}, a->N, a->accumulate);
}

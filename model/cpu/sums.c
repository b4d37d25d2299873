#include "device/cpu/thread_buffer.h"
#include "model/cpu/ops.h"
#include "model/cpu/sums.h"

// The rows are split into CHUNKS chunks, each summed by one thread in double; within a chunk, blocks of ROW_BLOCK
// rows are summed in `real`. COLUMN_BLOCK bounds the stack buffers. The number of chunks is fixed, so the sums do not
// depend on the number of threads.
enum { CHUNKS = 16, COLUMN_BLOCK = 1024, ROW_BLOCK = 64, ROWS = 4 };

// sums (n) += sum of the rows of d; `rows` is 1 or ROWS.
static inline void add_rows(real *restrict sums, const elem *d, int rows, int64_t C, int n) {
    if (rows == ROWS)
        for (int c = 0; c < n; c++)
            sums[c] +=
                (from_elem(d[c]) + from_elem(d[C + c])) + (from_elem(d[2 * C + c]) + from_elem(d[3 * C + c]));
    else
        for (int c = 0; c < n; c++) sums[c] += from_elem(d[c]);
}

// Element i of d xhat.
static inline real product(const elem *d, const elem *x, int64_t i, real mean, real rstd) {
    return from_elem(d[i]) * (from_elem(x[i]) - mean) * rstd;
}

// sums (n) += sum of the rows of d xhat; `rows` is 1 or ROWS.
static inline void add_gains(real *restrict sums, const elem *d, const elem *x, const real *mean, const real *rstd,
                             int rows, int64_t C, int n) {
    real m[ROWS];
    for (int i = 0; i < rows; i++) m[i] = mean ? mean[i] : 0;
    if (rows == ROWS)
        for (int c = 0; c < n; c++)
            sums[c] += (product(d, x, c, m[0], rstd[0]) + product(d, x, C + c, m[1], rstd[1])) +
                       (product(d, x, 2 * C + c, m[2], rstd[2]) + product(d, x, 3 * C + c, m[3], rstd[3]));
    else
        for (int c = 0; c < n; c++) sums[c] += product(d, x, c, m[0], rstd[0]);
}

// gain, bias (n) = sums over rows [i0, end) of columns [c0, c0 + n).
static void sum_chunk(double *gain, double *bias, const ColumnSums *s, int64_t i0, int64_t end, int64_t c0, int n) {
    memset(gain, 0, (size_t)n * sizeof *gain);
    memset(bias, 0, (size_t)n * sizeof *bias);
    for (; i0 < end; i0 += ROW_BLOCK) {
        real block_gain[COLUMN_BLOCK], block_bias[COLUMN_BLOCK];
        for (int c = 0; c < n; c++) block_gain[c] = block_bias[c] = 0;
        int64_t block_end = end - i0 < ROW_BLOCK ? end : i0 + ROW_BLOCK;
        for (int64_t i = i0; i < block_end;) {
            int rows = block_end - i < ROWS ? 1 : ROWS;
            const elem *d = s->dout + i * s->C + c0;
            if (s->dgain)
                add_gains(block_gain, d, s->x + i * s->C + c0, s->mean ? s->mean + i : NULL, s->rstd + i, rows,
                          s->C, n);
            if (s->dbias) add_rows(block_bias, d, rows, s->C, n);
            i += rows;
        }
        for (int c = 0; c < n; c++) gain[c] += (double)block_gain[c], bias[c] += (double)block_bias[c];
    }
}

// sums (n) = (or +=) the sum of the chunks, in order.
static void add_chunks(real *sums, double chunks[][COLUMN_BLOCK], int n, bool accumulate) {
    for (int p = 1; p < CHUNKS; p++)
        for (int c = 0; c < n; c++) chunks[0][c] += chunks[p][c];
    for (int c = 0; c < n; c++) sums[c] = (real)chunks[0][c] + (accumulate ? sums[c] : 0);
}

void OP_TABLE(column_sums)(const ColumnSums *s, int64_t N, bool accumulate) {
    double(*gain)[COLUMN_BLOCK] = cpu_thread_buffer(2 * CHUNKS * sizeof *gain),
    (*bias)[COLUMN_BLOCK] = gain + CHUNKS;
    for (int64_t c0 = 0; c0 < s->C; c0 += COLUMN_BLOCK) {
        int n = s->C - c0 < COLUMN_BLOCK ? (int)(s->C - c0) : COLUMN_BLOCK;
#pragma omp parallel for schedule(static) if (N * s->C > CPU_PARALLEL_MIN)
        for (int p = 0; p < CHUNKS; p++)
            sum_chunk(gain[p], bias[p], s, N * p / CHUNKS, N * (p + 1) / CHUNKS, c0, n);
        if (s->dgain) add_chunks(s->dgain + c0, gain, n, accumulate);
        if (s->dbias) add_chunks(s->dbias + c0, bias, n, accumulate);
    }
}

void OP_TABLE(bias_backward)(Stream *s, const BiasBackward *a) {
    (void)s;
    OP_TABLE(column_sums)(&(ColumnSums){.dbias = a->dbias, .dout = a->dout, .C = a->C}, a->N, a->accumulate);
}

// Sums of columns (gradients of biases and gains) and of losses.
#include "device/cuda/memory.h"
#include "model/cuda/chunk.h"
#include "model/cuda/ops.h"
#include "model/cuda/sums.h"

// A block sums SLAB<T> columns of a piece of rows: a chunk a lane, the rows dealt out to the warps.
constexpr int COLUMN_WARPS = 8;
template <class T> constexpr int SLAB = WARP *CHUNK<T>;

// A block of the second stage: columns, and the pieces dealt out to FOLD_ROWS threads for each.
constexpr int FOLD_COLUMNS = 32, FOLD_ROWS = 16;

// Losses are summed by one block.
constexpr int LOSS_THREADS = 512;

RowPieces row_pieces(int64_t n, int64_t least, int most) {
    int64_t rows = parts_of(n, most);
    if (rows < least) rows = least;
    return RowPieces{rows, (int)parts_of(n, rows)};
}

// The warps' sums of a column, in order, to partials.
template <int W>
static __device__ void store_columns(float *partials, const float (&sum)[W], float *shared, int left,
                                     bool aligned) {
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    for (int j = 0; j < W; j++) shared[(warp * W + j) * WARP + lane] = sum[j];
    __syncthreads();
    if (warp == 0 && left > 0) {
        float total[W];
        for (int j = 0; j < W; j++) {
            total[j] = shared[j * WARP + lane];
            for (int other = 1; other < COLUMN_WARPS; other++) total[j] += shared[(other * W + j) * WARP + lane];
        }
        chunk_store(partials, total, left, aligned);
    }
    __syncthreads();
}

// Reads dout, and x where there is one, once.
template <class T>
static __global__ void column_kernel(float *partials, const T *dout, const T *x, const float *mean,
                                     const float *rstd, int64_t piece_rows, int64_t N, int C, bool aligned) {
    constexpr int W = CHUNK<T>;
    CUDA_SHARED_ARRAY(float, shared, COLUMN_WARPS *W *WARP);
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, c = (blockIdx.x * WARP + lane) * W, left = C - c;
    int64_t begin = blockIdx.y * piece_rows, end = begin + piece_rows < N ? begin + piece_rows : N;
    float with_x[W] = {}, plain[W] = {};
    if (left > 0)
#pragma unroll 4
        for (int64_t i = begin + warp; i < end; i += COLUMN_WARPS) {
            float d[W];
            chunk_load(d, dout + i * C + c, left, aligned);
            if (x) {
                float row[W], m = mean ? mean[i] : 0, r = rstd[i];
                chunk_load(row, x + i * C + c, left, aligned);
                for (int j = 0; j < W; j++) with_x[j] += d[j] * ((row[j] - m) * r);
            }
            for (int j = 0; j < W; j++) plain[j] += d[j];
        }
    float *to = partials + (int64_t)blockIdx.y * (x ? 2 : 1) * C + c;
    if (x) {
        store_columns(to, with_x, shared, left, aligned);
        to += C;
    }
    store_columns(to, plain, shared, left, aligned);
}

template <class T>
void column_partials(Stream *s, float *partials, const T *dout, const T *x, const float *mean, const float *rstd,
                     RowPieces pieces, int64_t N, int C) {
    dim3 grid(grid_of(parts_of(C, SLAB<T>)), (unsigned)pieces.pieces);
    CUDA_LAUNCH(column_kernel<T>, grid, COLUMN_WARPS * WARP, 0, cuda_stream(s), partials, dout, x, mean, rstd,
                pieces.rows, N, C, all_aligned<T>(C, dout, x));
    CUDA_CHECK_LAUNCH();
}
template void column_partials(Stream *, float *, const float *, const float *, const float *, const float *,
                              RowPieces, int64_t, int);
template void column_partials(Stream *, float *, const __nv_bfloat16 *, const __nv_bfloat16 *, const float *,
                              const float *, RowPieces, int64_t, int);

static __global__ void __launch_bounds__(FOLD_COLUMNS *FOLD_ROWS)
    fold_kernel(float *first, float *second, const float *partials, int pieces, int n_sums, int C,
                bool accumulate) {
    CUDA_SHARED_ARRAY(double, shared, FOLD_ROWS *FOLD_COLUMNS);
    int row = threadIdx.x / FOLD_COLUMNS, column = threadIdx.x % FOLD_COLUMNS;
    int c = blockIdx.x * FOLD_COLUMNS + column;
    float *out = blockIdx.y ? second : first;
    double sum = 0;
    if (out && c < C)
#pragma unroll 4
        for (int p = row; p < pieces; p += FOLD_ROWS) sum += partials[((int64_t)p * n_sums + blockIdx.y) * C + c];
    shared[threadIdx.x] = sum;
    __syncthreads();
    if (row > 0 || out == NULL || c >= C) return;
    for (int other = 1; other < FOLD_ROWS; other++) sum += shared[other * FOLD_COLUMNS + column];
    out[c] = (float)sum + (accumulate ? out[c] : 0);
}

void fold_partials(Stream *s, float *first, float *second, const float *partials, int pieces, int n_sums, int C,
                   bool accumulate) {
    CUDA_LAUNCH(fold_kernel, dim3(grid_of(parts_of(C, FOLD_COLUMNS)), (unsigned)n_sums), FOLD_COLUMNS * FOLD_ROWS,
                0, cuda_stream(s), first, second, partials, pieces, n_sums, C, accumulate);
    CUDA_CHECK_LAUNCH();
}

static RowPieces bias_pieces(int64_t N) {
    return row_pieces(N, 4 * COLUMN_WARPS, 512);
}

int64_t bias_backward_scratch_cuda(int64_t N, int C) {
    return (int64_t)bias_pieces(N).pieces * C * (int64_t)sizeof(float);
}

template <class T>
void bias_backward_cuda(Stream *s, void *dbias, const void *dout, int64_t N, int C, bool accumulate) {
    RowPieces pieces = bias_pieces(N);
    float *partials = (float *)cuda_scratch(s, (size_t)bias_backward_scratch_cuda(N, C));
    column_partials<T>(s, partials, (const T *)dout, NULL, NULL, NULL, pieces, N, C);
    fold_partials(s, (float *)dbias, NULL, partials, pieces.pieces, 1, C, accumulate);
}
template void bias_backward_cuda<float>(Stream *, void *, const void *, int64_t, int, bool);
template void bias_backward_cuda<__nv_bfloat16>(Stream *, void *, const void *, int64_t, int, bool);

static __global__ void __launch_bounds__(LOSS_THREADS)
    loss_sum_kernel(double *total, const float *losses, int64_t n) {
    CUDA_SHARED_ARRAY(double, shared, LOSS_THREADS / WARP);
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += LOSS_THREADS) sum += losses[i];
    sum = lanes_sum(sum, WARP);
    if (threadIdx.x % WARP == 0) shared[threadIdx.x / WARP] = sum;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int warp = 1; warp < LOSS_THREADS / WARP; warp++) sum += shared[warp];
    *total += sum;
}

void loss_sum_cuda(Stream *s, double *total, const void *losses, int64_t n) {
    CUDA_LAUNCH(loss_sum_kernel, 1, LOSS_THREADS, 0, cuda_stream(s), total, (const float *)losses, n);
    CUDA_CHECK_LAUNCH();
}

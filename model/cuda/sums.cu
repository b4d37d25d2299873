// Column sums for the gradients of biases and gains.
#include "device/cuda/kernel.h"
#include "device/cuda/memory.h"
#include "model/cuda/ops.h"
#include "model/cuda/sums.h"

// First stage: a block sums BLOCK_COLUMNS<T> columns of one piece of rows: one pack per lane, rows spread over warps.
constexpr int COLUMN_WARPS = 8;
template <typename T> constexpr int BLOCK_COLUMNS = WARP *PACK<T>;

// Second stage: a block sums REDUCE_COLUMNS columns, the pieces of each distributed over REDUCE_ROWS threads.
constexpr int REDUCE_COLUMNS = 32, REDUCE_ROWS = 16;

RowPieces row_pieces(int64_t n, int64_t min_rows, int max_pieces) {
    int64_t rows = ceil_div(n, max_pieces);
    if (rows < min_rows) rows = min_rows;
    return RowPieces{rows, static_cast<int>(ceil_div(n, rows))};
}

// Adds the warps' column sums in order and stores them to partials.
template <int W>
static __device__ void store_columns(float *partials, const float (&sum)[W], float *shared, int left,
                                     bool aligned) {
    int lane = lane_index(), warp = warp_index();
    for (int j = 0; j < W; j++) shared[(warp * W + j) * WARP + lane] = sum[j];
    __syncthreads();
    if (warp == 0 && left > 0) {
        float total[W];
        for (int j = 0; j < W; j++) {
            total[j] = shared[j * WARP + lane];
            for (int other = 1; other < COLUMN_WARPS; other++) total[j] += shared[(other * W + j) * WARP + lane];
        }
        store(partials, total, left, aligned);
    }
    __syncthreads();
}

// Reads dout once, and x if not nullptr.
template <typename T>
static __global__ void column_kernel(float *partials, const T *dout, const T *x, const float *mean,
                                     const float *rstd, int64_t piece_rows, int64_t N, int C, bool aligned) {
    constexpr int W = PACK<T>;
    CUDA_SHARED_ARRAY(float, shared, COLUMN_WARPS *W *WARP);
    int lane = lane_index(), warp = warp_index(), c = (blockIdx.x * WARP + lane) * W, left = C - c;
    int64_t begin = blockIdx.y * piece_rows, end = begin + piece_rows < N ? begin + piece_rows : N;
    float with_x[W] = {}, plain[W] = {};
    if (left > 0)
#pragma unroll 4
        for (int64_t i = begin + warp; i < end; i += COLUMN_WARPS) {
            float d[W];
            load(d, dout + i * C + c, left, aligned);
            if (x) {
                float row[W], m = mean ? mean[i] : 0, r = rstd[i];
                load(row, x + i * C + c, left, aligned);
                for (int j = 0; j < W; j++) with_x[j] += d[j] * ((row[j] - m) * r);
            }
            for (int j = 0; j < W; j++) plain[j] += d[j];
        }
    float *to = partials + static_cast<int64_t>(blockIdx.y) * (x ? 2 : 1) * C + c;
    if (x) {
        store_columns(to, with_x, shared, left, aligned);
        to += C;
    }
    store_columns(to, plain, shared, left, aligned);
}

template <typename T>
void column_partials(Stream *s, float *partials, const T *dout, const T *x, const float *mean, const float *rstd,
                     RowPieces pieces, int64_t N, int C) {
    dim3 grid(whole_grid(C, BLOCK_COLUMNS<T>), static_cast<unsigned>(pieces.pieces));
    CUDA_LAUNCH(column_kernel<T>, grid, COLUMN_WARPS * WARP, 0, cuda_stream(s), partials, dout, x, mean, rstd,
                pieces.rows, N, C, aligned_16(C * sizeof(T), dout, x));
    CUDA_CHECK_LAUNCH();
}

static __global__ void __launch_bounds__(REDUCE_COLUMNS *REDUCE_ROWS)
    reduce_kernel(float *first, float *second, const float *partials, int pieces, int n_sums, int C,
                  bool accumulate) {
    CUDA_SHARED_ARRAY(double, shared, REDUCE_ROWS *REDUCE_COLUMNS);
    int row = threadIdx.x / REDUCE_COLUMNS, column = threadIdx.x % REDUCE_COLUMNS;
    int c = blockIdx.x * REDUCE_COLUMNS + column;
    float *out = blockIdx.y ? second : first;
    double sum = 0;
    if (out && c < C)
#pragma unroll 4
        for (int p = row; p < pieces; p += REDUCE_ROWS)
            sum += partials[(static_cast<int64_t>(p) * n_sums + blockIdx.y) * C + c];
    shared[threadIdx.x] = sum;
    __syncthreads();
    if (row > 0 || out == nullptr || c >= C) return;
    for (int other = 1; other < REDUCE_ROWS; other++) sum += shared[other * REDUCE_COLUMNS + column];
    out[c] = static_cast<float>(sum) + (accumulate ? out[c] : 0);
}

void reduce_partials(Stream *s, float *first, float *second, const float *partials, int pieces, int n_sums, int C,
                     bool accumulate) {
    CUDA_LAUNCH(reduce_kernel, dim3(whole_grid(C, REDUCE_COLUMNS), static_cast<unsigned>(n_sums)),
                REDUCE_COLUMNS * REDUCE_ROWS, 0, cuda_stream(s), first, second, partials, pieces, n_sums, C,
                accumulate);
    CUDA_CHECK_LAUNCH();
}

static RowPieces bias_pieces(int64_t N) {
    return row_pieces(N, 4 * COLUMN_WARPS, 512);
}

int64_t bias_backward_scratch_cuda(int64_t N, int C) {
    return static_cast<int64_t>(bias_pieces(N).pieces) * C * static_cast<int64_t>(sizeof(float));
}

template <typename T> void bias_backward_cuda(Stream *s, const BiasBackward *a) {
    RowPieces pieces = bias_pieces(a->N);
    float *partials = static_cast<float *>(cuda_scratch(s, bias_backward_scratch_cuda(a->N, a->C)));
    column_partials<T>(s, partials, static_cast<const T *>(a->dout), nullptr, nullptr, nullptr, pieces, a->N, a->C);
    reduce_partials(s, static_cast<float *>(a->dbias), nullptr, partials, pieces.pieces, 1, a->C, a->accumulate);
}

CUDA_INSTANCES(column_partials)
CUDA_INSTANCES(bias_backward_cuda)

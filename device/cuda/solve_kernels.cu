#include "device/cuda/solve_kernels.h"

#include "device/cuda/kernel.h"

enum { BLOCK = 256 };

__global__ void empty_kernel() {}

int cuda_probe_kernel(Stream *s) {
    CUDA_LAUNCH(empty_kernel, 1, 1, 0, cuda_stream(s));
    return static_cast<int>(cudaGetLastError());
}

// Transposes 32 x 32 tiles through shared memory, so that both reads and writes are coalesced. The grid is
// one-dimensional, as the number of tile rows could exceed the limit of gridDim.y.
enum { TILE = 32, TILE_ROWS = 8 };
template <typename T> __global__ void transpose_kernel(T *to, const T *from, int64_t m, int64_t n) {
    CUDA_SHARED_ARRAY(T, tile, TILE * (TILE + 1));
    int64_t across = ceil_div(n, TILE), tiles = across * ceil_div(m, TILE);
    for (int64_t t = blockIdx.x; t < tiles; t += gridDim.x) {
        int64_t row = t / across * TILE, col = t % across * TILE;
        for (int y = threadIdx.y; y < TILE; y += TILE_ROWS)
            if (row + y < m && col + threadIdx.x < n)
                tile[y * (TILE + 1) + threadIdx.x] = from[(row + y) * n + col + threadIdx.x];
        __syncthreads();
        for (int y = threadIdx.y; y < TILE; y += TILE_ROWS)
            if (col + y < n && row + threadIdx.x < m)
                to[(col + y) * m + row + threadIdx.x] = tile[threadIdx.x * (TILE + 1) + y];
        __syncthreads();
    }
}

void cuda_matrix_transpose(Stream *s, void *to, const void *from, Type type, int64_t m, int64_t n) {
    dim3 grid(grid_of(ceil_div(m, TILE) * ceil_div(n, TILE), 1)), block(TILE, TILE_ROWS);
    if (type == TYPE_F64)
        CUDA_LAUNCH(transpose_kernel<double>, grid, block, 0, cuda_stream(s), static_cast<double *>(to),
                    static_cast<const double *>(from), m, n);
    else
        CUDA_LAUNCH(transpose_kernel<float>, grid, block, 0, cuda_stream(s), static_cast<float *>(to),
                    static_cast<const float *>(from), m, n);
    CUDA_CHECK_LAUNCH();
}

// A benign race: every thread that writes the flag writes the same value.
template <typename T> __global__ void check_finite_kernel(const T *x, int *flag, int64_t n) {
    bool bad = false;
    for (int64_t i = grid_thread(); i < n; i += grid_threads()) bad = bad || !isfinite(x[i]);
    if (bad) *flag = 1;
}

template <typename T> __global__ void fill_kernel(T *x, const int *flag, T value, int64_t n) {
    if (*flag == 0) return;
    for (int64_t i = grid_thread(); i < n; i += grid_threads()) x[i] = value;
}

static void fill(Stream *s, void *x, const int *flag, double value, Type type, int64_t n) {
    if (type == TYPE_F64)
        CUDA_LAUNCH(fill_kernel<double>, grid_of(n, BLOCK), BLOCK, 0, cuda_stream(s), static_cast<double *>(x),
                    flag, value, n);
    else
        CUDA_LAUNCH(fill_kernel<float>, grid_of(n, BLOCK), BLOCK, 0, cuda_stream(s), static_cast<float *>(x), flag,
                    static_cast<float>(value), n);
    CUDA_CHECK_LAUNCH();
}

void cuda_matrix_check_finite(Stream *s, void *x, int *flag, Type type, int64_t n) {
    if (type == TYPE_F64)
        CUDA_LAUNCH(check_finite_kernel<double>, grid_of(n, BLOCK), BLOCK, 0, cuda_stream(s),
                    static_cast<const double *>(x), flag, n);
    else
        CUDA_LAUNCH(check_finite_kernel<float>, grid_of(n, BLOCK), BLOCK, 0, cuda_stream(s),
                    static_cast<const float *>(x), flag, n);
    CUDA_CHECK_LAUNCH();
    fill(s, x, flag, 0, type, n);
}

void cuda_matrix_fill_nan(Stream *s, void *x, const int *flag, Type type, int64_t n) {
    fill(s, x, flag, static_cast<double>(NAN), type, n);
}

template <typename T> __global__ void keep_upper_kernel(T *r, int64_t n) {
    for (int64_t i = grid_thread(); i < n * n; i += grid_threads())
        if (i % n < i / n) r[i] = 0;
}

void cuda_matrix_keep_upper(Stream *s, void *r, Type type, int64_t n) {
    if (type == TYPE_F64)
        CUDA_LAUNCH(keep_upper_kernel<double>, grid_of(n * n, BLOCK), BLOCK, 0, cuda_stream(s),
                    static_cast<double *>(r), n);
    else
        CUDA_LAUNCH(keep_upper_kernel<float>, grid_of(n * n, BLOCK), BLOCK, 0, cuda_stream(s),
                    static_cast<float *>(r), n);
    CUDA_CHECK_LAUNCH();
}

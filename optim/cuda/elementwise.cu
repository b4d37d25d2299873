// Elementwise operations and transposition for the polar methods on CUDA.
#include "optim/cuda/ops.h"
#include "optim/cuda/rows.h"

template <typename T> __global__ void add_diagonal_kernel(T *x, double value, int64_t batch_rows, int64_t n) {
    for (int64_t r = grid_thread(); r < batch_rows; r += grid_threads()) {
        T *at = x + r * n + r % n;
        narrow_to(*at, static_cast<Acc<T>>(static_cast<double>(widened(*at)) + value));
    }
}

template <typename T> void add_diagonal_cuda(Stream *s, const AddDiagonal *a) {
    int64_t batch_rows = a->count * a->n;
    CUDA_LAUNCH(add_diagonal_kernel<T>, grid_of(batch_rows, BLOCK), BLOCK, 0, cuda_stream(s),
                static_cast<T *>(a->x), a->value, batch_rows, a->n);
    CUDA_CHECK_LAUNCH();
}

template <typename T>
__global__ void stack_identity_kernel(T *y, const T *x, double a, double b, int64_t rows, Tiling tiling) {
    for (int64_t i = grid_warp(); i < tiling.n; i += grid_warps()) {
        RowTile tile = tile_at(tiling, i);
        int64_t at = tile.row * tiling.cols;
        for (int64_t c = first_column(tile); c < tile.end; c += STRIDE) {
            int64_t left = tile.end - c;
            Acc<T> out[VECTOR] = {};
            if (tile.row < rows) load(out, x + at + c, left);
            for (int e = 0; e < VECTOR; e++)
                out[e] = static_cast<Acc<T>>(tile.row < rows            ? a * static_cast<double>(out[e])
                                             : c + e == tile.row - rows ? b
                                                                        : 0);
            store(y + at + c, out, left);
        }
    }
}

template <typename T> void stack_identity_cuda(Stream *s, const StackIdentity *a) {
    Tiling tiling = tile_rows(1, a->rows + a->cols, a->cols, ELEMENT_TILE);
    CUDA_LAUNCH(stack_identity_kernel<T>, tiling_grid(tiling), BLOCK, 0, cuda_stream(s), static_cast<T *>(a->y),
                static_cast<const T *>(a->x), a->a, a->b, a->rows, tiling);
    CUDA_CHECK_LAUNCH();
}

// Also converts types, to double (a = 1, b = 0, Y = double) and back.
template <typename Y, typename X>
__global__ void axpby_kernel(Y *y, double a, const X *x, double b, Tiling tiling) {
    for (int64_t i = grid_warp(); i < tiling.n; i += grid_warps()) {
        RowTile tile = tile_at(tiling, i);
        for (int64_t c = first_column(tile); c < tile.end; c += STRIDE) {
            int64_t left = tile.end - c;
            Acc<X> from[VECTOR];
            Acc<Y> to[VECTOR] = {};
            load(from, x + c, left);
            if (b != 0) load(to, y + c, left);
            for (int e = 0; e < VECTOR; e++)
                to[e] = static_cast<Acc<Y>>(a * static_cast<double>(from[e]) +
                                            (b == 0 ? 0 : b * static_cast<double>(to[e])));
            store(y + c, to, left);
        }
    }
}

template <typename Y, typename X>
static void launch_axpby(Stream *s, void *y, double a, const void *x, double b, int64_t n) {
    Tiling tiling = tile_rows(1, 1, n, ELEMENT_TILE);
    CUDA_LAUNCH((axpby_kernel<Y, X>), tiling_grid(tiling), BLOCK, 0, cuda_stream(s), static_cast<Y *>(y), a,
                static_cast<const X *>(x), b, tiling);
    CUDA_CHECK_LAUNCH();
}

template <typename T> void axpby_cuda(Stream *s, const Axpby *a) {
    launch_axpby<T, T>(s, a->y, a->a, a->x, a->b, a->n);
}

template <typename T> void widen_cuda(Stream *s, const Widen *a) {
    launch_axpby<double, T>(s, a->y, 1, a->x, 0, a->n);
}

template <typename T> void narrow_cuda(Stream *s, const Narrow *a) {
    launch_axpby<T, double>(s, a->y, 1, a->x, 0, a->n);
}

enum { TILE = 32, TILE_ROWS = BLOCK / TILE };

// A block transposes a (32, 32) tile in shared memory; rows are padded by one element to avoid bank conflicts.
template <typename T>
__global__ void transpose_tiles_kernel(T *y, const T *x, int64_t count, int64_t rows, int64_t cols) {
    CUDA_SHARED_ARRAY(T, tile, TILE * (TILE + 1));
    int64_t across = (cols + TILE - 1) / TILE, down = (rows + TILE - 1) / TILE;
    int column = static_cast<int>(threadIdx.x) % TILE, first = static_cast<int>(threadIdx.x) / TILE;
    for (int64_t i = blockIdx.x; i < count * down * across; i += gridDim.x) {
        int64_t batch_row = i / across, matrix = batch_row / down;
        int64_t r0 = (batch_row - matrix * down) * TILE, c0 = (i - batch_row * across) * TILE;
        const T *from = x + matrix * rows * cols;
        T *to = y + matrix * rows * cols;
        for (int r = first; r < TILE; r += TILE_ROWS)
            if (r0 + r < rows && c0 + column < cols)
                tile[r * (TILE + 1) + column] = from[(r0 + r) * cols + c0 + column];
        __syncthreads();
        for (int c = first; c < TILE; c += TILE_ROWS)
            if (c0 + c < cols && r0 + column < rows)
                to[(c0 + c) * rows + r0 + column] = tile[column * (TILE + 1) + c];
        __syncthreads();
    }
}

template <typename T> void transpose_cuda(Stream *s, const Transpose *a) {
    int64_t tiles = a->count * ceil_div(a->rows, TILE) * ceil_div(a->cols, TILE);
    CUDA_LAUNCH(transpose_tiles_kernel<T>, grid_of(tiles, 1), BLOCK, 0, cuda_stream(s), static_cast<T *>(a->y),
                static_cast<const T *>(a->x), static_cast<int64_t>(a->count), a->rows, a->cols);
    CUDA_CHECK_LAUNCH();
}

template <typename T>
__global__ void drop_small_kernel(T *u, const T *values, double tolerance, int64_t rows, int64_t k) {
    double least = tolerance * static_cast<double>(widened(values[0]));
    for (int64_t i = grid_thread(); i < rows * k; i += grid_threads())
        if (static_cast<double>(widened(values[i % k])) <= least) narrow_to(u[i], 0);
}

template <typename T> void drop_small_cuda(Stream *s, const DropSmall *a) {
    CUDA_LAUNCH(drop_small_kernel<T>, grid_of(a->rows * a->k, BLOCK), BLOCK, 0, cuda_stream(s),
                static_cast<T *>(a->u), static_cast<const T *>(a->values), a->tolerance, a->rows, a->k);
    CUDA_CHECK_LAUNCH();
}

CUDA_INSTANCES(add_diagonal_cuda)
CUDA_INSTANCES(stack_identity_cuda)
CUDA_INSTANCES(axpby_cuda)
CUDA_INSTANCES(transpose_cuda)
CUDA_INSTANCES(drop_small_cuda)
CUDA_INSTANCES(widen_cuda)
CUDA_INSTANCES(narrow_cuda)

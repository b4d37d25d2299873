// The matrix problems' operations on CUDA.
#include "device/cuda/kernel.h"
#include "run/problems/cuda/tables.h" // declares the table

enum { BLOCK = 128 };

// A warp has a row; its lanes' sums are added in a fixed order.
__global__ void logistic_kernel(double *losses, float *z, const float *labels, int64_t rows, int64_t cols) {
    int lane = lane_index();
    for (int64_t r = grid_thread() / WARP; r < rows; r += grid_threads() / WARP) {
        double sum = 0;
        for (int64_t i = r * cols + lane; i < (r + 1) * cols; i += WARP) {
            double c = static_cast<double>(labels[i]), margin = c * static_cast<double>(z[i]);
            double e = exp(-fabs(margin)); // e <= 1: nothing overflows
            sum += (margin < 0 ? -margin : 0) + log1p(e);
            z[i] = static_cast<float>(-c * (margin < 0 ? 1 : e) / (1 + e));
        }
        sum = warp_sum(sum);
        if (lane == 0) losses[r] = sum;
    }
}

static void logistic(Stream *s, double *losses, void *z, const void *labels, int64_t rows, int64_t cols) {
    CUDA_LAUNCH(logistic_kernel, grid_of(rows * WARP, BLOCK), BLOCK, 0, cuda_stream(s), losses,
                static_cast<float *>(z), static_cast<const float *>(labels), rows, cols);
    CUDA_CHECK_LAUNCH();
}

__global__ void multiply_kernel(float *x, const float *mask, int64_t n) {
    for (int64_t i = grid_thread(); i < n; i += grid_threads()) x[i] *= mask[i];
}

static void multiply(Stream *s, void *x, const void *mask, int64_t n) {
    CUDA_LAUNCH(multiply_kernel, grid_of(n, BLOCK), BLOCK, 0, cuda_stream(s), static_cast<float *>(x),
                static_cast<const float *>(mask), n);
    CUDA_CHECK_LAUNCH();
}

__global__ void gather_kernel(float *out, const float *in, const int32_t *index, int64_t rows, int64_t cols) {
    for (int64_t i = grid_thread(); i < rows * cols; i += grid_threads())
        out[i] = in[index[i / cols] * cols + i % cols];
}

static void gather(Stream *s, void *out, const void *in, const int32_t *index, int64_t rows, int64_t cols) {
    CUDA_LAUNCH(gather_kernel, grid_of(rows * cols, BLOCK), BLOCK, 0, cuda_stream(s), static_cast<float *>(out),
                static_cast<const float *>(in), index, rows, cols);
    CUDA_CHECK_LAUNCH();
}

const ProblemOps problem_ops_cuda_f32 = {logistic, multiply, gather};

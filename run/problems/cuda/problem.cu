// The matrix problems' operations on CUDA.
#include "device/cuda/kernel.h"
#include "run/problems/tables.h"

enum { BLOCK = 128 };

// One warp per row; the warp reduction has a fixed order, so the result is deterministic.
__global__ void logistic_kernel(double *losses, float *z, const float *labels, int64_t rows, int64_t cols) {
    int lane = lane_index();
    for (int64_t r = grid_thread() / WARP; r < rows; r += grid_threads() / WARP) {
        double sum = 0;
        for (int64_t i = r * cols + lane; i < (r + 1) * cols; i += WARP) {
            double c = static_cast<double>(labels[i]), margin = c * static_cast<double>(z[i]);
            double e = exp(-fabs(margin)); // e <= 1: no overflow
            sum += (margin < 0 ? -margin : 0) + log1p(e);
            z[i] = static_cast<float>(-c * (margin < 0 ? 1 : e) / (1 + e));
        }
        sum = warp_sum(sum);
        if (lane == 0) losses[r] = sum;
    }
}

static void logistic(Stream *s, const LogisticLoss *a) {
    CUDA_LAUNCH(logistic_kernel, grid_of(a->rows * WARP, BLOCK), BLOCK, 0, cuda_stream(s), a->losses,
                static_cast<float *>(a->z), static_cast<const float *>(a->labels), a->rows, a->cols);
    CUDA_CHECK_LAUNCH();
}

__global__ void multiply_kernel(float *x, const float *mask, int64_t n) {
    for (int64_t i = grid_thread(); i < n; i += grid_threads()) x[i] *= mask[i];
}

static void multiply(Stream *s, const Multiply *a) {
    CUDA_LAUNCH(multiply_kernel, grid_of(a->n, BLOCK), BLOCK, 0, cuda_stream(s), static_cast<float *>(a->x),
                static_cast<const float *>(a->mask), a->n);
    CUDA_CHECK_LAUNCH();
}

__global__ void gather_kernel(float *out, const float *in, const int32_t *index, int64_t rows, int64_t cols) {
    for (int64_t i = grid_thread(); i < rows * cols; i += grid_threads())
        out[i] = in[index[i / cols] * cols + i % cols];
}

static void gather(Stream *s, const Gather *a) {
    CUDA_LAUNCH(gather_kernel, grid_of(a->rows * a->cols, BLOCK), BLOCK, 0, cuda_stream(s),
                static_cast<float *>(a->out), static_cast<const float *>(a->in), a->index, a->rows, a->cols);
    CUDA_CHECK_LAUNCH();
}

const ProblemOps problem_ops_cuda_f32 = {
#define OP(name, Arguments) name,
#include "run/problems/ops.def"
};

// The matrix problems' operations on CUDA.
#include "device/cuda/check.h"
#include "device/cuda/launch.h"
#include "device/cuda/types.h"
#include "run/problems/tables.h"

enum { BLOCK = 128 };

static unsigned grid_of(int64_t n) {
    int64_t blocks = (n + BLOCK - 1) / BLOCK, most = 1 << 30;
    return static_cast<unsigned>(blocks < 1 ? 1 : blocks < most ? blocks : most);
}

static __device__ inline int64_t first_item() {
    return static_cast<int64_t>(blockIdx.x) * BLOCK + threadIdx.x;
}
static __device__ inline int64_t item_step() {
    return static_cast<int64_t>(gridDim.x) * BLOCK;
}

// A warp has a row; its lanes' sums are added in a fixed order.
__global__ void logistic_kernel(double *losses, float *z, const float *labels, int64_t rows, int64_t cols) {
    int lane = static_cast<int>(threadIdx.x) % WARP;
    for (int64_t r = first_item() / WARP; r < rows; r += item_step() / WARP) {
        double sum = 0;
        for (int64_t i = r * cols + lane; i < (r + 1) * cols; i += WARP) {
            double c = static_cast<double>(labels[i]), margin = c * static_cast<double>(z[i]);
            double e = exp(-fabs(margin)); // e <= 1: nothing overflows
            sum += (margin < 0 ? -margin : 0) + log1p(e);
            z[i] = static_cast<float>(-c * (margin < 0 ? 1 : e) / (1 + e));
        }
        sum = lanes_sum(sum, WARP);
        if (lane == 0) losses[r] = sum;
    }
}

static void logistic(Stream *s, const LogisticLoss *a) {
    CUDA_LAUNCH(logistic_kernel, grid_of(a->rows * WARP), BLOCK, 0, cuda_stream(s), a->losses,
                static_cast<float *>(a->z), static_cast<const float *>(a->labels), a->rows, a->cols);
    CUDA_CHECK_LAUNCH();
}

__global__ void multiply_kernel(float *x, const float *mask, int64_t n) {
    for (int64_t i = first_item(); i < n; i += item_step()) x[i] *= mask[i];
}

static void multiply(Stream *s, const Multiply *a) {
    CUDA_LAUNCH(multiply_kernel, grid_of(a->n), BLOCK, 0, cuda_stream(s), static_cast<float *>(a->x),
                static_cast<const float *>(a->mask), a->n);
    CUDA_CHECK_LAUNCH();
}

__global__ void gather_kernel(float *out, const float *in, const int32_t *index, int64_t rows, int64_t cols) {
    for (int64_t i = first_item(); i < rows * cols; i += item_step())
        out[i] = in[index[i / cols] * cols + i % cols];
}

static void gather(Stream *s, const Gather *a) {
    CUDA_LAUNCH(gather_kernel, grid_of(a->rows * a->cols), BLOCK, 0, cuda_stream(s), static_cast<float *>(a->out),
                static_cast<const float *>(a->in), a->index, a->rows, a->cols);
    CUDA_CHECK_LAUNCH();
}

const ProblemOps problem_ops_cuda_f32 = {
#define OP(name, Arguments) name,
#include "run/problems/ops.def"
};

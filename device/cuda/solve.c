// Solvers by cuSOLVER. It is column-major: a row-major (m, n) matrix is the column-major (n, m) matrix of its
// transpose, which is used directly if the solver allows it, and transposed otherwise. Failures are handled on the
// device: a kernel reads cuSOLVER's flag and fills the outputs with NaN, so that the host need not synchronize.
#include "device/cuda/solve.h"

#include "base/error.h"
#include "device/cuda/check.h"
#include "device/cuda/memory.h"
#include "device/cuda/solve_kernels.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(cusolverStatus_t status, const char *call) {
    if (status == CUSOLVER_STATUS_SUCCESS) return;
    fprintf(stderr,
            "error: cuSOLVER failed in %.60s with status %d; try another version of the library "
            "(POLAR_CUDA_LIBRARIES=DIR)\n",
            call, (int)status);
    error_exit();
}
#define CHECK(call) check(d->lib->call, #call)

static CudaDevice *get_solver(Stream *stream) {
    CudaDevice *d = cuda_device(stream->device);
    ASSERT(d->lib->can_solve);
    if (d->solver == NULL) {
        CHECK(cusolverDnCreate(&d->solver));
        CHECK(cusolverDnCreateParams(&d->solver_params));
    }
    CHECK(cusolverDnSetStream(d->solver, (cudaStream_t)stream->handle));
    return d;
}

void cuda_solve_close(CudaDevice *d) {
    if (d->solver == NULL) return;
    d->lib->cusolverDnDestroyParams(d->solver_params);
    d->lib->cusolverDnDestroy(d->solver);
    free(d->solver_host);
}

static cudaDataType cuda_type(Type type) {
    ASSERT(type == TYPE_F32 || type == TYPE_F64);
    return type == TYPE_F64 ? CUDA_R_64F : CUDA_R_32F;
}

// The memory of a solver: parts of the stream's scratch buffer, each 256-byte aligned, and host workspace.
enum { NONFINITE, INFO, FLAGS }; // nonzero if the input has non-finite elements; cuSOLVER's devInfo
typedef struct {
    int *flags;     // (FLAGS), initially zero
    void *parts[4]; // of the requested sizes; NULL for size 0
    void *work, *host;
    size_t work_bytes, host_bytes;
} Workspace;

static size_t align_256(size_t bytes) {
    return (bytes + 255) / 256 * 256;
}

// Allocates the workspace. The caller has set w->work_bytes and w->host_bytes; `parts` are the sizes of w->parts.
static void allocate_workspace(Workspace *w, Stream *stream, const size_t parts[4]) {
    CudaDevice *d = cuda_device(stream->device);
    size_t total = 256 + w->work_bytes;
    for (int i = 0; i < 4; i++) total += align_256(parts[i]);
    char *memory = cuda_scratch(stream, total);
    w->flags = (int *)(void *)memory;
    CUDA_CHECK(cudaMemsetAsync(memory, 0, FLAGS * sizeof(int), (cudaStream_t)stream->handle));
    memory += 256;
    for (int i = 0; i < 4; i++) {
        w->parts[i] = parts[i] ? memory : NULL;
        memory += align_256(parts[i]);
    }
    w->work = memory;
    if (d->solver_host_bytes < w->host_bytes) {
        CUDA_CHECK(cudaStreamSynchronize((cudaStream_t)stream->handle)); // an earlier solver call may still use it
        free(d->solver_host);
        d->solver_host = malloc(w->host_bytes);
        d->solver_host_bytes = w->host_bytes;
        ASSERT(d->solver_host != NULL);
    }
    w->host = d->solver_host;
}

void cuda_qr_q(Stream *stream, void *a, Type type, int64_t m, int64_t n) {
    CudaDevice *d = get_solver(stream);
    cudaDataType t = cuda_type(type);
    ASSERT(m <= INT32_MAX);
    Workspace w = {0};
    size_t element = type_size(type), bytes = (size_t)(m * n) * element;
    int im = (int)m, in = (int)n, lwork = 0;
    bool f64 = type == TYPE_F64;
    CHECK(cusolverDnXgeqrf_bufferSize(d->solver, d->solver_params, m, n, t, a, m, t, a, t, &w.work_bytes,
                                      &w.host_bytes));
    if (f64) CHECK(cusolverDnDorgqr_bufferSize(d->solver, im, in, in, a, im, a, &lwork));
    else CHECK(cusolverDnSorgqr_bufferSize(d->solver, im, in, in, a, im, a, &lwork));
    if (w.work_bytes < (size_t)lwork * element) w.work_bytes = (size_t)lwork * element;
    allocate_workspace(&w, stream, (size_t[4]){(size_t)n * element, bytes});
    void *tau = w.parts[0], *q = w.parts[1];
    cuda_matrix_check_finite(stream, a, &w.flags[NONFINITE], type, m * n);
    cuda_matrix_transpose(stream, q, a, type, m, n);
    CHECK(cusolverDnXgeqrf(d->solver, d->solver_params, m, n, t, q, m, t, tau, t, w.work, w.work_bytes, w.host,
                           w.host_bytes, &w.flags[INFO]));
    if (f64) CHECK(cusolverDnDorgqr(d->solver, im, in, in, q, im, tau, w.work, lwork, &w.flags[INFO]));
    else CHECK(cusolverDnSorgqr(d->solver, im, in, in, q, im, tau, w.work, lwork, &w.flags[INFO]));
    cuda_matrix_transpose(stream, a, q, type, n, m);
    cuda_matrix_fill_nan(stream, a, &w.flags[NONFINITE], type, m * n);
}

void cuda_cholesky_solve_right(Stream *stream, void *x, void *z, Type type, int64_t m, int64_t n) {
    CudaDevice *d = get_solver(stream);
    cudaDataType t = cuda_type(type);
    const cublasFillMode_t lower = CUBLAS_FILL_MODE_LOWER; // symmetric: triangle and layout do not matter
    Workspace w = {0};
    CHECK(cusolverDnXpotrf_bufferSize(d->solver, d->solver_params, lower, n, t, z, n, t, &w.work_bytes,
                                      &w.host_bytes));
    allocate_workspace(&w, stream, (size_t[4]){sizeof(int)});
    CHECK(cusolverDnXpotrf(d->solver, d->solver_params, lower, n, t, z, n, t, w.work, w.work_bytes, w.host,
                           w.host_bytes, &w.flags[INFO]));
    CHECK(cusolverDnXpotrs(d->solver, d->solver_params, lower, n, m, t, z, n, t, x, n, w.parts[0]));
    cuda_matrix_fill_nan(stream, x, &w.flags[INFO], type, m * n);
}

void cuda_trtri(Stream *stream, void *r, Type type, int64_t n) {
    CudaDevice *d = get_solver(stream);
    cudaDataType t = cuda_type(type);
    const cublasFillMode_t lower = CUBLAS_FILL_MODE_LOWER; // row-major upper is column-major lower
    Workspace w = {0};
    CHECK(cusolverDnXtrtri_bufferSize(d->solver, lower, CUBLAS_DIAG_NON_UNIT, n, t, r, n, &w.work_bytes,
                                      &w.host_bytes));
    allocate_workspace(&w, stream, (size_t[4]){0});
    CHECK(cusolverDnXtrtri(d->solver, lower, CUBLAS_DIAG_NON_UNIT, n, t, r, n, w.work, w.work_bytes, w.host,
                           w.host_bytes, &w.flags[INFO]));
    cuda_matrix_keep_upper(stream, r, type, n);
    cuda_matrix_fill_nan(stream, r, &w.flags[INFO], type, n * n);
}

// gesvd requires rows >= columns. A wide row-major matrix satisfies that as the column-major (n, m): its left singular
// vectors are our vt, the right ones our u. A tall matrix is transposed first, and its singular vectors afterwards.
void cuda_svd(Stream *stream, void *values, void *u, void *vt, void *a, Type type, int64_t m, int64_t n) {
    CudaDevice *d = get_solver(stream);
    cudaDataType t = cuda_type(type);
    bool tall = m > n;
    int64_t rows = tall ? m : n, k = tall ? n : m;
    signed char job = u ? 'S' : 'N';
    Workspace w = {0};
    size_t element = type_size(type), square = u && tall ? (size_t)(k * k) * element : 0;
    size_t large = tall ? (size_t)(rows * k) * element : 0, left_bytes = u ? large : 0;
    CHECK(cusolverDnXgesvd_bufferSize(d->solver, d->solver_params, job, job, rows, k, t, a, rows, t, values, t, u,
                                      rows, t, vt, k, t, &w.work_bytes, &w.host_bytes));
    allocate_workspace(&w, stream, (size_t[4]){large, left_bytes, square});
    cuda_matrix_check_finite(stream, a, &w.flags[NONFINITE], type, m * n);
    void *input = tall ? w.parts[0] : a, *left = tall ? w.parts[1] : vt, *right = tall ? w.parts[2] : u;
    if (tall) cuda_matrix_transpose(stream, input, a, type, m, n);
    CHECK(cusolverDnXgesvd(d->solver, d->solver_params, job, job, rows, k, t, input, rows, t, values, t, left, rows,
                           t, right, k, t, w.work, w.work_bytes, w.host, w.host_bytes, &w.flags[INFO]));
    if (tall && u) cuda_matrix_transpose(stream, u, left, type, k, m);
    if (tall && u) cuda_matrix_transpose(stream, vt, right, type, n, k);
    for (int flag = 0; flag < FLAGS; flag++) {
        cuda_matrix_fill_nan(stream, values, &w.flags[flag], type, k);
        if (u) cuda_matrix_fill_nan(stream, u, &w.flags[flag], type, m * k);
        if (u) cuda_matrix_fill_nan(stream, vt, &w.flags[flag], type, k * n);
    }
}

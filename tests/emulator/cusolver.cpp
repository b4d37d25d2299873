// cusolver.cpp - the part of cuSOLVER that the program uses: Householder QR, Cholesky, the inverse of a triangle, an SVD by
// one-sided Jacobi rotations. Column-major, in float or double; plain, since the tests' matrices are small.
#include "internal.h"

#include <cusolverDn.h>
#include <math.h>
#include <string.h>

#include <algorithm>
#include <numeric>

struct cusolverDnContext {
    cudaStream_t stream;
};
struct cusolverDnParams {};

namespace emulator {

namespace {
const size_t DEVICE_BYTES = 512, HOST_BYTES = 64; // of workspace that every solve asks for, and spoils

bool type_known(cudaDataType type) {
    return type == CUDA_R_32F || type == CUDA_R_64F;
}

template <class T> double dot(const T *x, const T *y, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)y[i];
    return sum;
}

// x <- (I - tau v v^T) x with v[0] = 1, which is not stored.
template <class T> void reflect(T *x, const T *v, T tau, int64_t n) {
    double along = (double)tau * ((double)x[0] + dot(x + 1, v + 1, n - 1));
    x[0] -= (T)along;
    for (int64_t i = 1; i < n; i++) x[i] -= (T)(along * (double)v[i]);
}

// As LAPACK's geqrf: R above, the reflectors below the diagonal.
template <class T> int qr(T *a, int64_t ld, T *tau, int64_t m, int64_t n) {
    for (int64_t j = 0; j < std::min(m, n); j++) {
        T *x = a + j * ld + j;
        double rest = dot(x + 1, x + 1, m - j - 1);
        tau[j] = 0;
        if (rest == 0) continue;
        double beta = -copysign(sqrt((double)x[0] * (double)x[0] + rest), (double)x[0]);
        tau[j] = (T)((beta - (double)x[0]) / beta);
        double scale = 1 / ((double)x[0] - beta);
        for (int64_t i = 1; i < m - j; i++) x[i] = (T)((double)x[i] * scale);
        for (int64_t c = j + 1; c < n; c++) reflect(a + c * ld + j, x, tau[j], m - j);
        x[0] = (T)beta;
    }
    return 0;
}

// As LAPACK's orgqr: the first n columns of the product of k reflectors, in their place.
template <class T> int form_q(T *a, int64_t ld, const T *tau, int64_t m, int64_t n, int64_t k) {
    std::vector<T> reflectors(a, a + ld * (k - 1) + m);
    for (int64_t c = 0; c < n; c++) {
        T *x = a + c * ld;
        std::fill(x, x + m, (T)0);
        x[c] = 1;
        for (int64_t j = k - 1; j >= 0; j--) reflect(x + j, reflectors.data() + j * ld + j, tau[j], m - j);
    }
    return 0;
}

// The lower factor, in place; as LAPACK's potrf, the order of the minor that is not positive where there is one.
template <class T> int cholesky(T *a, int64_t ld, int64_t n) {
    for (int64_t j = 0; j < n; j++) {
        double d = (double)a[j * ld + j];
        for (int64_t k = 0; k < j; k++) d -= (double)a[k * ld + j] * (double)a[k * ld + j];
        if (!(d > 0) || isinf(d)) return (int)j + 1;
        d = sqrt(d);
        a[j * ld + j] = (T)d;
        for (int64_t i = j + 1; i < n; i++) {
            double sum = (double)a[j * ld + i];
            for (int64_t k = 0; k < j; k++) sum -= (double)a[k * ld + i] * (double)a[k * ld + j];
            a[j * ld + i] = (T)(sum / d);
        }
    }
    return 0;
}

// b <- (l l^T)^-1 b for each of its columns.
template <class T> int cholesky_solve(const T *l, int64_t ld, T *b, int64_t ldb, int64_t n, int64_t columns) {
    for (int64_t c = 0; c < columns; c++) {
        T *x = b + c * ldb;
        for (int64_t i = 0; i < n; i++) {
            double sum = (double)x[i];
            for (int64_t k = 0; k < i; k++) sum -= (double)l[k * ld + i] * (double)x[k];
            x[i] = (T)(sum / (double)l[i * ld + i]);
        }
        for (int64_t i = n - 1; i >= 0; i--) {
            double sum = (double)x[i];
            for (int64_t k = i + 1; k < n; k++) sum -= (double)l[i * ld + k] * (double)x[k];
            x[i] = (T)(sum / (double)l[i * ld + i]);
        }
    }
    return 0;
}

// The inverse of the lower triangle, in place; the number of a zero on the diagonal where there is one.
template <class T> int invert_lower(T *a, int64_t ld, int64_t n) {
    for (int64_t j = 0; j < n; j++)
        if (a[j * ld + j] == 0) return (int)j + 1;
    std::vector<T> x((size_t)n);
    for (int64_t j = 0; j < n; j++) { // column j needs columns from j on, which are still those of a
        for (int64_t i = j; i < n; i++) {
            double sum = i == j;
            for (int64_t k = j; k < i; k++) sum -= (double)a[k * ld + i] * (double)x[(size_t)k];
            x[(size_t)i] = (T)(sum / (double)a[i * ld + i]);
        }
        for (int64_t i = j; i < n; i++) a[j * ld + i] = x[(size_t)i];
    }
    return 0;
}

// Turns columns x, y so that they become orthogonal, and p, q with them. False: they were already.
bool rotate(std::vector<double> &a, std::vector<double> &v, int64_t i, int64_t j, int64_t m, int64_t n) {
    double *x = a.data() + i * m, *y = a.data() + j * m, *p = v.data() + i * n, *q = v.data() + j * n;
    double xx = dot(x, x, m), yy = dot(y, y, m), xy = dot(x, y, m);
    if (fabs(xy) <= 1e-15 * sqrt(xx * yy) || xy == 0) return false;
    double zeta = (yy - xx) / (2 * xy), t = copysign(1 / (fabs(zeta) + hypot(1, zeta)), zeta);
    double c = 1 / hypot(1, t), s = c * t;
    for (int64_t k = 0; k < m; k++) {
        double old = x[k];
        x[k] = c * old - s * y[k], y[k] = s * old + c * y[k];
    }
    for (int64_t k = 0; k < n; k++) {
        double old = p[k];
        p[k] = c * old - s * q[k], q[k] = s * old + c * q[k];
    }
    return true;
}

// Columns of u that belong to no singular value but zero: any that are orthonormal to the others.
void complete(std::vector<double> &u, int64_t m, int64_t n, const std::vector<bool> &known) {
    for (int64_t j = 0, axis = 0; j < n; j++) {
        if (known[(size_t)j]) continue;
        double *x = u.data() + j * m, norm = 0;
        while (norm < 0.5 / sqrt((double)m)) { // some axis is not in the span of the others
            std::fill(x, x + m, 0.0);
            x[axis++] = 1;
            for (int pass = 0; pass < 2; pass++)
                for (int64_t o = 0; o < n; o++) {
                    if (o == j || (!known[(size_t)o] && o > j)) continue;
                    const double *y = u.data() + o * m;
                    double along = dot(x, y, m);
                    for (int64_t i = 0; i < m; i++) x[i] -= along * y[i];
                }
            norm = sqrt(dot(x, x, m));
        }
        for (int64_t i = 0; i < m; i++) x[i] /= norm;
    }
}

template <class T>
int svd(T *s, T *u, int64_t ldu, T *vt, int64_t ldvt, T *a, int64_t lda, int64_t m, int64_t n, bool vectors) {
    std::vector<double> b((size_t)(m * n)), v((size_t)(n * n)), values((size_t)n);
    double largest = 0;
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < m; i++) largest = std::max(largest, fabs((double)a[j * lda + i]));
    for (int64_t j = 0; j < n; j++) { // scaled, so that squares neither vanish nor overflow
        for (int64_t i = 0; i < m; i++) b[(size_t)(j * m + i)] = largest > 0 ? (double)a[j * lda + i] / largest : 0;
        v[(size_t)(j * n + j)] = 1;
    }
    bool turned = true;
    for (int sweep = 0; turned && sweep < 60; sweep++) {
        turned = false;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = i + 1; j < n; j++) turned = rotate(b, v, i, j, m, n) || turned;
    }
    std::vector<int64_t> order((size_t)n);
    std::iota(order.begin(), order.end(), 0);
    for (int64_t j = 0; j < n; j++) values[(size_t)j] = sqrt(dot(b.data() + j * m, b.data() + j * m, m));
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t i, int64_t j) { return values[(size_t)i] > values[(size_t)j]; });
    std::vector<bool> known((size_t)n);
    for (int64_t j = 0; j < n; j++) {
        double value = values[(size_t)j];
        known[(size_t)j] = value > 0;
        for (int64_t i = 0; i < m && value > 0; i++) b[(size_t)(j * m + i)] /= value;
    }
    if (vectors) complete(b, m, n, known);
    for (int64_t j = 0; j < n; j++) {
        int64_t from = order[(size_t)j];
        s[j] = (T)(values[(size_t)from] * largest);
        for (int64_t i = 0; vectors && i < m; i++) u[j * ldu + i] = (T)b[(size_t)(from * m + i)];
        for (int64_t i = 0; vectors && i < n; i++) vt[i * ldvt + j] = (T)v[(size_t)(from * n + i)];
    }
    for (int64_t j = 0; j < n; j++) std::fill(a + j * lda, a + j * lda + m, (T)NAN); // as said: it is overwritten
    return turned ? 1 : 0;
}

// Queues solve(T()) for the type's T; its answer goes to *info on the device.
template <class Solve>
cusolverStatus_t submit(cusolverDnHandle_t handle, cudaDataType type, void *work, size_t work_bytes, void *host,
                        size_t host_bytes, int *info, Solve solve) {
    Entry entry;
    if (!type_known(type)) return CUSOLVER_STATUS_NOT_SUPPORTED;
    if (work_bytes && (work_bytes < DEVICE_BYTES || !memory_is_device(work, work_bytes)))
        return CUSOLVER_STATUS_INVALID_VALUE;
    if (host_bytes && host_bytes < HOST_BYTES) return CUSOLVER_STATUS_INVALID_VALUE;
    if (!memory_is_device(info, sizeof *info)) die("cuSOLVER: info is not in device memory");
    stream_submit(handle->stream, [=] {
        if (work_bytes) memset(work, POISON, DEVICE_BYTES);
        if (host_bytes) memset(host, POISON, HOST_BYTES);
        *info = type == CUDA_R_64F ? solve(double()) : solve(float());
    });
    return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t sizes(cudaDataType type, size_t *device, size_t *host) {
    *device = DEVICE_BYTES, *host = HOST_BYTES;
    return type_known(type) ? CUSOLVER_STATUS_SUCCESS : CUSOLVER_STATUS_NOT_SUPPORTED;
}

template <class T>
cusolverStatus_t orgqr(cusolverDnHandle_t handle, int m, int n, int k, T *a, int lda, const T *tau, T *work,
                       int lwork, int *info) {
    if (m < n || n < k || lda < m) return CUSOLVER_STATUS_INVALID_VALUE;
    return submit(handle, sizeof(T) == 8 ? CUDA_R_64F : CUDA_R_32F, work, (size_t)lwork * sizeof(T), nullptr, 0,
                  info, [=](auto) { return form_q(a, (int64_t)lda, tau, (int64_t)m, (int64_t)n, (int64_t)k); });
}
} // namespace

} // namespace emulator

using namespace emulator;

extern "C" {

cusolverStatus_t cusolverDnCreate(cusolverDnHandle_t *handle) {
    *handle = new cusolverDnContext{nullptr};
    return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnDestroy(cusolverDnHandle_t handle) {
    delete handle;
    return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnSetStream(cusolverDnHandle_t handle, cudaStream_t stream) {
    handle->stream = stream;
    return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnCreateParams(cusolverDnParams_t *params) {
    *params = new cusolverDnParams;
    return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnDestroyParams(cusolverDnParams_t params) {
    delete params;
    return CUSOLVER_STATUS_SUCCESS;
}

// ---- QR ----

cusolverStatus_t cusolverDnXgeqrf_bufferSize(cusolverDnHandle_t, cusolverDnParams_t, int64_t, int64_t,
                                             cudaDataType type, const void *, int64_t, cudaDataType, const void *,
                                             cudaDataType, size_t *device, size_t *host) {
    return sizes(type, device, host);
}

cusolverStatus_t cusolverDnXgeqrf(cusolverDnHandle_t handle, cusolverDnParams_t, int64_t m, int64_t n,
                                  cudaDataType type, void *a, int64_t lda, cudaDataType, void *tau, cudaDataType,
                                  void *work, size_t work_bytes, void *host, size_t host_bytes, int *info) {
    if (lda < m) return CUSOLVER_STATUS_INVALID_VALUE;
    return submit(handle, type, work, work_bytes, host, host_bytes, info, [=](auto t) {
        using T = decltype(t);
        return qr(static_cast<T *>(a), lda, static_cast<T *>(tau), m, n);
    });
}

cusolverStatus_t cusolverDnSorgqr_bufferSize(cusolverDnHandle_t, int, int, int, const float *, int, const float *,
                                             int *lwork) {
    return *lwork = (int)(DEVICE_BYTES / sizeof(float)), CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnDorgqr_bufferSize(cusolverDnHandle_t, int, int, int, const double *, int, const double *,
                                             int *lwork) {
    return *lwork = (int)(DEVICE_BYTES / sizeof(double)), CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnSorgqr(cusolverDnHandle_t handle, int m, int n, int k, float *a, int lda,
                                  const float *tau, float *work, int lwork, int *info) {
    return orgqr(handle, m, n, k, a, lda, tau, work, lwork, info);
}
cusolverStatus_t cusolverDnDorgqr(cusolverDnHandle_t handle, int m, int n, int k, double *a, int lda,
                                  const double *tau, double *work, int lwork, int *info) {
    return orgqr(handle, m, n, k, a, lda, tau, work, lwork, info);
}

// ---- Cholesky and triangles: the lower ones ----

cusolverStatus_t cusolverDnXpotrf_bufferSize(cusolverDnHandle_t, cusolverDnParams_t, cublasFillMode_t, int64_t,
                                             cudaDataType type, const void *, int64_t, cudaDataType, size_t *device,
                                             size_t *host) {
    return sizes(type, device, host);
}

cusolverStatus_t cusolverDnXpotrf(cusolverDnHandle_t handle, cusolverDnParams_t, cublasFillMode_t triangle,
                                  int64_t n, cudaDataType type, void *a, int64_t lda, cudaDataType, void *work,
                                  size_t work_bytes, void *host, size_t host_bytes, int *info) {
    if (triangle != CUBLAS_FILL_MODE_LOWER || lda < n) return CUSOLVER_STATUS_INVALID_VALUE;
    return submit(handle, type, work, work_bytes, host, host_bytes, info, [=](auto t) {
        using T = decltype(t);
        return cholesky(static_cast<T *>(a), lda, n);
    });
}

cusolverStatus_t cusolverDnXpotrs(cusolverDnHandle_t handle, cusolverDnParams_t, cublasFillMode_t triangle,
                                  int64_t n, int64_t columns, cudaDataType type, const void *a, int64_t lda,
                                  cudaDataType, void *b, int64_t ldb, int *info) {
    if (triangle != CUBLAS_FILL_MODE_LOWER || lda < n || ldb < n) return CUSOLVER_STATUS_INVALID_VALUE;
    return submit(handle, type, nullptr, 0, nullptr, 0, info, [=](auto t) {
        using T = decltype(t);
        return cholesky_solve(static_cast<const T *>(a), lda, static_cast<T *>(b), ldb, n, columns);
    });
}

cusolverStatus_t cusolverDnXtrtri_bufferSize(cusolverDnHandle_t, cublasFillMode_t, cublasDiagType_t, int64_t,
                                             cudaDataType type, void *, int64_t, size_t *device, size_t *host) {
    return sizes(type, device, host);
}

cusolverStatus_t cusolverDnXtrtri(cusolverDnHandle_t handle, cublasFillMode_t triangle, cublasDiagType_t diagonal,
                                  int64_t n, cudaDataType type, void *a, int64_t lda, void *work, size_t work_bytes,
                                  void *host, size_t host_bytes, int *info) {
    if (triangle != CUBLAS_FILL_MODE_LOWER || diagonal != CUBLAS_DIAG_NON_UNIT || lda < n)
        return CUSOLVER_STATUS_INVALID_VALUE;
    return submit(handle, type, work, work_bytes, host, host_bytes, info, [=](auto t) {
        using T = decltype(t);
        return invert_lower(static_cast<T *>(a), lda, n);
    });
}

// ---- SVD: at least as many rows as columns, economy size or none ----

cusolverStatus_t cusolverDnXgesvd_bufferSize(cusolverDnHandle_t, cusolverDnParams_t, signed char, signed char,
                                             int64_t m, int64_t n, cudaDataType type, const void *, int64_t,
                                             cudaDataType, const void *, cudaDataType, const void *, int64_t,
                                             cudaDataType, const void *, int64_t, cudaDataType, size_t *device,
                                             size_t *host) {
    return m < n ? CUSOLVER_STATUS_INVALID_VALUE : sizes(type, device, host);
}

cusolverStatus_t cusolverDnXgesvd(cusolverDnHandle_t handle, cusolverDnParams_t, signed char left,
                                  signed char right, int64_t m, int64_t n, cudaDataType type, void *a, int64_t lda,
                                  cudaDataType, void *s, cudaDataType, void *u, int64_t ldu, cudaDataType, void *vt,
                                  int64_t ldvt, cudaDataType, void *work, size_t work_bytes, void *host,
                                  size_t host_bytes, int *info) {
    if (m < n || lda < m || left != right || (left != 'S' && left != 'N')) return CUSOLVER_STATUS_INVALID_VALUE;
    if (left == 'S' && (ldu < m || ldvt < n)) return CUSOLVER_STATUS_INVALID_VALUE;
    return submit(handle, type, work, work_bytes, host, host_bytes, info, [=](auto t) {
        using T = decltype(t);
        return svd(static_cast<T *>(s), static_cast<T *>(u), ldu, static_cast<T *>(vt), ldvt, static_cast<T *>(a),
                   lda, m, n, left == 'S');
    });
}
}

#include "optim/polar/accuracy.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// The arrays of a measurement, in double on the host, and device buffers for the operands of one operation.
typedef struct {
    Stream *stream;
    int64_t m, n;          // tall
    double *buffers[3];    // (m, n) each, device memory
    double *device_values; // (n), device memory
    double *a, *u;
    double *left, *right, *values; // (m, n), (n, n), (n): the SVD of A
    double *w;                     // (m, rank)
    double *h;                     // (n, n)
} Measurement;

static double *doubles(int64_t n) {
    double *x = calloc((size_t)n, sizeof *x);
    ASSERT(x);
    return x;
}

// c (m, n) = op(a) op(b), dense host arrays, none larger than the measured matrix.
static void gemm(const Measurement *work, double *c, bool ta, const double *a, bool tb, const double *b, int64_t m,
                 int64_t n, int64_t k) {
    Stream *stream = work->stream;
    device_copy(stream, work->buffers[0], a, (size_t)(m * k) * sizeof *a);
    device_copy(stream, work->buffers[1], b, (size_t)(k * n) * sizeof *b);
    device_gemm(stream, &(Gemm){.type = TYPE_F64,
                                .c_type = TYPE_F64,
                                .transpose_a = ta,
                                .transpose_b = tb,
                                .m = m,
                                .n = n,
                                .k = k,
                                .alpha = 1,
                                .a = work->buffers[0],
                                .lda = ta ? m : k,
                                .b = work->buffers[1],
                                .ldb = tb ? k : n,
                                .c = work->buffers[2],
                                .ldc = n});
    device_copy(stream, c, work->buffers[2], (size_t)(m * n) * sizeof *c);
    stream_synchronize(stream);
}

// SVD of a (m, n), m >= n: a = left diag(values) right. left and right may both be NULL: values only.
static void svd(const Measurement *work, double *values, double *left, double *right, const double *a, int64_t m,
                int64_t n) {
    Stream *stream = work->stream;
    device_copy(stream, work->buffers[0], a, (size_t)(m * n) * sizeof *a);
    device_svd(stream, work->device_values, left ? work->buffers[1] : NULL, left ? work->buffers[2] : NULL,
               work->buffers[0], TYPE_F64, m, n);
    device_copy(stream, values, work->device_values, (size_t)n * sizeof *values);
    if (left) {
        device_copy(stream, left, work->buffers[1], (size_t)(m * n) * sizeof *left);
        device_copy(stream, right, work->buffers[2], (size_t)(n * n) * sizeof *right);
    }
    stream_synchronize(stream);
}

static double norm(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sqrt(sum);
}

static double sum_of(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    return sum;
}

// Returns a host copy of x (rows, cols) in double, transposed if wide.
static double *tall_copy(Stream *stream, const void *x, Type type, int64_t rows, int64_t cols) {
    size_t bytes = (size_t)(rows * cols) * type_size(type);
    void *typed = malloc(bytes);
    double *out = doubles(rows * cols);
    ASSERT(typed);
    device_copy(stream, typed, x, bytes);
    stream_synchronize(stream);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            int64_t i = r * cols + c;
            out[rows < cols ? c * rows + r : i] =
                type == TYPE_F64 ? ((double *)typed)[i] : (double)((float *)typed)[i];
        }
    free(typed);
    return out;
}

// Computes W = U R_r, its orthogonality, forward error and singular values.
static void measure_w(PolarReport *report, const Measurement *work) {
    int64_t m = work->m, n = work->n, r = report->rank;
    double *gram = doubles(r * r), *values = doubles(r), error = 0;
    gemm(work, work->w, false, work->u, true, work->right, m, r, n); // the first r rows of right
    gemm(work, gram, true, work->w, false, work->w, r, r, m);
    for (int64_t i = 0; i < r; i++) gram[i * r + i] -= 1;
    report->orthogonality = norm(gram, r * r) / sqrt((double)r);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < r; j++) error += pow(work->w[i * r + j] - work->left[i * n + j], 2);
    report->forward_error = sqrt(error / (double)r);
    svd(work, values, NULL, NULL, work->w, m, r);
    report->sigma_max = values[0];
    report->sigma_min = values[r - 1];
    free(gram), free(values);
}

// Computes H, its asymmetry, negative eigenvalues, nuclear ratio and the backward error. ||A||_2 must be 1.
static void measure_h(PolarReport *report, const Measurement *work) {
    int64_t m = work->m, n = work->n;
    double *values = doubles(n), *back = doubles(m * n), *h = work->h;
    double nuclear = sum_of(work->values, n), scale = norm(work->a, m * n), asymmetry = 0, trace = 0;
    gemm(work, h, true, work->u, false, work->a, n, n, m);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < i; j++) {
            double half = (h[i * n + j] - h[j * n + i]) / 2;
            asymmetry += 2 * half * half;
            h[i * n + j] = h[j * n + i] = h[i * n + j] - half;
        }
        trace += h[i * n + i];
    }
    report->asymmetry = sqrt(asymmetry) / scale;
    report->nuclear_ratio = trace / nuclear;
    svd(work, values, NULL, NULL, h, n, n);
    report->negative = fmax(0, (sum_of(values, n) - trace) / 2 / nuclear);
    gemm(work, back, false, work->u, false, h, m, n, n);
    for (int64_t i = 0; i < m * n; i++) back[i] -= work->a[i];
    report->backward_error = norm(back, m * n) / scale;
    free(values), free(back);
}

static bool all_finite(const double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

static bool allocate_on_device(Measurement *work, Error *err) {
    Device *device = work->stream->device;
    size_t bytes = (size_t)(work->m * work->n) * sizeof(double);
    for (int i = 0; i < 3; i++) work->buffers[i] = device_alloc(device, bytes);
    work->device_values = device_alloc(device, (size_t)work->n * sizeof(double));
    if (work->buffers[0] && work->buffers[1] && work->buffers[2] && work->device_values) return true;
    return error_set(
        err,
        "out of memory: measuring the polar factor of a %lld x %lld matrix needs %.1f MiB more; use a smaller "
        "matrix",
        (long long)work->m, (long long)work->n, 3 * (double)bytes / 1048576);
}

static void measure(PolarReport *report, Measurement *work, Type type) {
    int64_t m = work->m, n = work->n;
    *report = (PolarReport){0};
    if (!all_finite(work->a, m * n) || !all_finite(work->u, m * n)) {
        *report = (PolarReport){0, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
        return;
    }
    svd(work, work->values, work->left, work->right, work->a, m, n);
    double largest = work->values[0], least = 4 * (type == TYPE_F64 ? DBL_EPSILON : (double)FLT_EPSILON);
    if (largest == 0) return;
    for (int64_t i = 0; i < m * n; i++) work->a[i] /= largest;
    for (int64_t i = 0; i < n; i++) report->rank += (work->values[i] /= largest) > least;
    measure_w(report, work);
    measure_h(report, work);
}

bool polar_measure(PolarReport *report, Stream *stream, const void *a, const void *u, Type type, int64_t rows,
                   int64_t cols, Error *err) {
    int64_t m = rows > cols ? rows : cols, n = rows > cols ? cols : rows;
    Measurement work = {.stream = stream,
                        .m = m,
                        .n = n,
                        .a = tall_copy(stream, a, type, rows, cols),
                        .u = tall_copy(stream, u, type, rows, cols),
                        .left = doubles(m * n),
                        .right = doubles(n * n),
                        .values = doubles(n),
                        .w = doubles(m * n),
                        .h = doubles(n * n)};
    bool ok = allocate_on_device(&work, err);
    if (ok) measure(report, &work, type);
    for (int i = 0; i < 3; i++) device_free(stream->device, work.buffers[i]);
    device_free(stream->device, work.device_values);
    free(work.a), free(work.u), free(work.left), free(work.right), free(work.values), free(work.w), free(work.h);
    return ok;
}

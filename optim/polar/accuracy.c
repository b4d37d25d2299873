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
static void gemm(const Measurement *x, double *c, bool ta, const double *a, bool tb, const double *b, int64_t m,
                 int64_t n, int64_t k) {
    Stream *stream = x->stream;
    device_copy(stream, x->buffers[0], a, (size_t)(m * k) * sizeof *a);
    device_copy(stream, x->buffers[1], b, (size_t)(k * n) * sizeof *b);
    device_gemm(stream, &(Gemm){.type = TYPE_F64,
                                .c_type = TYPE_F64,
                                .transpose_a = ta,
                                .transpose_b = tb,
                                .m = m,
                                .n = n,
                                .k = k,
                                .alpha = 1,
                                .a = x->buffers[0],
                                .lda = ta ? m : k,
                                .b = x->buffers[1],
                                .ldb = tb ? k : n,
                                .c = x->buffers[2],
                                .ldc = n});
    device_copy(stream, c, x->buffers[2], (size_t)(m * n) * sizeof *c);
    stream_synchronize(stream);
}

// SVD of a (m, n), m >= n: a = left diag(values) right. left and right may both be NULL: values only.
static void svd(const Measurement *x, double *values, double *left, double *right, const double *a, int64_t m,
                int64_t n) {
    Stream *stream = x->stream;
    device_copy(stream, x->buffers[0], a, (size_t)(m * n) * sizeof *a);
    device_svd(stream, x->device_values, left ? x->buffers[1] : NULL, left ? x->buffers[2] : NULL, x->buffers[0],
               TYPE_F64, m, n);
    device_copy(stream, values, x->device_values, (size_t)n * sizeof *values);
    if (left) {
        device_copy(stream, left, x->buffers[1], (size_t)(m * n) * sizeof *left);
        device_copy(stream, right, x->buffers[2], (size_t)(n * n) * sizeof *right);
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
static void measure_w(PolarReport *report, const Measurement *x) {
    int64_t m = x->m, n = x->n, r = report->rank;
    double *gram = doubles(r * r), *values = doubles(r), error = 0;
    gemm(x, x->w, false, x->u, true, x->right, m, r, n); // the first r rows of right
    gemm(x, gram, true, x->w, false, x->w, r, r, m);
    for (int64_t i = 0; i < r; i++) gram[i * r + i] -= 1;
    report->orthogonality = norm(gram, r * r) / sqrt((double)r);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < r; j++) error += pow(x->w[i * r + j] - x->left[i * n + j], 2);
    report->forward_error = sqrt(error / (double)r);
    svd(x, values, NULL, NULL, x->w, m, r);
    report->sigma_max = values[0];
    report->sigma_min = values[r - 1];
    free(gram), free(values);
}

// Computes H, its asymmetry, negative eigenvalues, nuclear ratio and the backward error. ||A||_2 must be 1.
static void measure_h(PolarReport *report, const Measurement *x) {
    int64_t m = x->m, n = x->n;
    double *values = doubles(n), *back = doubles(m * n), *h = x->h;
    double nuclear = sum_of(x->values, n), scale = norm(x->a, m * n), asymmetry = 0, trace = 0;
    gemm(x, h, true, x->u, false, x->a, n, n, m);
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
    svd(x, values, NULL, NULL, h, n, n);
    report->negative = fmax(0, (sum_of(values, n) - trace) / 2 / nuclear);
    gemm(x, back, false, x->u, false, h, m, n, n);
    for (int64_t i = 0; i < m * n; i++) back[i] -= x->a[i];
    report->backward_error = norm(back, m * n) / scale;
    free(values), free(back);
}

static bool all_finite(const double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

static bool allocate_on_device(Measurement *x, Error *err) {
    Device *device = x->stream->device;
    size_t bytes = (size_t)(x->m * x->n) * sizeof(double);
    for (int i = 0; i < 3; i++) x->buffers[i] = device_alloc(device, bytes);
    x->device_values = device_alloc(device, (size_t)x->n * sizeof(double));
    if (x->buffers[0] && x->buffers[1] && x->buffers[2] && x->device_values) return true;
    return error_set(
        err,
        "out of memory: measuring the polar factor of a %lld x %lld matrix needs %.1f MiB more; use a smaller "
        "matrix",
        (long long)x->m, (long long)x->n, 3 * (double)bytes / 1048576);
}

static void measure(PolarReport *report, Measurement *x, Type type) {
    int64_t m = x->m, n = x->n;
    *report = (PolarReport){0};
    if (!all_finite(x->a, m * n) || !all_finite(x->u, m * n)) {
        *report = (PolarReport){0, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
        return;
    }
    svd(x, x->values, x->left, x->right, x->a, m, n);
    double largest = x->values[0], least = 4 * (type == TYPE_F64 ? DBL_EPSILON : (double)FLT_EPSILON);
    if (largest == 0) return;
    for (int64_t i = 0; i < m * n; i++) x->a[i] /= largest;
    for (int64_t i = 0; i < n; i++) report->rank += (x->values[i] /= largest) > least;
    measure_w(report, x);
    measure_h(report, x);
}

bool polar_measure(PolarReport *report, Stream *stream, const void *a, const void *u, Type type, int64_t rows,
                   int64_t cols, Error *err) {
    int64_t m = rows > cols ? rows : cols, n = rows > cols ? cols : rows;
    Measurement x = {.stream = stream,
                     .m = m,
                     .n = n,
                     .a = tall_copy(stream, a, type, rows, cols),
                     .u = tall_copy(stream, u, type, rows, cols),
                     .left = doubles(m * n),
                     .right = doubles(n * n),
                     .values = doubles(n),
                     .w = doubles(m * n),
                     .h = doubles(n * n)};
    bool ok = allocate_on_device(&x, err);
    if (ok) measure(report, &x, type);
    for (int i = 0; i < 3; i++) device_free(stream->device, x.buffers[i]);
    device_free(stream->device, x.device_values);
    free(x.a), free(x.u), free(x.left), free(x.right), free(x.values), free(x.w), free(x.h);
    return ok;
}

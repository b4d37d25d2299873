#include "optim/polar_measure.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Host doubles that a measurement works on, and one device matrix beside each product's operands.
typedef struct {
    Stream *stream;
    int64_t m, n; // tall
    double *a, *u;
    double *left, *right, *values; // (m, n), (n, n), (n): the SVD of A
    double *w;                     // (m, rank)
    double *h;                     // (n, n)
} Measure;

static double *doubles(int64_t n) {
    double *x = calloc((size_t)n, sizeof *x);
    ASSERT(x);
    return x;
}

// A host array in device memory; n doubles.
static void *uploaded(Stream *stream, const double *x, int64_t n) {
    void *memory = device_alloc(stream->device, (size_t)n * sizeof(double));
    ASSERT(memory);
    if (x) device_copy(stream, memory, x, (size_t)n * sizeof(double));
    return memory;
}

static void downloaded(Stream *stream, double *x, void *memory, int64_t n) {
    if (x) device_copy(stream, x, memory, (size_t)n * sizeof(double));
    stream_synchronize(stream);
    device_free(stream->device, memory);
}

// c (m, n) = op(a) op(b), dense.
static void product(Stream *stream, double *c, bool ta, const double *a, bool tb, const double *b, int64_t m,
                    int64_t n, int64_t k) {
    void *da = uploaded(stream, a, m * k), *db = uploaded(stream, b, k * n), *dc = uploaded(stream, NULL, m * n);
    device_gemm(stream, &(Gemm){.type = TYPE_F64,
                                .c_type = TYPE_F64,
                                .transpose_a = ta,
                                .transpose_b = tb,
                                .m = m,
                                .n = n,
                                .k = k,
                                .alpha = 1,
                                .a = da,
                                .lda = ta ? m : k,
                                .b = db,
                                .ldb = tb ? k : n,
                                .c = dc,
                                .ldc = n});
    downloaded(stream, NULL, da, 0);
    downloaded(stream, NULL, db, 0);
    downloaded(stream, c, dc, m * n);
}

// a (m, n) = left diag(values) right; left and right may be NULL, both.
static void decompose(Stream *stream, double *values, double *left, double *right, const double *a, int64_t m,
                      int64_t n) {
    int64_t k = m < n ? m : n;
    void *da = uploaded(stream, a, m * n), *dv = uploaded(stream, NULL, k);
    void *dl = left ? uploaded(stream, NULL, m * k) : NULL, *dr = left ? uploaded(stream, NULL, k * n) : NULL;
    device_svd(stream, dv, dl, dr, da, TYPE_F64, m, n);
    downloaded(stream, values, dv, k);
    if (left) downloaded(stream, left, dl, m * k), downloaded(stream, right, dr, k * n);
    downloaded(stream, NULL, da, 0);
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

// A host copy of x (rows, cols) in double, tall.
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

// W = U R_r and what is seen of it.
static void measure_w(PolarReport *report, const Measure *x) {
    int64_t m = x->m, n = x->n, r = report->rank;
    double *gram = doubles(r * r), *values = doubles(r), error = 0;
    product(x->stream, x->w, false, x->u, true, x->right, m, r, n); // the first r rows of right
    product(x->stream, gram, true, x->w, false, x->w, r, r, m);
    for (int64_t i = 0; i < r; i++) gram[i * r + i] -= 1;
    report->orthogonality = norm(gram, r * r) / sqrt((double)r);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < r; j++) error += pow(x->w[i * r + j] - x->left[i * n + j], 2);
    report->forward_error = sqrt(error / (double)r);
    decompose(x->stream, values, NULL, NULL, x->w, m, r);
    report->sigma_max = values[0];
    report->sigma_min = values[r - 1];
    free(gram), free(values);
}

// H and what is seen of it; ||A||_2 is 1.
static void measure_h(PolarReport *report, const Measure *x) {
    int64_t m = x->m, n = x->n;
    double *values = doubles(n), *back = doubles(m * n), *h = x->h;
    double nuclear = sum_of(x->values, n), scale = norm(x->a, m * n), asymmetry = 0, trace = 0;
    product(x->stream, h, true, x->u, false, x->a, n, n, m);
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
    decompose(x->stream, values, NULL, NULL, h, n, n);
    report->negative = fmax(0, (sum_of(values, n) - trace) / 2 / nuclear);
    product(x->stream, back, false, x->u, false, h, m, n, n);
    for (int64_t i = 0; i < m * n; i++) back[i] -= x->a[i];
    report->backward_error = norm(back, m * n) / scale;
    free(values), free(back);
}

static bool all_finite(const double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

void polar_measure(PolarReport *report, Stream *stream, const void *a, const void *u, Type type, int64_t rows,
                   int64_t cols) {
    int64_t m = rows > cols ? rows : cols, n = rows > cols ? cols : rows;
    Measure x = {.stream = stream,
                 .m = m,
                 .n = n,
                 .a = tall_copy(stream, a, type, rows, cols),
                 .u = tall_copy(stream, u, type, rows, cols),
                 .left = doubles(m * n),
                 .right = doubles(n * n),
                 .values = doubles(n),
                 .w = doubles(m * n),
                 .h = doubles(n * n)};
    *report = (PolarReport){0};
    if (!all_finite(x.a, m * n) || !all_finite(x.u, m * n)) {
        *report = (PolarReport){0, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    } else {
        decompose(stream, x.values, x.left, x.right, x.a, m, n);
        double largest = x.values[0], least = 4 * (type == TYPE_F64 ? DBL_EPSILON : (double)FLT_EPSILON);
        if (largest > 0) {
            for (int64_t i = 0; i < m * n; i++) x.a[i] /= largest;
            for (int64_t i = 0; i < n; i++) report->rank += (x.values[i] /= largest) > least;
            measure_w(report, &x);
            measure_h(report, &x);
        }
    }
    free(x.a), free(x.u), free(x.left), free(x.right), free(x.values), free(x.w), free(x.h);
}

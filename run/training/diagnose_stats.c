#include "run/training/diagnose_stats.h"

#include <math.h>
#include <stdlib.h>

static const double CONDITION_EPS = 1e-12;

bool matrix_stats_create(MatrixStats *stats, Device *device, int64_t elements, int64_t rows, int64_t cols) {
    size_t k = (size_t)(rows < cols ? rows : cols);
    stats->norms = malloc((size_t)rows * sizeof *stats->norms);
    stats->values = malloc(k * sizeof *stats->values);
    stats->matrix_device = device_alloc(device, (size_t)elements * sizeof(double));
    stats->values_device = device_alloc(device, k * sizeof(double));
    return stats->norms && stats->values && stats->matrix_device && stats->values_device;
}

void matrix_stats_free(MatrixStats *stats, Device *device) {
    free(stats->norms);
    free(stats->values);
    if (stats->matrix_device) device_free(device, stats->matrix_device);
    if (stats->values_device) device_free(device, stats->values_device);
}

// Computes the row norms; returns <x, weight> / (||x|| ||weight||).
static double measure_rows(double *norms, const double *x, const float *weight, int64_t rows, int64_t cols) {
    double dot = 0, x_squares = 0, weight_squares = 0;
    for (int64_t r = 0; r < rows; r++) {
        const double *row = x + r * cols;
        const float *w = weight + r * cols;
        double squares = 0;
        for (int64_t i = 0; i < cols; i++) {
            squares += row[i] * row[i];
            dot += row[i] * (double)w[i];
            weight_squares += (double)w[i] * (double)w[i];
        }
        x_squares += squares;
        norms[r] = sqrt(squares);
    }
    return dot / sqrt(x_squares * weight_squares);
}

static void write_list(JsonWriter *w, const char *name, const double *values, int64_t n) {
    json_begin_array(w, name);
    for (int64_t i = 0; i < n; i++) json_double(w, NULL, values[i]);
    json_end_array(w);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Sorts the values.
static void write_quantiles(JsonWriter *w, const char *name, double *values, int64_t n) {
    static const double percents[] = {0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100};
    double quantiles[sizeof percents / sizeof *percents];
    qsort(values, (size_t)n, sizeof *values, ascending);
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++) {
        double at = percents[i] / 100 * (double)(n - 1);
        int64_t low = (int64_t)at, high = low + 1 < n ? low + 1 : low;
        quantiles[i] = values[low] + (at - (double)low) * (values[high] - values[low]);
    }
    write_list(w, name, quantiles, (int64_t)(sizeof percents / sizeof *percents));
}

static void write_singular_values(JsonWriter *w, double *values, int64_t k, bool spectrum) {
    double nuclear = 0, squares = 0, max = values[0], min = values[k - 1];
    for (int64_t i = 0; i < k; i++) {
        nuclear += values[i];
        squares += values[i] * values[i];
    }
    json_double(w, "condition", max / (min + CONDITION_EPS));
    json_double(w, "singular_max", max);
    json_double(w, "singular_min", min);
    json_double(w, "nuclear", nuclear);
    json_double(w, "frobenius", sqrt(squares));
    json_double(w, "stable_rank", squares / (max * max));
    if (spectrum) write_list(w, "singular_values", values, k);
    write_quantiles(w, "singular_quantiles", values, k);
}

static void write_row_norms(JsonWriter *w, double *norms, int64_t rows, bool spectrum) {
    double sum = 0, squares = 0;
    for (int64_t r = 0; r < rows; r++) sum += norms[r];
    double mean = sum / (double)rows;
    for (int64_t r = 0; r < rows; r++) squares += (norms[r] - mean) * (norms[r] - mean);
    json_double(w, "row_norm_mean", mean);
    json_double(w, "row_norm_cv", sqrt(squares / (double)rows) / mean);
    if (spectrum) write_list(w, "row_norms", norms, rows);
    write_quantiles(w, "row_norm_quantiles", norms, rows);
}

void matrix_stats_write(JsonWriter *w, const char *name, MatrixStats *stats, Stream *stream, const double *x,
                        const float *weight, int64_t rows, int64_t cols, bool spectrum) {
    int64_t k = rows < cols ? rows : cols;
    double alignment = measure_rows(stats->norms, x, weight, rows, cols);
    device_copy(stream, stats->matrix_device, x, (size_t)(rows * cols) * sizeof *x);
    device_svd(stream, stats->values_device, NULL, NULL, stats->matrix_device, TYPE_F64, rows, cols);
    device_copy(stream, stats->values, stats->values_device, (size_t)k * sizeof *stats->values);
    stream_synchronize(stream);
    json_begin_object(w, name);
    write_singular_values(w, stats->values, k, spectrum);
    write_row_norms(w, stats->norms, rows, spectrum);
    json_double(w, "alignment", alignment);
    json_end_object(w);
}

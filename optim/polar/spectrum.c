#include "optim/polar/accuracy.h"

#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool parse_parameter(double *value, const char *text, const char *name, double min, double max, Error *err) {
    char *end;
    *value = strtod(text, &end);
    if (end != text && *end == 0 && *value >= min && *value <= max) return true;
    return error_set(err, "spectrum %s:%s: expected a number from %g to %g", name, text, min, max);
}

bool spectrum_parse(Spectrum *spectrum, const char *text, Error *err) {
    static const struct {
        const char *name;
        SpectrumKind kind;
    } plain[] = {{"gaussian", SPECTRUM_GAUSSIAN},
                 {"heavy-tailed", SPECTRUM_HEAVY_TAILED},
                 {"half-rank", SPECTRUM_HALF_RANK},
                 {"rank-2", SPECTRUM_RANK_2},
                 {"two-large", SPECTRUM_TWO_LARGE}};
    *spectrum = (Spectrum){.kind = SPECTRUM_LOG, .least = 1};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strcmp(text, plain[i].name) == 0) {
            spectrum->kind = plain[i].kind;
            return true;
        }
    if (strncmp(text, "log:", 4) == 0) return parse_parameter(&spectrum->least, text + 4, "log", 1e-300, 1, err);
    if (strncmp(text, "condition:", 10) == 0) {
        if (!parse_parameter(&spectrum->least, text + 10, "condition", 1, 1e300, err)) return false;
        spectrum->least = 1 / spectrum->least;
        return true;
    }
    return error_set(
        err,
        "unknown spectrum '%s'; use gaussian, heavy-tailed, half-rank, rank-2, two-large, log:1e-10 or "
        "condition:1e6",
        text);
}

// Singular value i (0-based) of k.
static double singular_value(Spectrum spectrum, int64_t i, int64_t k) {
    switch (spectrum.kind) {
    case SPECTRUM_HALF_RANK:
        return i < (k + 1) / 2;
    case SPECTRUM_RANK_2:
        return i < 2;
    case SPECTRUM_TWO_LARGE:
        return i < 2 ? 1 : 1e-3;
    default:
        return k > 1 ? pow(spectrum.least, (double)i / (double)(k - 1)) : 1;
    }
}

// Fills q (m, k), in device memory, with random orthonormal columns, scaled by the singular values of `scaled` unless
// NULL. host (m, k) is scratch.
static void random_columns(double *q, double *host, Stream *stream, const Spectrum *scaled, int64_t m, int64_t k,
                           uint64_t seed, uint64_t first) {
    for (int64_t i = 0; i < m * k; i++) host[i] = random_normal(seed, RANDOM_TEST, first + (uint64_t)i);
    device_copy(stream, q, host, (size_t)(m * k) * sizeof *host);
    device_qr_q(stream, q, TYPE_F64, m, k);
    if (scaled) {
        device_copy(stream, host, q, (size_t)(m * k) * sizeof *host);
        stream_synchronize(stream);
        for (int64_t i = 0; i < m * k; i++) host[i] *= singular_value(*scaled, i % k, k);
        device_copy(stream, q, host, (size_t)(m * k) * sizeof *host);
    }
    stream_synchronize(stream);
}

bool spectrum_matrix(double *a, Stream *stream, Spectrum spectrum, int64_t rows, int64_t cols, uint64_t seed,
                     Error *err) {
    int64_t size = rows * cols, k = rows < cols ? rows : cols;
    if (spectrum.kind == SPECTRUM_GAUSSIAN || spectrum.kind == SPECTRUM_HEAVY_TAILED) {
        for (int64_t i = 0; i < size; i++) {
            a[i] = random_normal(seed, RANDOM_TEST, (uint64_t)i);
            if (spectrum.kind ==
                SPECTRUM_HEAVY_TAILED) // Student t, 2 degrees: divide by the root of an exponential
                a[i] /= sqrt(-log1p(-random_uniform(seed, RANDOM_TEST, (uint64_t)(size + i))) + 1e-12);
        }
        return true;
    }
    Device *device = stream->device;
    int64_t longer = rows > cols ? rows : cols;
    double *host = malloc((size_t)(longer * k) * sizeof *host);
    double *u = device_alloc(device, (size_t)(rows * k) * sizeof *u);
    double *v = device_alloc(device, (size_t)(cols * k) * sizeof *v);
    double *out = device_alloc(device, (size_t)size * sizeof *out);
    bool ok = host && u && v && out;
    if (ok) {
        random_columns(u, host, stream, &spectrum, rows, k, seed, 0);
        random_columns(v, host, stream, NULL, cols, k, seed, (uint64_t)(rows * k));
        device_gemm(stream, &(Gemm){.type = TYPE_F64,
                                    .c_type = TYPE_F64,
                                    .transpose_b = true,
                                    .m = rows,
                                    .n = cols,
                                    .k = k,
                                    .alpha = 1,
                                    .a = u,
                                    .lda = k,
                                    .b = v,
                                    .ldb = k,
                                    .c = out,
                                    .ldc = cols});
        device_copy(stream, a, out, (size_t)size * sizeof *a);
        stream_synchronize(stream);
    } else {
        error_set(err, "out of memory for a %lld x %lld matrix with these singular values", (long long)rows,
                  (long long)cols);
    }
    device_free(device, u);
    device_free(device, v);
    device_free(device, out);
    free(host);
    return ok;
}

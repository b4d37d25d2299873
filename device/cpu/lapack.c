#include "device/cpu/lapack.h"

#include "base/error.h"
#include "device/cpu/blas.h"
#include "device/cpu/threads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// LAPACK's Fortran interface with 32-bit integers. LAPACK is column-major: a row-major (m, n) matrix is the
// column-major (n, m) matrix of its transpose. So QR becomes LQ, and a solve from the right becomes one from the
// left.
typedef void Gelqf(const int *m, const int *n, void *a, const int *lda, void *tau, void *work, const int *lwork,
                   int *info);
typedef void Orglq(const int *m, const int *n, const int *k, void *a, const int *lda, const void *tau, void *work,
                   const int *lwork, int *info);
typedef void Potrf(const char *uplo, const int *n, void *a, const int *lda, int *info, size_t);
typedef void Potrs(const char *uplo, const int *n, const int *nrhs, const void *a, const int *lda, void *b,
                   const int *ldb, int *info, size_t);
typedef void Trtri(const char *uplo, const char *diag, const int *n, void *a, const int *lda, int *info, size_t,
                   size_t);
typedef void Gesdd(const char *jobz, const int *m, const int *n, void *a, const int *lda, void *s, void *u,
                   const int *ldu, void *vt, const int *ldvt, void *work, const int *lwork, int *iwork, int *info,
                   size_t);

typedef struct {
    Gelqf *gelqf;
    Orglq *orglq;
    Potrf *potrf;
    Potrs *potrs;
    Trtri *trtri;
    Gesdd *gesdd;
} Lapack;
static Lapack lapack[2]; // float, double
static bool complete;    // all functions were found

bool cpu_can_solve(void) {
    return complete;
}

void cpu_lapack_load(void) {
    static const char *const names[6][2] = {{"sgelqf_", "dgelqf_"}, {"sorglq_", "dorglq_"}, {"spotrf_", "dpotrf_"},
                                            {"spotrs_", "dpotrs_"}, {"strtri_", "dtrtri_"}, {"sgesdd_", "dgesdd_"}};
    complete = true;
    for (int t = 0; t < 2; t++) {
        void *const functions[] = {&lapack[t].gelqf, &lapack[t].orglq, &lapack[t].potrf,
                                   &lapack[t].potrs, &lapack[t].trtri, &lapack[t].gesdd};
        for (int f = 0; f < 6; f++) complete &= cpu_blas_find(functions[f], names[f][t]);
    }
}

// Workspace that grows to the size of the largest solve and is kept.
typedef struct {
    void *memory;
    size_t bytes;
} Solver;

static char *workspace(Stream *stream, size_t bytes) {
    Solver *solver = stream->device->solver;
    if (solver == NULL) solver = stream->device->solver = calloc(1, sizeof *solver);
    ASSERT(solver != NULL);
    if (solver->bytes < bytes) {
        free(solver->memory);
        solver->memory = malloc(bytes);
        solver->bytes = bytes;
        ASSERT(solver->memory != NULL);
    }
    return solver->memory;
}

void cpu_solver_free(void *handle) {
    Solver *solver = handle;
    if (solver) free(solver->memory);
    free(solver);
}

static const Lapack *functions_of(Type type) {
    ASSERT(type == TYPE_F32 || type == TYPE_F64);
    return &lapack[type == TYPE_F64];
}

// The workspace size that an lwork query returned in the first element.
static int queried_size(const void *work, Type type) {
    double size = type == TYPE_F64 ? *(const double *)work : (double)*(const float *)work;
    ASSERT(size >= 0 && size < 2147483647);
    return (int)(size * 1.000001) + 1; // as a float it may have been rounded down
}

static void fill_nan(void *x, Type type, int64_t n) {
    for (int64_t i = 0; i < n && type == TYPE_F64; i++) ((double *)x)[i] = NAN;
    for (int64_t i = 0; i < n && type == TYPE_F32; i++) ((float *)x)[i] = NAN;
}

static bool all_finite(const void *x, Type type, int64_t n) {
    bool finite = true;
#pragma omp parallel for reduction(&& : finite) if (n > CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++)
        finite = finite && (type == TYPE_F64 ? isfinite(((const double *)x)[i]) : isfinite(((const float *)x)[i]));
    return finite;
}

void cpu_qr_q(Stream *stream, void *a, Type type, int64_t rows, int64_t cols) {
    const Lapack *l = functions_of(type);
    ASSERT(rows <= INT32_MAX);
    int m = (int)cols, n = (int)rows, info = 0, query = -1; // LAPACK's m and n
    size_t element = type_size(type), tau_bytes = (size_t)m * element;
    double size;
    if (!all_finite(a, type, rows * cols)) {
        fill_nan(a, type, rows * cols);
        return;
    }
    l->gelqf(&m, &n, a, &m, NULL, &size, &query, &info);
    int lwork = queried_size(&size, type);
    l->orglq(&m, &n, &m, a, &m, NULL, &size, &query, &info);
    int orglq_lwork = queried_size(&size, type);
    if (orglq_lwork > lwork) lwork = orglq_lwork;
    char *tau = workspace(stream, tau_bytes + (size_t)lwork * element);
    l->gelqf(&m, &n, a, &m, tau, tau + tau_bytes, &lwork, &info);
    ASSERT(info == 0);
    l->orglq(&m, &n, &m, a, &m, tau, tau + tau_bytes, &lwork, &info);
    ASSERT(info == 0);
}

void cpu_cholesky_solve_right(Stream *stream, void *x, void *z, Type type, int64_t rows, int64_t cols) {
    (void)stream;
    const Lapack *l = functions_of(type);
    ASSERT(rows <= INT32_MAX && cols <= INT32_MAX);
    int n = (int)cols, count = (int)rows, info = 0;
    l->potrf("L", &n, z, &n, &info, 1); // symmetric: triangle and layout do not matter
    if (info == 0) l->potrs("L", &n, &count, z, &n, x, &n, &info, 1);
    if (info != 0) fill_nan(x, type, rows * cols);
}

void cpu_trtri(Stream *stream, void *r, Type type, int64_t size) {
    (void)stream;
    ASSERT(size <= INT32_MAX);
    int n = (int)size, info = 0;
    size_t element = type_size(type);
    functions_of(type)->trtri("L", "N", &n, r, &n, &info, 1, 1); // row-major upper is column-major lower
    if (info != 0) fill_nan(r, type, size * size);
    for (int64_t i = 1; info == 0 && i < size; i++)
        memset((char *)r + (size_t)(i * size) * element, 0, (size_t)i * element);
}

void cpu_svd(Stream *stream, void *values, void *u, void *vt, void *a, Type type, int64_t rows, int64_t cols) {
    const Lapack *l = functions_of(type);
    ASSERT(rows <= INT32_MAX && cols <= INT32_MAX);
    int m = (int)cols, n = (int)rows, k = m < n ? m : n, info = 0, query = -1;
    double size;
    size_t element = type_size(type), iwork_bytes = (8 * (size_t)k * sizeof(int) + 63) / 64 * 64;
    const char *job = u ? "S" : "N";
    // The column-major left singular vectors (m, k) are our row-major vt, the right ones (k, n) our u.
    if (!all_finite(a, type, rows * cols)) info = 1;
    if (info == 0) {
        l->gesdd(job, &m, &n, a, &m, values, vt, &m, u, &k, &size, &query, NULL, &info, 1);
        int lwork = queried_size(&size, type);
        char *work = workspace(stream, iwork_bytes + (size_t)lwork * element);
        l->gesdd(job, &m, &n, a, &m, values, vt, &m, u, &k, work + iwork_bytes, &lwork, (int *)(void *)work, &info,
                 1);
    }
    if (info == 0) return;
    fill_nan(values, type, k);
    if (u) fill_nan(u, type, rows * k), fill_nan(vt, type, k * cols);
}

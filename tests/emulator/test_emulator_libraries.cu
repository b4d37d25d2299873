// test_emulator_libraries.cu - the emulations of cuBLASLt and cuSOLVER by what defines their results: sums written out,
// factors multiplied back. (The program's own tests of products and solves run on them as well.)
#include "tests/emulator/test_fixture.h"

#include <cublasLt.h>
#include <cusolverDn.h>

#include <float.h>

static std::vector<double> draw(size_t n) {
    std::vector<double> x(n);
    for (size_t i = 0; i < n; i++) x[i] = (double)((int)(i * 7919 % 1009) - 504) / 512;
    return x;
}

// A matrix of m by n in a layout, and its element.
struct Matrix {
    int64_t m, n, ld;
    bool by_rows;
    double at(const std::vector<double> &x, int64_t i, int64_t j) const {
        return x[(size_t)(by_rows ? i * ld + j : j * ld + i)];
    }
    int64_t size() const { return (by_rows ? m : n) * ld; }
};

static cublasLtMatrixLayout_t layout(const Matrix &x, int32_t batch) {
    cublasLtMatrixLayout_t l;
    cublasLtOrder_t order = x.by_rows ? CUBLASLT_ORDER_ROW : CUBLASLT_ORDER_COL;
    int64_t stride = x.size();
    assert_int_equal(cublasLtMatrixLayoutCreate(&l, CUDA_R_64F, (uint64_t)x.m, (uint64_t)x.n, x.ld), 0);
    assert_int_equal(cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_ORDER, &order, sizeof order), 0);
    assert_int_equal(cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch),
                     0);
    assert_int_equal(
        cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride),
        0);
    return l;
}

// d (m, n) = alpha op(a) op(b) + beta c, twice, in every combination of transposes and orders.
static void product_check(bool ta, bool tb, bool by_rows) {
    const int64_t m = 5, n = 4, k = 3, batch = 2;
    const Matrix a = {ta ? k : m, ta ? m : k, 7, by_rows}, b = {tb ? n : k, tb ? k : n, 6, !by_rows},
                 c = {m, n, 8, by_rows};
    std::vector<double> xa = draw((size_t)(batch * a.size())), xb = draw((size_t)(batch * b.size()));
    std::vector<double> xc = draw((size_t)(batch * c.size()));
    double *da = device_array(xa), *db = device_array(xb), *dc = device_array(xc);
    double *dd = device_array<double>(xc.size()), alpha = 0.5, beta = -2;
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t product;
    cublasOperation_t first = ta ? CUBLAS_OP_T : CUBLAS_OP_N, second = tb ? CUBLAS_OP_T : CUBLAS_OP_N;
    assert_int_equal(cublasLtCreate(&handle), 0);
    assert_int_equal(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_64F, CUDA_R_64F), 0);
    assert_int_equal(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first), 0);
    assert_int_equal(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second),
                     0);
    cublasLtMatrixLayout_t la = layout(a, batch), lb = layout(b, batch), lc = layout(c, batch);
    assert_int_equal(
        cublasLtMatmul(handle, product, &alpha, da, la, db, lb, &beta, dc, lc, dd, lc, NULL, NULL, 0, nullptr), 0);
    std::vector<double> d = host_array(dd, xc.size());
    for (int64_t at = 0; at < batch; at++) {
        std::vector<double> pa(xa.begin() + at * a.size(), xa.end()), pb(xb.begin() + at * b.size(), xb.end());
        std::vector<double> pc(xc.begin() + at * c.size(), xc.end()), pd(d.begin() + at * c.size(), d.end());
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double sum = 0; // exact: 20 bits each
                for (int64_t l = 0; l < k; l++)
                    sum += (ta ? a.at(pa, l, i) : a.at(pa, i, l)) * (tb ? b.at(pb, j, l) : b.at(pb, l, j));
                assert_true(c.at(pd, i, j) == alpha * sum + beta * c.at(pc, i, j));
            }
    }
    for (cublasLtMatrixLayout_t l : {la, lb, lc}) cublasLtMatrixLayoutDestroy(l);
    cublasLtMatmulDescDestroy(product), cublasLtDestroy(handle);
    must(cudaFree(da)), must(cudaFree(db)), must(cudaFree(dc)), must(cudaFree(dd));
}

static void test_products(void **) {
    for (int i = 0; i < 8; i++) product_check(i & 1, i & 2, i & 4);
}

// ---- solves, in double, column-major ----

struct Solver {
    cusolverDnHandle_t handle;
    int *info = device_array<int>(1);
    void *work = device_array<char>(4096);
    char host[4096];
    Solver() { assert_int_equal(cusolverDnCreate(&handle), 0); }
    ~Solver() {
        cusolverDnDestroy(handle);
        must(cudaFree(info)), must(cudaFree(work));
    }
    int report() { return host_array(info, 1)[0]; }
};

// ||x - y|| of what should be equal: errors of at most some units of rounding for each of n terms of size about 1.
static void assert_close(const std::vector<double> &x, const std::vector<double> &y, int64_t n) {
    for (size_t i = 0; i < x.size(); i++) assert_true(fabs(x[i] - y[i]) <= 16 * (double)n * DBL_EPSILON);
}

// a (m, k) b (k, n), b transposed where asked.
static std::vector<double> times(const std::vector<double> &a, const std::vector<double> &b, int64_t m, int64_t n,
                                 int64_t k, bool transpose_a, bool transpose_b) {
    std::vector<double> c((size_t)(m * n));
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < m; i++)
            for (int64_t l = 0; l < k; l++)
                c[(size_t)(j * m + i)] += a[(size_t)(transpose_a ? i * k + l : l * m + i)] *
                                          b[(size_t)(transpose_b ? l * n + j : j * k + l)];
    return c;
}

static std::vector<double> identity(int64_t n) {
    std::vector<double> x((size_t)(n * n));
    for (int64_t i = 0; i < n; i++) x[(size_t)(i * n + i)] = 1;
    return x;
}

static void test_qr(void **) {
    const int64_t m = 9, n = 5;
    Solver s;
    std::vector<double> a = draw((size_t)(m * n)), r((size_t)(n * n));
    double *da = device_array(a), *tau = device_array<double>((size_t)n);
    assert_int_equal(cusolverDnXgeqrf(s.handle, NULL, m, n, CUDA_R_64F, da, m, CUDA_R_64F, tau, CUDA_R_64F, s.work,
                                      4096, s.host, 4096, s.info),
                     0);
    std::vector<double> factored = host_array(da, a.size());
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i <= j; i++) r[(size_t)(j * n + i)] = factored[(size_t)(j * m + i)];
    assert_int_equal(
        cusolverDnDorgqr(s.handle, (int)m, (int)n, (int)n, da, (int)m, tau, (double *)s.work, 512, s.info), 0);
    std::vector<double> q = host_array(da, a.size());
    assert_close(times(q, r, m, n, n, false, false), a, m);
    assert_close(times(q, q, n, n, m, true, false), identity(n), m);
    must(cudaFree(da)), must(cudaFree(tau));
}

static void test_cholesky(void **) {
    const int64_t n = 6, columns = 4;
    Solver s;
    std::vector<double> a = draw((size_t)(n * n)), b = draw((size_t)(n * columns)),
                        z = times(a, a, n, n, n, true, false);
    for (int64_t i = 0; i < n; i++) z[(size_t)(i * n + i)] += 1;
    double *dz = device_array(z), *db = device_array(b);
    auto factor = [&] {
        return cusolverDnXpotrf(s.handle, NULL, CUBLAS_FILL_MODE_LOWER, n, CUDA_R_64F, dz, n, CUDA_R_64F, s.work,
                                4096, s.host, 4096, s.info);
    };
    assert_int_equal(factor(), 0);
    assert_int_equal(s.report(), 0);
    assert_int_equal(cusolverDnXpotrs(s.handle, NULL, CUBLAS_FILL_MODE_LOWER, n, columns, CUDA_R_64F, dz, n,
                                      CUDA_R_64F, db, n, s.info),
                     0);
    assert_close(times(z, host_array(db, b.size()), n, columns, n, false, false), b, n * n);
    z[7] = -1; // a minor of order 2 that is not positive
    must(cudaMemcpy(dz, z.data(), z.size() * sizeof(double), cudaMemcpyHostToDevice));
    assert_int_equal(factor(), 0);
    assert_int_equal(s.report(), 2);
    must(cudaFree(dz)), must(cudaFree(db));
}

static void test_inverse(void **) {
    const int64_t n = 6;
    Solver s;
    std::vector<double> l = draw((size_t)(n * n));
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i <= j; i++) l[(size_t)(j * n + i)] = i == j ? 2 : 0;
    double *dl = device_array(l);
    assert_int_equal(cusolverDnXtrtri(s.handle, CUBLAS_FILL_MODE_LOWER, CUBLAS_DIAG_NON_UNIT, n, CUDA_R_64F, dl, n,
                                      s.work, 4096, s.host, 4096, s.info),
                     0);
    assert_int_equal(s.report(), 0);
    assert_close(times(l, host_array(dl, l.size()), n, n, n, false, false), identity(n), n);
    must(cudaFree(dl));
}

// `rank` columns that differ, the others copies of the first.
static void svd_check(int64_t rank) {
    const int64_t m = 8, n = 5;
    Solver s;
    std::vector<double> a = draw((size_t)(m * n)), us((size_t)(m * n));
    for (int64_t j = rank; j < n; j++) std::copy(a.begin(), a.begin() + m, a.begin() + j * m);
    double *da = device_array(a), *ds = device_array<double>((size_t)n);
    double *du = device_array<double>(a.size()), *dvt = device_array<double>((size_t)(n * n));
    assert_int_equal(cusolverDnXgesvd(s.handle, NULL, 'S', 'S', m, n, CUDA_R_64F, da, m, CUDA_R_64F, ds, CUDA_R_64F,
                                      du, m, CUDA_R_64F, dvt, n, CUDA_R_64F, s.work, 4096, s.host, 4096, s.info),
                     0);
    assert_int_equal(s.report(), 0);
    std::vector<double> u = host_array(du, a.size()), vt = host_array(dvt, (size_t)(n * n)),
                        values = host_array(ds, (size_t)n);
    for (int64_t j = 0; j < n; j++) {
        assert_true(j == 0 || values[(size_t)j] <= values[(size_t)j - 1]);
        for (int64_t i = 0; i < m; i++) us[(size_t)(j * m + i)] = u[(size_t)(j * m + i)] * values[(size_t)j];
    }
    assert_close(times(us, vt, m, n, n, false, false), a, m * n);
    assert_close(times(u, u, n, n, m, true, false), identity(n), m);
    assert_close(times(vt, vt, n, n, n, true, false), identity(n), n);
    must(cudaFree(da)), must(cudaFree(ds)), must(cudaFree(du)), must(cudaFree(dvt));
}

static void test_svd(void **) {
    svd_check(5);
    svd_check(3);
    svd_check(1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products), cmocka_unit_test(test_qr),  cmocka_unit_test(test_cholesky),
        cmocka_unit_test(test_inverse),  cmocka_unit_test(test_svd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

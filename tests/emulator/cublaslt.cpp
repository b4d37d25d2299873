// cublaslt.cpp - the part of cuBLASLt that the program uses, on the CPU's own product. Sums are in float (double for
// doubles); what is not supported there is refused here.
#include "device/cpu/gemm.h"
#include "internal.h"

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <string.h>

namespace emulator {

namespace {
struct Product {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    cublasOperation_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const void *bias = nullptr;
};

struct Layout {
    cudaDataType_t type;
    uint64_t rows, cols;
    int64_t ld;
    cublasLtOrder_t order = CUBLASLT_ORDER_COL;
    int32_t batch = 1;
    int64_t stride = 0;
};

struct Preference {
    uint64_t workspace = 0;
};

size_t size_of(cudaDataType_t type) {
    return type == CUDA_R_16BF ? 2 : type == CUDA_R_32F ? 4 : 8;
}

// Element (row, col) of a matrix, as a double: exact for all types.
int64_t place(const Layout &l, int64_t row, int64_t col) {
    return l.order == CUBLASLT_ORDER_COL ? col * l.ld + row : row * l.ld + col;
}

template <class T> T load(const void *memory, cudaDataType_t type, int64_t at) {
    if (type == CUDA_R_16BF) return (T)__bfloat162float(static_cast<const __nv_bfloat16 *>(memory)[at]);
    if (type == CUDA_R_32F) return (T) static_cast<const float *>(memory)[at];
    return (T) static_cast<const double *>(memory)[at];
}

template <class T> void store(void *memory, cudaDataType_t type, int64_t at, T value) {
    if (type == CUDA_R_16BF) static_cast<__nv_bfloat16 *>(memory)[at] = __float2bfloat16_rn((float)value);
    else if (type == CUDA_R_32F) static_cast<float *>(memory)[at] = (float)value;
    else static_cast<double *>(memory)[at] = (double)value;
}

// A dense row-major copy of op(matrix) number `index`.
template <class T>
std::vector<T> operand(const Layout &l, const void *memory, cublasOperation_t operation, int64_t index) {
    int64_t rows = (int64_t)l.rows, cols = (int64_t)l.cols;
    std::vector<T> dense((size_t)(rows * cols));
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++)
            dense[(size_t)(operation == CUBLAS_OP_N ? r * cols + c : c * rows + r)] =
                load<T>(memory, l.type, index * l.stride + place(l, r, c));
    return dense;
}

void multiply(const std::vector<float> &a, const std::vector<float> &b, std::vector<float> &c, int64_t m, int64_t n,
              int64_t k) {
    cpu_gemm_builtin_f32(false, false, m, n, k, 1, a.data(), k, b.data(), n, 0, c.data(), n, nullptr);
}

void multiply(const std::vector<double> &a, const std::vector<double> &b, std::vector<double> &c, int64_t m,
              int64_t n, int64_t k) {
    cpu_gemm_builtin_f64(false, false, m, n, k, 1, a.data(), k, b.data(), n, 0, c.data(), n, nullptr);
}

struct Call {
    Product product;
    double alpha, beta;
    const void *a, *b, *c;
    void *d;
    Layout la, lb, lc, ld;
};

template <class T> void call_run(const Call &call) {
    int64_t m = (int64_t)call.ld.rows, n = (int64_t)call.ld.cols;
    const Product &p = call.product;
    int64_t k = (int64_t)(p.transpose_a == CUBLAS_OP_N ? call.la.cols : call.la.rows);
    for (int64_t i = 0; i < call.ld.batch; i++) {
        std::vector<T> a = operand<T>(call.la, call.a, p.transpose_a, i);
        std::vector<T> b = operand<T>(call.lb, call.b, p.transpose_b, i), sums((size_t)(m * n));
        multiply(a, b, sums, m, n, k);
        for (int64_t row = 0; row < m; row++)
            for (int64_t col = 0; col < n; col++) {
                T value = (T)call.alpha * sums[(size_t)(row * n + col)];
                if (call.beta != 0)
                    value +=
                        (T)call.beta * load<T>(call.c, call.lc.type, i * call.lc.stride + place(call.lc, row, col));
                if (p.epilogue == CUBLASLT_EPILOGUE_BIAS) value += load<T>(p.bias, call.ld.type, row);
                store<T>(call.d, call.ld.type, i * call.ld.stride + place(call.ld, row, col), value);
            }
    }
}

// All of a matrix must lie within one allocation.
void reachable(const char *name, const Layout &l, const void *memory) {
    int64_t last = (l.batch - 1) * l.stride + place(l, (int64_t)l.rows - 1, (int64_t)l.cols - 1);
    if (!memory_is_device(memory, (size_t)(last + 1) * size_of(l.type)))
        die("cublasLtMatmul: matrix %s (%llu x %llu, leading dimension %lld, %d of them) is not within device "
            "memory",
            name, (unsigned long long)l.rows, (unsigned long long)l.cols, (long long)l.ld, l.batch);
}

bool types_supported(const Product &p, const Layout &a, const Layout &b, const Layout &c, const Layout &d) {
    if (a.type != b.type || c.type != d.type) return false;
    if (p.compute == CUBLAS_COMPUTE_64F)
        return p.scale == CUDA_R_64F && a.type == CUDA_R_64F && d.type == CUDA_R_64F &&
               p.epilogue == CUBLASLT_EPILOGUE_DEFAULT;
    if (p.compute != CUBLAS_COMPUTE_32F || p.scale != CUDA_R_32F) return false;
    if (a.type == CUDA_R_32F) return d.type == CUDA_R_32F;
    return a.type == CUDA_R_16BF && (d.type == CUDA_R_16BF || d.type == CUDA_R_32F);
}

bool layout_valid(const Layout &l) {
    uint64_t least = l.order == CUBLASLT_ORDER_COL ? l.rows : l.cols;
    return l.rows > 0 && l.cols > 0 && l.ld >= (int64_t)least && l.batch >= 1;
}

cublasStatus_t supported(const Product &p, const Layout &a, const Layout &b, const Layout &c, const Layout &d) {
    bool ta = p.transpose_a != CUBLAS_OP_N, tb = p.transpose_b != CUBLAS_OP_N;
    uint64_t m = ta ? a.cols : a.rows, k = ta ? a.rows : a.cols, kb = tb ? b.cols : b.rows,
             n = tb ? b.rows : b.cols;
    if (!layout_valid(a) || !layout_valid(b) || !layout_valid(c) || !layout_valid(d))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (k != kb || d.rows != m || d.cols != n || c.rows != m || c.cols != n) return CUBLAS_STATUS_INVALID_VALUE;
    if (a.batch != d.batch || b.batch != d.batch || c.batch != d.batch) return CUBLAS_STATUS_INVALID_VALUE;
    if (!types_supported(p, a, b, c, d)) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (p.epilogue == CUBLASLT_EPILOGUE_BIAS && d.batch > 1) return CUBLAS_STATUS_NOT_SUPPORTED;
    return CUBLAS_STATUS_SUCCESS;
}

// Sets a field where the size is its own.
template <class T> cublasStatus_t set(T *field, const void *value, size_t size) {
    if (size != sizeof *field) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(field, value, size);
    return CUBLAS_STATUS_SUCCESS;
}

Product *product_of(cublasLtMatmulDesc_t p) {
    return reinterpret_cast<Product *>(p);
}
const Layout &layout_of(cublasLtMatrixLayout_t l) {
    return *reinterpret_cast<Layout *>(l);
}
} // namespace

} // namespace emulator

using namespace emulator;

extern "C" {

size_t cublasLtGetVersion(void) {
    return CUBLAS_VER_MAJOR * 10000 + CUBLAS_VER_MINOR * 100 + CUBLAS_VER_PATCH;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    *handle = reinterpret_cast<cublasLtHandle_t>(new int);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete reinterpret_cast<int *>(handle);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *p, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    Product *product = new Product;
    product->compute = compute, product->scale = scale;
    *p = reinterpret_cast<cublasLtMatmulDesc_t>(product);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t p) {
    delete product_of(p);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t descriptor,
                                              cublasLtMatmulDescAttributes_t attribute, const void *value,
                                              size_t size) {
    Product *p = product_of(descriptor);
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return set(&p->transpose_a, value, size);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return set(&p->transpose_b, value, size);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return set(&p->bias, value, size);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        status = set(&p->epilogue, value, size);
        if (p->epilogue != CUBLASLT_EPILOGUE_DEFAULT && p->epilogue != CUBLASLT_EPILOGUE_BIAS)
            die("cublasLt: epilogue %d is not emulated", (int)p->epilogue);
        return status;
    default:
        die("cublasLtMatmulDescSetAttribute: attribute %d is not emulated", (int)attribute);
    }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType type, uint64_t rows,
                                          uint64_t cols, int64_t ld) {
    Layout *layout = new Layout;
    layout->type = type, layout->rows = rows, layout->cols = cols, layout->ld = ld;
    *l = reinterpret_cast<cublasLtMatrixLayout_t>(layout);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) {
    delete reinterpret_cast<Layout *>(l);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void *value,
                                                size_t size) {
    Layout *l = reinterpret_cast<Layout *>(layout);
    switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
        return set(&l->order, value, size);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
        return set(&l->batch, value, size);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
        return set(&l->stride, value, size);
    default:
        die("cublasLtMatrixLayoutSetAttribute: attribute %d is not emulated", (int)attribute);
    }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p) {
    *p = reinterpret_cast<cublasLtMatmulPreference_t>(new Preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) {
    delete reinterpret_cast<Preference *>(p);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t size) {
    if (attribute != CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
        return CUBLAS_STATUS_SUCCESS; // only limits the choice
    return set(&reinterpret_cast<Preference *>(p)->workspace, value, size);
}

// One algorithm, which wants a quarter of the workspace.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t product,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[], int *found) {
    *found = 0;
    if (wanted < 1) return CUBLAS_STATUS_INVALID_VALUE;
    cublasStatus_t status = supported(*product_of(product), layout_of(a), layout_of(b), layout_of(c), layout_of(d));
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    memset(&results[0], 0, sizeof results[0]);
    results[0].state = CUBLAS_STATUS_SUCCESS;
    results[0].workspaceSize = reinterpret_cast<Preference *>(preference)->workspace / 4;
    results[0].algo.data[0] = results[0].workspaceSize;
    results[0].wavesCount = 1;
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t product, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t la, const void *b, cublasLtMatrixLayout_t lb, const void *beta,
                              const void *c, cublasLtMatrixLayout_t lc, void *d, cublasLtMatrixLayout_t ld,
                              const cublasLtMatmulAlgo_t *algorithm, void *workspace, size_t workspace_bytes,
                              cudaStream_t stream) {
    Entry entry;
    Call call = {*product_of(product), 0, 0, a, b, c, d, layout_of(la), layout_of(lb), layout_of(lc),
                 layout_of(ld)};
    cublasStatus_t status = supported(call.product, call.la, call.lb, call.lc, call.ld);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    size_t wanted = algorithm ? (size_t)algorithm->data[0] : 0;
    if (workspace_bytes < wanted) return CUBLAS_STATUS_INVALID_VALUE;
    bool f64 = call.product.scale == CUDA_R_64F;
    call.alpha = f64 ? *static_cast<const double *>(alpha) : (double)*static_cast<const float *>(alpha);
    call.beta = f64 ? *static_cast<const double *>(beta) : (double)*static_cast<const float *>(beta);
    reachable("A", call.la, a), reachable("B", call.lb, b), reachable("D", call.ld, d);
    if (call.beta != 0) reachable("C", call.lc, c);
    if (call.product.epilogue == CUBLASLT_EPILOGUE_BIAS &&
        !memory_is_device(call.product.bias, call.ld.rows * size_of(call.ld.type)))
        die("cublasLtMatmul: the bias is not within device memory");
    if (wanted && !memory_is_device(workspace, wanted))
        die("cublasLtMatmul: the workspace is not within device memory");
    size_t dirty = wanted < 4096 ? wanted : 4096; // whoever keeps something in it will lose it
    stream_submit(stream, [=] {
        if (dirty) memset(workspace, POISON, dirty);
        if (f64) call_run<double>(call);
        else call_run<float>(call);
    });
    return CUBLAS_STATUS_SUCCESS;
}
}

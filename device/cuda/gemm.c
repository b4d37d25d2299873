// GEMM by cuBLASLt, except for symmetric GEMMs for which our own kernel is assumed to be faster (device/cuda/syrk.h).
//
// cuBLASLt is column-major: a row-major matrix is the column-major matrix of its transpose. So C = op(A) op(B) becomes
// C^T = op(B)^T op(A)^T: the operands are swapped and keep their transpose flags.
#include "device/cuda/gemm.h"

#include "device/cuda/check.h"
#include "device/cuda/memory.h"
#include "device/cuda/syrk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Everything that the choice of the algorithm depends on; of the addresses only their alignment, up to 16 bytes.
typedef struct {
    int64_t m, n, k, lda, ldb, ldc, stride_a, stride_b, stride_c, batch;
    int32_t type, c_type, transpose_a, transpose_b, bias, beta;
    uint32_t align_a, align_b, align_c, align_c_in;
} Key;

typedef struct Plan Plan;
struct Plan {
    Key key;
    cublasLtMatmulDesc_t matmul;
    cublasLtMatrixLayout_t a, b, c; // swapped: a is our B, b is our A
    cublasLtMatmulAlgo_t algorithm;
    Plan *next;
};

enum { BUCKETS = 256 };
struct GemmPlans {
    Plan *buckets[BUCKETS];
};

static void check(cublasStatus_t status, const char *call, const Key *key) {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    fprintf(stderr,
            "error: cuBLASLt failed in %s with status %d for a GEMM of %lld x %lld x %lld in %s; try another "
            "version of the library (POLAR_CUDA_LIBRARIES=DIR)\n",
            call, (int)status, (long long)key->m, (long long)key->n, (long long)key->k, type_name((Type)key->type));
    error_exit();
}
#define CHECK(call) check(lib->call, #call, key)

static cudaDataType cuda_type(int32_t type) {
    return type == TYPE_F64 ? CUDA_R_64F : type == TYPE_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

bool cuda_gemm_open(CudaDevice *d, Error *err) {
    cublasStatus_t status = d->lib->cublasLtCreate(&d->blas);
    if (status != CUBLAS_STATUS_SUCCESS)
        return error_set(
            err, "cuBLASLt failed to initialize on %s (status %d): out of GPU memory, or driver too old for %s?",
            d->base.name, (int)status, d->lib->description);
    d->plans = calloc(1, sizeof *d->plans);
    ASSERT(d->plans != NULL);
    return true;
}

void cuda_gemm_close(CudaDevice *d) {
    for (int i = 0; i < BUCKETS; i++)
        for (Plan *p = d->plans->buckets[i], *next; p; p = next) {
            next = p->next;
            d->lib->cublasLtMatmulDescDestroy(p->matmul);
            d->lib->cublasLtMatrixLayoutDestroy(p->a);
            d->lib->cublasLtMatrixLayoutDestroy(p->b);
            d->lib->cublasLtMatrixLayoutDestroy(p->c);
            free(p);
        }
    free(d->plans);
    d->lib->cublasLtDestroy(d->blas);
}

// The layout of a column-major (rows, cols) matrix.
static cublasLtMatrixLayout_t layout(const CudaLibraries *lib, const Key *key, int32_t type, int64_t rows,
                                     int64_t cols, int64_t ld, int64_t stride) {
    cublasLtMatrixLayout_t l;
    int32_t batch = (int32_t)key->batch;
    CHECK(cublasLtMatrixLayoutCreate(&l, cuda_type(type), (uint64_t)rows, (uint64_t)cols, ld));
    if (batch > 1) {
        CHECK(cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch));
        CHECK(cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                                               sizeof stride));
    }
    return l;
}

static void create_descriptors(const CudaLibraries *lib, Plan *p, const void *bias) {
    const Key *key = &p->key;
    bool f64 = key->type == TYPE_F64, ta = key->transpose_a, tb = key->transpose_b;
    cublasOperation_t first = tb ? CUBLAS_OP_T : CUBLAS_OP_N, second = ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    // Plain fp32 for F32: no TF32, which rounds the inputs to 11 bits.
    CHECK(cublasLtMatmulDescCreate(&p->matmul, f64 ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                                   f64 ? CUDA_R_64F : CUDA_R_32F));
    CHECK(cublasLtMatmulDescSetAttribute(p->matmul, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first));
    CHECK(cublasLtMatmulDescSetAttribute(p->matmul, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second));
    if (key->bias) { // one bias per column-major row, which is our column
        cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        CHECK(cublasLtMatmulDescSetAttribute(p->matmul, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
        CHECK(cublasLtMatmulDescSetAttribute(p->matmul, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
    }
    p->a = layout(lib, key, key->type, tb ? key->k : key->n, tb ? key->n : key->k, key->ldb, key->stride_b);
    p->b = layout(lib, key, key->type, ta ? key->m : key->k, ta ? key->k : key->m, key->lda, key->stride_a);
    p->c = layout(lib, key, key->c_type, key->n, key->m, key->ldc, key->stride_c);
}

// Selects the first algorithm of the library's heuristic. Split-K partial sums may be reduced in the workspace in fixed
// order, but not by atomics, so that results are deterministic.
static void choose_algorithm(const CudaDevice *d, Plan *p) {
    const CudaLibraries *lib = d->lib;
    const Key *key = &p->key;
    const size_t workspace = CUDA_GEMM_WORKSPACE;
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const struct {
        cublasLtMatmulPreferenceAttributes_t name;
        const void *value;
        size_t size;
    } preferences[] = {
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace},
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof reductions},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &key->align_b, sizeof key->align_b},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &key->align_a, sizeof key->align_a},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &key->align_c_in, sizeof key->align_c_in},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &key->align_c, sizeof key->align_c},
    };
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t result;
    int found = 0;
    CHECK(cublasLtMatmulPreferenceCreate(&preference));
    for (size_t i = 0; i < sizeof preferences / sizeof *preferences; i++)
        CHECK(cublasLtMatmulPreferenceSetAttribute(preference, preferences[i].name, preferences[i].value,
                                                   preferences[i].size));
    CHECK(
        cublasLtMatmulAlgoGetHeuristic(d->blas, p->matmul, p->a, p->b, p->c, p->c, preference, 1, &result, &found));
    check(found == 1 ? result.state : CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmulAlgoGetHeuristic (no algorithm)",
          key);
    lib->cublasLtMatmulPreferenceDestroy(preference);
    p->algorithm = result.algo;
}

static Plan *find_plan(CudaDevice *d, const Key *key, const void *bias) {
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < sizeof *key; i++) hash = (hash ^ ((const unsigned char *)key)[i]) * 1099511628211u;
    Plan **bucket = &d->plans->buckets[(hash ^ hash >> 32) % BUCKETS], *p = *bucket;
    while (p && memcmp(&p->key, key, sizeof *key) != 0) p = p->next;
    if (p) return p;
    p = calloc(1, sizeof *p);
    ASSERT(p != NULL);
    p->key = *key;
    create_descriptors(d->lib, p, bias);
    choose_algorithm(d, p);
    p->next = *bucket;
    return *bucket = p;
}

// The alignment, up to 16 bytes, of the address and of the batch stride.
static uint32_t alignment(const void *address, int64_t stride, Type type) {
    uint64_t bits = (uint64_t)(uintptr_t)address | (uint64_t)stride * type_size(type) | 16;
    return (uint32_t)(bits & -bits);
}

static void *workspace_of(Stream *stream) {
    CudaStream *s = cuda_stream_state(stream);
    if (s->gemm_workspace == NULL)
        s->gemm_workspace = cuda_alloc_or_exit(stream, CUDA_GEMM_WORKSPACE, "the GEMM workspace");
    return s->gemm_workspace;
}

static void multiply(Stream *stream, const Gemm *g) {
    CudaDevice *d = cuda_device(stream->device);
    const CudaLibraries *lib = d->lib;
    int64_t batch = g->batch ? g->batch : 1;
    bool many = batch > 1, separate_c_in = g->c_in && g->beta != 0;
    int64_t stride_a = many ? g->stride_a : 0, stride_b = many ? g->stride_b : 0, stride_c = many ? g->stride_c : 0;
    const void *c_in = separate_c_in ? g->c_in : g->c;
    const Key gemm_key = {.m = g->m,
                          .n = g->n,
                          .k = g->k,
                          .lda = g->lda,
                          .ldb = g->ldb,
                          .ldc = g->ldc,
                          .stride_a = stride_a,
                          .stride_b = stride_b,
                          .stride_c = stride_c,
                          .batch = batch,
                          .type = (int32_t)g->type,
                          .c_type = (int32_t)g->c_type,
                          .transpose_a = g->transpose_a,
                          .transpose_b = g->transpose_b,
                          .bias = g->bias != NULL,
                          .beta = g->beta == 0    ? 0
                                  : separate_c_in ? 2
                                                  : 1,
                          .align_a = alignment(g->a, stride_a, g->type),
                          .align_b = alignment(g->b, stride_b, g->type),
                          .align_c = alignment(g->c, stride_c, g->c_type),
                          .align_c_in = alignment(c_in, stride_c, g->c_type)};
    const Key *key = &gemm_key;
    Plan *p = find_plan(d, key, g->bias);
    float alpha = (float)g->alpha, beta = (float)g->beta;
    bool f64 = g->type == TYPE_F64;
    if (g->bias)
        CHECK(
            cublasLtMatmulDescSetAttribute(p->matmul, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &g->bias, sizeof g->bias));
    CHECK(cublasLtMatmul(d->blas, p->matmul, f64 ? (const void *)&g->alpha : &alpha, g->b, p->a, g->a, p->b,
                         f64 ? (const void *)&g->beta : &beta, c_in, p->c, g->c, p->c, &p->algorithm,
                         workspace_of(stream), CUDA_GEMM_WORKSPACE, (cudaStream_t)stream->handle));
}

void cuda_gemm(Stream *stream, const Gemm *g) {
    ASSERT(g->type == g->c_type || (g->type == TYPE_BF16 && g->c_type == TYPE_F32));
    ASSERT(g->type == TYPE_F32 || g->type == TYPE_F64 || g->type == TYPE_BF16);
    ASSERT(g->bias == NULL || (g->beta == 0 && g->type != TYPE_F64)); // cuBLASLt has no bias for doubles
    ASSERT(!g->symmetric || g->m == g->n);
    ASSERT(g->k > 0 && g->batch <= INT32_MAX);
    if (g->m == 0 || g->n == 0) return;
    if (cuda_syrk_is_supported(g) &&
        cuda_syrk_is_faster(cuda_device(stream->device)->capability, g->m, g->k, g->batch ? g->batch : 1)) {
        cuda_syrk(stream, g);
        return;
    }
    if (g->bias == NULL || g->batch <= 1) {
        multiply(stream, g);
        return;
    }
    Gemm one = *g; // the bias epilogue is used without batches
    one.batch = 1;
    for (int64_t i = 0; i < g->batch; i++) {
        one.a = (const char *)g->a + (size_t)(i * g->stride_a) * type_size(g->type);
        one.b = (const char *)g->b + (size_t)(i * g->stride_b) * type_size(g->type);
        one.c = (char *)g->c + (size_t)(i * g->stride_c) * type_size(g->c_type);
        multiply(stream, &one);
    }
}

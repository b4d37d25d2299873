// test_emulator_ptx.cu - the warp's instructions of device/cuda/ptx.h as the emulator has them, against plain products
// and by the layouts that the PTX ISA gives; copies in the background are not there before the wait.
#include "device/cuda/ptx.h"

#include "tests/emulator/test_fixture.h"

typedef __nv_bfloat16 Half;

static uint32_t pair_of(Half low, Half high) {
    uint16_t bits[2];
    memcpy(&bits[0], &low, 2), memcpy(&bits[1], &high, 2);
    return (uint32_t)bits[1] << 16 | bits[0];
}

// ---- mma: fragments as the PTX ISA's figures have them, one by one ----

__global__ void mma_kernel(float *d, const Half *a, const Half *b) { // d (16, 8), a (16, 16), b (16, 8), row-major
    const int group = threadIdx.x >> 2, in_group = threadIdx.x % 4;
    uint32_t fa[4], fb[2];
    float fd[4];
    for (int i = 0; i < 8; i += 2) { // "row = groupID for ai where 0 <= i < 2 || 4 <= i < 6, groupID + 8 otherwise"
        int row = i < 2 || (4 <= i && i < 6) ? group : group + 8;
        int col = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
        fa[i / 2] = pair_of(a[row * 16 + col], a[row * 16 + col + 1]);
    }
    for (int i = 0; i < 4;
         i += 2) { // "row = threadID_in_group * 2 + (i & 1), + 8 for bi where i >= 2; col = groupID"
        int row = in_group * 2 + (i >= 2 ? 8 : 0);
        fb[i / 2] = pair_of(b[row * 8 + group], b[(row + 1) * 8 + group]);
    }
    for (int i = 0; i < 4; i++) fd[i] = 0.5f;
    mma_16816(fd, fa, fb[0], fb[1]);
    for (int i = 0; i < 4; i++) { // "row = groupID for ci where i < 2; col = threadID_in_group * 2 + (i & 1)"
        int row = i < 2 ? group : group + 8, col = in_group * 2 + (i & 1);
        d[row * 8 + col] = fd[i];
    }
}

static void test_mma(void **) {
    std::vector<Half> a(256), b(128);
    for (int i = 0; i < 256; i++) a[(size_t)i] = __float2bfloat16((float)(i * 37 % 101 - 50));
    for (int i = 0; i < 128; i++) b[(size_t)i] = __float2bfloat16((float)(i * 53 % 97 - 48));
    Half *da = device_array(a), *db = device_array(b);
    float *dd = device_array<float>(128);
    CUDA_LAUNCH(mma_kernel, 1, 32, 0, nullptr, dd, da, db);
    std::vector<float> d = host_array(dd, 128);
    for (int row = 0; row < 16; row++)
        for (int col = 0; col < 8; col++) {
            float sum = 0.5f; // exact: small integers
            for (int k = 0; k < 16; k++)
                sum += __bfloat162float(a[(size_t)(row * 16 + k)]) * __bfloat162float(b[(size_t)(k * 8 + col)]);
            assert_true(d[(size_t)(row * 8 + col)] == sum);
        }
    must(cudaFree(da)), must(cudaFree(db)), must(cudaFree(dd));
}

// ---- a product of tiles the way kernels do it: cp.async, ldmatrix, mma ----

enum { M = 16, NN = 16, K = 32, PAD = 8 };

// d (M, NN) = a (M, K) b (K, NN). b comes by rows, so that its fragments need the transposing load.
template <int WAIT> __global__ void tile_kernel(float *d, const Half *a, const Half *b) {
    CUDA_SHARED(Half, shared);
    Half *sa = shared, *sb = shared + M * (K + PAD);
    const int lane = threadIdx.x % 32;
    for (int i = threadIdx.x; i < M * K / 8; i += blockDim.x)
        cp_async_16(sa + i / (K / 8) * (K + PAD) + i % (K / 8) * 8, a + i * 8);
    cp_async_commit();
    for (int i = threadIdx.x; i < K * NN / 8; i += blockDim.x)
        cp_async_16(sb + i / (NN / 8) * (NN + PAD) + i % (NN / 8) * 8, b + i * 8);
    cp_async_commit();
    cp_async_wait<WAIT>();
    __syncthreads();
    float sums[2][4] = {};
    for (int k = 0; k < K; k += 16) {
        uint32_t fa[4], fb[4];
        ldmatrix_x4(fa, sa + lane % 16 * (K + PAD) + k + lane / 16 * 8);
        ldmatrix_x4_trans(fb, sb + (k + lane % 16) * (NN + PAD) + lane / 16 * 8);
        mma_16816(sums[0], fa, fb[0], fb[1]);
        mma_16816(sums[1], fa, fb[2], fb[3]);
    }
    for (int half = 0; half < 2; half++)
        for (int i = 0; i < 4; i++)
            d[(lane / 4 + (i >= 2 ? 8 : 0)) * NN + half * 8 + lane % 4 * 2 + i % 2] = sums[half][i];
}

template <int WAIT> static std::vector<float> tile_run() {
    std::vector<Half> a(M * K), b(K * NN);
    for (size_t i = 0; i < a.size(); i++) a[i] = __float2bfloat16((float)((int)(i * 37 % 31) - 15));
    for (size_t i = 0; i < b.size(); i++) b[i] = __float2bfloat16((float)((int)(i * 53 % 29) - 14));
    Half *da = device_array(a), *db = device_array(b);
    float *dd = device_array<float>(M * NN);
    CUDA_LAUNCH(tile_kernel<WAIT>, 1, 32, (M * (K + PAD) + K * (NN + PAD)) * sizeof(Half), nullptr, dd, da, db);
    must(cudaGetLastError());
    std::vector<float> d = host_array(dd, M * NN);
    if (WAIT == 0)
        for (int row = 0; row < M; row++)
            for (int col = 0; col < NN; col++) {
                float sum = 0;
                for (int k = 0; k < K; k++)
                    sum += __bfloat162float(a[(size_t)(row * K + k)]) * __bfloat162float(b[(size_t)(k * NN + col)]);
                assert_true(d[(size_t)(row * NN + col)] == sum);
            }
    must(cudaFree(da)), must(cudaFree(db)), must(cudaFree(dd));
    return d;
}

static void test_tiles(void **) {
    assert_int_equal(different_results(tile_run<0>), 1);
    for (float x : tile_run<1>()) assert_true(isnan(x)); // the second group is not there yet
}

// ---- ldmatrix: which element goes where ----

__global__ void load_kernel(uint32_t *out) { // out (2, 32, 4): plain, transposed
    CUDA_SHARED_ARRAY(uint4, memory, 32);
    uint16_t *rows = reinterpret_cast<uint16_t *>(memory); // (matrix, row, column): 64 m + 8 r + c
    for (int i = threadIdx.x; i < 256; i += 32) rows[i] = (uint16_t)i;
    __syncthreads();
    uint32_t r[4];
    ldmatrix_x4(r, rows + threadIdx.x * 8);
    for (int i = 0; i < 4; i++) out[threadIdx.x * 4 + i] = r[i];
    ldmatrix_x4_trans(r, rows + threadIdx.x * 8);
    for (int i = 0; i < 4; i++) out[128 + threadIdx.x * 4 + i] = r[i];
}

static void test_ldmatrix(void **) {
    uint32_t *out = device_array<uint32_t>(256);
    CUDA_LAUNCH(load_kernel, 1, 32, 0, nullptr, out);
    std::vector<uint32_t> r = host_array(out, 256);
    for (uint32_t lane = 0; lane < 32; lane++)
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t row = lane / 4, col = lane % 4 * 2;
            uint32_t plain = 64 * i + 8 * row + col, across = 64 * i + 8 * col + row;
            assert_int_equal(r[lane * 4 + i], (plain + 1) << 16 | plain);
            assert_int_equal(r[128 + lane * 4 + i], (across + 8) << 16 | across);
        }
    must(cudaFree(out));
}

// ---- cp.async ----

__global__ void
copy_kernel(float *out,
            const float *in) { // out (4, 4): before the wait, after it, zeros, and 8 bytes of the second
    CUDA_SHARED_ARRAY(float4, memory, 3);
    float *values = reinterpret_cast<float *>(memory);
    for (int i = 0; i < 12; i++) values[i] = 7;
    cp_async_16(values, in);
    cp_async_16(values + 4, in, 0);
    cp_async_16(values + 8, in + 4, 8);
    cp_async_commit();
    for (int i = 0; i < 4; i++) out[i] = values[i];
    cp_async_wait<0>();
    for (int i = 0; i < 12; i++) out[4 + i] = values[i];
}

__global__ void bad_copy_kernel(float *out, const float *in, int kind) {
    CUDA_SHARED_ARRAY(float4, memory, 4);
    float *values = reinterpret_cast<float *>(memory);
    uint32_t r[4];
    if (kind == 0) cp_async_16(values + 1, in);
    if (kind == 1) cp_async_16(out, in);
    if (kind == 2) cp_async_16(values, in + 8);
    if (kind == 3) ldmatrix_x4(r, values + 1);
    if (kind == 4) ldmatrix_x4(r, in);
    if (kind == 5 && threadIdx.x < 31) ldmatrix_x4(r, values);
    *out = (float)r[0];
}

static void test_copies(void **) {
    float *in = device_array(std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}), *out = device_array<float>(16);
    CUDA_LAUNCH(copy_kernel, 1, 1, 0, nullptr, out, in);
    std::vector<float> seen = host_array(out, 16);
    for (size_t i = 0; i < 4; i++) {
        assert_true(isnan(seen[i]) && seen[4 + i] == (float)(i + 1) && seen[8 + i] == 0);
        assert_true(seen[12 + i] == (i < 2 ? (float)(i + 5) : 0));
    }
    const char *words[] = {"no multiple of 16", "outside of shared memory", "outside of device memory",
                           "no multiple of 16", "outside of shared memory", "thread (31,0,0), which has ended"};
    for (int kind = 0; kind < 6; kind++)
        expect_death(words[kind], [=] {
            CUDA_LAUNCH(bad_copy_kernel, 1, 32, 0, nullptr, out, in, kind);
            cudaDeviceSynchronize();
        });
    must(cudaFree(in)), must(cudaFree(out));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mma),
        cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_ldmatrix),
        cmocka_unit_test(test_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

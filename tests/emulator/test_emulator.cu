// test_emulator.cu - the CUDA emulator itself: kernels that are right run, in any order of threads with the same
// bits, and each kind of mistake it is there to find, planted, is found.
#include "tests/emulator/test_fixture.h"

#ifdef __SANITIZE_ADDRESS__
static const bool ASAN = true;
#else
static const bool ASAN = false;
#endif

// ---- what must work ----

enum { N = 1000, THREADS = 96 };

// Sums of blocks: over the grid, within warps, across warps. With SYNC false a barrier is missing.
template <bool SYNC> __global__ void __launch_bounds__(THREADS) sum_kernel(float *out, const float *in, int n) {
    CUDA_SHARED_ARRAY(float, partial, THREADS / 32);
    float sum = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += __ldg(in + i);
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, bits);
    if (threadIdx.x % warpSize == 0) partial[threadIdx.x / warpSize] = sum;
    if (SYNC) __syncthreads();
    if (threadIdx.x == 0) {
        float total = 0;
        for (int w = 0; w < THREADS / 32; w++) total += partial[w];
        out[blockIdx.x] = total;
    }
}

template <bool SYNC> static std::vector<float> sum_run() {
    const int blocks = 3;
    std::vector<float> values(N);
    for (int i = 0; i < N; i++) values[(size_t)i] = 1.0f / (float)(i + 1);
    float *in = device_array(values), *out = device_array<float>(blocks);
    CUDA_LAUNCH(sum_kernel<SYNC>, blocks, THREADS, 0, nullptr, out, in, N);
    must(cudaGetLastError());
    std::vector<float> result = host_array(out, blocks);
    must(cudaFree(in)), must(cudaFree(out));
    return result;
}

static void test_sum(void **) {
    std::vector<float> result = sum_run<true>();
    double sum = 0, expected = 0;
    for (float x : result) sum += (double)x;
    for (int i = 0; i < N; i++) expected += (double)(1.0f / (float)(i + 1));
    assert_true(fabs(sum - expected) < 1e-5);
    assert_int_equal(different_results(sum_run<true>), 1);
}

// A transpose through dynamic shared memory, blocks of two dimensions. With SYNC false a barrier is missing.
template <class T, bool SYNC> __global__ void transpose_kernel(T *out, const T *in, int rows, int cols) {
    CUDA_SHARED(T, tile);
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x < cols && y < rows) tile[threadIdx.y * (blockDim.x + 1) + threadIdx.x] = in[y * cols + x];
    if (SYNC) __syncthreads();
    const int tx = blockIdx.x * blockDim.x + threadIdx.y, ty = blockIdx.y * blockDim.y + threadIdx.x;
    if (tx < cols && ty < rows) out[tx * rows + ty] = tile[threadIdx.x * (blockDim.x + 1) + threadIdx.y];
}

template <bool SYNC> static std::vector<float> transpose_run() {
    const int rows = 13, cols = 21, side = 8;
    std::vector<float> values((size_t)(rows * cols));
    for (size_t i = 0; i < values.size(); i++) values[i] = (float)i;
    float *in = device_array(values), *out = device_array<float>(values.size());
    CUDA_LAUNCH((transpose_kernel<float, SYNC>), dim3(3, 2), dim3(side, side), side * (side + 1) * sizeof(float),
                nullptr, out, in, rows, cols);
    std::vector<float> result = host_array(out, values.size());
    must(cudaFree(in)), must(cudaFree(out));
    return result;
}

static void test_transpose(void **) {
    std::vector<float> result = transpose_run<true>();
    for (int x = 0; x < 21; x++)
        for (int y = 0; y < 13; y++) assert_true(result[(size_t)(x * 13 + y)] == (float)(y * 21 + x));
    assert_int_equal(different_results(transpose_run<true>), 1);
}

// Every collective once, on a warp of 32 and one of 16 threads; bit i of out[thread] says that its i-th was right.
__global__ void collectives_kernel(unsigned *out) {
    const int lane = threadIdx.x % 32, size = threadIdx.x < 32 ? 32 : 16;
    const unsigned mask = size == 32 ? 0xffffffffu : 0xffffu;
    unsigned right = 0;
    right |= (__shfl_sync(mask, lane, 5) == 5) << 0;
    right |= (__shfl_sync(mask, lane, 3, 8) == lane / 8 * 8 + 3) << 1;
    right |= (__shfl_xor_sync(mask, (double)lane, 3) == (double)(lane ^ 3)) << 2;
    right |= (__shfl_up_sync(mask, lane, 2, 8) == (lane % 8 < 2 ? lane : lane - 2)) << 3;
    right |= (__shfl_down_sync(mask, lane, 2, 8) == (lane % 8 >= 6 ? lane : lane + 2)) << 4;
    right |= (__ballot_sync(mask, lane % 2) == (0xaaaaaaaau & mask)) << 5;
    right |= (__any_sync(mask, lane == 3) && !__any_sync(mask, lane > 31)) << 6;
    right |= (__all_sync(mask, lane < 32) && !__all_sync(mask, lane != 1)) << 7;
    right |= (__reduce_add_sync(mask, lane) == size * (size - 1) / 2) << 8;
    right |= (__reduce_max_sync(mask, -lane) == 0 && __reduce_min_sync(mask, -lane) == 1 - size) << 9;
    right |= (__reduce_xor_sync(mask, 1u << lane) == mask) << 10;
    right |= (__syncthreads_count(threadIdx.x > 3) == (int)blockDim.x - 4) << 11;
    right |= (__syncthreads_or(threadIdx.x == 40) && !__syncthreads_or(0)) << 12;
    right |= (__syncthreads_and(1) && !__syncthreads_and(threadIdx.x != 7)) << 13;
    if (lane < 8) right |= (__shfl_xor_sync(0xffu, lane, 1) == (lane ^ 1)) << 14; // a part of the warp
    __syncwarp(mask);
    if (lane >= 8) right |= 1u << 14;
    right |= (__bfloat162float(__shfl_xor_sync(mask, __float2bfloat16((float)lane), 1)) == (float)(lane ^ 1)) << 15;
    out[threadIdx.x] = right;
}

static void test_collectives(void **) {
    assert_int_equal(different_results([] {
                         unsigned *out = device_array<unsigned>(48);
                         CUDA_LAUNCH(collectives_kernel, 1, 48, 0, nullptr, out);
                         for (unsigned right : host_array(out, 48)) assert_int_equal(right, 0xffff);
                         must(cudaFree(out));
                         return std::vector<float>();
                     }),
                     1);
}

// ---- mistakes in kernels ----

static void test_missing_barrier(void **) {
    assert_true(different_results(sum_run<false>) > 1);
    assert_true(different_results(transpose_run<false>) > 1);
}

__global__ void stale_kernel(float *out) {
    CUDA_SHARED_ARRAY(float, values, 32);
    if (blockIdx.x == 0) values[threadIdx.x] = 1; // and not in the other blocks
    __syncthreads();
    out[blockIdx.x * blockDim.x + threadIdx.x] = values[threadIdx.x];
}

static void test_uninitialized(void **) {
    float *fresh = device_array<float>(3), *out = device_array<float>(64);
    for (float x : host_array(fresh, 3)) assert_true(isnan(x));
    CUDA_LAUNCH(stale_kernel, 2, 32, 0, nullptr, out);
    std::vector<float> result = host_array(out, 64);
    for (size_t i = 0; i < 64; i++) assert_true(isnan(result[i]) == (i >= 32));
    must(cudaFree(fresh)), must(cudaFree(out));
}

__global__ void write_kernel(float *out, int at) {
    out[at] = 1;
}
__global__ void read_kernel(float *out, const float *in, int at) {
    *out = in[at];
}

__global__ void shared_write_kernel(float *out, int at) {
    CUDA_SHARED(float, values);
    values[at] = 1;
    *out = values[0];
}

__global__ void shared_array_write_kernel(float *out, int at) {
    CUDA_SHARED_ARRAY(float, values, 5);
    CUDA_SHARED_ARRAY(float, others, 5);
    float *first = values, *second = others; // pointers: UndefinedBehaviorSanitizer knows the sizes of arrays
    second[at] = first[at] = 1;
    *out = values[0] + others[0];
}

struct alignas(16) FourFloats {
    float at[4];
};

__global__ void packed_kernel(float *out, int from, int to) {
    *reinterpret_cast<FourFloats *>(out + to) = *reinterpret_cast<const FourFloats *>(out + from);
}

// An access of 16 bytes that does not stand at a multiple of 16 is an error on a GPU, and no other access is.
static void test_misaligned(void **) {
    const char *words = "misaligned address"; // UndefinedBehaviorSanitizer's too
    float *out = device_array(std::vector<float>(16, 1));
    expect_death(words, [=] {
        CUDA_LAUNCH(packed_kernel, 1, 1, 0, nullptr, out, 1, 8);
        cudaDeviceSynchronize();
    });
    expect_death(words, [=] {
        CUDA_LAUNCH(packed_kernel, 1, 1, 0, nullptr, out, 0, 10);
        cudaDeviceSynchronize();
    });
    CUDA_LAUNCH(packed_kernel, 1, 1, 0, nullptr, out, 4, 8);
    must(cudaDeviceSynchronize());
    must(cudaFree(out));
}

static void test_out_of_bounds(void **) {
    const char *wrote = ASAN ? "AddressSanitizer" : "wrote outside of an allocation of 12 bytes";
    const char *shared = ASAN ? "AddressSanitizer" : "wrote outside of shared array";
    float *memory = device_array<float>(3), *in = device_array<float>(3);
    for (int at : {-1, 3, 4})
        expect_death(wrote, [=] {
            CUDA_LAUNCH(write_kernel, 1, 1, 0, nullptr, memory, at);
            cudaDeviceSynchronize();
        });
    for (int at : {-1, 5})
        expect_death(shared, [=] {
            CUDA_LAUNCH(shared_write_kernel, 1, 1, 5 * sizeof(float), nullptr, memory, at);
            cudaDeviceSynchronize();
        });
    for (int at : {-1, 5})
        expect_death(shared, [=] {
            CUDA_LAUNCH(shared_array_write_kernel, 1, 1, 0, nullptr, memory, at);
            cudaDeviceSynchronize();
        });
    if (ASAN) // a read is found by what it gives elsewhere: NaN
        expect_death("AddressSanitizer", [=] {
            CUDA_LAUNCH(read_kernel, 1, 1, 0, nullptr, memory, in, 3);
            cudaDeviceSynchronize();
        });
    else {
        must(cudaMemset(in, 0, 12));
        CUDA_LAUNCH(read_kernel, 1, 1, 0, nullptr, memory, in, 3);
        assert_true(isnan(host_array(memory, 1)[0]));
    }
    must(cudaFree(memory)), must(cudaFree(in));
}

__global__ void lonely_barrier_kernel(int kind) {
    if (kind == 0 && threadIdx.x == 5) return;
    if (kind == 1 && threadIdx.x < 32) __shfl_sync(0xffffffffu, 1, 0);
    if (kind == 2 && threadIdx.x < 7) __syncthreads();
    else if (kind == 2) __syncthreads();
    if (kind == 3 && threadIdx.x == 8) return;
    if (kind == 3 && threadIdx.x < 32) __shfl_sync(0xffffffffu, 1, 0);
    if (kind == 4 && threadIdx.x < 32) __shfl_sync(0xffffu, 1, 0);
    if (kind == 5 && threadIdx.x < 4) __shfl_sync(0xfu, 1, 4);
    if (kind == 6 && threadIdx.x < 2) __syncwarp(threadIdx.x == 0 ? 3u : 7u);
    if (kind == 7 && threadIdx.x >= 32) __syncwarp();
    __syncthreads();
}

static void test_lonely_threads(void **) {
    const char *words[] = {
        "thread (0,0,0): waits at __syncthreads",
        NULL,
        "comes to __syncthreads",
        "thread (0,0,0): waits at __shfl_sync",
        "a mask, 0x0000ffff, that does not name it",
        "takes the value of lane 4, which is not in the mask",
        "with another mask",
        "a mask, 0xffffffff, of more threads than the 8 of its warp",
    };
    for (int kind = 0; kind < 8; kind++) {
        auto run = [=] {
            CUDA_LAUNCH(lonely_barrier_kernel, 1, 40, 0, nullptr, kind);
            cudaDeviceSynchronize();
        };
        if (words[kind]) expect_death(words[kind], run);
        else run();
    }
}

static void test_refused_launches(void **) {
    float *out = device_array<float>(1);
    CUDA_LAUNCH(write_kernel, 1, 1025, 0, nullptr, out, 0);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
    CUDA_LAUNCH(write_kernel, 0, 32, 0, nullptr, out, 0);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
    CUDA_LAUNCH(write_kernel, dim3(1, 65536), 32, 0, nullptr, out, 0);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
    CUDA_LAUNCH(write_kernel, 1, dim3(1, 1, 65), 0, nullptr, out, 0);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
    CUDA_LAUNCH(shared_write_kernel, 1, 1, 48 * 1024 + 1, nullptr, out, 0);
    assert_int_equal(cudaPeekAtLastError(), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    const int most = 99 * 1024; // of a block on sm_86, sm_89 and sm_120; other cards have more
    assert_int_equal(
        cudaFuncSetAttribute(shared_write_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most + 1),
        cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    must(cudaFuncSetAttribute(shared_write_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most));
    CUDA_LAUNCH(shared_write_kernel, 1, 1, most, nullptr, out, most / 4 - 1);
    must(cudaGetLastError());
    assert_true(isnan(host_array(out, 1)[0]));
    must(cudaFree(out));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sum),
        cmocka_unit_test(test_transpose),
        cmocka_unit_test(test_collectives),
        cmocka_unit_test(test_missing_barrier),
        cmocka_unit_test(test_uninitialized),
        cmocka_unit_test(test_misaligned),
        cmocka_unit_test(test_out_of_bounds),
        cmocka_unit_test(test_lonely_threads),
        cmocka_unit_test(test_refused_launches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

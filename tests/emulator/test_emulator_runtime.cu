// test_emulator_runtime.cu - the emulator's runtime: work waits until it is waited for, a missing event shows, what
// CUDA refuses is refused, graphs replay, faults come when they are asked for.
#include "tests/emulator/test_fixture.h"

#include <thread>

enum { N = 64 };

__global__ void add_kernel(float *out, const float *in, float value) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] = in[i] + value;
}

static void add(float *out, const float *in, float value, cudaStream_t stream) {
    CUDA_LAUNCH(add_kernel, 2, N / 2, 0, stream, out, in, value);
}

static cudaStream_t new_stream() {
    cudaStream_t stream;
    must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return stream;
}

static cudaEvent_t new_event() {
    cudaEvent_t event;
    must(cudaEventCreate(&event));
    return event;
}

static bool all_are(const float *device, float value) {
    for (float x : host_array(device, N))
        if (!(x == value)) return false;
    return true;
}

// ---- streams and events ----

static void test_work_waits(void **) {
    float *pinned, *x = device_array<float>(N);
    must(cudaMallocHost((void **)&pinned, N * sizeof(float)));
    assert_true(isnan(pinned[0]));
    for (int i = 0; i < N; i++) pinned[i] = 1;
    must(cudaMemcpyAsync(x, pinned, N * sizeof(float), cudaMemcpyDefault, nullptr));
    for (int i = 0; i < N; i++) pinned[i] = 2; // too early
    add(x, x, 1, nullptr);
    must(cudaDeviceSynchronize());
    assert_true(all_are(x, 3));
    std::vector<float> pageable(N, 5.0f); // is read within the call
    must(cudaMemcpyAsync(x, pageable.data(), N * sizeof(float), cudaMemcpyDefault, nullptr));
    pageable.assign(N, 6.0f);
    assert_true(all_are(x, 5));
    must(cudaFree(x)), must(cudaFreeHost(pinned));
}

// a <- 1 on one stream, b <- a + 1 on another. With EVENTS false nothing keeps them in order.
template <bool EVENTS> static std::vector<float> two_streams_run() {
    cudaStream_t first = new_stream(), second = new_stream();
    cudaEvent_t made = new_event();
    float *zero = device_array(std::vector<float>(N, 0.0f)), *a = device_array<float>(N),
          *b = device_array<float>(N);
    add(a, zero, 1, first);
    if (EVENTS) must(cudaEventRecord(made, first));
    if (EVENTS) must(cudaStreamWaitEvent(second, made, 0));
    add(b, a, 1, second);
    must(cudaStreamSynchronize(second));
    std::vector<float> result = host_array(b, N);
    must(cudaStreamDestroy(first)), must(cudaStreamDestroy(second)), must(cudaEventDestroy(made));
    must(cudaFree(zero)), must(cudaFree(a)), must(cudaFree(b));
    return result;
}

static void test_events(void **) {
    assert_true(two_streams_run<true>()[0] == 2);
    assert_int_equal(different_results(two_streams_run<true>), 1);
    assert_true(different_results(two_streams_run<false>) > 1);
}

// The default stream waits for blocking streams, and they for it; not for others.
static void test_default_stream(void **) {
    auto run = [](unsigned flags) {
        cudaStream_t stream;
        must(cudaStreamCreateWithFlags(&stream, flags));
        float *x = device_array(std::vector<float>(N, 0.0f)), *y = device_array<float>(N),
              *z = device_array<float>(N);
        add(y, x, 1, stream);
        add(z, y, 1, nullptr);
        add(x, z, 1, stream);
        must(cudaStreamSynchronize(stream));
        std::vector<float> result = host_array(x, N);
        must(cudaStreamDestroy(stream)), must(cudaFree(x)), must(cudaFree(y)), must(cudaFree(z));
        return result;
    };
    assert_true(run(cudaStreamDefault)[0] == 3);
    assert_int_equal(different_results([&] { return run(cudaStreamDefault); }), 1);
    assert_true(different_results([&] { return run(cudaStreamNonBlocking); }) > 1);
}

static void test_queries(void **) {
    cudaStream_t stream = new_stream();
    cudaEvent_t from = new_event(), to = new_event();
    float *x = device_array(std::vector<float>(N, 0.0f)), ms;
    must(cudaEventQuery(from)); // never recorded
    must(cudaEventRecord(from, stream));
    for (int i = 0; i < 3; i++) add(x, x, 1, stream);
    must(cudaEventRecord(to, stream));
    assert_int_equal(cudaEventElapsedTime(&ms, from, to), cudaErrorNotReady);
    int asked = 0;
    while (cudaEventQuery(to) == cudaErrorNotReady) assert_true(++asked < 100);
    must(cudaStreamQuery(stream));
    must(cudaGetLastError()); // not ready is no error
    must(cudaEventElapsedTime(&ms, from, to));
    assert_true(ms >= 0);
    must(cudaEventDestroy(from)), must(cudaEventDestroy(to)), must(cudaStreamDestroy(stream)), must(cudaFree(x));
}

static void test_host_function(void **) {
    static int called;
    called = 0;
    must(cudaLaunchHostFunc(
        nullptr, [](void *data) { *static_cast<int *>(data) += 1; }, &called));
    assert_int_equal(called, 0);
    must(cudaStreamSynchronize(nullptr));
    assert_int_equal(called, 1);
}

// ---- memory ----

static void test_memory(void **) {
    size_t before = emulator_memory_used();
    float *x = device_array<float>(N), host[N] = {0};
    assert_int_equal(emulator_memory_used() - before, N * sizeof(float));
    assert_int_equal(cudaMemcpy(x, host, sizeof host, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(host, x, sizeof host + 4, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    assert_int_equal(cudaMemset(x + N, 0, 4), cudaErrorInvalidValue);
    assert_int_equal(cudaFree(x + 1), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    expect_death("the host touches device memory", [=] { *(volatile float *)x = 1; });
    must(cudaFree(x));
    expect_death("add_kernel, block (0,0,0), thread (0,0,0): touches", [=] {
        float *y = device_array<float>(N);
        add(y, x, 1, nullptr); // freed
        cudaDeviceSynchronize();
    });
    assert_int_equal(emulator_memory_used(), before);
}

// Two threads of the host, each with its stream.
static void test_host_threads(void **) {
    float *x = device_array(std::vector<float>(N, 0.0f)), *y = device_array(std::vector<float>(N, 0.0f));
    auto work = [](float *memory) {
        cudaStream_t stream = new_stream();
        for (int i = 0; i < 100; i++) {
            add(memory, memory, 1, stream);
            if (i % 7 == 0) must(cudaStreamSynchronize(stream));
        }
        must(cudaStreamDestroy(stream));
    };
    std::thread other([=] { work(y); });
    work(x);
    other.join();
    assert_true(all_are(x, 100) && all_are(y, 100));
    must(cudaFree(x)), must(cudaFree(y));
}

// ---- graphs ----

// b <- a + 1 and c <- a + 2 side by side, a <- b + c's first; JOIN false: the second branch is never joined again.
static cudaError_t capture(cudaGraph_t *graph, float *a, float *b, float *c, bool join) {
    cudaStream_t first = new_stream(), second = new_stream();
    cudaEvent_t fork = new_event(), done = new_event();
    must(cudaStreamBeginCapture(first, cudaStreamCaptureModeGlobal));
    must(cudaEventRecord(fork, first));
    must(cudaStreamWaitEvent(second, fork, 0));
    add(b, a, 1, first);
    add(c, a, 2, second);
    must(cudaEventRecord(done, second));
    if (join) must(cudaStreamWaitEvent(first, done, 0));
    add(a, c, 10, first);
    cudaError_t result = cudaStreamEndCapture(first, graph);
    must(cudaStreamDestroy(first)), must(cudaStreamDestroy(second));
    must(cudaEventDestroy(fork)), must(cudaEventDestroy(done));
    return result;
}

static void test_graph(void **) {
    assert_int_equal(different_results([] {
                         float *a = device_array(std::vector<float>(N, 0.0f));
                         float *b = device_array<float>(N), *c = device_array<float>(N);
                         cudaGraph_t graph;
                         cudaGraphExec_t program;
                         size_t nodes;
                         must(capture(&graph, a, b, c, true));
                         must(cudaGraphGetNodes(graph, NULL, &nodes));
                         assert_int_equal(nodes, 3);
                         must(cudaDeviceSynchronize());
                         assert_true(all_are(a, 0)); // captured, not done
                         must(cudaGraphInstantiate(&program, graph, 0));
                         must(cudaGraphDestroy(graph));
                         for (int i = 0; i < 3; i++) must(cudaGraphLaunch(program, nullptr));
                         assert_true(all_are(a, 36) && all_are(b, 25));
                         must(cudaGraphExecDestroy(program));
                         must(cudaFree(a)), must(cudaFree(b)), must(cudaFree(c));
                         return std::vector<float>();
                     }),
                     1);
}

static void test_capture_refuses(void **) {
    cudaGraph_t graph;
    float *a = device_array(std::vector<float>(N, 0.0f)), *b = device_array<float>(N), *c = device_array<float>(N);
    assert_int_equal(capture(&graph, a, b, c, false), cudaErrorStreamCaptureUnjoined);
    cudaStream_t stream = new_stream();
    cudaError_t (*mistakes[])(cudaStream_t) = {
        [](cudaStream_t s) { return cudaStreamSynchronize(s); },
        [](cudaStream_t) { return cudaDeviceSynchronize(); },
        [](cudaStream_t) {
            void *memory;
            return cudaMalloc(&memory, 4);
        },
    };
    for (auto mistake : mistakes) {
        must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
        assert_int_equal(mistake(stream), cudaErrorStreamCaptureUnsupported);
        assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    }
    cudaGetLastError();
    must(cudaStreamDestroy(stream)), must(cudaFree(a)), must(cudaFree(b)), must(cudaFree(c));
}

// ---- faults, and the card ----

static void test_out_of_memory(void **) {
    void *memory;
    emulator_fail_alloc(2);
    must(cudaMalloc(&memory, 4));
    must(cudaFree(memory));
    assert_int_equal(cudaMalloc(&memory, 4), cudaErrorMemoryAllocation);
    assert_null(memory);
    assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
    must(cudaMalloc(&memory, 4));
    must(cudaFree(memory));
    size_t available, total;
    emulator_set_memory(1 << 20);
    assert_int_equal(cudaMalloc(&memory, (1 << 20) + 1), cudaErrorMemoryAllocation);
    must(cudaMalloc(&memory, 1 << 19));
    must(cudaMemGetInfo(&available, &total));
    assert_int_equal(total, 1 << 20);
    assert_int_equal(available, 1 << 19);
    must(cudaFree(memory));
    emulator_set_memory((size_t)2 << 30);
    cudaGetLastError();
}

// In a process of its own: the device is of no more use.
static void test_launch_failure(void **) {
    expect_death("as it should", [] {
        float *x = device_array(std::vector<float>(N, 0.0f));
        emulator_fail_launch(2);
        add(x, x, 1, nullptr);
        if (cudaDeviceSynchronize() != cudaSuccess) _exit(0);
        add(x, x, 1, nullptr);
        if (cudaGetLastError() != cudaSuccess) _exit(0); // seen only by who waits
        void *memory;
        if (cudaDeviceSynchronize() == cudaErrorLaunchFailure && cudaGetLastError() == cudaErrorLaunchFailure &&
            cudaMalloc(&memory, 4) == cudaErrorLaunchFailure && cudaDeviceSynchronize() == cudaErrorLaunchFailure)
            fprintf(stderr, "as it should");
        _exit(1);
    });
}

static void test_environment(void **) {
    expect_death("no GPU", [] {
        // by a program that starts with the setting: this one has read its own
        setenv("CUDA_EMULATOR_DEVICES", "0", 1);
        setenv("CUDA_EMULATOR_TEST", "count", 1);
        execl("/proc/self/exe", "test", (char *)NULL);
    });
}

static void test_properties(void **) {
    cudaDeviceProp p;
    int count, value, blocks;
    must(cudaGetDeviceCount(&count));
    assert_int_equal(count, 1);
    assert_int_equal(cudaSetDevice(1), cudaErrorInvalidDevice);
    cudaGetLastError();
    must(cudaGetDeviceProperties(&p, 0));
    assert_true(p.major == 8 && p.warpSize == 32 && p.multiProcessorCount > 0);
    must(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
    assert_int_equal(value, (int)p.sharedMemPerBlockOptin);
    must(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, add_kernel, 256, 0));
    assert_true(blocks > 0);
    assert_string_equal(cudaGetErrorString(cudaErrorMemoryAllocation), "out of memory");
    assert_string_equal(cudaGetErrorName(cudaErrorMemoryAllocation), "cudaErrorMemoryAllocation");
}

int main(void) {
    if (getenv("CUDA_EMULATOR_TEST")) { // started by test_environment
        int count;
        if (cudaGetDeviceCount(&count) == cudaErrorNoDevice && count == 0) fprintf(stderr, "no GPU");
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_work_waits),      cmocka_unit_test(test_events),
        cmocka_unit_test(test_default_stream),  cmocka_unit_test(test_queries),
        cmocka_unit_test(test_host_function),   cmocka_unit_test(test_memory),
        cmocka_unit_test(test_host_threads),    cmocka_unit_test(test_graph),
        cmocka_unit_test(test_capture_refuses), cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_launch_failure),  cmocka_unit_test(test_environment),
        cmocka_unit_test(test_properties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

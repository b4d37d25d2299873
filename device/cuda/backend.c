#include "device/cuda/backend.h"

#include "device/cuda/check.h"
#include "device/cuda/gemm.h"
#include "device/cuda/memory.h"
#include "device/cuda/solve.h"
#include "device/cuda/solve_kernels.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cudaStream_t queue(const Stream *s) {
    return (cudaStream_t)s->handle;
}

// The current device is per thread, so every function that creates an object selects it first; free if already
// selected.
static void set_current(const Device *d) {
    CUDA_CHECK(cudaSetDevice(((const CudaDevice *)d)->number));
}

static void *cuda_alloc(Device *d, size_t bytes) {
    set_current(d);
    void *memory = cuda_malloc_counted(d, bytes ? bytes : 1);
    if (memory == NULL) return NULL;
    // Our streams do not synchronize with the default stream, so wait for it here.
    CUDA_CHECK(cudaMemsetAsync(memory, 0, bytes ? bytes : 1, NULL));
    CUDA_CHECK(cudaStreamSynchronize(NULL));
    return memory;
}

static void cuda_free(Device *d, void *memory) {
    set_current(d);
    cuda_free_counted(d, memory);
}

static void *cuda_alloc_host(Device *d, size_t bytes) {
    void *memory;
    set_current(d);
    cudaError_t error = cudaMallocHost(&memory, bytes ? bytes : 1);
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        return NULL;
    }
    CUDA_CHECK(error);
    memset(memory, 0, bytes);
    return memory;
}

static void cuda_free_host(Device *d, void *memory) {
    set_current(d);
    CUDA_CHECK(cudaFreeHost(memory));
}

static void cuda_copy(Stream *s, void *to, const void *from, size_t bytes) {
    if (bytes > 0) CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, queue(s)));
}

static void cuda_zero(Stream *s, void *memory, size_t bytes) {
    if (bytes > 0) CUDA_CHECK(cudaMemsetAsync(memory, 0, bytes, queue(s)));
}

static Stream *cuda_stream_create(Device *d) {
    CudaStream *s = calloc(1, sizeof *s);
    cudaStream_t handle;
    ASSERT(s != NULL);
    set_current(d);
    CUDA_CHECK(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking));
    s->base.device = d;
    s->base.handle = handle;
    return &s->base;
}

static void cuda_stream_destroy(Stream *base) {
    CudaStream *s = cuda_stream_state(base);
    set_current(base->device);
    CUDA_CHECK(cudaStreamSynchronize(queue(base)));
    for (int i = 0; i < s->n_scratch; i++) cuda_free_counted(base->device, s->scratch[i]);
    cuda_free_counted(base->device, s->gemm_workspace);
    CUDA_CHECK(cudaStreamDestroy(queue(base)));
    free(s);
}

static void cuda_stream_synchronize(Stream *s) {
    CUDA_CHECK(cudaStreamSynchronize(queue(s)));
}

static Event *cuda_event_create(Device *d) {
    Event *event = calloc(1, sizeof *event);
    cudaEvent_t handle;
    ASSERT(event != NULL);
    set_current(d);
    CUDA_CHECK(cudaEventCreate(&handle));
    event->device = d;
    event->handle = handle;
    return event;
}

static void cuda_event_destroy(Event *event) {
    CUDA_CHECK(cudaEventDestroy((cudaEvent_t)event->handle));
    free(event);
}

static void cuda_event_record(Event *event, Stream *s) {
    CUDA_CHECK(cudaEventRecord((cudaEvent_t)event->handle, queue(s)));
}

static void cuda_event_synchronize(Event *event) {
    CUDA_CHECK(cudaEventSynchronize((cudaEvent_t)event->handle));
}

static void cuda_stream_wait(Stream *s, Event *event) {
    CUDA_CHECK(cudaStreamWaitEvent(queue(s), (cudaEvent_t)event->handle, 0));
}

static double cuda_event_elapsed_ms(Event *from, Event *to) {
    float ms;
    CUDA_CHECK(cudaEventElapsedTime(&ms, (cudaEvent_t)from->handle, (cudaEvent_t)to->handle));
    return (double)ms;
}

// Thread-local capture mode: CUDA calls of other threads stay permitted (the loader's thread allocates nothing on the
// device).
static void cuda_graph_capture_begin(Stream *s) {
    CUDA_CHECK(cudaStreamBeginCapture(queue(s), cudaStreamCaptureModeThreadLocal));
}

static Graph *cuda_graph_capture_end(Stream *s) {
    Graph *graph = calloc(1, sizeof *graph);
    cudaGraph_t captured;
    cudaGraphExec_t handle;
    ASSERT(graph != NULL);
    CUDA_CHECK(cudaStreamEndCapture(queue(s), &captured));
    CUDA_CHECK(cudaGraphInstantiate(&handle, captured, 0));
    CUDA_CHECK(cudaGraphDestroy(captured));
    graph->device = s->device;
    graph->handle = handle;
    return graph;
}

static void cuda_graph_launch(Graph *graph, Stream *s) {
    CUDA_CHECK(cudaGraphLaunch((cudaGraphExec_t)graph->handle, queue(s)));
}

static void cuda_graph_free(Graph *graph) {
    CUDA_CHECK(cudaGraphExecDestroy((cudaGraphExec_t)graph->handle));
    free(graph);
}

static bool cuda_stream_reserve(Stream *base, size_t scratch) {
    CudaStream *s = cuda_stream_state(base);
    set_current(base->device);
    if (s->gemm_workspace == NULL) s->gemm_workspace = cuda_malloc_counted(base->device, CUDA_GEMM_WORKSPACE);
    if (s->gemm_workspace == NULL) return false;
    return scratch == 0 || cuda_scratch_reserve(base, scratch);
}

static bool cuda_can_solve(void) {
    const CudaLibraries *lib;
    Error err;
    return cuda_libraries_load(&lib, &err) && lib->can_solve;
}

static void cuda_close(Device *base) {
    CudaDevice *d = cuda_device(base);
    cuda_solve_close(d);
    cuda_gemm_close(d);
    free(d->memory.blocks);
    free(d);
}

static double cuda_peak_flops(const Device *device, Type type) {
    return type == TYPE_BF16 ? device->bf16_flops : 0;
}

static const DeviceBackend backend = {
    .alloc = cuda_alloc,
    .free = cuda_free,
    .alloc_host = cuda_alloc_host,
    .free_host = cuda_free_host,
    .copy = cuda_copy,
    .zero = cuda_zero,
    .gemm = cuda_gemm,
    .can_solve = cuda_can_solve,
    .qr_q = cuda_qr_q,
    .cholesky_solve_right = cuda_cholesky_solve_right,
    .trtri = cuda_trtri,
    .svd = cuda_svd,
    .stream_create = cuda_stream_create,
    .stream_destroy = cuda_stream_destroy,
    .stream_synchronize = cuda_stream_synchronize,
    .gemm_workspace = CUDA_GEMM_WORKSPACE,
    .stream_reserve = cuda_stream_reserve,
    .event_create = cuda_event_create,
    .event_destroy = cuda_event_destroy,
    .event_record = cuda_event_record,
    .event_synchronize = cuda_event_synchronize,
    .stream_wait = cuda_stream_wait,
    .event_elapsed_ms = cuda_event_elapsed_ms,
    .graph_capture_begin = cuda_graph_capture_begin,
    .graph_capture_end = cuda_graph_capture_end,
    .graph_launch = cuda_graph_launch,
    .graph_free = cuda_graph_free,
    .memory_available = cuda_memory_available,
    .peak_flops = cuda_peak_flops,
    .peak_memory = cuda_peak_memory,
    .close = cuda_close,
};

// Sets the number of GPUs, or an error that says why none can be used.
static bool count_devices(int *count, Error *err) {
    int driver = 0;
    cudaError_t error = cudaGetDeviceCount(count);
    if (error == cudaSuccess && *count > 0) return true;
    cudaDriverGetVersion(&driver);
    cudaGetLastError();
    if (driver == 0)
        return error_set(err, "no NVIDIA driver is installed (libcuda.so.1); install one, or use --device cpu");
    if (error == cudaErrorInsufficientDriver)
        return error_set(
            err,
            "the NVIDIA driver is too old: it supports CUDA %d.%d, and this program was built with %d.%d; update "
            "the driver, build with an older toolkit, or use --device cpu",
            driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    if (error == cudaSuccess || error == cudaErrorNoDevice)
        return error_set(
            err, "no NVIDIA GPU was found, or CUDA_VISIBLE_DEVICES hides it (see nvidia-smi); use --device cpu");
    return error_set(err, "CUDA failed to initialize: %s (%s); check that nvidia-smi works, or use --device cpu",
                     cudaGetErrorString(error), cudaGetErrorName(error));
}

static int attribute(int number, enum cudaDeviceAttr which) {
    int value = 0;
    CUDA_CHECK(cudaDeviceGetAttribute(&value, which, number));
    return value;
}

// Creates the CUDA context, which detects a GPU held by another process (exclusive mode).
static bool create_context(int number, const char *name, Error *err) {
    cudaError_t error = cudaSetDevice(number);
    if (error == cudaSuccess) error = cudaFree(NULL);
    if (error == cudaSuccess) return true;
    cudaGetLastError();
    if (error == cudaErrorDevicesUnavailable || error == cudaErrorDeviceAlreadyInUse)
        return error_set(err,
                         "cuda:%d (%s) is held by another process (exclusive mode); wait for it, or choose another "
                         "with --device cuda:N",
                         number, name);
    if (error == cudaErrorMemoryAllocation)
        return error_set(
            err,
            "cuda:%d (%s) is out of memory; stop the processes that use it (see nvidia-smi), or choose "
            "another with --device cuda:N",
            number, name);
    return error_set(err,
                     "cuda:%d (%s) cannot be used: %s (%s); see nvidia-smi, or choose another with --device cuda:N",
                     number, name, cudaGetErrorString(error), cudaGetErrorName(error));
}

static void describe(CudaDevice *d, const char *name, int major, int minor) {
    size_t available = 0, total = 0;
    char kernel_driver[64] = "";
    int runtime = 0, driver = 0;
    CUDA_CHECK(cudaMemGetInfo(&available, &total));
    CUDA_CHECK(cudaRuntimeGetVersion(&runtime));
    CUDA_CHECK(cudaDriverGetVersion(&driver));
    FILE *file = fopen("/sys/module/nvidia/version", "r");
    if (file && fgets(kernel_driver, sizeof kernel_driver, file)) kernel_driver[strcspn(kernel_driver, "\n")] = 0;
    if (file) fclose(file);
    snprintf(d->base.name, sizeof d->base.name, "%.70s, %d SMs, %.1f GiB, compute capability %d.%d", name,
             attribute(d->number, cudaDevAttrMultiProcessorCount), (double)total / 1073741824, major, minor);
    snprintf(d->base.library, sizeof d->base.library, "%s, CUDA runtime %d.%d, driver %s%sfor CUDA %d.%d",
             d->lib->description, runtime / 1000, runtime % 1000 / 10, kernel_driver, *kernel_driver ? " " : "",
             driver / 1000, driver % 1000 / 10);
}

// Dense bf16 tensor-core FLOPs per SM and cycle (NVIDIA's architecture white papers). 0 for other generations, whose
// compute capabilities include cards of full and of half rate.
static double bf16_flops_per_cycle(int major, int minor) {
    if (major == 8 && minor == 0) return 2048;
    if (major == 9) return 4096;
    if (major == 10) return 8192;
    return 0;
}

static bool has_kernels_for(CudaDevice *d, int major, int minor, Error *err) {
    Stream *s = cuda_stream_create(&d->base);
    cudaError_t error = (cudaError_t)cuda_probe_kernel(s);
    cuda_stream_destroy(s);
    if (error == cudaSuccess) return true;
    return error_set(err, "this build has no kernels that run on %s: %s; rebuild with make CUDA_ARCHS=%d%d",
                     d->base.name, cudaGetErrorString(error), major, minor);
}

static bool open_ordinal(Device **device, int number, Error *err) {
    struct cudaDeviceProp properties;
    CUDA_CHECK(cudaGetDeviceProperties(&properties, number));
    int major = properties.major, minor = properties.minor;
    const CudaLibraries *lib;
    if (major < 8)
        return error_set(
            err,
            "cuda:%d (%s) has compute capability %d.%d; 8.0 or newer is needed (A100 and later); use --device cpu",
            number, properties.name, major, minor);
    if (!create_context(number, properties.name, err) || !cuda_libraries_load(&lib, err)) return false;
    CudaDevice *d = calloc(1, sizeof *d);
    if (d == NULL) return error_set(err, "out of memory opening cuda:%d", number);
    d->base.kind = DEVICE_CUDA;
    d->base.n_threads = 1;
    d->base.backend = &backend;
    d->number = number;
    d->capability = 10 * major + minor;
    d->lib = lib;
    describe(d, properties.name, major, minor);
    d->base.bf16_flops = bf16_flops_per_cycle(major, minor) * attribute(number, cudaDevAttrMultiProcessorCount) *
                         1e3 * attribute(number, cudaDevAttrClockRate);
    if (!has_kernels_for(d, major, minor, err) || !cuda_gemm_open(d, err)) {
        free(d->memory.blocks);
        free(d);
        return false;
    }
    *device = &d->base;
    return true;
}

bool cuda_device_open(Device **device, const char *name, Error *err) {
    int count = 0;
    if (!count_devices(&count, err)) return false;
    if (strcmp(name, "cuda") != 0) {
        char *end = NULL;
        bool digit = !strncmp(name, "cuda:", 5) && name[5] >= '0' && name[5] <= '9';
        long number = digit ? strtol(name + 5, &end, 10) : -1;
        if (digit && *end == 0 && number < count) return open_ordinal(device, (int)number, err);
        return error_set(err, "there is no device '%s'; this machine has %d GPU%s, from cuda:0 to cuda:%d", name,
                         count, count == 1 ? "" : "s", count - 1);
    }
    Error later; // of further GPUs: the first GPU's error is the one reported
    for (int number = 0; number < count; number++)
        if (open_ordinal(device, number, number == 0 ? err : &later)) return true;
    return false;
}

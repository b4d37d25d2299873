// device.cpp - the one card: its properties, errors, attributes of kernels, launches.
#include "internal.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <map>
#include <utility>

namespace emulator {

namespace {
std::map<const void *, int> dynamic_most; // by kernel, where cudaFuncSetAttribute was called

int dynamic_limit(const void *kernel) {
    auto found = dynamic_most.find(kernel);
    return found == dynamic_most.end() ? (int)SHARED_DEFAULT : found->second;
}

bool extent_fits(dim3 e, unsigned x, unsigned y, unsigned z) {
    return e.x >= 1 && e.x <= x && e.y >= 1 && e.y <= y && e.z >= 1 && e.z <= z;
}

cudaError_t launch_check(const Launch &l) {
    if (!extent_fits(l.block, 1024, 1024, 64) || l.block.x * l.block.y * l.block.z > THREADS_MOST ||
        !extent_fits(l.grid, INT_MAX, 65535, 65535))
        return cudaErrorInvalidConfiguration;
    if (l.dynamic_bytes > (size_t)dynamic_limit(l.kernel)) return cudaErrorInvalidValue;
    return cudaSuccess;
}

void launch_run(const Launch &l) {
    State &s = state();
    if (s.fail_launch > 0 && --s.fail_launch == 0) s.dead = cudaErrorLaunchFailure;
    else grid_run(l);
}

struct ErrorText {
    cudaError_t error;
    const char *name, *text;
};
const ErrorText ERRORS[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidPitchValue, "cudaErrorInvalidPitchValue", "invalid pitch argument"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined", "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched", "capture was not begun in this stream"},
    {cudaErrorStreamCaptureMerge, "cudaErrorStreamCaptureMerge", "two captures would become one"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
    {cudaErrorIllegalState, "cudaErrorIllegalState", "the operation cannot be performed in the present state"},
};

const ErrorText *text_of(cudaError_t error) {
    for (const ErrorText &e : ERRORS)
        if (e.error == error) return &e;
    return nullptr;
}

struct AttributeValue {
    cudaDeviceAttr attribute;
    int value;
};
const AttributeValue ATTRIBUTES[] = {
    {cudaDevAttrMaxThreadsPerBlock, THREADS_MOST},
    {cudaDevAttrMaxSharedMemoryPerBlock, SHARED_DEFAULT},
    {cudaDevAttrMaxSharedMemoryPerBlockOptin, SHARED_MOST},
    {cudaDevAttrMaxSharedMemoryPerMultiprocessor, SHARED_MOST + 1024},
    {cudaDevAttrReservedSharedMemoryPerBlock, 1024},
    {cudaDevAttrWarpSize, 32},
    {cudaDevAttrMultiProcessorCount, PROCESSORS},
    {cudaDevAttrMaxThreadsPerMultiProcessor, 2048},
    {cudaDevAttrMaxBlocksPerMultiprocessor, 32},
    {cudaDevAttrComputeCapabilityMajor, 8},
    {cudaDevAttrComputeCapabilityMinor, 0},
    {cudaDevAttrClockRate, 1410000},
    {cudaDevAttrMemoryClockRate, 1215000},
    {cudaDevAttrGlobalMemoryBusWidth, 5120},
    {cudaDevAttrL2CacheSize, 40 << 20},
    {cudaDevAttrComputeMode, cudaComputeModeDefault},
    {cudaDevAttrMemoryPoolsSupported, 0},
    {cudaDevAttrUnifiedAddressing, 1},
};
} // namespace

void launch(Launch &&l, cudaStream_t stream) {
    Entry entry;
    cudaError_t result = state().devices > 0 ? launch_check(l) : cudaErrorNoDevice;
    if (result == cudaSuccess) {
        if (l.run == nullptr) die("launch of no kernel");
        state().launches++;
        result = stream_submit(stream, [l = std::move(l)] { launch_run(l); });
    }
    entry.leave(result);
}

} // namespace emulator

using namespace emulator;

extern "C" {

// ---- errors ----

cudaError_t cudaGetLastError(void) {
    Entry entry;
    State &s = state();
    cudaError_t last = s.last;
    s.last = s.dead;
    return last;
}

cudaError_t cudaPeekAtLastError(void) {
    Entry entry;
    return state().last;
}

const char *cudaGetErrorName(cudaError_t error) {
    const ErrorText *e = text_of(error);
    return e ? e->name : "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error) {
    const ErrorText *e = text_of(error);
    return e ? e->text : "unrecognized error code";
}

// ---- the device ----

cudaError_t cudaGetDeviceCount(int *count) {
    Entry entry;
    *count = state().devices;
    return entry.leave(*count > 0 ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device) {
    Entry entry;
    return entry.leave(device >= 0 && device < state().devices ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDevice(int *device) {
    Entry entry;
    *device = 0;
    return entry.leave(state().devices > 0 ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaDeviceReset(void) {
    return cudaDeviceSynchronize();
}
cudaError_t cudaSetDeviceFlags(unsigned) {
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
    return *version = CUDART_VERSION, cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) {
    return *version = CUDART_VERSION, cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device) {
    Entry entry;
    if (device < 0 || device >= state().devices) return entry.leave(cudaErrorInvalidDevice);
    for (const AttributeValue &a : ATTRIBUTES)
        if (a.attribute == attribute) return *value = a.value, entry.leave(cudaSuccess);
    die("cudaDeviceGetAttribute: attribute %d is not emulated", (int)attribute);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device) {
    Entry entry;
    if (device < 0 || device >= state().devices) return entry.leave(cudaErrorInvalidDevice);
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "CUDA on CPU");
    p->totalGlobalMem = state().memory_size;
    p->sharedMemPerBlock = SHARED_DEFAULT;
    p->sharedMemPerBlockOptin = SHARED_MOST;
    p->sharedMemPerMultiprocessor = SHARED_MOST + 1024;
    p->reservedSharedMemPerBlock = 1024;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->warpSize = 32;
    p->maxThreadsPerBlock = THREADS_MOST;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
    p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = INT_MAX;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->major = 8;
    p->multiProcessorCount = PROCESSORS;
    p->maxThreadsPerMultiProcessor = 2048;
    p->maxBlocksPerMultiProcessor = 32;
    p->memoryBusWidth = 5120;
    p->l2CacheSize = 40 << 20;
    p->unifiedAddressing = p->concurrentKernels = p->asyncEngineCount = 1;
    return entry.leave(cudaSuccess);
}

// ---- kernels ----

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value) {
    Entry entry;
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return entry.leave(cudaSuccess);
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 || value > SHARED_MOST)
        return entry.leave(cudaErrorInvalidValue);
    dynamic_most[kernel] = value;
    return entry.leave(cudaSuccess);
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, const void *kernel) {
    Entry entry;
    *attributes = cudaFuncAttributes{};
    attributes->maxThreadsPerBlock = THREADS_MOST;
    attributes->maxDynamicSharedSizeBytes = dynamic_limit(kernel);
    attributes->numRegs = 64;
    return entry.leave(cudaSuccess);
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *kernel, int threads,
                                                          size_t bytes) {
    Entry entry;
    if (threads < 1 || threads > THREADS_MOST || bytes > (size_t)dynamic_limit(kernel))
        return entry.leave(cudaErrorInvalidValue);
    int by_threads = 2048 / ((threads + 31) / 32 * 32), by_memory = (int)((SHARED_MOST + 1024) / (bytes + 1024));
    *blocks = by_threads < by_memory ? by_threads : by_memory;
    return entry.leave(cudaSuccess);
}
}

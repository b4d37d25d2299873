// copy.cpp - copies and fills.
#include "internal.h"

#include <string.h>

namespace emulator {

namespace {
// What `kind` says about an address must be so. (A host address that CUDA does not know is pageable memory.)
bool kind_fits(const void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    bool to_device = memory_is_device(to, bytes), from_device = memory_is_device(from, bytes);
    bool to_touches = memory_is_device(to, 0), from_touches = memory_is_device(from, 0);
    if (to_touches != to_device || from_touches != from_device) return false; // beyond the end of an allocation
    switch (kind) {
    case cudaMemcpyHostToHost:
        return !to_device && !from_device;
    case cudaMemcpyHostToDevice:
        return to_device && !from_device;
    case cudaMemcpyDeviceToHost:
        return !to_device && from_device;
    case cudaMemcpyDeviceToDevice:
        return to_device && from_device;
    default:
        return kind == cudaMemcpyDefault;
    }
}

bool pageable(const void *p) {
    return !memory_is_device(p, 0) && !memory_is_pinned(p);
}
} // namespace

} // namespace emulator

using namespace emulator;

extern "C" {

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    Entry entry;
    if (bytes == 0) return entry.leave(cudaSuccess);
    if (!kind_fits(to, from, bytes, kind)) return entry.leave(cudaErrorInvalidValue);
    if ((pageable(from) || pageable(to)) && stream_captured(stream))
        return entry.leave(stream_finish(stream)); // refused
    cudaError_t result;
    if (pageable(from)) { // is read before the call returns
        std::vector<char> values(static_cast<const char *>(from), static_cast<const char *>(from) + bytes);
        result = stream_submit(stream, [to, values] { memcpy(to, values.data(), values.size()); });
    } else {
        result = stream_submit(stream, [=] { memmove(to, from, bytes); });
    }
    if (pageable(to) && result == cudaSuccess) result = stream_finish(stream); // is written before the call returns
    return entry.leave(result);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    Entry entry;
    cudaError_t result = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
    return entry.leave(result == cudaSuccess ? cudaStreamSynchronize(nullptr) : result);
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream) {
    Entry entry;
    if (bytes == 0) return entry.leave(cudaSuccess);
    if (!memory_is_device(memory, bytes) && !memory_is_pinned(memory)) return entry.leave(cudaErrorInvalidValue);
    return entry.leave(stream_submit(stream, [=] { memset(memory, value, bytes); }));
}

cudaError_t cudaMemset(void *memory, int value, size_t bytes) {
    return cudaMemsetAsync(memory, value, bytes, nullptr);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
    Entry entry;
    cudaError_t result = width > to_pitch || width > from_pitch ? cudaErrorInvalidPitchValue : cudaSuccess;
    for (size_t i = 0; i < height && result == cudaSuccess; i++)
        result = cudaMemcpyAsync(static_cast<char *>(to) + i * to_pitch,
                                 static_cast<const char *>(from) + i * from_pitch, width, kind, stream);
    return entry.leave(result);
}
}

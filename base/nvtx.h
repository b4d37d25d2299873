// base/nvtx.h - NVTX ranges, which NVIDIA's profilers show above the GPU's work: nsys profile ./train ...
//
// Enabled in CUDA builds whose toolkit has NVTX 3 (header-only); without a profiler a call costs one pointer check. The
// ranges of a thread nest.
#ifndef POLAR_BASE_NVTX_H
#define POLAR_BASE_NVTX_H

#include <stdint.h>

#if defined(POLAR_CUDA) && defined(__has_include)
#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define POLAR_NVTX
#endif
#endif

// `number` is the range's payload: the index of the step or of the block.
static inline void nvtx_push(const char *name, int64_t number) {
#ifdef POLAR_NVTX
    nvtxEventAttributes_t range = {0};
    range.version = NVTX_VERSION;
    range.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    range.payloadType = NVTX_PAYLOAD_TYPE_INT64;
    range.payload.llValue = number;
    range.messageType = NVTX_MESSAGE_TYPE_ASCII;
    range.message.ascii = name;
    nvtxRangePushEx(&range);
#else
    (void)name;
    (void)number;
#endif
}

static inline void nvtx_pop(void) {
#ifdef POLAR_NVTX
    nvtxRangePop();
#endif
}
#endif

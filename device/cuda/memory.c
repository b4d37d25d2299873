// Counted GPU memory, so that a run's peak can be compared with its memory plan.
#include "device/cuda/memory.h"

#include "base/error.h"
#include "device/cuda/check.h"
#include "device/cuda/state.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>

static void add_block(CudaMemory *m, void *memory, size_t bytes) {
    if (m->count == m->capacity) {
        m->capacity = m->capacity ? 2 * m->capacity : 64;
        m->blocks = realloc(m->blocks, (size_t)m->capacity * sizeof *m->blocks);
        ASSERT(m->blocks);
    }
    m->blocks[m->count++] = (struct CudaBlock){memory, bytes};
    m->bytes += bytes;
    if (m->bytes > m->peak) m->peak = m->bytes;
}

void *cuda_malloc_counted(Device *d, size_t bytes) {
    void *memory;
    cudaError_t error = cudaMalloc(&memory, bytes);
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError(); // clears the error, or the next check would report it
        return NULL;
    }
    CUDA_CHECK(error);
    add_block(&cuda_device(d)->memory, memory, bytes);
    return memory;
}

void cuda_free_counted(Device *d, void *memory) {
    CudaMemory *m = &cuda_device(d)->memory;
    if (memory == NULL) return;
    int i = 0;
    while (i < m->count && m->blocks[i].memory != memory) i++;
    ASSERT(i < m->count);
    m->bytes -= m->blocks[i].bytes;
    m->blocks[i] = m->blocks[--m->count];
    CUDA_CHECK(cudaFree(memory));
}

int64_t cuda_memory_available(const Device *d) {
    size_t available = 0, total = 0;
    CUDA_CHECK(cudaSetDevice(((const CudaDevice *)d)->number));
    CUDA_CHECK(cudaMemGetInfo(&available, &total));
    return (int64_t)available;
}

int64_t cuda_peak_memory(const Device *d) {
    return (int64_t)((const CudaDevice *)d)->memory.peak;
}

void *cuda_alloc_or_exit(Stream *s, size_t bytes, const char *what) {
    CUDA_CHECK(cudaSetDevice(cuda_device(s->device)->number));
    void *memory = cuda_malloc_counted(s->device, bytes);
    if (memory) return memory;
    fprintf(stderr, "error: %s: out of memory: %s needs %.1f MiB more; use a smaller --micro-batch or matrix\n",
            s->device->name, what, (double)bytes / 1048576);
    error_exit();
}

static bool has_scratch(const CudaStream *s, size_t bytes) {
    return s->n_scratch > 0 && s->scratch_bytes >= bytes;
}

static void add_scratch(CudaStream *s, void *memory, size_t bytes) {
    ASSERT(s->n_scratch < CUDA_SCRATCH_BUFFERS);
    s->scratch[s->n_scratch++] = memory;
    s->scratch_bytes = bytes;
}

void *cuda_scratch(Stream *base, size_t bytes) {
    CudaStream *s = cuda_stream_state(base);
    if (!has_scratch(s, bytes)) {
        size_t doubled = 2 * s->scratch_bytes, size = bytes > doubled ? bytes : doubled ? doubled : 1;
        add_scratch(s, cuda_alloc_or_exit(base, size, "the scratch buffer"), size);
    }
    return s->scratch[s->n_scratch - 1];
}

bool cuda_scratch_reserve(Stream *base, size_t bytes) {
    CudaStream *s = cuda_stream_state(base);
    if (has_scratch(s, bytes)) return true;
    void *memory = cuda_malloc_counted(base->device, bytes);
    if (memory) add_scratch(s, memory, bytes);
    return memory != NULL;
}

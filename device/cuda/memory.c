// The memory of a GPU, counted: what a run takes is compared with what its plan said.
#include "device/cuda/check.h"
#include "device/cuda/state.h"

#include <cuda_runtime_api.h>
#include <stdlib.h>

static void count_more(CudaMemory *m, void *memory, size_t bytes) {
    if (m->count == m->room) {
        m->room = m->room ? 2 * m->room : 64;
        m->blocks = realloc(m->blocks, (size_t)m->room * sizeof *m->blocks);
        ASSERT(m->blocks);
    }
    m->blocks[m->count++] = (struct CudaBlock){memory, bytes};
    m->bytes += bytes;
    if (m->bytes > m->most) m->most = m->bytes;
}

void *cuda_memory_take(CudaDevice *d, size_t bytes) {
    void *memory;
    cudaError_t error = cudaMalloc(&memory, bytes);
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError(); // or the next check would find it
        return NULL;
    }
    CUDA_CHECK(error);
    count_more(&d->memory, memory, bytes);
    return memory;
}

void cuda_memory_give(CudaDevice *d, void *memory) {
    CudaMemory *m = &d->memory;
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

int64_t cuda_memory_most(const Device *d) {
    return (int64_t)((const CudaDevice *)d)->memory.most;
}

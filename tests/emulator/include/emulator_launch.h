// emulator_launch.h - kernels as functions, each CUDA thread a fiber: launches, shared memory, built-in variables.
#ifndef POLAR_CUDA_EMULATOR_LAUNCH_H
#define POLAR_CUDA_EMULATOR_LAUNCH_H

#include <cuda_runtime_api.h>
#include <vector_types.h>

#include <functional>
#include <tuple>

// Attributes of functions that say nothing to g++.
#ifndef __launch_bounds__
#define __launch_bounds__(...)
#endif
#ifndef __grid_constant__
#define __grid_constant__
#endif

// Of the fiber that runs.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
static constexpr int warpSize = 32;

namespace emulator {

// What a launch means. `kernel` identifies the function (cudaFuncSetAttribute), `run` is it with its arguments.
struct Launch {
    const char *name;
    const void *kernel;
    std::function<void()> run;
    dim3 grid, block;
    size_t dynamic_bytes;
};

void launch(Launch &&launch, cudaStream_t stream); // checks the shape as CUDA does, then queues it
void *shared_dynamic();                            // of the running block
void *shared_array(const void *key, const char *name, size_t bytes, size_t alignment);

template <class... P, class... A>
void launch_kernel(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t bytes, cudaStream_t stream,
                   A &&...arguments) {
    static_assert(sizeof...(P) == sizeof...(A), "a kernel gets all of its arguments");
    std::tuple<P...> values(static_cast<P>(arguments)...); // by value, as of now
    launch(Launch{name, reinterpret_cast<const void *>(kernel), [kernel, values] { std::apply(kernel, values); },
                  grid, block, bytes},
           stream);
}

template <class T, int N> using Array = T[N];

} // namespace emulator

#define CUDA_LAUNCH(kernel, grid, block, bytes, stream, ...)                                                       \
    emulator::launch_kernel(#kernel, kernel, grid, block, bytes, stream, ##__VA_ARGS__)

#define CUDA_SHARED(type, name) type *const name = reinterpret_cast<type *>(emulator::shared_dynamic())

// The address of the static variable says which array of which kernel (and of which instance of a template) it is.
#define CUDA_SHARED_ARRAY(type, name, count)                                                                       \
    static char name##_key;                                                                                        \
    auto &name = *reinterpret_cast<emulator::Array<type, (count)> *>(                                              \
        emulator::shared_array(&name##_key, #name, sizeof(type) * (count), alignof(type)))

// The toolkit's templates that only nvcc sees.
template <class T> cudaError_t cudaFuncSetAttribute(T *kernel, cudaFuncAttribute attribute, int value) {
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), attribute, value);
}
template <class T> cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, T *kernel) {
    return cudaFuncGetAttributes(attributes, reinterpret_cast<const void *>(kernel));
}
template <class T>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, T *kernel, int threads, size_t bytes) {
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, reinterpret_cast<const void *>(kernel), threads,
                                                         bytes);
}

#endif

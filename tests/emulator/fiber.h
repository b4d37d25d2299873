// fiber.h - cooperative fibers within one OS thread.
#ifndef POLAR_CUDA_EMULATOR_FIBER_H
#define POLAR_CUDA_EMULATOR_FIBER_H

namespace emulator {

// Runs body(index) on the stack of fiber `index` (0 to 1023) until it yields or returns. The next call continues
// after the yield, or starts body again if it had returned.
void fiber_resume(int index, void (*body)(int index));

// Within a fiber: returns control to the caller of fiber_resume.
void fiber_yield();

} // namespace emulator

#endif

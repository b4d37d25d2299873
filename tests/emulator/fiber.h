// fiber.h - stacks that take turns within one thread of the operating system.
#ifndef POLAR_CUDA_EMULATOR_FIBER_H
#define POLAR_CUDA_EMULATOR_FIBER_H

namespace emulator {

// Runs body(index) on the stack of fiber `index` (0 to 1023) until it yields or returns; called again, from where it
// yielded. A fiber whose body has returned starts it anew.
void fiber_resume(int index, void (*body)(int index));

// Within a fiber: back to whoever resumed it.
void fiber_yield();

} // namespace emulator

#endif

// fiber.cpp - stacks, the switch between them, and telling AddressSanitizer about it.
#include "fiber.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
static const bool ASAN = true;
#else
static const bool ASAN = false;
static void __sanitizer_start_switch_fiber(void **, const void *, size_t) {}
static void __sanitizer_finish_switch_fiber(void *, const void **, size_t *) {}
#endif

#if defined(__x86_64__)

// Saves what a function must preserve, changes stacks, takes it up again from there.
typedef void *Context;
extern "C" void emulator_switch(Context *from, Context to);
asm(R"(
    .text
    .globl emulator_switch
    .type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulator_switch, .-emulator_switch
)");

static void context_switch(Context *from, Context *to) {
    emulator_switch(from, *to);
}

static void context_make(Context *context, char *stack, size_t size, void (*entry)()) {
    void **top = reinterpret_cast<void **>(stack + size);
    *--top = nullptr; // entry's return address: it never returns; and the alignment of a call
    *--top = reinterpret_cast<void *>(entry); // for `ret`
    for (int i = 0; i < 6; i++) *--top = nullptr;
    *context = top;
}

#else
#include <ucontext.h>

typedef ucontext_t Context;

static void context_switch(Context *from, Context *to) {
    swapcontext(from, to);
}

static void context_make(Context *context, char *stack, size_t size, void (*entry)()) {
    getcontext(context);
    context->uc_stack.ss_sp = stack;
    context->uc_stack.ss_size = size;
    context->uc_link = nullptr;
    makecontext(context, entry, 0);
}
#endif

namespace emulator {

namespace {
struct Fiber {
    bool made;
    Context context;
    char *stack;
    void *asan_stack;
    void (*body)(int);
};

const int FIBERS = 1024;
const size_t GUARD = 4096, STACK = (ASAN ? 512 : 128) * 1024;

Fiber fibers[FIBERS];
char *stacks;
int running = -1;
Context outside;
void *outside_asan;
const void *outside_stack;
size_t outside_size;

// The life of a fiber: one body after another.
void fiber_main() {
    int self = running;
    __sanitizer_finish_switch_fiber(nullptr, &outside_stack, &outside_size);
    for (;;) {
        fibers[self].body(self);
        fibers[self].body = nullptr;
        fiber_yield();
    }
}

// All stacks, a page without access below each. Memory is only taken where a stack has been used.
void stacks_make() {
    void *memory = mmap(nullptr, FIBERS * (GUARD + STACK), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        perror("emulator: no memory for the stacks of threads");
        abort();
    }
    stacks = static_cast<char *>(memory);
    for (int i = 0; i < FIBERS; i++) mprotect(stacks + (size_t)i * (GUARD + STACK), GUARD, PROT_NONE);
}
} // namespace

void fiber_resume(int index, void (*body)(int index)) {
    Fiber *fiber = &fibers[index];
    if (!fiber->made) {
        if (!stacks) stacks_make();
        fiber->stack = stacks + (size_t)index * (GUARD + STACK) + GUARD;
        context_make(&fiber->context, fiber->stack, STACK, fiber_main);
        fiber->made = true;
    }
    if (!fiber->body) fiber->body = body;
    running = index;
    __sanitizer_start_switch_fiber(&outside_asan, fiber->stack, STACK);
    context_switch(&outside, &fiber->context);
    __sanitizer_finish_switch_fiber(outside_asan, nullptr, nullptr);
    running = -1;
}

void fiber_yield() {
    Fiber *fiber = &fibers[running];
    __sanitizer_start_switch_fiber(&fiber->asan_stack, outside_stack, outside_size);
    context_switch(&fiber->context, &outside);
    __sanitizer_finish_switch_fiber(fiber->asan_stack, &outside_stack, &outside_size);
}

} // namespace emulator

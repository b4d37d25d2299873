// fault.cpp - accesses to memory without access: the device's first to an allocation, which opens it; and a word about all
// others, before they end the program: the host's to device memory, a kernel's beyond an allocation or to one that was freed,
// a thread's stack that is full. And about accesses to addresses that are no multiple of what their type asks for, where the
// compiler has put a trap.
#include "internal.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

namespace emulator {

namespace {
alignas(16) char handler_stack[64 * 1024]; // the one in use may be full
struct sigaction earlier[2];               // of SIGSEGV and SIGILL

void handle(int number, siginfo_t *info, void *) {
    if (number == SIGSEGV && memory_open(info->si_addr)) return;
    char text[512];
    const Launch *launch = running_launch();
    size_t bytes = number == SIGILL ? 0 : memory_owner(info->si_addr);
    int n = 0;
    if (launch && number == SIGILL)
        n = snprintf(text, sizeof text,
                     "emulator: kernel %.200s, block (%u,%u,%u), thread (%u,%u,%u): a misaligned address\n",
                     launch->name, blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
    else if (launch)
        n = snprintf(text, sizeof text,
                     "emulator: kernel %.200s, block (%u,%u,%u), thread (%u,%u,%u): touches %p, %s\n", launch->name,
                     blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z, info->si_addr,
                     bytes ? "outside of an allocation nearby" : "where there is no memory");
    else if (bytes)
        n = snprintf(text, sizeof text, "emulator: the host touches device memory, %p in or near %zu bytes\n",
                     info->si_addr, bytes);
    if (n > 0 && write(2, text, (size_t)n) < 0) _exit(1);
    sigaction(number, &earlier[number == SIGILL], nullptr); // and again
}

} // namespace

void faults_catch() {
    struct sigaction action = {}, now = {};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    if (sigaction(SIGSEGV, nullptr, &now) || now.sa_sigaction == handle) return;
    stack_t stack = {};
    stack.ss_sp = handler_stack;
    stack.ss_size = sizeof handler_stack;
    sigaltstack(&stack, nullptr);
    sigaction(SIGSEGV, &action, &earlier[0]);
    sigaction(SIGILL, &action, &earlier[1]);
}

} // namespace emulator

#include "device/cpu/isa.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static const char *const names[ISA_COUNT] = {"base", "avx2", "avx512"};

const char *isa_name(Isa isa) {
    return names[isa];
}

static const char *const bf16_names[BF16_UNIT_COUNT] = {"avx2", "avx512", "avx512bf16", "amx", "bfmmla"};

const char *bf16_unit_name(Bf16Unit unit) {
    return bf16_names[unit];
}

const char *bf16_unit_instructions(Bf16Unit unit) {
    static const char *const instructions[BF16_UNIT_COUNT] = {
        [BF16_DOT] = "AVX512-BF16", [BF16_AMX] = "AMX", [BF16_MMLA] = "BFMMLA"};
    return instructions[unit];
}

static Isa detect(void) {
    Isa best = ISA_BASE;
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
              __builtin_cpu_supports("bmi2");
    bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl");
    best = v4 ? ISA_AVX512 : v3 ? ISA_AVX2 : ISA_BASE;
#endif
    return best;
}

Isa cpu_isa(void) {
    Isa best = detect();
    const char *asked = getenv("POLAR_ISA");
    for (int isa = 0; asked && isa < (int)best; isa++)
        if (!strcmp(asked, names[isa])) return (Isa)isa;
    return best;
}

#if defined(__x86_64__)
// Linux lets a process use the tile registers, 8 KiB of state per thread, only on request.
static bool request_tiles(void) {
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

static Bf16Unit detect_bf16(void) {
    enum {
        AVX512_BF16 = 1u << 5,
        AMX_BF16 = 1u << 22,
        AMX_TILE = 1u << 24
    }; // of leaf 7: EAX of subleaf 1, EDX of 0
    unsigned eax, ebx, ecx, edx;
    if (detect() < ISA_AVX512) return BF16_WIDEN;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return BF16_FMA;
    bool amx = (edx & AMX_BF16) && (edx & AMX_TILE);
    if (amx && request_tiles()) return BF16_AMX;
    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & AVX512_BF16) ? BF16_DOT : BF16_FMA;
}
#endif

Bf16Unit cpu_bf16_unit(void) {
#if defined(__x86_64__)
    static int best = -1; // CPUID takes microseconds in a virtual machine
    if (best < 0) best = (int)detect_bf16();
    if (cpu_isa() < ISA_AVX512) return BF16_WIDEN;
    const char *asked = getenv("POLAR_ISA");
    for (int unit = BF16_FMA; asked && unit <= best; unit++)
        if (!strcmp(asked, bf16_names[unit])) return (Bf16Unit)unit;
    return best == BF16_DOT && !__builtin_cpu_is("amd") ? BF16_FMA : (Bf16Unit)best;
#elif defined(__aarch64__)
    const char *asked = getenv("POLAR_ISA");
    bool lowered = asked && !strcmp(asked, names[ISA_BASE]);
    return !lowered && (getauxval(AT_HWCAP2) & HWCAP2_BF16) ? BF16_MMLA : BF16_WIDEN;
#else
    return BF16_WIDEN;
#endif
}

#include "device/cpu/isa.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[ISA_COUNT] = {"base", "avx2", "avx512"};

const char *isa_name(Isa isa) {
    return names[isa];
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

#!/usr/bin/env bash
# clang, which `make fuzz` and `make tsan` build with, takes every C source of the program.
cd "$(dirname "$0")/../.." || exit 1
if ! echo '#include <omp.h>' | clang -fopenmp -E - >/dev/null 2>&1; then
    echo "skipped clang_takes_the_sources: there is no clang with OpenMP (scripts/setup.sh sanitize)"
    exit 0
fi
takes() { # type, sources...
    clang -fsyntax-only -std=c11 -D_GNU_SOURCE -I. -fopenmp -Wall -Wextra -Werror -DISA=base "-DREAL_$1" \
        -DPOLAR_COMMIT='""' -DPOLAR_FLAGS='""' "${@:2}"
}
mapfile -t sources < <(find base data device model optim dist run -name '*.c' -not -path '*/cuda/*')
mapfile -t operations < <(find {model,optim,run/problems}/cpu -name '*.c')
if takes F32 "${sources[@]}" && takes F64 "${operations[@]}" device/cpu/gemm_kernel.c; then
    echo "ok clang_takes_the_sources"
else
    echo "FAILED clang_takes_the_sources"
    exit 1
fi

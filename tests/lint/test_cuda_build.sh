#!/usr/bin/env bash
# The GPU's code compiles for every architecture without a warning, and no kernel spills registers but those listed here.
set -u
cd "$(dirname "$0")/../.." || exit 1
failures=0
build=${BUILD:-build}

# Kernels that may spill, with the reason: "name architecture".
allowed=(
    # The way for heads wider than 128, which no preset has.
    '_Z17simple_dkv_kernelI13__nv_bfloat16Li256EEvPT_S2_PKS1_S4_S4_S4_PKfS6_14AttentionShape sm_80'
    '_Z21simple_forward_kernelI13__nv_bfloat16Li256EEvPT_PfPKS1_S5_S5_14AttentionShape sm_80'
    '_Z17simple_dkv_kernelIfLi256EEvPT_S1_PKS0_S3_S3_S3_PKfS5_14AttentionShape sm_80'
    '_Z17simple_dkv_kernelIfLi256EEvPT_S1_PKS0_S3_S3_S3_PKfS5_14AttentionShape sm_90a'
)

if ! make -s help | grep -q 'CUDA=yes|no (here: yes)'; then
    echo "skipped cuda_build: no nvcc, or no headers of cuBLAS and cuSOLVER"
    exit 0
fi

# Sanitizers and the emulated GPU have builds of their own; the objects here are those of `make`, and are reused.
case $build in */asan* | */emulator*) build=build ;; esac

expect() { # name, status
    if [ "$2" -eq 0 ]; then echo "ok $1"; else echo "FAILED $1" && failures=$((failures + 1)); fi
}

kernels_compile() {
    make -s -j2 BUILD="$build" CUDA=yes kernels && compgen -G "$build/*/cuda/*.cu.o.log" >/dev/null
}

# ptxas names a kernel and its architecture, then what it spills.
spills() {
    awk '/Compiling entry function/ { split($0, word, "\047"); kernel = word[2] " " word[4] }
         /bytes spill stores/ && !/ 0 bytes spill stores, 0 bytes spill loads/ { print kernel ":" $0 }' "$build"/{*,*/*}/cuda/*.cu.o.log
}

no_kernel_spills() {
    local line kernel status=0
    while IFS= read -r line; do
        kernel=${line%%:*}
        printf '%s\n' "${allowed[@]}" | grep -qxF "$kernel" && continue
        echo "$line"
        status=1
    done < <(spills)
    return $status
}

# The whole program without CUDA: nothing of it may be missed. Only the link is new where objects are there.
builds_without_cuda() {
    local file
    for file in device/device.c model/ops.c optim/ops.c; do
        gcc -std=c11 -D_GNU_SOURCE -I. -Wall -Wextra -Werror -fopenmp -fsyntax-only "$file" || return 1
    done
}

kernels_compile
expect the_kernels_compile_without_warnings $?
no_kernel_spills
expect no_kernel_spills_registers $?
builds_without_cuda
expect the_sources_compile_without_cuda $?
exit $failures

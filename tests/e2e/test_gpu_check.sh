#!/usr/bin/env bash
# scripts/gpu_check.sh without a GPU: stand-ins for the programs it runs, on which every stage passes, and then whatever can go
# wrong with each. What it says of that, and that the table and the archive are there whatever happens.
# shellcheck disable=SC2317 # the checks are called by name
set -u
cd "$(dirname "$0")/../.." || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

check() { # name, which is a function's: runs it in a subshell; its output is shown when it fails
    if ("$1") >"$work/log" 2>&1; then
        echo "ok $1"
    else
        echo "FAILED $1"
        sed 's/^/  /' "$work/log"
        failures=$((failures + 1))
    fi
}

# ---- The stand-ins: variables named FAKE_... make them fail ----

program() { # path: makes it of standard input
    mkdir -p "$(dirname "$1")"
    cat >"$1"
    chmod +x "$1"
}

make_stand_ins() {
    bin=$work/bin build=$work/build
    program "$bin/nvidia-smi" <<'SH'
#!/usr/bin/env bash
case $* in
*compute_cap*) echo 9.0 ;;
*query-gpu*) echo "A stand-in, 1.0, 1 MiB" ;;
dmon*)
    [ -z "${FAKE_NO_DMON:-}" ] || { echo "Not supported" && exit 1; }
    echo "#Time        gpu    pwr  gtemp  mtemp     sm    mem    enc    dec    jpg    ofa   mclk   pclk"
    echo "#HH:MM:SS    Idx      W      C      C      %      %      %      %      %      %    MHz    MHz"
    echo " 10:00:01      0    120     30      -      0      0      0      0      0      0   2619    345"
    echo " 10:00:02      0    650     51      -     99     40      0      0      0      0   2619   1755"
    echo " 10:00:03      0    698     60      -     98     40      0      0      0      0   2619   1980"
    exec sleep 60
    ;;
esac
SH
    program "$bin/nvcc" <<'SH'
#!/usr/bin/env bash
case $1 in
--version) echo "Cuda compilation tools, release 13.0, V13.0" ;;
--list-gpu-arch) echo compute_90 ;;
esac
SH
    program "$bin/make" <<'SH'
#!/usr/bin/env bash
case $* in
*device-tests-list*) printf '%s\n' unit/test_one unit/test_two ;;
*)
    [ -z "${FAKE_BUILD:-}" ] || { echo "$FAKE_BUILD" && exit 2; }
    mkdir -p "$BUILD/model/cuda"
    echo "ptxas info : 0 bytes spill stores, 0 bytes spill loads" >"$BUILD/model/cuda/norm.cu.o.log"
    ;;
esac
SH
    program "$bin/ncu" <<'SH'
#!/usr/bin/env bash
echo "ncu $*" >>"$CALLS"
[ -z "${FAKE_NCU:-}" ] || { echo "==ERROR== $FAKE_NCU" && exit 1; }
echo '"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"'
echo '"0","norm_kernel(float *)","gpu__time_duration.sum","ns","3,000,000"'
echo '"1","gelu_kernel(float *)","gpu__time_duration.sum","ns","1,000,000"'
SH
    program "$bin/compute-sanitizer" <<'SH'
#!/usr/bin/env bash
[ "$1" != --help ] || { [ -n "${FAKE_OLD_SANITIZER:-}" ] || echo "  --kernel-name-exclude arg"; exit 0; }
echo "compute-sanitizer $*" >>"$CALLS"
[ -z "${FAKE_SLOW_SANITIZER:-}" ] || { echo $$ >"$CALLS.process" && echo "========= COMPUTE-SANITIZER" && exec sleep 60; }
if [ "$2" = "${FAKE_ERROR:-}" ]; then
    echo "========= Invalid __global__ read of size 4 bytes"
    echo "=========     at norm_kernel(float *)+0x10"
    exit 9
fi
echo "========= ERROR SUMMARY: 0 errors"
SH
    program "$bin/python" <<'SH'
#!/usr/bin/env bash
case $* in
*"import torch"*) exit "${FAKE_NO_TORCH:-0}" ;;
*gpu_check_torch.py*)
    [ -z "${FAKE_TORCH_ERROR:-}" ] || { echo "$FAKE_TORCH_ERROR" >&2 && exit 1; }
    echo "PyTorch adamw, 524288 tokens a step: 1000 tokens/s"
    ;;
*zipf.bin*) touch "$2" ;;
*) exec python3 "$@" ;;
esac
SH
    program "$build/tests/bench/gpu_ceilings" <<'SH'
#!/usr/bin/env bash
printf '%s\n' "a card" "copy: 4000 GB/s"
SH
    program "$build/tests/unit/test_one" <<'SH'
#!/usr/bin/env bash
[ "${TEST_GPU:-}" = required ] || exit 1
[ -z "${FAKE_SLOW_TEST:-}" ] || { echo "[       OK ] first" && exec sleep 60; }
[ -z "${FAKE_FAILED_TEST:-}" ] || { echo "one.c:7: x == y" && echo "[  FAILED  ] first" && exit 1; }
printf '%s\n' "[ RUN      ] first" "[       OK ] first" "[       OK ] second" "skipped: no LAPACK" "[  SKIPPED ] third" \
    "[  PASSED  ] 2 test(s)." "[  SKIPPED ] 1 test(s), listed below:" "[  SKIPPED ] third"
SH
    program "$build/tests/unit/test_two" <<'SH'
#!/usr/bin/env bash
[ -z "${FAKE_NO_TEST:-}" ] || { echo "skipped all_of_it: nothing to solve with" && exit 0; }
echo "[       OK ] only"
SH
    stand_in_for_train
}

# Writes a record for each step, FAKE_STEP seconds apart.
stand_in_for_train() {
    program "$build/train" <<'SH'
#!/usr/bin/env bash
echo "train $* with $(readlink /proc/self/fd/9)" >>"$CALLS"
out='' steps=20 device=''
arguments=("$@")
for ((i = 0; i < $#; i++)); do
    value=${arguments[i + 1]:-}
    case ${arguments[i]} in --out | --resume) out=$value ;; --steps) steps=$value ;; --device) device=$value ;; --dry-run) exit "${FAKE_NO_GPU:-0}" ;; esac
done
case $1 in
tokenize) touch "$out/text_train_000001.bin" "$out/text_val_000000.bin" && exit ;;
polar)
    [ "$device" = cuda ] || exit "${FAKE_NO_LAPACK:-0}"
    [ -z "${FAKE_NO_CUSOLVER:-}" ] || { echo "error: no cuSOLVER" >&2 && exit 1; }
    for shape in '"rows":256,"cols":256' '"rows":256,"cols":1024'; do
        for method in qdwh zolo-pd svd; do
            echo "{\"method\":\"$method\",$shape,\"type\":\"F32\",\"orthogonality\":${FAKE_ORTHOGONALITY:-2e-07},\"seconds\":0.001}"
        done
    done
    exit
    ;;
esac
mkdir -p "$out/checkpoints/step_1"
echo weights >"$out/checkpoints/step_1/model.safetensors"
echo state >"$out/checkpoints/step_1/optimizer.safetensors"
echo '{}' >"$out/environment.json"
: >"$out/metrics.jsonl"
for ((i = 0; i < steps; i++)); do
    if [ -n "${FAKE_STEP:-}" ] && [[ $out = */bench_* ]]; then sleep "$FAKE_STEP"; fi
    if [ -n "${FAKE_CRASH:-}" ] && [ "$i" -eq 2 ] && [[ $out = */bench_* ]]; then echo "error: $FAKE_CRASH" >&2 && exit 1; fi
    loss=2.25
    if [ -n "${FAKE_LOSS:-}" ] && [[ $out = */polargrad ]]; then loss=$FAKE_LOSS; fi
    echo "{\"kind\":\"train\",\"loss\":$loss,\"step_ms\":100,\"tokens_per_s\":655360,\"mfu\":0.4,\"optimizer\":1.5,\"device_memory_bytes\":1073741824}" >>"$out/metrics.jsonl"
done
if [[ $out = */bench_* ]]; then exec sleep 60; fi
SH
}

# Runs it with the stand-ins; the results are in $work/out.
gpu_check() { # options...
    : >"$CALLS"
    PATH=$bin:$PATH PYTHON=$bin/python OUT=$work/out BUILD=$build GPU_NODES="$work/nowhere $work/node" scripts/gpu_check.sh "$@"
}

# The line of the table that begins with this says this.
line_says() { # beginning, words, how sed changes it before
    grep -F -- "  $1 " "$work/out/table.txt" | sed -E "${3:-}" | grep -qF -- "$2" && return
    echo "no line '$1 ... $2' in:"
    cat "$work/out/table.txt"
    return 1
}

# The same, with # for numbers that depend on how busy the machine is.
ended_says() { line_says "$1" "$2" 's/(at|after) [0-9]+ /\1 # /g'; }

passes() { gpu_check "$@" || { echo "gpu_check failed" && cat "$work/out/table.txt" && return 1; }; }
fails() { ! gpu_check "$@" || { echo "gpu_check passed" && return 1; }; }

called_with() { # words of one call...
    local found=$CALLS word
    found=$(cat "$CALLS")
    for word in "$@"; do found=$(grep -F -- "$word" <<<"$found"); done
    [ -n "$found" ] || { echo "not called with: $*" && cat "$CALLS" && return 1; }
}

# ---- What is checked ----

stages_are_there_and_fit() {
    local name seconds total=0
    while read -r name seconds _; do
        grep -q "^run_$name()" scripts/gpu_check.sh || { echo "no stage $name" && return 1; }
        total=$((total + seconds))
    done < <(scripts/gpu_check.sh --list)
    echo "$total s"
    [ "$total" -gt 0 ] && [ "$total" -le 600 ] && grep -q 'WHOLE:-590' scripts/gpu_check.sh
}

refuses() { # words, command...
    local words=$1 status=0
    shift
    "$@" >/dev/null 2>"$work/err" || status=$?
    cat "$work/err"
    [ $status -eq 1 ] && [ "$(wc -l <"$work/err")" -eq 1 ] && grep -q "^error: .*$words" "$work/err"
}
unknown_stage_is_refused() { refuses "no such stage" scripts/gpu_check.sh --only nonsense; }
odd_numbers_are_refused() {
    PATIENCE=1.5 refuses "not '1.5'" scripts/gpu_check.sh --only tests && WHOLE=0 refuses "not '0'" scripts/gpu_check.sh --only tests
}

# The tests that it builds and runs on a GPU have sources that a compiler for C takes, with what stands in for cmocka too.
tests_of_a_gpu_compile() {
    local name count=0
    for name in $(make -s CUDA=no device-tests-list); do
        gcc -std=c11 -D_GNU_SOURCE -I. -Itests/fixtures/no_cmocka -Wall -Wextra -Werror -fopenmp -fsyntax-only "tests/$name.c" || return 1
        count=$((count + 1))
    done
    echo "$count tests" && [ "$count" -gt 10 ]
}

whole_check_passes() {
    local name
    touch "$work/node"
    mkdir -p "$build/check" && touch "$build/check/of_an_earlier_check.log"
    passes || return 1
    line_says test_one "passed (2 tests, 1 skipped: no LAPACK)" && line_says all "3 tests passed, 0 programs failed, 1 tests skipped" &&
        line_says "bf16 against cpu" "passed" && line_says "qdwh, 256x1024" "passed: orthogonal to 2.0e-07, 1.0 ms" &&
        line_says "polargrad against polargrad_cpu" "passed: largest difference 0" && line_says "resumed run, f32" "passed" &&
        line_says "normuon, 524288 tokens a step" "655360 tokens/s, step 100.0 ms, optimizer 1.50 ms, MFU 0.400, 1.00 GiB" &&
        line_says "the GPU meanwhile" "1755 to 1980 MHz, 650 to 698 W, 51 to 60 C (2 samples)" && line_says copy "4000 GB/s" &&
        line_says "PyTorch adamw, 524288 tokens a step" "1000 tokens/s" && line_says loss "passed" &&
        line_says norm_kernel "3.000 ms in 2 steps of 2 layers, 1 launches, 75.0 %" && line_says initcheck "passed: ERROR SUMMARY: 0 errors" || return 1
    called_with ncu "--print-units base" --no-measure-peak "--micro-batch 64" &&
        called_with "tool memcheck" "--report-api-errors no" "--kernel-name-exclude kernel_substring=nvjet" --no-measure-peak &&
        called_with "train --config" "with $work/node" || return 1
    ! grep -F "tool initcheck" "$CALLS" | grep -F exclude || return 1
    # AdamW at both batch sizes, then the others.
    [ "$(grep -o '/bench_[a-z]*_[0-9]*' "$CALLS" | tr -d '\n')" = /bench_adamw_65536/bench_adamw_524288/bench_muon_65536/bench_muon_524288/bench_normuon_65536/bench_normuon_524288 ] || return 1
    archive_has table.txt log.txt test_one.log kernels.csv torch.err dmon.txt ceilings.txt memcheck.log polar.jsonl f32/metrics.jsonl \
        bench_adamw_65536/environment.json model/cuda/norm.cu.o.log || return 1
    ! tar -tzf "$work/out/gpu_check.tgz" | grep -e '\.bin$' -e earlier
}

archive_has() { # files...
    local name
    rm -rf "$work/unpacked" && mkdir "$work/unpacked" && tar -xzf "$work/out/gpu_check.tgz" -C "$work/unpacked" || return 1
    for name in "$@"; do [ -e "$work/unpacked/$name" ] || { echo "no $name in the archive" && return 1; }; done
}

large_files_are_cut() {
    head -c 3000000 /dev/zero >"$build/check/large.log"
    passes --only ceilings && archive_has large.log && [ "$(wc -c <"$work/unpacked/large.log")" -eq 1000000 ]
    local status=$?
    rm -f "$build/check/large.log"
    return $status
}

failed_builds_are_told() {
    FAKE_BUILD="norm.cu(3): error" fails && line_says build "FAILED after" && archive_has log.txt && grep -qF "norm.cu(3): error" "$work/unpacked/log.txt"
}

no_gpu_ends_the_check() {
    local status=0
    FAKE_NO_GPU=1 gpu_check || status=$?
    [ $status -eq 2 ] && line_says GPU none && archive_has table.txt model/cuda/norm.cu.o.log
}

failed_tests_are_named() {
    FAKE_FAILED_TEST=yes fails --only tests && line_says test_one "FAILED: [  FAILED  ] first" &&
        line_says all "1 tests passed, 1 programs failed, 0 tests skipped" && archive_has table.txt test_one.log
}
no_test_is_a_failure() {
    FAKE_NO_TEST=yes fails --only tests && line_says test_two "FAILED: no test ran, 1 skipped: nothing to solve with" &&
        line_says all "2 tests passed, 1 programs failed, 2 tests skipped"
}
slow_tests_are_ended() { FAKE_SLOW_TEST=yes WHOLE=12 fails --only tests && ended_says test_one "FAILED: ended at # s, after # tests"; }

polar_factors_are_judged() {
    FAKE_ORTHOGONALITY=1e-3 fails --only parity && line_says "svd, 256x256" "FAILED: orthogonal to 1e-3" || return 1
    FAKE_ORTHOGONALITY=null fails --only parity && line_says "svd, 256x256" "FAILED: orthogonal to null" || return 1
    FAKE_NO_CUSOLVER=yes fails --only parity && line_says "polar factors" "FAILED: error: no cuSOLVER"
}
polargrad_without_lapack() {
    FAKE_NO_LAPACK=1 passes --only parity && line_says polargrad "passed: 3 steps, to a loss of 2.25 (the CPU has no LAPACK" &&
        FAKE_NO_LAPACK=1 FAKE_LOSS=null fails --only parity && line_says polargrad "FAILED: 0 losses of 3 are numbers" &&
        FAKE_LOSS=2.26 fails --only parity && line_says "polargrad against polargrad_cpu" "FAILED: largest difference 0.004"
}

# The first run ends at the stage's limit with its records; for the next no time is left.
slow_cards_are_measured() {
    OPTIMIZERS=adamw FAKE_STEP=0.6 WHOLE=14 fails --only bench || return 1
    line_says "adamw, 65536 tokens a step" "655360 tokens/s" && ended_says "adamw, 65536 tokens a step" "(ended at # s, after # steps; PATIENCE=2" &&
        line_says "adamw, 524288 tokens a step" "not run: no time left" && line_says "the GPU meanwhile" "1755 to 1980 MHz"
}
too_few_steps_are_no_measurement() {
    OPTIMIZERS=adamw FAKE_STEP=4 WHOLE=12 fails --only bench && ended_says "adamw, 65536 tokens a step" "  ended at # s, after # steps; PATIENCE=2 doubles the time"
}
crashes_are_told() {
    OPTIMIZERS=adamw FAKE_CRASH="out of memory" FAKE_NO_DMON=yes fails --only bench &&
        line_says "adamw, 65536 tokens a step" "FAILED after 2 steps: error: out of memory" && line_says "the GPU meanwhile" "not sampled" &&
        archive_has bench_adamw_65536.err
}

patience_multiplies_limits() {
    PATIENCE=3 passes --only ceilings | grep -qF "== ceilings (at most 60 s)"
}

sanitizer_finds_errors() {
    FAKE_ERROR=racecheck fails --only sanitize && line_says racecheck "FAILED: Invalid __global__ read of size 4 bytes at norm_kernel(float *)+0x10" &&
        line_says memcheck passed && line_says initcheck passed
}
slow_sanitizers_are_ended() {
    FAKE_SLOW_SANITIZER=yes WHOLE=12 fails --only sanitize && ended_says memcheck "ended at # s; 0 errors until then" &&
        line_says initcheck "not run: no time left"
}
old_sanitizers_do() { FAKE_OLD_SANITIZER=yes passes --only sanitize && ! grep exclude "$CALLS"; }

kernels_may_not_be_counted() {
    FAKE_NCU=ERR_NVGPUCTRPERM passes --only kernels && line_says kernels "skipped: ncu may not read counters here" &&
        FAKE_NCU="out of memory" fails --only kernels && line_says kernels "FAILED after"
}
pytorch_may_fail() {
    FAKE_NO_TORCH=1 passes --only torch && line_says PyTorch "skipped: not installed" &&
        FAKE_TORCH_ERROR="no kernel image" passes --only torch && line_says PyTorch "FAILED, no kernel image" && archive_has torch.err
}

time_of_all_runs_out() {
    WHOLE=4 fails --only tests --only train && line_says tests "not run: the 4 s of all stages are over" && line_says train "not run" && archive_has table.txt
}

# A signal ends the stage with all it began; what there is by then is kept.
signals_leave_results() {
    local process status=0
    : >"$CALLS"
    rm -f "$CALLS.process"
    FAKE_SLOW_SANITIZER=yes PATH=$bin:$PATH PYTHON=$bin/python OUT=$work/out BUILD=$build scripts/gpu_check.sh --only ceilings --only sanitize &
    process=$!
    until [ -s "$CALLS.process" ]; do kill -0 $process || return 1; sleep 0.1; done
    kill -TERM $process
    wait $process || status=$?
    for _ in $(seq 100); do kill -0 "$(cat "$CALLS.process")" 2>/dev/null || break; sleep 0.1; done
    ! kill -0 "$(cat "$CALLS.process")" 2>/dev/null || { echo "what was begun goes on" && return 1; }
    [ $status -eq 1 ] && line_says copy "4000 GB/s" && line_says sanitize "ENDED by a signal" && archive_has table.txt ceilings.txt
}

export CALLS=$work/calls BUILD
make_stand_ins
BUILD=$build
unset MAKEFLAGS MAKELEVEL OPTIMIZERS PATIENCE WHOLE TEST_GPU
for name in stages_are_there_and_fit unknown_stage_is_refused odd_numbers_are_refused tests_of_a_gpu_compile whole_check_passes large_files_are_cut \
    failed_builds_are_told no_gpu_ends_the_check failed_tests_are_named no_test_is_a_failure slow_tests_are_ended polar_factors_are_judged polargrad_without_lapack \
    slow_cards_are_measured too_few_steps_are_no_measurement crashes_are_told patience_multiplies_limits sanitizer_finds_errors \
    slow_sanitizers_are_ended old_sanitizers_do kernels_may_not_be_counted pytorch_may_fail time_of_all_runs_out signals_leave_results; do
    check "$name"
done
[ "$failures" -eq 0 ]

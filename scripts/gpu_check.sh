#!/usr/bin/env bash
# All checks and measurements that need a real GPU, in stages, most important first; the results table is updated after each.
# shellcheck disable=SC2317 # the stages are called by name
set -u
cd "$(dirname "$0")/.." || exit 1

usage() {
    cat <<'TEXT'
usage: scripts/gpu_check.sh [--only STAGE]... [--list]
Builds for the GPU of this machine, and checks and measures the program on it,
in under 10 minutes, without network. Each stage ends at its own time limit, or
when the total time is over; its results so far are kept. Results, updated after
each stage: table.txt, log.txt, and gpu_check.tgz with these and the underlying
records and logs, in $OUT (default: gpu_check/).
  --only STAGE  run only this stage; may be repeated (the build must have run
                once)
  --list        list the stages, their time limits in seconds, and what they do
Environment: OUT (output directory), PYTHON (python3), OPTIMIZERS ("adamw muon
normuon"), BUILD (build/gpu: directory of the programs), WHOLE (590: seconds for
all stages together), PATIENCE (1: multiplies every limit, for slower GPUs).
Exit status: 0 all passed, 1 something failed, 2 no usable GPU.
TEXT
}

# Name, time limit in seconds, description. Stages seldom need their limit: the last ones get what the others leave of WHOLE.
stages=(
    "build      90 the program and its tests, for this GPU only"
    "tests      70 the tests of the CUDA operations, on the device"
    "parity     30 losses of 20 steps: GPU in fp32 and bf16 against the CPU; exact polar factors, and PolarGrad with them"
    "rerun      40 bitwise identical weights from a second run and from a resumed one"
    "bench     100 GPT-2 124M, T=1024, bf16: 65,536 and 524,288 tokens per step, each optimizer; clocks and power"
    "ceilings   20 copy bandwidth, GEMMs (symmetric ones also with the SYRK kernel), and each operation of a step in comparison"
    "torch     120 the same model in PyTorch: tokens per second"
    "kernels    40 time of each kernel in a step"
    "train      30 a small model trains on this project's own text, in bf16"
    "sanitize   60 compute-sanitizer: memory, races, uninitialized reads, on small sizes"
)

here=$PWD
out=${OUT:-gpu_check}
build=${BUILD:-build/gpu}
work=$build/check
patience=${PATIENCE:-1}
whole=${WHOLE:-590}
rows=$work/rows.txt
train=$build/train
python=${PYTHON:-python3}
optimizers=${OPTIMIZERS:-adamw muon normuon}
export GOMP_SPINCOUNT=1000 # otherwise the program re-executes itself, which is slow under a sanitizer

limit_of() { printf '%s\n' "${stages[@]}" | awk -v name="$1" '$1 == name { print $2 }'; }
row() { printf '%s|%s|%s\n' "$stage" "$1" "$2" >>"$rows"; } # name, value: a row of the table
skip() { row "$1" "skipped: $2" && exit 0; }
at_most() { echo $(($1 < $2 ? $1 : $2)); }

# ---- The stages: each runs in its own process group, which is terminated at its end with all its children ----

within() { timeout --foreground -k 2 "$@"; } # seconds, command...

# The given seconds, limited to what the stage has left minus three seconds to report its results.
seconds_for() { at_most $(($1 * patience)) $((STAGE_SECONDS - SECONDS - 3)); }

# The directories of pip's nvidia packages, if any: CUDA headers and libraries that the toolkit may lack.
pip_folders() { # include|lib
    "$python" - "$1" 2>/dev/null <<'PY'
import glob, site, sys, sysconfig
roots = {sysconfig.get_paths()["purelib"], *site.getsitepackages()}
print(*sorted(f for r in roots for f in glob.glob(f"{r}/nvidia/*/{sys.argv[1]}")))
PY
}

capability() { nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d '. '; }

# nvcc of the machine, or pip's.
find_nvcc() {
    command -v "${NVCC:-nvcc}" && return
    local folder
    for folder in "${CUDA_HOME:-/usr/local/cuda}/bin" $(pip_folders bin); do [ -x "$folder/nvcc" ] && echo "$folder/nvcc" && return; done
}

# WERROR=no, since untested compilers may have new warnings.
run_build() {
    local arch settings=("BUILD=$build" CUDA=yes WERROR=no) includes nvcc toolkit
    nvcc=$(find_nvcc)
    [ -n "$nvcc" ] || { row "nvcc" "FAILED: not found; install the CUDA toolkit, or name it in NVCC" && return 1; }
    settings+=("NVCC=$nvcc")
    arch=$(capability)
    "$nvcc" --list-gpu-arch | grep -qx "compute_$arch" || arch= # GPU newer than the compiler: use sm_80's PTX
    [ "$arch" = 90 ] && arch=90a
    [ -n "$arch" ] && settings+=("CUDA_ARCHS=$arch")
    export NVCC_APPEND_FLAGS="${NVCC_APPEND_FLAGS:-} -allow-unsupported-compiler"
    row "nvcc" "$("$nvcc" --version | sed -n 's/.*release \([^,]*\),.*/\1/p'), $(gcc --version | head -n 1)"
    toolkit=$(readlink -f "$nvcc")
    toolkit=${toolkit%/bin/nvcc}
    includes=$(pip_folders include)
    if ! echo '#include <cublasLt.h>' | gcc -E -x c -isystem "$toolkit/include" -isystem "$toolkit/targets/$(uname -m)-linux/include" - >/dev/null 2>&1 &&
        [ -n "$includes" ]; then
        settings+=("CUDA_INCLUDES=$includes")
    fi
    if ! echo '#include <cmocka.h>' | gcc -E -x c -include stdarg.h -include stddef.h -include stdint.h -include setjmp.h - >/dev/null 2>&1; then
        settings+=(CFLAGS=-Itests/fixtures/no_cmocka TEST_LIBS=)
        row "cmocka" "not installed; tests/fixtures/no_cmocka replaces it"
    fi
    make -j"$(nproc)" "${settings[@]}" "$train" "$build/tests/bench/gpu_ceilings" || return 1
    make -k -j"$(nproc)" "${settings[@]}" device-tests || row "tests" "FAILED: some do not build"
    row "architectures" "${arch:-80, 90a and PTX}"
    row "spills" "$(awk '/spill stores/ && !/ 0 bytes spill stores/' "$build"/{*,*/*}/cuda/*.cu.o.log 2>/dev/null | wc -l) kernels"
}

# The skipped tests of a program, one per line: cmocka repeats the names at its end, and some programs print a reason.
skipped_in() { grep -hoE '^\[ +SKIPPED \] \w+$|^skipped \w+:' "$1" | sort -u; } # log

reason_in() { sed -n 's/^skipped[^:]*: *//p' "$1" | head -n 1 | cut -c 1-90; } # log

run_test() {
    local name=${1##*/}
    local log=$work/$name.log seconds status=0 passed skipped note=
    seconds=$(seconds_for 60)
    [ "$seconds" -gt 0 ] || seconds=1
    within "$seconds" "$build/tests/$1" >"$log" 2>&1 || status=$?
    passed=$(grep -cE '^\[ +OK \] ' "$log")
    skipped=$(skipped_in "$log" | wc -l)
    [ "$skipped" -eq 0 ] || note="$skipped skipped: $(reason_in "$log")"
    if [ "$status" -eq 0 ] && [ "$passed" -gt 0 ]; then
        row "$name" "passed ($passed tests${note:+, $note})"
    elif [ "$status" -eq 0 ]; then
        row "$name" "FAILED: no test ran${note:+, $note}"
        status=1
    elif [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
        row "$name" "FAILED: ended at $seconds s, after $passed tests"
    else
        row "$name" "FAILED: $(grep -m 1 -E 'FAILED|error|internal' "$log" | cut -c 1-90)"
    fi
    echo "$passed $skipped $((status != 0))" >"$log.counts"
    cat "$log"
}

# Four at a time: much of their time goes to CPU references. TEST_GPU=required makes them fail instead of skip without a GPU.
run_tests() {
    local test passed skipped failed
    export TEST_GPU=required
    rm -f "$work"/*.log.counts
    for test in $(make -s CUDA=no device-tests-list); do
        while [ "$(jobs -rp | wc -l)" -ge 4 ]; do wait -n; done
        run_test "$test" &
    done
    wait
    read -r passed skipped failed < <(cat "$work"/*.log.counts | awk '{ p += $1; s += $2; f += $3 } END { print p + 0, s + 0, f + 0 }')
    row "all" "$passed tests passed, $failed programs failed, $skipped tests skipped"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# Token shards: this project's own text as bytes, and for speed tests random tokens from Zipf's law over GPT-2's vocabulary.
make_text() {
    [ -e "$work/text_train_000001.bin" ] && return
    "$train" tokenize --out "$work" --name text --overwrite README.md LICENSE docs/*.md ./*/*.[ch] ./*/*/*.{c,h,cu}
}

make_tokens() {
    [ -e "$work/zipf.bin" ] && return
    "$python" - "$work/zipf.bin" <<'PY'
import array, itertools, random, sys
n, vocab = 4 << 20, 50257
weights = list(itertools.accumulate(1 / (i + 2.7) for i in range(vocab)))
tokens = array.array("H", random.Random(1).choices(range(vocab), cum_weights=weights, k=n))
with open(sys.argv[1], "wb") as file:
    array.array("i", [20240520, 1, n] + [0] * 253).tofile(file)
    tokens.tofile(file)
PY
}

small=(--vocab bytes --n-layer 2 --n-head 2 --d-model 128 --seq-len 64 --batch-size 16 --steps 20 --log-every 1 --eval-every 0
    --checkpoint-every 0 --optimizer muon --seed 3 --quiet --overwrite)

run_small() { # name, options...
    local name=$1
    shift
    "$train" "${small[@]}" --train-data "$work/text_train_000001.bin" --out "$work/$name" "$@" ||
        { [ $? -eq 75 ] && [ "$name" = resumed ]; } # stopped by --max-time
}

losses() { sed -n '/"kind":"train"/s/.*"loss":\([^,}]*\).*/\1/p' "$work/$1/metrics.jsonl"; }

# Compares the largest relative difference between the losses of two runs with a tolerance.
compare_losses() { # name, reference, allowed, steps
    local found
    found=$(paste <(losses "$1") <(losses "$2") | awk -v steps="${4:-20}" '
        { if ($1 !~ /^[0-9]/ || $2 !~ /^[0-9]/ || $2 == 0) bad = 1; else { d = ($1 - $2) / $2; if (d < 0) d = -d; if (d > m) m = d; n++ } }
        END { print (n == steps && !bad ? m + 0 : "no number") }')
    if awk -v f="$found" -v a="$3" 'BEGIN { exit !(f != "no number" && f + 0 <= a + 0) }'; then
        row "$1 against $2" "passed: largest difference $found, allowed $3"
    else
        row "$1 against $2" "FAILED: largest difference $found, allowed $3"
        return 1
    fi
}

# Tolerances. A token's logits go through 7 operations in each of 2 layers and in the last norm and head (docs/design.md,
# section 9): 21 roundings of rms u / sqrt(3), times sqrt(n) if a sum of n terms is rounded term by term. They change its loss
# by the error times the spread of the logits (at most 2 here) times the norm of p - y (at most sqrt(2)); the mean over 1,024
# tokens reduces independent errors to 1/32. Relative to a loss of 4, as a random walk over 20 steps, four standard deviations:
# 4 sqrt(20) sqrt(21 n / 3) 2 sqrt(2) / (32 * 4) u = 1.05 sqrt(n) u. (Muon's amplification of small singular values does not
# matter: a step is the steepest within its norm, so its error changes the loss in second order only.)
# fp32, u = 2^-24, n = 2 * 512 since both programs round: 2.0e-6; the CPU's two GEMMs differ by 5e-9.
# bf16, u = 2^-8, n = 1 since sums are in fp32: 4.1e-3; the emulated GPU (tests/emulator) differs by 7e-4.
run_parity() {
    local status=0
    make_text || return 1
    run_small cpu --device cpu || return 1
    run_small f32 --device cuda --dtype f32 && compare_losses f32 cpu 2e-6 || status=1
    run_small bf16 --device cuda --dtype bf16 && compare_losses bf16 cpu 4.1e-3 || status=1
    check_polar_factors || status=1
    check_polargrad || status=1
    return "$status"
}

# The solver-based methods, run until convergence. Tolerance: orthogonality at most 6 sqrt(m + n) eps, as in
# tests/unit/optim/polar/test_polar_methods.c.
check_polar_factors() {
    local name shape error ms checked=0 status=0
    "$train" polar --device cuda --method qdwh,zolo-pd,svd --shape 256x256,256x1024 --steps 0 --repeat 2 --json \
        >"$work/polar.jsonl" 2>"$work/polar.err" || { row "polar factors" "FAILED: $(tail -n 1 "$work/polar.err" | cut -c 1-90)" && return 1; }
    while read -r name shape error ms; do
        checked=$((checked + 1))
        if awk -v e="$error" -v s="$shape" 'BEGIN { split(s, n, "x"); exit !(e ~ /^[0-9]/ && e + 0 <= 6 * sqrt(n[1] + n[2]) * 2 ^ -23) }'; then
            row "$name, $shape" "passed: orthogonal to $(printf '%.1e' "$error"), $ms ms"
        else
            row "$name, $shape" "FAILED: orthogonal to $error"
            status=1
        fi
    done < <(awk -F'[:,{}"]+' '{ for (i = 2; i < NF; i += 2) v[$i] = $(i + 1)
        print v["method"], v["rows"] "x" v["cols"], v["orthogonality"], sprintf("%.1f", 1e3 * v["seconds"]) }' "$work/polar.jsonl")
    [ "$checked" -eq 6 ] || { row "polar factors" "FAILED: $checked of 6 were measured" && return 1; }
    return "$status"
}

# Three steps of PolarGrad with QDWH, compared with the CPU if it has LAPACK; otherwise the losses must be finite.
check_polargrad() {
    local options=(--steps 3 --optimizer polargrad --polar qdwh --dtype f32) found
    run_small polargrad "${options[@]}" --device cuda || { row "polargrad" "FAILED: the run ended in an error" && return 1; }
    if "$train" polar --device cpu --method svd --shape 2x2 >/dev/null 2>&1; then
        run_small polargrad_cpu "${options[@]}" --device cpu && compare_losses polargrad polargrad_cpu 2e-6 3
        return
    fi
    found=$(losses polargrad | grep -cE '^[0-9]')
    if [ "$found" -eq 3 ]; then
        row "polargrad" "passed: 3 steps, to a loss of $(losses polargrad | tail -n 1) (the CPU has no LAPACK to compare with)"
    else
        row "polargrad" "FAILED: $found losses of 3 are numbers"
        return 1
    fi
}

last_checkpoint() { printf '%s\n' "$work/$1"/checkpoints/step_* | tail -n 1; }

run_rerun() {
    local dtype name status=0
    make_text || return 1
    for dtype in bf16 f32; do
        run_small first --device cuda --dtype "$dtype" || return 1
        run_small second --device cuda --dtype "$dtype" || return 1
        rm -rf "$work/resumed"
        run_small resumed --device cuda --dtype "$dtype" --max-time 1e-9 || return 1 # stops after a step
        "$train" --resume "$work/resumed" --max-time 0 --quiet || return 1
        for name in second resumed; do
            if cmp -s "$(last_checkpoint first)/model.safetensors" "$(last_checkpoint "$name")/model.safetensors" &&
                cmp -s "$(last_checkpoint first)/optimizer.safetensors" "$(last_checkpoint "$name")/optimizer.safetensors"; then
                row "$name run, $dtype" "passed: the same bits"
            else
                row "$name run, $dtype" "FAILED: other bits"
                status=1
            fi
        done
    done
    return "$status"
}

# The median of a field, without the first three records.
median() { # run, field
    sed -n "/\"kind\":\"train\"/s/.*\"$2\":\([0-9.eE+-]*\).*/\1/p" "$work/$1/metrics.jsonl" | tail -n +4 | sort -g |
        awk '{ x[NR] = $1 } END { print NR ? x[int((NR + 1) / 2)] : "nan" }'
}

# A run for speed measurements, killed when its last step is recorded, since the final checkpoint is not part of it. On a slow
# GPU it ends at its time limit; five records suffice. Sets `recorded` to their number.
run_for_speed() { # name, steps, options...
    local name=$1 steps=$2 process seconds deadline alive=yes
    shift 2
    recorded=0
    seconds=$(seconds_for 40)
    deadline=$((SECONDS + seconds))
    rm -rf "${work:?}/$name"
    [ "$seconds" -gt 0 ] || { problem="not run: no time left, PATIENCE=2 doubles it" && return 1; }
    "$train" --config configs/gpt2_124m.conf --train-data "$work/zipf.bin" --steps "$((steps + 1))" --log-every 1 --eval-every 0 \
        --checkpoint-every 0 --warmup 1 --quiet --out "$work/$name" "$@" 2>"$work/$name.err" &
    process=$!
    while [ "$recorded" -lt "$steps" ] && [ "$SECONDS" -lt "$deadline" ] && [ "$alive" ]; do
        sleep 0.1
        kill -0 "$process" 2>/dev/null || alive=
        recorded=$(losses "$name" 2>/dev/null | wc -l)
    done
    kill -KILL "$process" 2>/dev/null
    wait "$process" 2>/dev/null
    cat "$work/$name.err"
    [ "$recorded" -lt "$steps" ] || return 0
    if [ -z "$alive" ]; then
        problem="FAILED after $recorded steps: $(tail -n 1 "$work/$name.err" | cut -c 1-90)"
        return 1
    fi
    problem="ended at $seconds s, after $recorded steps; PATIENCE=2 doubles the time"
    [ "$recorded" -ge 5 ]
}

# The range of clock, power and temperature over the samples in which the GPU was busy.
clocks_of() { # output of nvidia-smi dmon
    awk '
        /^#/ && /pclk/ { sub(/^# */, ""); for (i = 1; i <= NF; i++) at[$i] = i; next }
        /^#/ || !("pclk" in at) || !("sm" in at) || $at["sm"] + 0 < 50 { next }
        { n++; for (name in at) { x = $at[name] + 0; if (n == 1 || x < least[name]) least[name] = x; if (n == 1 || x > most[name]) most[name] = x } }
        function range(name, unit) { return least[name] " to " most[name] " " unit }
        END { if (n) print range("pclk", "MHz") ", " range("pwr", "W") ", " range("gtemp", "C") " (" n " samples)"; else print "not sampled" }' "$1"
}

run_bench() {
    local batch optimizer name sampler recorded problem status=0
    command -v "$python" >/dev/null || skip "speed" "no python3 to generate tokens"
    make_tokens || return 1
    nvidia-smi dmon -i 0 -s puc -o T >"$work/dmon.txt" 2>&1 &
    sampler=$!
    for optimizer in $optimizers; do
        for batch in 64 512; do
            name=bench_${optimizer}_$((batch * 1024))
            problem=
            if run_for_speed "$name" $((batch == 512 ? 8 : 23)) --optimizer "$optimizer" --lr 1e-3 --batch-size "$batch" \
                --device cuda --dtype bf16; then
                row "$optimizer, $((batch * 1024)) tokens a step" "$(printf '%.0f tokens/s, step %.1f ms, optimizer %.2f ms, MFU %.3f, %.2f GiB%s' \
                    "$(median "$name" tokens_per_s)" "$(median "$name" step_ms)" "$(median "$name" optimizer)" "$(median "$name" mfu)" \
                    "$(median "$name" device_memory_bytes | awk '{ print $1 / 2^30 }')" "${problem:+ ($problem)}")"
            else
                row "$optimizer, $((batch * 1024)) tokens a step" "$problem"
                status=1
            fi
        done
    done
    kill "$sampler" 2>/dev/null
    row "the GPU meanwhile" "$(clocks_of "$work/dmon.txt")"
    return "$status"
}

run_train() {
    local first last
    make_text || return 1
    "$train" --config configs/demo.conf --config configs/demo_normuon.conf --train-data "$work/text_train_000001.bin" \
        --val-data "$work/text_val_000000.bin" --eval-every 50 --checkpoint-every 0 --device cuda --dtype bf16 --quiet --overwrite \
        --out "$work/demo" || return 1
    first=$(losses demo | head -n 1)
    last=$(losses demo | tail -n 1)
    # Starts at ln 257 = 5.55; a model that has learned only the most common pairs and words reaches two bits per byte.
    if awk -v l="$last" 'BEGIN { exit !(l == l + 0 && l < 2.5) }'; then
        row "loss" "passed: from $first to $last"
    else
        row "loss" "FAILED: from $first to $last, below 2.5 expected"
        return 1
    fi
}

run_ceilings() {
    local status=0
    "$build/tests/bench/gpu_ceilings" >"$work/ceilings.txt" || status=1
    cat "$work/ceilings.txt"
    while IFS= read -r line; do row "${line%%: *}" "${line#*: }"; done < <(tail -n +2 "$work/ceilings.txt")
    return "$status"
}

run_sanitize() {
    local tool status=0 command seconds options
    command=$(command -v compute-sanitizer || compgen -G '/usr/local/cuda*/bin/compute-sanitizer' | tail -n 1)
    [ -n "$command" ] || skip "compute-sanitizer" "not installed"
    make_text || return 1
    for tool in memcheck racecheck initcheck; do
        seconds=$(seconds_for 28)
        [ "$seconds" -gt 0 ] || { row "$tool" "not run: no time left, PATIENCE=2 doubles it" && status=1 && continue; }
        options=()
        [ "$tool" = initcheck ] || mapfile -t options < <(without_libraries "$command") # it must see library writes
        sanitize "$tool" "$seconds" "$command" "${options[@]}" || status=1
        cat "$work/$tool.log"
    done
    return "$status"
}

# Options, one per line, that exclude the kernels of NVIDIA's libraries, if the tool supports it. None of our kernel names
# contains these strings.
without_libraries() { # compute-sanitizer
    local name
    "$1" --help 2>/dev/null | grep -q -- --kernel-name-exclude || return 0
    for name in cutlass cublas gemm nvjet xmma splitK; do printf '%s\n' --kernel-name-exclude "kernel_substring=$name"; done
}

# Runs two steps under a tool and reports the first finding and its kernel.
sanitize() { # tool, seconds, command and options...
    local tool=$1 seconds=$2 log=$work/$1.log result=0
    shift 2
    # Not `within`: the tool starts a process for the program, which must end with it. They form their own process group, which
    # does not end with the stage's.
    timeout -k 1 "$seconds" "$1" --tool "$tool" --report-api-errors no --error-exitcode 9 --print-limit 5 "${@:2}" \
        "$train" "${small[@]}" --no-measure-peak --steps 2 --n-layer 1 --seq-len 32 --batch-size 2 \
        --train-data "$work/text_train_000001.bin" --device cuda --dtype bf16 --out "$work/sanitize" >"$log" 2>&1 &
    trap 'kill $!; exit 1' TERM
    wait $! || result=$?
    trap - TERM
    case $result in
    0) row "$tool" "passed: $(tail -n 1 "$log" | sed 's/^=* *//')" ;;
    124 | 137) row "$tool" "ended at $seconds s; $(grep -cE 'Invalid|Race|Uninit' "$log") errors until then" ;;
    *)
        row "$tool" "FAILED: $(grep -m 1 -A 1 -E 'Invalid|Race|Uninit|ERROR SUMMARY|error' "$log" | sed 's/^=* *//' | paste -sd ' ' | cut -c 1-150)"
        ;;
    esac
    return "$result"
}

run_torch() {
    "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null || skip "PyTorch" "not installed, or it sees no GPU"
    local names
    read -ra names <<<"$optimizers"
    while IFS= read -r line; do
        echo "$line"
        case $line in *": "*) row "${line%%: *}" "${line#*: }" ;; esac
    done < <("$python" scripts/gpu_check_torch.py "${names[@]}" 2>"$work/torch.err" || echo "PyTorch: FAILED, $(tail -n 1 "$work/torch.err" | cut -c 1-90)")
}

# ncu reads no performance counters here, only kernel durations.
run_kernels() {
    local ncu status=0
    ncu=$(command -v ncu || { compgen -G '/opt/nvidia/nsight-compute/*/ncu'; compgen -G '/usr/local/cuda*/bin/ncu'; } | tail -n 1)
    [ -n "$ncu" ] || skip "kernels" "no ncu; the phases of a step are in the runs' metrics.jsonl"
    make_tokens || return 1
    "$ncu" --clock-control none --cache-control none --metrics gpu__time_duration.sum --print-units base --csv \
        "$train" --no-measure-peak --config configs/gpt2_124m.conf --train-data "$work/zipf.bin" \
        --optimizer normuon --lr 1e-3 --n-layer 2 --batch-size 64 --micro-batch 64 --steps 2 --eval-every 0 --checkpoint-every 0 --warmup 1 --device cuda \
        --dtype bf16 --quiet --overwrite --out "$work/kernels" >"$work/kernels.csv" 2>"$work/kernels.err" || status=1
    if grep -qs ERR_NVGPUCTRPERM "$work/kernels.csv" "$work/kernels.err"; then
        skip "kernels" "ncu may not read counters here (ERR_NVGPUCTRPERM); see the operations under ceilings"
    fi
    [ "$status" -eq 0 ] || { tail -n 3 "$work/kernels.csv" "$work/kernels.err" && return 1; }
    while IFS='|' read -r name value; do row "$name" "$value"; done < <(
        "$python" - "$work/kernels.csv" <<'PY'
import collections, csv, sys
lines = [l for l in open(sys.argv[1], errors="replace") if l.startswith('"')]
total, count = collections.Counter(), collections.Counter()
scale = {"nsecond": 1e-6, "ns": 1e-6, "usecond": 1e-3, "us": 1e-3, "msecond": 1, "ms": 1}
for r in csv.DictReader(lines):
    name = r["Kernel Name"].split("(")[0][:60]
    total[name] += float(r["Metric Value"].replace(",", "")) * scale.get(r["Metric Unit"], 1e-6)
    count[name] += 1
everything = sum(total.values()) or 1
for name, ms in total.most_common(25):
    print(f"{name}|{ms:.3f} ms in 2 steps of 2 layers, {count[name]} launches, {100 * ms / everything:.1f} %")
PY
    )
}

# ---- Running them ----

# Without persistence mode the driver initializes the GPU again for every process that finds it idle, which takes seconds:
# an open device file keeps it in use. Best effort.
hold_gpu() {
    local node
    for node in ${GPU_NODES:-/dev/nvidia[0-9]*}; do { exec 9<"$node"; } 2>/dev/null && return; done
}

# Archives everything needed to analyze the results elsewhere: at most the last megabyte of each file.
write_archive() {
    local file name files=$work/files
    rm -rf "$files"
    for file in "$out"/{table,log}.txt "$work"/*.{log,txt,csv,err,jsonl} "$work"/*/{metrics.jsonl,environment.json,log.txt} \
        "$build"/{*,*/*}/cuda/*.cu.o.log; do
        [ -f "$file" ] || continue
        name=${file#"$out"/}
        name=${name#"$work"/}
        name=${name#"$build"/}
        mkdir -p "$files/$(dirname "$name")"
        tail -c 1000000 "$file" >"$files/$name"
    done
    tar -C "$files" -czf "$out/gpu_check.new" . && mv "$out/gpu_check.new" "$out/gpu_check.tgz"
}

write_results() {
    {
        echo "GPU check of $(git describe --always --dirty 2>/dev/null || echo 'an unknown commit'), $(date -u '+%Y-%m-%d %H:%M UTC')"
        echo "$gpu"
        awk -F'|' '$1 != last { printf "\n%s\n", $1; last = $1 } { printf "  %-60s %s\n", $2, $3 }' "$rows"
    } >"$work/table.txt"
    mv "$work/table.txt" "$out/table.txt"
    write_archive
}

# On a signal: stops the stage and keeps the results so far.
end_by_signal() {
    [ -z "$running" ] || { kill "$running" && wait "$running"; }
    row "$stage" "ENDED by a signal"
    write_results
    exit 1
}

run_stage() { # name, seconds
    local name=$1 seconds start=$SECONDS status=0
    seconds=$(at_most $(($2 * patience)) $((whole * patience - SECONDS)))
    stage=$name
    if [ "$seconds" -lt 5 ]; then
        row "$name" "not run: the $((whole * patience)) s of all stages are over"
        write_results
        return 1
    fi
    echo "== $name (at most $seconds s)" | tee -a "$out/log.txt"
    # In the background, so that signals are handled while it runs.
    STAGE_SECONDS=$seconds timeout -k 3 "$seconds" "$here/scripts/gpu_check.sh" --inside "$name" >>"$out/log.txt" 2>&1 &
    running=$!
    wait "$running" || status=$?
    running=
    case $status in
    0) row "$name" "done in $((SECONDS - start)) s" ;;
    124 | 137) row "$name" "ENDED at its limit of $seconds s" ;;
    *) row "$name" "FAILED after $((SECONDS - start)) s (log.txt)" ;;
    esac
    write_results
    [ "$status" -eq 0 ]
}

only=()
while [ $# -gt 0 ]; do
    case $1 in
    --only)
        [ -n "$(limit_of "${2:-}")" ] || { echo "error: --only ${2:-}: no such stage; see --list" >&2 && exit 1; }
        only+=("$2")
        shift 2
        ;;
    --list) printf '%s\n' "${stages[@]}" && exit 0 ;;
    --inside) # used by run_stage only
        stage=$2
        "run_$2"
        exit
        ;;
    -h | --help) usage && exit 0 ;;
    *) echo "error: unknown option '$1'; see scripts/gpu_check.sh --help" >&2 && exit 1 ;;
    esac
done

for number in "$patience" "$whole"; do
    [[ $number =~ ^[1-9][0-9]{0,5}$ ]] || { echo "error: PATIENCE and WHOLE must be positive whole numbers, not '$number'" >&2 && exit 1; }
done
POLAR_CUDA_LIBRARIES=${POLAR_CUDA_LIBRARIES:-$(pip_folders lib | tr ' ' ':')}
export POLAR_CUDA_LIBRARIES
if [ ${#only[@]} -eq 0 ]; then
    rm -rf "${work:?}" # of an earlier check
    for line in "${stages[@]}"; do only+=("${line%% *}"); done
fi
mkdir -p "$out" "$work" || exit 1
hold_gpu
gpu=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null)
stage='' running=''
trap end_by_signal TERM INT HUP
rm -f "$out/table.txt" "$out/gpu_check.tgz"
: >"$rows"
: >"$out/log.txt"
failed=0
for name in "${only[@]}"; do
    run_stage "$name" "$(limit_of "$name")" || failed=1
    if [ "$name" = build ] && [ $failed -ne 0 ]; then
        echo "error: the build failed; see $out/log.txt" >&2
        exit 1
    fi
    if [ "$name" = build ] && ! why=$(timeout $((60 * patience)) "$train" --device cuda --dry-run 2>&1 >/dev/null); then
        stage=build
        row "GPU" "none"
        write_results
        echo "gpu_check: the build is done, the rest needs a GPU: ${why#error: }" >&2
        exit 2
    fi
done
cat "$out/table.txt"
exit $failed

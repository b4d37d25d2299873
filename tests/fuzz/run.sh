#!/usr/bin/env bash
# tests/fuzz/run.sh RUNS NAME...: the fuzzers that `make fuzz` built, one after the other, RUNS inputs each; that of
# configurations, where an input takes a millisecond, a twentieth. What they learn stays in build/fuzz/found/NAME, where
# the next call begins; an input that fails is written to build/fuzz/NAME-crash-*.
set -u
cd "$(dirname "$0")/../.."
runs=$1 sum=0
shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Memory that was freed is kept from use for a while, to see late reads of it: 256 MiB of it would be mostly page faults.
export ASAN_OPTIONS=${ASAN_OPTIONS:-quarantine_size_mb=8}
for name in "$@"; do
    mkdir -p "build/fuzz/found/$name"
    start=$SECONDS n=$runs
    [ "$name" = config ] && n=$((runs / 20))
    if ! "build/fuzz/tests/fuzz_$name" -runs="$n" -max_len=4096 -timeout=60 -reload=0 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/$name-" "build/fuzz/found/$name" "tests/fuzz/corpus/$name" >"$log" 2>&1; then
        tail -n 40 "$log"
        echo "$name: failed; the input is in build/fuzz/$name-*"
        exit 1
    fi
    # Those that were really run: libFuzzer reads its corpus on top of them.
    n=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    sum=$((sum + n))
    printf '%-12s %9d inputs, %s, %d s\n' "$name" "$n" "$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1)" $((SECONDS - start))
done
echo "$sum inputs in all, none failed"

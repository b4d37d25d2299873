#!/usr/bin/env bash
# tests/fuzz/run.sh RUNS NAME...: the fuzzers that `make fuzz` built, one after the other. What they learn stays in
# build/fuzz/found/NAME, where the next call begins; an input that fails is written to build/fuzz/NAME-crash-*.
set -u
cd "$(dirname "$0")/../.."
runs=$1
shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for name in "$@"; do
    mkdir -p "build/fuzz/found/$name"
    start=$SECONDS
    if ! "build/fuzz/tests/fuzz_$name" -runs="$runs" -max_len=16384 -timeout=20 -artifact_prefix="build/fuzz/$name-" \
        "build/fuzz/found/$name" "tests/fuzz/corpus/$name" >"$log" 2>&1; then
        tail -n 40 "$log"
        echo "$name: failed; the input is in build/fuzz/$name-*"
        exit 1
    fi
    printf '%-12s %9d inputs, %s, %d s\n' "$name" "$runs" "$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1)" $((SECONDS - start))
done

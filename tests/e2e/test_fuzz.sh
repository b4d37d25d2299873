#!/usr/bin/env bash
# Every fuzzer on its corpus and on some thousands of mutations of it; `make fuzz` looks further, with libFuzzer.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
failed=0
for corpus in tests/fuzz/corpus/*; do
    name=$(basename "$corpus")
    if message=$("$BUILD/tests/fuzz_$name" "$corpus" 3000 2>&1); then
        echo "ok fuzz_$name"
    else
        echo "FAILED fuzz_$name"
        printf '%s\n' "$message" | tail -n 20
        failed=1
    fi
done
exit $failed

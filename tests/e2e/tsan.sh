#!/usr/bin/env bash
# What `make tsan` built, under ThreadSanitizer: the tests of the loader's and the checkpoints' threads, and short training
# runs on two threads. Any race it sees ends the program with status 66.
#
# libarcher tells it what OpenMP's barriers order; without it every parallel loop would be a race with the next. What is
# not compiled by us (the OpenMP runtime, libc) is left out, for it is not instrumented. Products are our own: OpenBLAS
# would bring a second OpenMP runtime.
set -u
cd "$(dirname "$0")/../.."
build=${BUILD:-build/tsan}
archer=$(${CC:-clang} -print-file-name=libarcher.so)
[ -e "$archer" ] || archer=$(ls /usr/lib/llvm-*/lib/libarcher.so 2>/dev/null | tail -n 1)
[ -n "$archer" ] || { echo "skipped tsan: there is no libarcher.so (scripts/setup.sh sanitize)"; exit 0; }
export OMP_TOOL_LIBRARIES=$archer TSAN_OPTIONS="ignore_noninstrumented_modules=1 exitcode=66 history_size=4"
export POLAR_BLAS=none OMP_NUM_THREADS=2 GOMP_SPINCOUNT=1000
train=$PWD/$build/train
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failed=0

check() { # status, program, arguments...
    local wanted=$1 status=0
    shift
    (cd "$tmp" && "$@") >"$tmp/out" 2>&1 || status=$?
    [ "$status" -eq "$wanted" ] && return
    echo "FAILED $*: status $status"
    head -n 60 "$tmp/out"
    failed=1
}

for i in $(seq 3000); do echo "It was the $i th of the words, and the $((i * 7 % 11)) th of them said so."; done >"$tmp/book.txt"
for i in $(seq 200); do printf '{"text": "%s document number %d of two hundred, which are more than a batch needs"}\n' "This is" "$i"; done >"$tmp/lines.jsonl"
# Wide enough that every loop runs in parallel.
network=(--vocab bytes --train-data 'book_train_*.bin' --val-data 'book_val_*.bin' --n-layer 2 --n-head 4 --d-model 64
    --seq-len 64 --batch-size 8 --micro-batch 2 --steps 6 --threads 2 --warmup 1 --eval-every 3 --val-tokens 2048
    --sample-every 3 --sample-tokens 20 --checkpoint-every 2)
check 0 "$PWD/$build/tests/unit/data/test_loader"
check 0 "$PWD/$build/tests/unit/run/checkpoint/test_checkpoint"
check 0 "$train" tokenize --out . --name book book.txt
check 0 "$train" tokenize --out . --name lines --val-tokens 0 lines.jsonl
check 0 "$train" "${network[@]}" --optimizer adamw --out adamw
check 0 "$train" "${network[@]}" --optimizer normuon --norm rmsnorm --positions rope --activation swiglu --biases no \
    --n-kv-head 2 --qk-norm --no-tied-head --softcap 15 --recompute layer --align-documents \
    --train-data 'lines_train_*.bin' --out normuon
check 75 "$train" "${network[@]}" --optimizer muon --max-time 1e-9 --out part
check 75 "$train" --resume part
check 0 "$train" problem completion --optimizer muon --steps 3 --diagnose 0 --out completion
[ "$failed" -eq 0 ] && echo "ok tsan: no race in the loader's and the checkpoints' tests and seven runs"
exit $failed

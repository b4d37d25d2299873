#!/usr/bin/env bash
# Every command under valgrind, also where it ends in an error: no leak, no read of memory that is not ours or was never
# written. `make leaks` calls it; it takes a few minutes. Products are our own but for the last commands, which need
# OpenBLAS's LAPACK. Valgrind knows no AVX-512: it is the operations for AVX2 that run.
set -u
cd "$(dirname "$0")/../.."
train=$PWD/${TRAIN:-train}
command -v valgrind >/dev/null || { echo "skipped leaks: there is no valgrind (scripts/setup.sh sanitize)"; exit 0; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export POLAR_BLAS=none OMP_NUM_THREADS=2 GOMP_SPINCOUNT=1000 # set: train does not start itself again
root=$PWD
count=0 failed=0

# Runs train with the arguments after the status it must end with.
check() { # status, arguments...
    local wanted=$1 status=0
    shift
    (cd "$tmp" && valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,indirect,possible \
        --suppressions="$root/tests/e2e/valgrind.supp" --child-silent-after-fork=yes "$train" "$@" </dev/null) \
        >"$tmp/out" 2>&1 || status=$?
    count=$((count + 1))
    [ "$status" -eq "$wanted" ] && return
    failed=$((failed + 1))
    echo "FAILED train $*: status $status instead of $wanted"
    tail -n 40 "$tmp/out"
}

for i in $(seq 300); do echo "It was the $i th of the words, and the $((i * 7 % 11)) th of them said so."; done >"$tmp/book.txt"
printf '{"text": "one document"}\n{"text": "and another one, caf\\u00e9"}\n' >"$tmp/lines.jsonl"
network=(--vocab bytes --train-data 'book_train_*.bin' --val-data 'book_val_*.bin' --n-layer 2 --n-head 2 --d-model 16
    --seq-len 16 --batch-size 4 --micro-batch 2 --steps 4 --threads 2 --warmup 1 --eval-every 2 --val-tokens 64 --quiet)

check 0 tokenize --out . --name book book.txt
check 0 tokenize --out lines --name lines --val-tokens 0 lines.jsonl
check 1 tokenize --out . --name none no_such_file.txt
for optimizer in adamw sgd lion signum muon normuon rownorm; do
    check 0 "${network[@]}" --optimizer "$optimizer" --out "$optimizer"
done
check 0 "${network[@]}" --optimizer polargrad --polar polar-express --out polargrad
check 0 "${network[@]}" --norm rmsnorm --positions rope --activation swiglu --biases no --n-kv-head 1 --no-tied-head \
    --qk-norm --recompute layer --optimizer normuon --align-documents --train-data lines/lines_train_000001.bin \
    --seq-len 4 --batch-size 2 --out llama
check 75 "${network[@]}" --optimizer normuon --sample-every 2 --sample-tokens 5 --checkpoint-every 1 --max-time 1e-9 --out part
check 75 --resume part
check 1 "${network[@]}" --optimizer normuon --out part
check 1 --resume adamw --lr 1
check 1 --resume no_such_run
check 1 --optimiser adamw
check 1 "${network[@]}" --train-data 'none_*.bin' --out none
check 1 "${network[@]}" --seq-len 100000 --out none
check 0 "${network[@]}" --dry-run
check 0 --help
check 0 --help normuon
check 0 eval adamw
check 1 eval none
check 0 sample adamw --prompt "It was" --tokens 20 --samples 2
check 1 sample adamw --prompt ""  --tokens x
check 0 export adamw --out exported
check 1 export adamw --out exported
check 0 eval exported --val-data book_val_000000.bin --vocab bytes
check 0 "${network[@]}" --init-from exported --out again
check 0 problem completion --optimizer muon --steps 3 --rows 20 --cols 12 --rank 2 --diagnose 0 --out completion
dd if=/dev/zero of="$tmp/adamw/checkpoints/step_00000004/model.safetensors" bs=1 count=64 conv=notrunc 2>/dev/null
check 1 eval adamw
check 1 --resume adamw
unset POLAR_BLAS
export OMP_NUM_THREADS=1
check 0 polar --method all --shape 12x20 --repeat 1
check 0 problem quadratic --optimizer polargrad --steps 3 --rows 20 --cols 10 --x-rows 12 --x-cols 8 --out quadratic
check 0 "${network[@]}" --optimizer polargrad --threads 1 --diagnose 2 --diagnose-spectrum --out blas

[ "$failed" -eq 0 ] && echo "ok leaks: $count commands" || echo "FAILED leaks: $failed of $count commands"
[ "$failed" -eq 0 ]

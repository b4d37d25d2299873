#!/usr/bin/env bash
# The command line as a user meets it: the plan, the help, errors in one line with nothing created, whole small runs.
set -u
cd "$(dirname "$0")/../.."
TRAIN=${TRAIN:-$PWD/train}
export POLAR_BLAS=none
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failed=0

check() { # name, function
    if "$2" >"$tmp/output" 2>&1; then
        echo "ok $1"
    else
        echo "FAILED $1"
        sed 's/^/  /' "$tmp/output"
        failed=1
    fi
}

# Runs train; the status must be $1. Output goes to $tmp/out, errors to $tmp/err.
expect() {
    local status=$1 got=0
    shift
    "$TRAIN" "$@" >"$tmp/out" 2>"$tmp/err" || got=$?
    [ "$got" -eq "$status" ] && return 0
    echo "train $*: status $got instead of $status"
    cat "$tmp/out" "$tmp/err"
    return 1
}

has() { # file, text
    grep -qF -- "$2" "$1" && return 0
    echo "'$2' is not in:"
    cat "$1"
    return 1
}

# Refused with status 1 and one line that contains $1; nothing is created in the working directory.
refused() {
    local part=$1
    shift
    mkdir -p "$tmp/empty" && cd "$tmp/empty" || return 1
    expect 1 "$@" || { cd - >/dev/null; return 1; }
    cd - >/dev/null
    has "$tmp/err" "$part" || return 1
    [ "$(wc -l <"$tmp/err")" -eq 1 ] || { echo "not one line:"; cat "$tmp/err"; return 1; }
    [ -z "$(ls -A "$tmp/empty")" ] || { echo "created:"; ls -A "$tmp/empty"; return 1; }
}

plan_of_gpt2() {
    expect 0 --config configs/gpt2_124m.conf --dry-run && has "$tmp/out" "124,439,808 parameters" &&
        has "$tmp/out" "tokens, 82.4 per parameter" && has "$tmp/out" "per step: 512 sequences of 1024 tokens, in micro" &&
        has "$tmp/out" "84,934,656" && has "$tmp/out" "524,288 tokens" && has "$tmp/out" "19,560 steps" &&
        expect 0 --config configs/gpt2_124m.conf --dry-run --optimizer normuon && has "$tmp/out" "normuon, 84,934,656" &&
        has "$tmp/out" "ignored: normuon"
}

plan_as_json() {
    expect 0 --config configs/gpt2_124m.conf --dry-run --json && [ "$(wc -l <"$tmp/out")" -eq 1 ] &&
        has "$tmp/out" '"parameters":{"total":124439808,' && has "$tmp/out" '"optimizer":"adamw","parameters":84934656,' &&
        has "$tmp/out" '"tokens_per_step":524288,' && has "$tmp/out" '"val_tokens":0,' && has "$tmp/out" '"memory":{"weights":' &&
        refused "--dry-run" --json --out r --train-data x
}

help_texts() {
    local name
    expect 0 --help && has "$tmp/out" "--train-data" && has "$tmp/out" "train sample" || return 1
    expect 0 && has "$tmp/out" "usage: train" || return 1
    expect 0 --help optimizers || return 1
    for name in adamw sgd lion signum muon normuon polargrad rownorm; do has "$tmp/out" "$name" || return 1; done
    for name in adamw sgd lion signum muon normuon polargrad rownorm; do expect 0 --help "$name" && has "$tmp/out" "--lr" || return 1; done
    expect 0 tokenize --help && expect 0 sample --help && expect 0 eval --help && has "$tmp/out" "--hellaswag" && refused "muon" --help muno
}

errors_create_nothing() {
    refused "did you mean 'steps'" --stesp 5 &&
        refused "unknown command 'frob'; the commands are tokenize, sample, eval, export, polar, problem, check-ranks;" frob &&
        refused "unknown command 'tokenise' (did you mean 'tokenize'?)" tokenise --help &&
        refused "--out" --train-data x &&
        refused "which has 257 tokens" --dry-run --vocab bytes --vocab-size 100 &&
        refused "none, bytes" --dry-run --vocab letters --vocab-size 500 &&
        refused "none, bytes" tokenize --vocab letters x.txt &&
        refused "--train-data" --out r &&
        refused "no file matches" --out r --train-data 'nothing*.bin' &&
        refused "not a token shard" --out r --train-data /bin/true &&
        refused "tied" --out r --train-data "$tmp/d_train_*.bin" --head-lr 1 &&
        refused "belongs to another vocabulary" --out r "${data[@]}" --vocab-size 50 "${tiny[@]:2}" &&
        refused "too few for one batch" --out r --train-data "$tmp/d_val_*.bin" "${tiny[@]}" --batch-size 10000 &&
        refused "--shard-tail drop" --out r --train-data "$tmp/d_train_*.bin" "${tiny[@]}" --shard-tail drop --steps 100000 &&
        refused "of memory" --out r --train-data "$tmp/d_train_*.bin" --d-model 65536 --n-head 64 --n-layer 500 &&
        refused "no run" --resume r &&
        refused "no run" sample r &&
        refused "no run" eval r &&
        refused "--hellaswag" --out r --train-data "$tmp/d_train_*.bin" "${tiny[@]}" --hellaswag /bin/true &&
        POLAR_BLAS=/nothing.so refused "POLAR_BLAS" --out r --train-data "$tmp/d_train_*.bin" "${tiny[@]}" &&
        refused "unknown device" --out r --device gpu --train-data "$tmp/d_train_*.bin" &&
        refused "--vocab" tokenize --vocab none x.txt &&
        refused "nothing.txt" tokenize nothing.txt &&
        refused "no text files" tokenize &&
        refused "did you mean 'name'" tokenize --nam x
}

directories() {
    local run=$tmp/dirs
    expect 0 --out "$run" "${data[@]}" "${tiny[@]}" || return 1
    refused "contains a run" --out "$run" "${data[@]}" "${tiny[@]}" || return 1
    expect 0 --out "$run" "${data[@]}" "${tiny[@]}" --overwrite --steps 3 || return 1
    [ "$(ls "$run/checkpoints")" = step_00000003 ] || { ls "$run/checkpoints"; return 1; }
    [ "$(grep -c '"train"' "$run/metrics.jsonl")" -eq 3 ] || return 1
    mkdir "$tmp/mine" && touch "$tmp/mine/thesis.txt" || return 1
    refused "other files (thesis.txt)" --out "$tmp/mine" "${data[@]}" "${tiny[@]}" --overwrite || return 1
    refused "not a directory" --out "$tmp/mine/thesis.txt" "${data[@]}" "${tiny[@]}" || return 1
    refused "no config.conf" --resume "$tmp/mine" || return 1
    [ "$(ls "$tmp/mine")" = thesis.txt ]
}

one_process_at_a_time() {
    local run=$tmp/locked
    expect 0 --out "$run" "${data[@]}" "${tiny[@]}" || return 1
    exec 9>"$run/lock" && flock 9 || return 1
    refused "another process" --resume "$run" || return 1
    refused "another process" --out "$run" "${data[@]}" "${tiny[@]}" --overwrite || return 1
    [ -d "$run/checkpoints/step_00000012" ] || return 1
    exec 9>&-
    expect 0 --resume "$run"
}

run_records() { # every kind of file a run has
    local run=$tmp/records
    expect 0 --out "$run" "${data[@]}" "${tiny[@]}" --checkpoint-every 5 --keep 0 --sample-every 6 || return 1
    [ "$(ls "$run/checkpoints" | tr '\n' ' ')" = "step_00000005 step_00000010 step_00000012 " ] || { ls "$run/checkpoints"; return 1; }
    has "$run/environment.json" '"commit"' && has "$run/environment.json" '"fingerprint"' &&
        has "$run/environment.json" '"compiler"' && has "$run/log.txt" "Model  " && has "$run/log.txt" "finished" || return 1
    [ "$(grep -c '"kind":"val"' "$run/metrics.jsonl")" -eq 4 ] && [ "$(grep -c '"kind":"sample"' "$run/metrics.jsonl")" -eq 2 ] &&
        has "$run/metrics.jsonl" '"bits_per_byte"' && has "$run/metrics.jsonl" '"reason":"finished"' &&
        has "$run/metrics.jsonl" '"lr":{"hidden":' || return 1
    expect 0 sample "$run" --prompt "ab" --tokens 20 --seed 3 && cp "$tmp/out" "$tmp/first" && has "$tmp/out" "ab" || return 1
    expect 0 sample "$run" --prompt "ab" --tokens 20 --seed 3 && cmp "$tmp/out" "$tmp/first" || return 1
    expect 0 sample "$run" --prompt "ab" --tokens 20 --seed 4 && ! cmp -s "$tmp/out" "$tmp/first"
}

# The products that show how fast the machine is: for profiles they can be left out, of a resumed run too.
peak_is_measured_or_not() {
    local run=$tmp/peak
    expect 0 "${tiny[@]}" "${data[@]}" --steps 2 --out "$run" && has "$run/log.txt" "large GEMMs in F32 run at" &&
        grep '"kind":"train"' "$run/metrics.jsonl" | grep -qv '"mfu":0[,}]' || return 1
    expect 75 "${tiny[@]}" "${data[@]}" --steps 2 --max-time 1e-9 --no-measure-peak --out "$run" --overwrite &&
        expect 0 --resume "$run" --no-measure-peak --max-time 0 && ! grep "large GEMMs" "$run/log.txt" || return 1
    ! grep '"kind":"train"' "$run/metrics.jsonl" | grep -v '"mfu":0[,}]' && ! grep measure-peak "$run/config.conf"
}

quiet_is_quiet() {
    expect 0 --out "$tmp/quiet" "${data[@]}" "${tiny[@]}" --quiet || return 1
    ! grep -q "tok/s\|^Model " "$tmp/out" && has "$tmp/out" "validation loss" && has "$tmp/quiet/log.txt" "tok/s"
}

target_loss() {
    expect 0 --out "$tmp/target" "${data[@]}" "${tiny[@]}" --target-loss 99 --steps 1000 || return 1
    has "$tmp/out" "target reached: step 0" && has "$tmp/target/metrics.jsonl" '"reason":"target"' || return 1
    expect 0 --resume "$tmp/target" && has "$tmp/out" "target reached: step 0"
}

signal_status() {
    local run=$tmp/signal pid status=0
    "$TRAIN" --out "$run" "${data[@]}" "${tiny[@]}" --steps 1000000 --quiet >/dev/null &
    pid=$!
    until grep -qs '"train"' "$run/metrics.jsonl"; do
        kill -0 $pid || return 1
        sleep 0.02
    done
    kill -TERM $pid
    wait $pid || status=$?
    [ "$status" -eq 75 ] || { echo "status $status"; return 1; }
    has "$run/metrics.jsonl" '"reason":"signal"' && [ "$(ls "$run/checkpoints" | wc -l)" -eq 1 ]
}

# SGD with an absurd rate: the weights explode within a few steps.
exploding=(--optimizer sgd --lr 1e9 --embed-optimizer sgd --vector-optimizer sgd --clip 0 --steps 40 --checkpoint-every 1)
bad_step_stops() {
    local run=$tmp/bad last
    expect 1 --out "$run" "${data[@]}" "${tiny[@]}" "${exploding[@]}" || return 1
    has "$tmp/err" "is bad: loss" && has "$tmp/err" "not applied" && [ "$(wc -l <"$tmp/err")" -eq 1 ] || return 1
    last=$(ls "$run/checkpoints" | tail -n 1)
    cp "$run/checkpoints/$last/model.safetensors" "$tmp/before" || return 1
    expect 1 --resume "$run" && has "$tmp/err" "is bad: loss" || return 1 # the same step is as bad again
    cmp "$run/checkpoints/$last/model.safetensors" "$tmp/before" || return 1
    expect 1 --resume "$run" --on-bad-step skip --max-skips 2 && has "$tmp/err" "2 bad steps in a row"
}

bad_steps_are_skipped() {
    local run=$tmp/skip
    expect 1 --out "$run" "${data[@]}" "${tiny[@]}" "${exploding[@]}" --on-bad-step skip --max-skips 3 || return 1
    has "$tmp/err" "3 bad steps in a row" && has "$run/metrics.jsonl" '"skipped":2' && has "$tmp/out" "skipped:"
}

loss_jump() { # the guard of the loss alone: everything stays finite at this rate
    local run=$tmp/jump
    expect 1 --out "$run" "${data[@]}" "${tiny[@]}" --optimizer sgd --lr 30 --embed-optimizer sgd --vector-optimizer sgd \
        --clip 0 --steps 200 --loss-jump 0.5 || return 1
    has "$tmp/err" "--loss-jump"
}

resume_takes_the_older() {
    local run=$tmp/older
    expect 0 --out "$run" "${data[@]}" "${tiny[@]}" --checkpoint-every 5 --keep 0 || return 1
    cp -r "$run" "$tmp/reference" || return 1
    truncate -s -5 "$run/checkpoints/step_00000012/optimizer.safetensors" || return 1
    expect 0 --resume "$run" && has "$tmp/out" "was skipped" && has "$tmp/out" "step 10" || return 1
    cmp "$run/checkpoints/step_00000012/model.safetensors" "$tmp/reference/checkpoints/step_00000012/model.safetensors" &&
        cmp "$run/checkpoints/step_00000012/optimizer.safetensors" "$tmp/reference/checkpoints/step_00000012/optimizer.safetensors"
}

resume_refusals() {
    local run=$tmp/refusals
    expect 0 --out "$run" "${data[@]}" "${tiny[@]}" || return 1
    refused "--batch-size 8 cannot be changed" --resume "$run" --batch-size 8 && refused "--lr" --resume "$run" --lr 1 &&
        refused "not the file" --resume "$run" --train-data "$tmp/other/d_train_*.bin" &&
        refused "shards" --resume "$run" --val-data=
}

full_disk() { # as full a disk as a limit on the size of files makes it
    local run=$tmp/full
    expect 75 --out "$run" "${data[@]}" "${tiny[@]}" --max-time 1e-9 --checkpoint-every 4 || return 1
    [ "$(ls "$run/checkpoints")" = step_00000001 ] || return 1
    (trap '' XFSZ && ulimit -f 20 && expect 1 --resume "$run" --max-time 0) || return 1
    has "$tmp/err" "cannot write the checkpoint of step 4" && [ "$(wc -l <"$tmp/err")" -eq 1 ] || return 1
    [ "$(ls -A "$run/checkpoints")" = step_00000001 ] || { ls -A "$run/checkpoints"; return 1; }
    expect 0 --resume "$run" --max-time 0 && has "$tmp/out" "checkpoint of step 1" && has "$tmp/out" "finished"
}

other_networks() { # choices of the configuration that the tiny runs do not make
    expect 0 --out "$tmp/other1" "${data[@]}" "${tiny[@]}" --no-tied-head --head-optimizer sgd --head-lr 0.1 --biases no \
        --n-kv-head 1 --micro-batch 4 --val-tokens 131 --no-mask-padding --shard-tail drop || return 1
    has "$tmp/out" "131 tokens" && has "$tmp/other1/metrics.jsonl" '"head":0.1' && has "$tmp/other1/config.conf" "head-optimizer = sgd" || return 1
    expect 0 sample "$tmp/other1" --tokens 40 --temperature 0 --top-k 3
}

closed_output() { # a reader that goes away does not take the run with it
    "$TRAIN" --out "$tmp/closed" "${data[@]}" "${tiny[@]}" | head -n 1 >/dev/null
    [ -d "$tmp/closed/checkpoints/step_00000012" ]
}

several_configs() { # later files go before earlier ones, the command line before all; within a file a name stands once
    printf 'steps = 3\nlr = 0.5\nbatch-size = 2\n' >"$tmp/a.conf"
    printf 'lr = 0.25\nbatch-size = 5\n' >"$tmp/b.conf"
    expect 0 --config "$tmp/a.conf" --config "$tmp/b.conf" --lr 0.125 --dry-run && has "$tmp/out" "lr 0.125," &&
        has "$tmp/out" "3 steps" && has "$tmp/out" "per step: 5 sequences" || return 1
    printf 'lr = 1\nlr = 2\n' >"$tmp/twice.conf"
    refused "was set before" --config "$tmp/twice.conf" --dry-run
}

token_numbers() { # without a vocabulary tokens are numbers
    local run=$tmp/numbers
    expect 0 --out "$run" "${data[@]}" "${tiny[@]:2}" --vocab-size 257 || return 1
    expect 0 sample "$run" --prompt "97 98" --tokens 3 && has "$tmp/out" "97 98 " || return 1
    [ "$(wc -w <"$tmp/out")" -eq 5 ] && refused "not a list of token numbers" sample "$run" --prompt "hello"
}

byte_pairs() { # a vocabulary of its own: bytes, " l", "in", "ine"; kept absolute, named anew on resume; standard input
    local run=$tmp/pairs vocab=(--vocab v.tiktoken)
    awk 'BEGIN {
        d = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        for (i = 0; i < 256; i++) printf "%s%s== %d\n", substr(d, int(i / 4) + 1, 1), substr(d, i % 4 * 16 + 1, 1), i
        print "IGw= 256\naW4= 257\naW5l 258"
    }' >"$tmp/v.tiktoken"
    refused "neither a vocabulary" tokenize "${vocab[@]}" "$tmp/text.txt" && refused "--val-tokens" tokenize - || return 1
    cd "$tmp" || return 1
    expect 0 tokenize "${vocab[@]}" --name p --val-tokens 0 - <text.txt && expect 75 --out "$run" --train-data 'p_train_*.bin' \
        --val-data 'p_train_*.bin' "${tiny[@]:2}" "${vocab[@]}" --max-time 1e-9 && expect 0 sample "$run" --prompt 'a line' || {
        cd - >/dev/null
        return 1
    }
    cd - >/dev/null
    has "$tmp/out" "a line" && has "$run/config.conf" "vocab = $tmp/v.tiktoken" && has "$run/config.conf" "vocab-size = 260" &&
        has "$run/metrics.jsonl" '"bits_per_byte"' || return 1
    mv "$tmp/v.tiktoken" "$tmp/w.tiktoken"
    refused "$tmp/v.tiktoken" --resume "$run" && refused "$tmp/v.tiktoken" sample "$run" &&
        expect 0 sample "$run" --vocab "$tmp/w.tiktoken" --prompt "a line" &&
        expect 0 --resume "$run" --vocab "$tmp/w.tiktoken" --max-time 0 && has "$tmp/out" "finished"
}

polar_command() { # the table, lines of JSON, refusals; solves that are not there are seen before a run begins
    expect 0 polar --help && has "$tmp/out" "--spectrum" || return 1
    refused "no LAPACK" polar && refused "no LAPACK" --out r "${data[@]}" "${tiny[@]}" --optimizer muon --polar qdwh &&
        refused "no LAPACK" --dry-run "${tiny[@]}" --optimizer polargrad --polar svd &&
        refused "at most 1" --dry-run "${tiny[@]}" --optimizer muon --polar svd --polar-steps 2 &&
        refused "did you mean 'ns5'" polar --method nsx && refused "ROWSxCOLS" polar --shape 3x &&
        refused "ROWSxCOLS" polar --shape 0x3 && refused "ROWSxCOLS" polar --shape 3x99999999999999999999 &&
        refused "unknown spectrum" polar --spectrum log && refused "from 1 to" polar --spectrum condition:0.5 &&
        refused "number from" polar --spectrum log:nan && refused "empty entry" polar --method ns5, &&
        refused "at most 5" polar --method cans5 --steps 6 && refused "no convergence test" polar --method ns5 --steps 0 &&
        refused "unexpected" polar extra || return 1
    (
        unset POLAR_BLAS
        "$TRAIN" polar --method svd --shape 1x1 --threads 1 >"$tmp/out" 2>"$tmp/err" || { has "$tmp/err" "no LAPACK"; exit; }
        expect 0 polar --method ns5,qdwh --shape 40x10,1x7 --spectrum gaussian,rank-2 --repeat 1 --threads 1 &&
            [ "$(grep -c '^qdwh' "$tmp/out")" -eq 4 ] && [ "$(grep -c '^ns5' "$tmp/out")" -eq 4 ] &&
            expect 0 polar --json --shape 6x6 --spectrum log:1e-10,heavy-tailed --type f64 --threads 1 --repeat 1 &&
            [ "$(grep -c '"orthogonality":' "$tmp/out")" -eq 30 ]
    )
}

tiny=(--vocab bytes --n-layer 1 --n-head 2 --d-model 32 --seq-len 16 --batch-size 4 --micro-batch 2 --steps 12
    --threads 1 --log-every 1 --eval-every 5 --val-tokens 200 --sample-tokens 5)
data=(--train-data "$tmp/d_train_*.bin" --val-data "$tmp/d_val_*.bin")

make_shards() {
    for i in $(seq 400); do echo "line $i of a text about nothing, $((i * i))"; done >"$tmp/text.txt"
    tr a-z b-za <"$tmp/text.txt" >"$tmp/text2.txt"
    expect 0 tokenize --out "$tmp" --name d --shard-tokens 5000 "$tmp/text.txt" && [ -f "$tmp/d_train_000003.bin" ] &&
        refused "d_" tokenize --out "$tmp" --name d "$tmp/text.txt" &&
        expect 0 tokenize --out "$tmp" --name d --shard-tokens 5000 --overwrite "$tmp/text.txt" &&
        mkdir "$tmp/other" && expect 0 tokenize --out "$tmp/other" --name d --shard-tokens 5000 "$tmp/text2.txt"
}

check make_shards make_shards
for test in plan_of_gpt2 plan_as_json help_texts \
    errors_create_nothing directories one_process_at_a_time run_records peak_is_measured_or_not quiet_is_quiet target_loss signal_status \
    bad_step_stops bad_steps_are_skipped loss_jump resume_takes_the_older resume_refusals full_disk other_networks \
    closed_output several_configs token_numbers byte_pairs polar_command; do
    check $test $test
done
exit $failed

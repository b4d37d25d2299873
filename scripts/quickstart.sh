#!/usr/bin/env bash
# From a fresh machine to a comparison of optimizers: installs dependencies, builds, tokenizes a real text, trains the same
# small model with AdamW, Muon and NorMuon, each with its own tuned learning rates, and plots the results.
# It can be stopped at any time and run again: finished stages are kept, and a stopped run resumes.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: scripts/quickstart.sh [--text FILE]... [--out DIR] [--fresh]
                             [-- TRAIN OPTIONS]
Installs what is missing, builds, trains AdamW, Muon and NorMuon with
configs/demo.conf and the settings in configs/demo_NAME.conf, and compares them.
  --text FILE   train on this text (may be repeated) instead of the novels of
                Jane Austen
  --out DIR     output directory of tokens, runs and the report
                (default: runs/quickstart)
  --fresh       start over: discard existing runs
  -- ...        more options for every ./train, for example:  -- --steps 100
TEXT
}

optimizers=(adamw muon normuon)
texts=() out=runs/quickstart fresh=no extra=() stage="reading the command line"

say() { printf '\n== %s\n' "$*"; }
fail() {
    echo "error: $*" >&2
    trap - EXIT
    exit 1
}
stopped() {
    trap - EXIT
    echo >&2
    echo "quickstart: stopped while $stage. Run it again to resume." >&2
    exit 130
}
trap stopped INT TERM
trap 'status=$?; [ $status -eq 0 ] || echo "error: quickstart failed while $stage (exit status $status); the lines above say why" >&2' EXIT

while [ $# -gt 0 ]; do
    case $1 in
    --text | --out)
        [ $# -ge 2 ] || fail "$1 needs a value; see scripts/quickstart.sh --help"
        if [ "$1" = --text ]; then
            if [ ! -r "$2" ] || [ -d "$2" ]; then fail "--text $2: no such file, or not readable"; fi
            texts+=("$2")
        else
            out=$2
        fi
        shift 2
        ;;
    --fresh) fresh=yes && shift ;;
    -h | --help) usage && exit 0 ;;
    --) shift && extra=("$@") && break ;;
    *) fail "unknown option '$1'; see scripts/quickstart.sh --help" ;;
    esac
done

# Fingerprint of the inputs of a stage: when they change, its outputs are rebuilt.
fingerprint() { cksum | cut -d ' ' -f 1,2; }

set_up() {
    stage="installing dependencies"
    scripts/setup.sh build plot
    python=$(scripts/find_python.sh)
    stage="building"
    say "Building ./train"
    make --no-print-directory -s -j"$(nproc 2>/dev/null || echo 2)" all
}

make_corpus() {
    [ ${#texts[@]} -eq 0 ] || return 0
    stage="fetching the novels"
    if ! compgen -G 'corpus/austen/*.txt' >/dev/null; then
        say "Fetching the text: six novels of Jane Austen"
        "$python" scripts/austen.py corpus/austen || fail "no text to train on (see above); give one: scripts/quickstart.sh --text FILE"
    fi
    texts=(corpus/austen/*.txt)
}

make_tokens() {
    local mark
    stage="tokenizing"
    mark=$(cksum "${texts[@]}" | fingerprint)
    if [ "$(cat "$out/tokens/made_from" 2>/dev/null)" != "$mark" ]; then
        say "Tokenizing (one token per byte)"
        mkdir -p "$out/tokens"
        rm -f "$out"/tokens/text_*.bin
        ./train tokenize --vocab bytes --out "$out/tokens" --name text "${texts[@]}"
        echo "$mark" >"$out/tokens/made_from"
    fi
}

train_one() { # optimizer
    local name=$1 run=$out/$1 status=0 settings mark state
    stage="training $name"
    settings=(--config configs/demo.conf --config "configs/demo_$name.conf")
    settings+=("--train-data=$out/tokens/text_train_*.bin" "--val-data=$out/tokens/text_val_*.bin")
    mark=$({ cat configs/demo.conf "configs/demo_$name.conf" "$out/tokens/made_from" && printf '%s\n' "${settings[@]}" "${extra[@]}"; } | fingerprint)
    state=$("$python" scripts/lib/runs.py status "$run")
    if [ "$fresh" = yes ] || [ "$(cat "$run.settings" 2>/dev/null)" != "$mark" ]; then state=absent; fi
    case $state in
    finished)
        echo "$name: already finished, kept (--fresh starts over)"
        return
        ;;
    unfinished*)
        say "Training $name: resuming (${state/unfinished/step})"
        ./train --resume "$run" || status=$?
        ;;
    absent)
        say "Training $name"
        rm -f "$run.settings"
        # The fingerprint is written once the run exists: a directory without it is overwritten.
        ./train "${settings[@]}" --out="$run" --overwrite "${extra[@]}" || status=$?
        if [ $status -eq 0 ] || [ $status -eq 75 ]; then echo "$mark" >"$run.settings"; fi
        ;;
    esac
    case $status in
    0) ;;
    75) stopped ;;
    *) fail "./train failed with status $status while $stage; see its message above and $run/log.txt" ;;
    esac
}

show_samples() {
    local name
    stage="writing samples"
    say "A sample of each model"
    for name in "${optimizers[@]}"; do
        printf -- '--- %s\n' "$name"
        ./train sample "$out/$name" --prompt "It was " --tokens 300
        echo
    done
}

compare() {
    local runs=("${optimizers[@]/#/$out/}")
    stage="comparing"
    say "The comparison"
    "$python" scripts/compare.py "${runs[@]}" --out "$out/report" --label AdamW --label Muon --label NorMuon \
        --title "The same small GPT on the same text, three optimizers"
}

set_up
make_corpus
make_tokens
for name in "${optimizers[@]}"; do train_one "$name"; done
show_samples
compare

#!/usr/bin/env bash
# The shell scripts: syntax, setup on a machine that has everything and on one that has nothing, and the quickstart's
# course with a stand-in for the trainer (that it stops, goes on and starts over as it says), then with the real one.
set -u
cd "$(dirname "$0")/../.." || exit 1
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

check() { # name, command... : runs it in a subshell; its output is shown when it fails
    local name=$1
    shift
    if ("$@") >"$work/log" 2>&1; then
        echo "ok $name"
    else
        echo "FAILED $name"
        sed 's/^/  /' "$work/log"
        failures=$((failures + 1))
    fi
}

# One line "error: ..." on standard error and status 1.
refuses() { # words, command...
    local words=$1 status=0
    shift
    "$@" >"$work/out" 2>"$work/err" || status=$?
    cat "$work/err"
    [ $status -eq 1 ] && [ "$(wc -l <"$work/err")" -eq 1 ] && grep -q "^error: .*$words" "$work/err"
}

syntax_is_right() {
    local script
    for script in scripts/*.sh tests/*/*.sh .ci/run; do bash -n "$script" || return 1; done
}

scripts_can_be_run() {
    local script
    for script in scripts/*.sh scripts/{compare,tune,sweep,lib/runs,to_tensorboard,to_wandb}.py .ci/run; do
        [ -x "$script" ] || { echo "$script is not executable" && return 1; }
    done
}

shellcheck_is_content() { shellcheck scripts/*.sh tests/e2e/test_scripts.sh tests/e2e/test_gpu_check.sh .ci/run; }

setup_has_nothing_to_do() {
    scripts/setup.sh build test plot download >"$work/out" 2>&1 && [ ! -s "$work/out" ]
}

# A machine with a shell and the basic commands only.
setup_says_what_is_missing() {
    local name status=0
    mkdir -p "$work/bare/scripts" "$work/bin"
    cp scripts/setup.sh "$work/bare/scripts"
    printf '#!/bin/sh\nexit 1\n' >"$work/bare/scripts/find_python.sh"
    chmod +x "$work/bare/scripts/find_python.sh"
    for name in bash sh dirname id sort tr grep cat env sleep uname; do ln -sf "$(command -v $name)" "$work/bin/$name"; done
    PATH=$work/bin "$work/bare/scripts/setup.sh" >"$work/out" 2>"$work/err" || status=$?
    cat "$work/err"
    [ $status -eq 1 ] || return 1
    for name in "no apt-get" gcc "GNU make" cmocka.h python3 matplotlib "apt-get install" libcmocka-dev; do
        grep -q -- "$name" "$work/err" || { echo "does not name $name" && return 1; }
    done
}

setup_refuses_unknown_profile() { refuses "the profiles are build, test, plot, download, peers, cross and sanitize" scripts/setup.sh everything; }
quickstart_explains_itself() { scripts/quickstart.sh --help | grep -q -- '--text FILE'; }
quickstart_refuses_unknown_option() { refuses "unknown option '--quick'" scripts/quickstart.sh --quick; }
quickstart_refuses_missing_text() { refuses "no such file" scripts/quickstart.sh --text "$work/nowhere.txt"; }
quickstart_refuses_missing_value() { refuses "needs a value" scripts/quickstart.sh --text; }

# A copy of the scripts beside a trainer that writes down what it was asked and makes tiny runs. While the file
# "interrupt" exists, it stops as on a signal.
stand_in() { # directory
    mkdir -p "$1"
    cp -r scripts configs "$1"
    printf 'all:\n\t@true\n' >"$1/Makefile"
    cat >"$1/train" <<'TRAIN'
#!/usr/bin/env bash
echo "$*" >>calls
case $1 in
tokenize) touch "$5/text_train_000001.bin" "$5/text_val_000000.bin" && exit ;;
sample) echo "It was a sample" && exit ;;
--resume) out=$2 ;;
*)
    for argument in "$@"; do
        case $argument in --out=*) out=${argument#*=} ;; configs/demo_*) optimizer=${argument#configs/demo_} optimizer=${optimizer%.conf} ;; esac
    done
    mkdir -p "$out"
    printf 'steps = 2\noptimizer = %s\n' "$optimizer" >"$out/config.conf"
    echo '{"kind":"val","step":0,"tokens":0,"val_loss":5.0,"elapsed_s":0}' >"$out/metrics.jsonl"
    ;;
esac
if [ -e interrupt ]; then exit 75; fi
echo '{"kind":"val","step":2,"tokens":8,"val_loss":4.0,"elapsed_s":1}' >>"$out/metrics.jsonl"
echo '{"kind":"end","reason":"finished"}' >>"$out/metrics.jsonl"
TRAIN
    chmod +x "$1/train"
    echo "It was a text." >"$1/text.txt"
}

calls_are() { # expected first words of the trainer's calls since the last look
    local got
    got=$(sed -E 's/ .*configs.demo_([a-z]*).*/ \1/; s/^(tokenize|sample) .*/\1/' calls | tr '\n' ';')
    rm -f calls
    [ "$got" = "$1" ] || { echo "the trainer was called with: $got" && echo "expected: $1" && return 1; }
}

quickstart_course() {
    local status=0 quickstart=(scripts/quickstart.sh --text text.txt --out "runs/my quick")
    stand_in "$work/copy" && cd "$work/copy" || return 1
    touch interrupt
    "${quickstart[@]}" || status=$?
    [ $status -eq 130 ] || { echo "status $status after an interruption" && return 1; }
    calls_are "tokenize;--config adamw;" || return 1
    rm interrupt
    "${quickstart[@]}" >out.txt || return 1
    cat out.txt
    calls_are "--resume runs/my quick/adamw;--config muon;--config normuon;sample;sample;sample;" || return 1
    grep -q '^NorMuon ' out.txt && [ -s "runs/my quick/report/target.png" ] && [ -s "runs/my quick/report/report.html" ] || return 1
    "${quickstart[@]}" || return 1
    calls_are "sample;sample;sample;" || return 1
    echo "lr = 0.5 # other" >configs/demo_muon.conf
    "${quickstart[@]}" || return 1
    calls_are "--config muon;sample;sample;sample;" || return 1
    echo "Another text." >>text.txt
    "${quickstart[@]}" || return 1
    calls_are "tokenize;--config adamw;--config muon;--config normuon;sample;sample;sample;" || return 1
    "${quickstart[@]}" --fresh || return 1
    calls_are "--config adamw;--config muon;--config normuon;sample;sample;sample;"
}

quickstart_with_the_trainer() {
    local tiny=(--steps 4 --eval-every 2 --n-layer 1 --n-head 2 --d-model 32 --context 32 --seq-len 32 --batch-size 2
        --log-every 1 --val-tokens 256)
    for _ in $(seq 200); do echo "It was the same sentence, over and over again, in a small text."; done >"$work/text.txt"
    unset MAKEFLAGS MAKELEVEL BUILD
    scripts/quickstart.sh --text "$work/text.txt" --out "$work/real" -- "${tiny[@]}" >"$work/out.txt" || return 1
    cat "$work/out.txt"
    grep -q '^NorMuon ' "$work/out.txt" && [ -s "$work/real/report/report.html" ]
}

check syntax_is_right syntax_is_right
check scripts_can_be_run scripts_can_be_run
if command -v shellcheck >/dev/null; then
    check shellcheck_is_content shellcheck_is_content
else
    echo "skipped shellcheck_is_content: shellcheck is not installed"
fi
check setup_has_nothing_to_do setup_has_nothing_to_do
check setup_says_what_is_missing setup_says_what_is_missing
check setup_refuses_unknown_profile setup_refuses_unknown_profile
check quickstart_explains_itself quickstart_explains_itself
check quickstart_refuses_unknown_option quickstart_refuses_unknown_option
check quickstart_refuses_missing_text quickstart_refuses_missing_text
check quickstart_refuses_missing_value quickstart_refuses_missing_value
check quickstart_course quickstart_course
if [ "${TRAIN:-}" = "$root/train" ]; then
    check quickstart_with_the_trainer quickstart_with_the_trainer
else
    echo "skipped quickstart_with_the_trainer: not the tests of the default build"
fi
[ "$failures" -eq 0 ]

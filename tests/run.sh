#!/usr/bin/env bash
# Runs the test programs named as arguments (built in $BUILD/tests, or cuda_on_cpu/NAME in $BUILD/cuda_on_cpu/tests) and the test scripts tests/test_*.{sh,py}, and
# adds up what they report. The last line is "N passed, N failed[, N skipped]".
set -u
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
export TRAIN=$PWD/${TRAIN:-train}
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-1000} # as ./train has it: idle threads leave the processor to others
python=$(scripts/find_python.sh) || exit 1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0 failed=0 skipped=0

# How many tests the log reports under cmocka's mark $1 or the scripts' word $2.
names() { sed -nE "s/^\\[$1\\] ([A-Za-z_0-9]+)\$/\\1/p; s/^$2 ([^ :]+).*/\\1/p" "$log" | sort -u | wc -l; }

run_one() { # name, command...
    local name=$1 start=$SECONDS status=0
    shift
    "$@" >"$log" 2>&1 || status=$?
    # cmocka repeats the names of failed and skipped tests in its summary; the scripts print "ok NAME", "FAILED NAME" and
    # "skipped NAME: why" lines.
    local p f s
    p=$(names ' +OK ' ok)
    f=$(names ' +FAILED +' FAILED)
    s=$(names ' +SKIPPED +' skipped)
    [ "$status" -ne 0 ] && [ "$f" -eq 0 ] && f=1
    [ "$status" -eq 0 ] && [ $((p + f + s)) -eq 0 ] && f=1 && echo "$name ran no test" >>"$log"
    printf '%-28s %4d passed %3d failed %3d skipped  %4d s\n' "$name" "$p" "$f" "$s" $((SECONDS - start))
    if [ "$f" -ne 0 ]; then sed 's/^/    | /' "$log" | tail -n 60; fi
    grep -E '^skipped ' "$log" | sed 's/^/    /'
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

for test in "$@"; do # FOLDER/NAME: of the build in that folder of this one
    case $test in
    */*) run_one "$test" "$BUILD/${test%/*}/tests/${test##*/}" ;;
    *) run_one "$test" "$BUILD/tests/$test" ;;
    esac
done
[ -n "${SKIP_CUDA_ON_CPU:-}" ] && run_one cuda_on_cpu echo "skipped cuda_on_cpu: $SKIP_CUDA_ON_CPU"
for test in tests/test_*.sh; do [ -e "$test" ] && run_one "$(basename "$test")" bash "$test"; done
for test in tests/test_*.py; do [ -e "$test" ] && run_one "$(basename "$test")" "$python" "$test"; done

echo
if [ "$skipped" -gt 0 ]; then echo "$passed passed, $failed failed, $skipped skipped"; else echo "$passed passed, $failed failed"; fi
[ "$failed" -eq 0 ]

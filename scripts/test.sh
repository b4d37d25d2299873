#!/usr/bin/env bash
# Installs missing dependencies, builds, and runs every test.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: scripts/test.sh
Installs missing dependencies, builds, and runs every test. The last line is
"N passed, N failed" (", N skipped" if some tests cannot run here); the exit
status is 0 if none failed. `make test ONLY=REGEX` runs the tests whose names
match.
TEXT
}

case ${1:-} in
"") ;;
-h | --help) usage && exit 0 ;;
*) echo "error: unexpected '$1'; see scripts/test.sh --help" >&2 && exit 1 ;;
esac

stop() { # stage
    echo "error: $1 failed; the lines above say why" >&2
    echo "0 passed, 1 failed"
    exit 1
}

scripts/setup.sh || stop "setup"
jobs=$(nproc 2>/dev/null || echo 2)
make --no-print-directory -s -j"$jobs" all tests emulated || stop "the build"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
make --no-print-directory -s test 2>&1 | tee "$log" || status=1
# make prints more lines after a failure: repeat the summary, with the names of failed tests, at the end.
summary=$(grep -E '^(failed: .*|[0-9]+ passed, [0-9]+ failed.*)$' "$log") || stop "the test run"
if [ "$(tail -n 1 "$log")" != "$(tail -n 1 <<<"$summary")" ]; then echo "$summary"; fi
exit "$status"

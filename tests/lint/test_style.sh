#!/usr/bin/env bash
# The sources compile as the languages that the project promises: train.cu and the headers that kernels may include as C11 and
# as C++17, with warnings as errors. With --format (make lint) also that every source has the style of .clang-format.
set -u
cd "$(dirname "$0")/../.." || exit 1
failures=0

check() { # name: the function of that name
    local message
    if message=$("$1" 2>&1); then
        echo "ok $1"
    else
        echo "FAILED $1"
        echo "$message"
        failures=1
    fi
}

both_languages() { # file
    gcc -x c -std=c11 -D_GNU_SOURCE -I. -Wall -Wextra -Werror -fsyntax-only "$1" &&
        g++ -x c++ -std=c++17 -D_GNU_SOURCE -I. -Wall -Wextra -Werror -fsyntax-only "$1"
}

main_is_c_and_cxx() { both_languages train.cu; }

headers_are_c_and_cxx() {
    local header
    for header in base/*.h device/device.h model/{model,params,ops}.h optim/optimizer.h data/*.h data/tokenizer/*.h \
        run/options/{settings,config}.h run/cli/commands.h; do
        both_languages - <<<"#include \"$header\"" || return 1
    done
}

sources_are_formatted() {
    find train.cu base data device model optim dist run tests -name '*.[ch]' -o -name '*.cu' -o -name '*.cpp' |
        xargs clang-format --dry-run --Werror
}

check main_is_c_and_cxx
check headers_are_c_and_cxx
[ "${1:-}" != --format ] || check sources_are_formatted
exit "$failures"

#!/usr/bin/env bash
# Installs what the project needs from Debian's or Ubuntu's packages, and only what is missing.
# usage: scripts/setup.sh [build] [test] [plot] [download]      (none named: all)
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: scripts/setup.sh [build] [test] [plot] [download]
Installs, by apt-get as root or with sudo, what is missing for
  build   the program: gcc, make, the C library's headers, OpenBLAS (for speed)
  test    the tests: cmocka, a C++ compiler (headers are checked in both languages), and what `plot` and
          `download` need
  plot    the comparison: Python with numpy and matplotlib
  download  get_fineweb.sh and get_vocab.sh: curl with certificates
No profile named: all of them. Where nothing is missing it does nothing.
TEXT
}

# A name of a need, the package that provides it, and what to do where there is no apt-get.
declare -A PACKAGE=(
    [compiler]="gcc" [make]="make" [headers]="libc6-dev" [openblas]="libopenblas0-openmp"
    [cxx]="g++" [cmocka]="libcmocka-dev" [python]="python3" [plotting]="python3-numpy python3-matplotlib"
    [curl]="curl ca-certificates"
)
declare -A WHAT=(
    [compiler]="a C11 compiler with OpenMP (the command gcc, or set CC)"
    [make]="GNU make (the command make)"
    [headers]="the headers of the C library (stdio.h)"
    [openblas]="OpenBLAS, the library libopenblas.so.0 (optional: training works without it, several times slower)"
    [cxx]="a C++17 compiler (the command g++)"
    [cmocka]="cmocka, the C test library (cmocka.h and libcmocka)"
    [python]="Python 3.8 or later (the command python3)"
    [plotting]="a Python 3 with numpy and matplotlib (pip install numpy matplotlib does it too)"
    [curl]="curl (the command curl)"
)

cc=${CC:-gcc}

compiles() { # the source, compiler options...
    local source=$1
    shift
    printf '%s\n' "$source" | $cc -x c "$@" -o /dev/null - 2>/dev/null
}

has() {
    case $1 in
    compiler) command -v "${cc%% *}" >/dev/null ;;
    make) command -v make >/dev/null && make --version 2>/dev/null | grep 'GNU Make' >/dev/null ;;
    headers) compiles '#include <stdio.h>' -E ;;
    openblas)
        { ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null; } | grep 'libopenblas\.so\.0' >/dev/null ||
            compgen -G '/usr/lib/*/openblas*/libopenblas.so.0' >/dev/null
        ;;
    cxx) command -v g++ >/dev/null ;;
    cmocka)
        compiles '#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>' -E
        ;;
    python) command -v python3 >/dev/null && python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null ;;
    plotting) scripts/find_python.sh >/dev/null 2>&1 ;;
    curl) command -v curl >/dev/null ;;
    esac
}

missing_of() { # needs... -> the missing ones, one a line
    local need
    for need in "$@"; do has "$need" || echo "$need"; done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

# Its many lines are shown only when it fails.
apt_get() {
    local log
    log=$(as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 "$@" 2>&1) && return 0
    printf '%s\n' "$log" | tail -n 6 | sed 's/^/  | /' >&2
    return 1
}

can_install() {
    if ! command -v apt-get >/dev/null; then
        echo "setup: no apt-get here (not Debian or Ubuntu), so nothing can be installed automatically" >&2
        return 1
    fi
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        echo "setup: neither root nor sudo, so nothing can be installed" >&2
        return 1
    fi
}

# With patience: a mirror may be unwell for a moment.
install_packages() {
    local try
    echo "setup: installing $* (a few minutes on a fresh machine)" >&2
    for try in 1 2 3; do
        apt_get install -y --no-install-recommends "$@" && return 0
        [ "$try" -eq 3 ] && return 1
        echo "setup: that failed, trying again with fresh package lists" >&2
        sleep $((3 * try))
        apt_get update || true
    done
}

report() { # what is still missing
    local need packages=""
    echo "error: missing for this project:" >&2
    for need in "$@"; do
        echo "  - ${WHAT[$need]}" >&2
        packages="$packages ${PACKAGE[$need]}"
    done
    echo "Install on Debian or Ubuntu, as root:  apt-get update && apt-get install -y$packages" >&2
    echo "Elsewhere: the same things from your system's packages; then run this again." >&2
}

needs=()
[ $# -eq 0 ] && set -- build test plot download
for profile in "$@"; do
    case $profile in
    build) needs+=(compiler make headers openblas) ;;
    test) needs+=(cxx cmocka python plotting curl) ;;
    plot) needs+=(python plotting) ;;
    download) needs+=(curl) ;;
    -h | --help) usage && exit 0 ;;
    *) echo "error: unknown profile '$profile'; there are build, test, plot and download" >&2 && exit 1 ;;
    esac
done

read -ra missing <<<"$(missing_of "${needs[@]}" | sort -u | tr '\n' ' ')"
[ ${#missing[@]} -eq 0 ] && exit 0

if can_install; then
    # A fresh machine has no package lists yet.
    compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null || apt_get update || true
    # Releases that lack the build with OpenMP threads have OpenBLAS under this name.
    apt-cache show "${PACKAGE[openblas]}" >/dev/null 2>&1 || PACKAGE[openblas]=libopenblas0
    packages=()
    for need in "${missing[@]}"; do
        read -ra more <<<"${PACKAGE[$need]}"
        packages+=("${more[@]}")
    done
    install_packages "${packages[@]}" || true
fi

required=()
for need in $(missing_of "${missing[@]}"); do
    if [ "$need" = openblas ]; then
        echo "setup: going on without ${WHAT[openblas]}" >&2
    else
        required+=("$need")
    fi
done
[ ${#required[@]} -eq 0 ] && exit 0
report "${required[@]}"
exit 1

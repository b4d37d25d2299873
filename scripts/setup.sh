#!/usr/bin/env bash
# Installs the missing dependencies of the project from Debian or Ubuntu packages.
# usage: scripts/setup.sh [build] [test] [plot] [download] [peers] [cross] [sanitize]      (default: all but the last)
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: scripts/setup.sh [build] [test] [plot] [download] [peers] [cross]
                        [sanitize]
Installs missing dependencies with apt-get, as root or with sudo. Profiles:
  build     the program: gcc, make, C library headers, OpenBLAS (for speed)
  test      the tests: cmocka, a C++ compiler (headers are checked in both
            languages), and the packages of `plot` and `download`
  plot      the comparison: Python with numpy and matplotlib
  download  get_fineweb.sh and get_vocab.sh: curl with certificates
  peers     programs to compare with and export to, if available: PyTorch, and
            in .venv the Python packages of tests/requirements.txt
            (transformers, tokenizers, tiktoken, tensorboard, wandb); Open MPI
            and MPICH, which start ranks
  cross     make aarch64, which make test runs a part of: a cross compiler for
            aarch64 and qemu, if available
  sanitize  make fuzz, leaks and tsan: clang with its OpenMP runtime, valgrind
Default: all but sanitize. Does nothing if nothing is missing.
TEXT
}

# For each dependency: its Debian packages, and its description for systems without apt-get.
declare -A PACKAGE=(
    [compiler]="gcc" [make]="make" [headers]="libc6-dev" [openblas]="libopenblas0-openmp"
    [cxx]="g++" [cmocka]="libcmocka-dev" [python]="python3" [plotting]="python3-numpy python3-matplotlib"
    [curl]="curl ca-certificates"
    [venv]="python3-venv" [torch]="python3-torch"
    [openmpi]="openmpi-bin" [mpich]="mpich"
    [aarch64]="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
    [clang]="clang" [libomp]="libomp-dev" [valgrind]="valgrind"
)
declare -A WHAT=(
    [compiler]="a C11 compiler with OpenMP (the command gcc, or set CC)"
    [make]="GNU make (the command make)"
    [headers]="the headers of the C library (stdio.h)"
    [openblas]="OpenBLAS, the library libopenblas.so.0 (optional: training works without it, several times slower)"
    [cxx]="a C++17 compiler (the command g++)"
    [cmocka]="cmocka, the C test library (cmocka.h and libcmocka)"
    [python]="Python 3.8 or later (the command python3)"
    [plotting]="a Python 3 with numpy and matplotlib (or pip install numpy matplotlib)"
    [curl]="curl (the command curl)"
    [venv]="Python's venv (optional: needed to create .venv, which some tests use)"
    [torch]="PyTorch for Python (optional: some tests compare with it)"
    [openmpi]="Open MPI (optional: a test starts ranks with mpirun.openmpi)"
    [mpich]="MPICH (optional: a test starts ranks with mpiexec.hydra)"
    [aarch64]="the compiler aarch64-linux-gnu-gcc and the emulator qemu-aarch64 (optional: some tests use them)"
    [clang]="clang (the command clang)"
    [libomp]="the OpenMP runtime of clang with libarcher.so"
    [valgrind]="valgrind (the command valgrind)"
)
is_optional() { case $1 in openblas | venv | torch | openmpi | mpich | aarch64) ;; *) false ;; esac }

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
    openmpi) command -v mpirun.openmpi >/dev/null ;;
    mpich) command -v mpiexec.hydra >/dev/null ;;
    aarch64)
        command -v qemu-aarch64 >/dev/null &&
            echo '#include <stdio.h>' | aarch64-linux-gnu-gcc -E - >/dev/null 2>&1
        ;;
    clang) command -v clang >/dev/null ;;
    libomp) compgen -G '/usr/lib/llvm-*/lib/libarcher.so' >/dev/null ;;
    valgrind) command -v valgrind >/dev/null ;;
    venv) "$(system_python)" -c 'import ensurepip, venv' 2>/dev/null ;;
    torch) "$(system_python)" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)' 2>/dev/null ;;
    esac
}

# Debian's own Python, for which the packages are, else the one on the path.
system_python() { if [ -x /usr/bin/python3 ]; then echo /usr/bin/python3; else echo python3; fi; }

# Creates the virtual environment, again if the requirements have changed. Without it some tests are skipped, so failures
# here are not errors.
install_peers() {
    local log
    cmp -s tests/requirements.txt .venv/made-from && return 0
    if [ -e .venv ] && [ ! -e .venv/made-from ]; then
        echo "setup: .venv was not created by this script, so it is left unchanged; tests that need ours are skipped" >&2
        return 0
    fi
    has venv || return 0
    echo "setup: installing the Python packages of tests/requirements.txt into .venv (about half a minute)" >&2
    rm -rf .venv && mkdir .venv && : >.venv/made-from
    if log=$("$(system_python)" -m venv --system-site-packages .venv 2>&1 &&
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --retries 2 --timeout 30 \
            --only-binary :all: --requirement tests/requirements.txt 2>&1); then
        cp tests/requirements.txt .venv/made-from
    else
        printf '%s\n' "$log" | tail -n 3 | cut -c 1-300 | sed 's/^/  | /' >&2
        echo "setup: continuing without the packages of tests/requirements.txt (no network?); tests that need them are skipped" >&2
    fi
}

missing_of() { # dependencies... -> the missing ones, one per line
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

# Prints the output of apt-get only if it fails.
apt_get() {
    local log
    log=$(as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 "$@" 2>&1) && return 0
    printf '%s\n' "$log" | tail -n 6 | sed 's/^/  | /' >&2
    return 1
}

can_install() {
    if ! command -v apt-get >/dev/null; then
        echo "setup: no apt-get (not Debian or Ubuntu), so nothing can be installed automatically" >&2
        return 1
    fi
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        echo "setup: neither root nor sudo, so nothing can be installed" >&2
        return 1
    fi
}

# Retries, since a mirror may be unavailable for a moment.
install_packages() {
    local try
    echo "setup: installing $* (a few minutes on a fresh machine)" >&2
    for try in 1 2 3; do
        apt_get install -y --no-install-recommends "$@" && return 0
        [ "$try" -eq 3 ] && return 1
        echo "setup: installation failed, retrying with fresh package lists" >&2
        sleep $((3 * try))
        apt_get update || true
    done
}

report() { # dependencies that are still missing
    local need packages=""
    echo "error: missing for this project:" >&2
    for need in "$@"; do
        echo "  - ${WHAT[$need]}" >&2
        packages="$packages ${PACKAGE[$need]}"
    done
    echo "Install on Debian or Ubuntu, as root:  apt-get update && apt-get install -y$packages" >&2
    echo "On other systems: install the same packages, then run this again." >&2
}

needs=() peers=no
[ $# -eq 0 ] && set -- build test plot download peers cross
for profile in "$@"; do
    case $profile in
    build) needs+=(compiler make headers openblas) ;;
    test) needs+=(cxx cmocka python plotting curl) ;;
    plot) needs+=(python plotting) ;;
    download) needs+=(curl) ;;
    peers) needs+=(python venv torch openmpi mpich) peers=yes ;;
    cross) [ "$(uname -m)" = aarch64 ] || needs+=(aarch64) ;;
    sanitize) needs+=(clang libomp valgrind) ;;
    -h | --help) usage && exit 0 ;;
    *) echo "error: unknown profile '$profile'; the profiles are build, test, plot, download, peers, cross and sanitize" >&2 && exit 1 ;;
    esac
done

read -ra missing <<<"$(missing_of "${needs[@]}" | sort -u | tr '\n' ' ')"

if [ ${#missing[@]} -gt 0 ] && can_install; then
    # A fresh machine has no package lists yet.
    compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null || apt_get update || true
    # Releases without an OpenMP build of OpenBLAS have it under this name.
    apt-cache show "${PACKAGE[openblas]}" >/dev/null 2>&1 || PACKAGE[openblas]=libopenblas0
    packages=() optional=()
    for need in "${missing[@]}"; do
        read -ra more <<<"${PACKAGE[$need]}"
        if is_optional "$need"; then optional+=("$need"); else packages+=("${more[@]}"); fi
    done
    # Optional dependencies are installed one by one, so that their failure does not affect the others.
    if [ ${#packages[@]} -eq 0 ] || install_packages "${packages[@]}"; then
        for need in "${optional[@]}"; do
            read -ra more <<<"${PACKAGE[$need]}"
            install_packages "${more[@]}" || true
        done
    fi
fi

required=()
for need in $(missing_of "${missing[@]}"); do
    if is_optional "$need"; then
        echo "setup: continuing without ${WHAT[$need]}" >&2
    else
        required+=("$need")
    fi
done
if [ ${#required[@]} -gt 0 ]; then
    report "${required[@]}"
    exit 1
fi
if [ "$peers" = yes ]; then install_peers; fi

#!/usr/bin/env bash
# Downloads the GPT-2 vocabulary, 50,256 tokens in .tiktoken format, and checks its checksum. Sources: the publisher, then a
# Python package that contains the same file.
set -euo pipefail
started_in=$PWD
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: scripts/get_vocab.sh [--out FILE]
Downloads the GPT-2 vocabulary (835,554 bytes), for ./train --vocab FILE.
  --out FILE   output file (default: vocab/gpt2.tiktoken)
Environment: GPT2_VOCAB_URL, a mirror of the file. If it is unreachable, pip
downloads a package that contains the file.
TEXT
}

fail() {
    echo "error: $*" >&2
    exit 1
}

SUM=306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930
PACKAGE=mlx-whisper==0.4.3 # a pure Python wheel with assets/gpt2.tiktoken
url=${GPT2_VOCAB_URL:-https://openaipublic.blob.core.windows.net/encodings/r50k_base.tiktoken}
out=vocab/gpt2.tiktoken
while [ $# -gt 0 ]; do
    case $1 in
    --out)
        [ -n "${2:-}" ] || fail "--out needs a value; see scripts/get_vocab.sh --help"
        out=$2
        case $out in /*) ;; *) out=$started_in/$out ;; esac
        shift 2
        ;;
    -h | --help) usage && exit 0 ;;
    *) fail "unknown option '$1'; see scripts/get_vocab.sh --help" ;;
    esac
done

is_right() { [ -f "$1" ] && [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = $SUM ]; }

if is_right "$out"; then
    echo "$out already exists; its checksum is correct"
    exit 0
fi
[ ! -e "$out" ] || fail "$out exists but is not the GPT-2 vocabulary: move it away, or use another --out"

folder=$(dirname "$out")
work=""
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
mkdir -p "$folder" 2>/dev/null || fail "cannot create the directory $folder"
work=$(mktemp -d "$folder/.get_vocab.XXXXXX" 2>/dev/null) || fail "cannot write to $folder"

problems=""
is_wanted() { # source; true if work/file is the vocabulary
    is_right "$work/file" && return
    problems="$problems; $1: its checksum is wrong"
    return 1
}

from_url() {
    command -v curl >/dev/null || { problems="; curl is missing (scripts/setup.sh download installs it)" && return 1; }
    curl -fsSL --proto =http,https --connect-timeout 20 --max-time 300 --retry 2 -o "$work/file" "$url" 2>"$work/errors" ||
        { problems="; $url: $(tail -n 1 "$work/errors")" && return 1; }
    is_wanted "$url"
}

from_package() {
    local python words="no Python with pip"
    for python in python3 /usr/bin/python3; do
        "$python" -m pip --version >/dev/null 2>&1 || continue
        if "$python" -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$work" "$PACKAGE" >"$work/errors" 2>&1 &&
            "$python" - "$work" 2>"$work/errors" <<'PYTHON'; then
import glob, shutil, sys, zipfile
folder = sys.argv[1]
with zipfile.ZipFile(glob.glob(folder + "/*.whl")[0]) as wheel:
    name = next(name for name in wheel.namelist() if name.endswith("/assets/gpt2.tiktoken"))
    with wheel.open(name) as source, open(folder + "/file", "wb") as out:
        shutil.copyfileobj(source, out)
PYTHON
            is_wanted "package $PACKAGE"
            return
        fi
        words=$(tail -n 1 "$work/errors")
        break
    done
    problems="$problems; package $PACKAGE: $words"
    return 1
}

if from_url; then
    source=$url
elif from_package; then
    source="the package $PACKAGE"
else
    fail "cannot download the GPT-2 vocabulary (${problems#; }): copy r50k_base.tiktoken from another machine to $out, or set GPT2_VOCAB_URL to a mirror"
fi
sync "$work/file"
mv -f "$work/file" "$out"
echo "$out: the GPT-2 vocabulary, from $source"

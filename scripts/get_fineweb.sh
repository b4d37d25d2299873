#!/usr/bin/env bash
# Downloads public GPT-2 token shards of FineWeb from Hugging Face or a mirror. A file gets its final name only when it is
# complete and its checksum matches. An interrupted download resumes when the script is run again.
set -euo pipefail
started_in=$PWD
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: scripts/get_fineweb.sh N [--dataset NAME] [--out DIR] [--revision REV]
                              [--verify] [--retries COUNT]
Downloads the validation shard and the first N training shards; a shard has
100,000,000 tokens, 200 MB.
  --dataset NAME   fineweb10B (default, up to 103), fineweb100B (1030),
                   finewebedu10B (99), finewebedu100B (1001)
  --out DIR        output directory (default: shards/NAME)
  --revision REV   branch, tag or commit of the data set (default: main)
  --verify         check the checksums of existing shards, and download corrupt
                   ones again
  --retries COUNT  attempts per file (default: 8)
Environment: HF_ENDPOINT (a mirror, default https://huggingface.co), HF_TOKEN
(sent to the endpoint only).
The shards are GPT-2 tokens: train with --vocab vocab/gpt2.tiktoken
(scripts/get_vocab.sh), or with --vocab none if no text is needed.
TEXT
}

fail() {
    echo "error: $*" >&2
    exit 1
}

dataset=fineweb10B out="" revision=main verify=no retries=8 count=""
while [ $# -gt 0 ]; do
    case $1 in
    --dataset | --out | --revision | --retries)
        [ $# -ge 2 ] || fail "$1 needs a value; see scripts/get_fineweb.sh --help"
        declare "${1#--}=$2"
        shift 2
        ;;
    --verify) verify=yes && shift ;;
    -h | --help) usage && exit 0 ;;
    -*) fail "unknown option '$1'; see scripts/get_fineweb.sh --help" ;;
    *)
        [ -z "$count" ] || fail "unexpected '$1'; see scripts/get_fineweb.sh --help"
        count=$1 && shift
        ;;
    esac
done

case $dataset in # repository, file name prefix, number of training shards
fineweb10B) repo=kjj0/fineweb10B-gpt2 prefix=fineweb most=103 ;;
fineweb100B) repo=kjj0/fineweb100B-gpt2 prefix=fineweb most=1030 ;;
finewebedu10B) repo=kjj0/finewebedu10B-gpt2 prefix=finewebedu most=99 ;;
finewebedu100B) repo=karpathy/fineweb-edu-100B-gpt2-token-shards prefix=edu_fineweb most=1001 ;;
*) fail "unknown --dataset '$dataset'; supported are fineweb10B, fineweb100B, finewebedu10B and finewebedu100B" ;;
esac
[ -n "$count" ] || fail "give the number of training shards: scripts/get_fineweb.sh N (see --help)"
if ! [[ $count =~ ^[0-9]{1,6}$ ]] || [ $((10#$count)) -gt $most ]; then fail "bad number of shards '$count': $dataset needs 0 to $most"; fi
count=$((10#$count))
[[ $retries =~ ^[1-9][0-9]{0,3}$ ]] || fail "bad --retries '$retries': must be at least 1"
[[ $revision =~ ^[A-Za-z0-9._/-]+$ ]] || fail "bad --revision '$revision'"
case $out in
"") out=shards/$dataset ;;
/*) ;;
*) out=$started_in/$out ;;
esac
endpoint=${HF_ENDPOINT:-https://huggingface.co}
endpoint=${endpoint%/}
[[ $endpoint =~ ^https?://[^/]+ ]] || fail "HF_ENDPOINT is '$endpoint', not a URL like https://huggingface.co"
[[ ${HF_TOKEN:-} =~ ^[A-Za-z0-9._-]*$ ]] || fail "HF_TOKEN has invalid characters; set it again"
command -v curl >/dev/null || fail "curl is missing: scripts/setup.sh download installs it"

work=$(mktemp -d)
child=""
exec {errors}>&2 # standard error of the script, while that of a command is redirected
stopped() {
    [ -z "$child" ] || kill "$child" 2>/dev/null || true
    printf '\n%s\n' "stopped; partial downloads are kept, the same command resumes" >&"$errors"
    exit 130
}
trap stopped INT TERM HUP
trap 'rm -rf "$work"' EXIT

# ---------------------------------------------------------------------------------------------------- requests

# Runs curl so that a signal can stop it. The token is passed in a config file, invisible in process lists, and only with
# `yes`; redirects are followed only without it, so no other host ever receives it. Errors go to work/errors, or to the
# terminal if there is one for the progress bar.
run_curl() { # yes or no, arguments... ; returns curl's status
    local status=0 authorized=$1
    shift
    : >"$work/options"
    if [ "$authorized" = no ]; then
        echo "location" >>"$work/options"
    else
        echo "no-location" >>"$work/options"
        [ -z "${HF_TOKEN:-}" ] || echo "header = \"Authorization: Bearer $HF_TOKEN\"" >>"$work/options"
    fi
    : >"$work/errors"
    curl --proto =http,https --connect-timeout 20 --speed-limit 1024 --speed-time 60 -K "$work/options" "$@" &
    child=$!
    wait "$child" || status=$?
    child=""
    return $status
}

curl_error() { # status
    if [ -s "$work/errors" ]; then tail -n 1 "$work/errors" | tr -d '\r'; else echo "curl's status $1"; fi
}

header() { # name -> its value in the last response
    sed -n "s/^$1:[[:space:]]*//I; t found; d; :found; s/[[:space:]]*\$//; p; q" "$work/headers"
}

origin() { [[ $1 =~ ^https?://[^/?#]+ ]] && echo "${BASH_REMATCH[0],,}"; }

# Why an attempt failed, and whether to retry: "again", "content" (the received file is wrong), "never".
why="" remedy=""
give_up() { # remedy, why
    remedy=$1 why=$2
    return 1
}

reached=no # whether the endpoint has ever responded
# Queries the location and the metadata of a file. Sets url, authorized (yes if the url is on the endpoint), size, sum
# (sha256, or git's sha1 of a small file; "" if the server gives none) and commit.
resolve() { # name
    local status hops next tag
    url=$endpoint/datasets/$repo/resolve/$revision/$1 authorized=yes size="" sum="" commit=""
    for hops in 1 2 3 4 5; do
        status=0
        run_curl yes -sS -I --max-time 60 --suppress-connect-headers -o "$work/headers" -w '%{http_code}' "$url" >"$work/code" 2>"$work/errors" || status=$?
        if [ $status -ne 0 ]; then
            why="cannot reach $endpoint ($(curl_error $status))"
            remedy=again
            if [ $reached = no ] && [[ $status =~ ^(5|6|7)$ ]]; then remedy=offline; fi
            return 1
        fi
        reached=yes
        [ -n "$size" ] || size=$(header x-linked-size)
        [ -n "$sum" ] || sum=$(header x-linked-etag)
        [ -n "$commit" ] || commit=$(header x-repo-commit)
        case $(cat "$work/code") in
        200)
            [ -n "$size" ] || size=$(header content-length)
            [ -n "$sum" ] || sum=$(header etag)
            break
            ;;
        30[12378])
            next=$(header location)
            [[ $next != /* ]] || next=$(origin "$url")$next
            tag=$(origin "$next") || give_up again "$endpoint redirects to '$next', which is not a URL" || return
            url=$next
            if [ "$tag" != "$(origin "$endpoint")" ]; then
                authorized=no
                break
            fi
            [ "$hops" -lt 5 ] || give_up again "too many redirects from $endpoint" || return
            ;;
        401 | 403) give_up never "$endpoint denies access to $repo ($(cat "$work/code")): set HF_TOKEN, or check that the data set exists" || return ;;
        404) give_up never "$endpoint has no $repo/$1 at revision $revision (404): check --revision and HF_ENDPOINT" || return ;;
        *) give_up again "$endpoint responds with status $(cat "$work/code")" || return ;;
        esac
    done
    sum=${sum#W/} sum=${sum//\"/}
    [[ $sum =~ ^([0-9a-f]{40}|[0-9a-f]{64})$ ]] || sum=""
    [[ $size =~ ^[0-9]{1,15}$ ]] || size=""
}

# ------------------------------------------------------------------------------------------------------- files

bytes_in() { stat -c %s "$1" 2>/dev/null || echo 0; }

is_right_sum() { # file
    case ${#sum} in
    64) [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$sum" ] ;;
    40) [ "$({ printf 'blob %s\0' "$(bytes_in "$1")" && cat "$1"; } | sha1sum | cut -d ' ' -f 1)" = "$sum" ] ;;
    0) true ;;
    esac
}

int_at() { od -A n -t d4 -j "$2" -N 4 "$1" | tr -d ' \n'; } # file, offset

begins_as_shard() { [ "$(int_at "$1" 0)" = 20240520 ] && [ "$(int_at "$1" 4)" = 1 ]; }

is_shard() { [ "$(bytes_in "$1")" -gt 1024 ] && begins_as_shard "$1" && [ "$(bytes_in "$1")" -eq $((1024 + 2 * $(int_at "$1" 8))) ]; }

with_commas() { sed -E ':more; s/^([0-9]+)([0-9]{3})/\1,\2/; t more' <<<"$1"; }

space_checked=no
check_space() { # the size of one shard
    local free name needed=0
    [ $space_checked = no ] || return 0
    space_checked=yes
    for name in "${missing[@]}"; do needed=$((needed + $1 - $(bytes_in "$out/$name.part"))); done
    free=$(df -Pk "$out" | awk 'NR == 2 { print $4 }')
    [ $((needed / 1024)) -le "$free" ] || fail "$out has $(with_commas $((free * 1024))) bytes free, but the shards need about $(with_commas $needed): free some space, or use another --out"
}

# One attempt at DIR/NAME: appends to DIR/NAME.part, checks it and renames it.
fetch() { # name
    local part=$out/$1.part status=0 had got
    resolve "$1" || return
    [ -z "$size" ] || check_space "$size"
    echo "$repo" >"$out/source.txt"
    had=$(bytes_in "$part")
    # A partial file that is not the beginning of this file cannot be resumed.
    if [ "$had" -gt "${size:-$had}" ] || { [ "$had" -ge 8 ] && ! begins_as_shard "$part"; }; then
        rm -f "$part"
        had=0
    fi
    if [ "$had" -ne "${size:--1}" ] && { [ -n "$size" ] || ! is_shard "$part"; }; then
        run_curl $authorized -f "${progress_options[@]}" -C - -o "$part" "$url" 2>&"$progress" || status=$?
        got=$(bytes_in "$part")
        case $status in
        0) ;;
        23) fail "cannot write $part ($(curl_error $status))" ;;
        *)
            [ $status -ne 33 ] || rm -f "$part" # the server does not support ranges
            give_up again "the download stopped at $(with_commas "$got") of $(with_commas "${size:-unknown}") bytes ($(curl_error $status))" || return
            ;;
        esac
        if [ "$got" -ne "${size:-$got}" ]; then # a complete response, but not of this file
            truncate -s "$had" "$part"
            give_up content "$1: the server sent $(with_commas $((got - had))) bytes instead of $(with_commas $((size - had)))" || return
        fi
    fi
    if ! is_shard "$part"; then
        got=$(head -c 40 "$part" | tr -c '[:print:]' '?')
        rm -f "$part"
        give_up content "$1: the server sent data that is not a token shard (it begins with '$got')" || return
    fi
    if ! is_right_sum "$part"; then
        rm -f "$part"
        give_up content "$1: the checksum of the download is wrong" || return
    fi
    sync "$part"
    mv -f "$part" "$out/$1"
    [ -n "$sum" ] || echo "  note: the server gave no checksum; size and header are correct"
}

offline_help="set HF_ENDPOINT to a reachable mirror, or tokenize your own texts: ./train tokenize"

get() { # name
    local try pause=1 contents=0
    for ((try = 1; ; try++)); do
        fetch "$1" && return
        case $remedy in
        offline) fail "$why: $offline_help" ;;
        never) fail "$why" ;;
        content) [ $((++contents)) -lt 2 ] || fail "$why, twice: try another HF_ENDPOINT, or try later" ;;
        esac
        [ $try -lt "$retries" ] || fail "$why, after $try attempts: run the same command to resume, or $offline_help"
        echo "  $why; trying again in $pause s"
        sleep $pause &
        child=$!
        wait $child
        child=""
        pause=$((pause < 16 ? 2 * pause : 30))
    done
}

is_intact() { # name; with --verify, compares the server's checksum
    [ -e "$out/$1" ] || return 1
    if ! is_shard "$out/$1"; then
        echo "$1 is incomplete: downloading it again"
        return 1
    fi
    [ $verify = yes ] || return 0
    resolve "$1" || fail "$why: cannot verify $1"
    [ -n "$sum" ] || fail "$endpoint gives no checksum for $1: it cannot be verified"
    is_right_sum "$out/$1" && echo "$1: checksum is correct" && return
    echo "$1 has a wrong checksum: downloading it again"
    return 1
}

if [ -t 2 ]; then
    exec {progress}>&2
    progress_options=(--progress-bar)
else
    exec {progress}>>"$work/errors"
    progress_options=(-sS)
fi

mkdir -p "$out" 2>"$work/errors" || fail "cannot create the directory $out: $(sed 's/.*: //' "$work/errors")"
{ exec {lock}>"$out/.lock"; } 2>/dev/null || fail "cannot write to $out"
if ! flock -n "$lock"; then
    echo "another download is running in $out; waiting for it"
    flock "$lock" &
    child=$!
    wait $child
    child=""
fi
# Shards of different data sets have the same file names.
source=$(cat "$out/source.txt" 2>/dev/null || true)
[ "${source:-$repo}" = "$repo" ] || fail "$out holds shards of $source: use another --out for $dataset"

names=("${prefix}_val_000000.bin") missing=()
for ((i = 1; i <= count; i++)); do names+=("$(printf '%s_train_%06d.bin' "$prefix" "$i")"); done
for name in "${names[@]}"; do is_intact "$name" || missing+=("$name"); done

done_count=0
for name in "${missing[@]}"; do
    echo "$name ($((++done_count)) of ${#missing[@]})"
    get "$name"
    # From here on, all files come from the same commit.
    if [ $done_count -eq 1 ] && [[ $commit =~ ^[0-9a-f]{40}$ ]]; then
        [ "$revision" = "$commit" ] || echo "  revision $revision is commit $commit"
        revision=$commit
    fi
done

tokens=0 shards=0
for name in "$out/${prefix}"_train_*.bin; do
    [ -e "$name" ] || continue
    tokens=$((tokens + $(int_at "$name" 8))) && shards=$((shards + 1))
done
train="$out/${prefix}_train_*.bin" val="$out/${prefix}_val_*.bin"
echo "$out: $shards training shards, $(with_commas $tokens) tokens; validation shard, $(with_commas "$(int_at "$out/${names[0]}" 8)") tokens"
if [ $shards -gt 0 ]; then
    echo "./train --train-data ${train@Q} --val-data ${val@Q}"
else
    echo "./train --val-data ${val@Q}"
fi

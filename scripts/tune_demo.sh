#!/usr/bin/env bash
# The search that found the settings in configs/demo_NAME.conf: for every optimizer the same search over the learning rate
# of the hidden matrices, that of the embeddings, and beta2 of AdamW (for Muon and NorMuon: of the AdamW that updates
# embeddings, gains and biases), with the text and the model of the quickstart.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: scripts/tune_demo.sh [OUT [NAME...]]
Searches the settings of configs/demo_NAME.conf again, for adamw, muon and
normuon or the optimizers NAME, into OUT (default: runs/tune). It uses the
tokens of scripts/quickstart.sh, which must have run. About half an hour on 2
cores; can be stopped and run again.
TEXT
}

case ${1:-} in
-h | --help) usage && exit 0 ;;
-*) echo "error: unknown option '$1'; see scripts/tune_demo.sh --help" >&2 && exit 1 ;;
esac
out=${1:-runs/tune} tokens=runs/quickstart/tokens
names=("${@:2}")
[ ${#names[@]} -gt 0 ] || names=(adamw muon normuon)
ls "$tokens"/text_train_*.bin >/dev/null 2>&1 || {
    echo "error: no tokens in $tokens; run scripts/quickstart.sh first" >&2
    exit 1
}
python=$(scripts/find_python.sh)

search() { # optimizer, initial learning rates of hidden matrices and embeddings, AdamW's beta2, more options
    local name=$1 lr=$2 embed_lr=$3 beta2=$4
    shift 4
    "$python" scripts/tune.py --config configs/demo.conf --optimizer "$name" --lr "$lr" --embed-lr "$embed_lr" --choice "$beta2" \
        --steps 350 --out "$out/$name" -- --train-data="$tokens/text_train_*.bin" --val-data="$tokens/text_val_*.bin" \
        --weight-decay 0 --embed-weight-decay 0 --vector-lr 4e-3 "$@"
}

for name in "${names[@]}"; do
    case $name in
    adamw) search adamw 4e-3,8e-3,16e-3 2e-3,4e-3,8e-3 beta2=0.95,0.99 ;; # beta2 of the hidden matrices and, by default, of all groups
    muon) search muon 0.01,0.02,0.04 2e-3,4e-3,8e-3 embed-beta2+vector-beta2=0.95,0.99 ;;
    normuon) search normuon 0.01,0.02,0.04 2e-3,4e-3,8e-3 embed-beta2+vector-beta2=0.95,0.99 --form official ;;
    *)
        echo "error: no search for '$name'; supported are adamw, muon and normuon" >&2
        exit 1
        ;;
    esac
done

#!/usr/bin/env bash
# The search that found the rates in configs/demo_NAME.conf: for every optimizer the same grid search over the rate of
# the hidden matrices and the rate of the embeddings, on the text and with the network of the quickstart.
# usage: scripts/tune_demo.sh [OUT]     (after scripts/quickstart.sh, whose tokens it uses; about half an hour on 2 cores)
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/tune} tokens=runs/quickstart/tokens
ls "$tokens"/text_train_*.bin >/dev/null 2>&1 || {
    echo "error: no tokens in $tokens; run scripts/quickstart.sh first" >&2
    exit 1
}
python=$(scripts/find_python.sh)

search() { # optimizer, first rates of the hidden matrices, further options
    local name=$1 rates=$2
    shift 2
    "$python" scripts/tune.py --config configs/demo.conf --optimizer "$name" --lr "$rates" --embed-lr 2e-3,4e-3,8e-3 \
        --steps 350 --out "$out/$name" -- --train-data="$tokens/text_train_*.bin" --val-data="$tokens/text_val_*.bin" \
        --weight-decay 0 --embed-weight-decay 0 --vector-lr 4e-3 "$@"
}

search adamw 2e-3,4e-3,8e-3
search muon 0.01,0.02,0.04
search normuon 0.01,0.02,0.04 --form official

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Does examples/train/experiment.sh train, measure and draw, do nothing twice, and refuse to mix settings? On models that
# learn nothing. The program is its argument; 77: gnuplot is not there.
set -euo pipefail
program=$1
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
command -v gnuplot > /dev/null || { echo "no gnuplot"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$source_dir"/examples/train/{README.md,experiment.sh,page.sh,figures.gp,summary.awk,table.awk} "$work"
cat "$source_dir"/*.md "$source_dir"/examples/*/*.md > "$work/text"

export PROGRAM=$program SHAPE="--layers 2 --width 16 --heads 2 --kv-heads 1 --head-size 8 --hidden 16" CURRICULUM=128:2 \
  TOKENS=128 WARMUP=1 CONTINUED=topk8 CONTINUATION=128:2 BUDGETS=8 SEEDS="1 2" DECODING="8 32" IMPRECISE=8 PRECISIONS="0 1" COUNT=1
experiment() { bash "$work/experiment.sh" "$work/results" "$work/text" > "$work/said" 2>&1; }
experiment || { cat "$work/said"; exit 1; }

outside() { awk '/^<!-- begin/ { print; skip = 1 } /^<!-- end/ { skip = 0 } !skip' "$1"; }
diff <(outside "$source_dir/examples/train/README.md") <(outside "$work/README.md")
models=6 tasks=6
[ "$(wc -l < "$work/results/tasks.tsv")" = $((models * tasks * 3)) ]
[ "$(wc -l < "$work/results/precision.tsv")" = $((models * (tasks - 1) * 2)) ]
[ "$(wc -l < "$work/results/entropy.tsv")" = $((models * tasks * 2 * 2)) ]
# An approximate top-k that misses nothing measures what the exact one does.
diff <(awk -F '\t' '$3 != "text" && $4 == "topk(8)"' OFS='\t' "$work/results/tasks.tsv") \
  <(awk -F '\t' '$4 == "topk(8)*1" { $4 = "topk(8)"; print }' OFS='\t' "$work/results/precision.tsv")
for figure in budget precision entropy; do grep -q 'topk(8)' "$work/$figure.svg"; done
[ "$(grep -c '^| retrieval | topk(8) | ' "$work/README.md")" = 5 ]  # two of accuracy, one of nats, two of entropy

cp "$work/README.md" "$work/first"
experiment
diff "$work/first" "$work/README.md"
if grep -q ': step\|^wrote .*gguf\|\.tasks$' "$work/said"; then
  echo "something was done twice:"
  cat "$work/said"
  exit 1
fi

if TOKENS=256 experiment; then exit 1; fi
grep -q 'trained with other settings' "$work/said"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The README's tables of what each estimator costs a model, without and with indexes:
#   bash examples/generate/table.sh MODEL.gguf TEXT [path of the built program]
set -euo pipefail
model=$1 text=$2 program=${3:-build/release/examples/generate}

total() {  # total <estimator> [options]: the line of all texts
  "$program" --model "$model" --perplexity "$text" --estimator "$@" 2>/dev/null | grep '^ *total '
}

row() {  # row <name> <estimator>
  total "$2" | awk -v name="$1" -v spec="$2" '{
    printf "| %s | `%s` | %.4f | %.4f | %.1f %% | %.2f | %.2f |\n", name, spec, $3, $4, 100 * $5, $6, $7 }'
}

# On texts of 1024 tokens, behind the first 512. Longer ones the model does not know, on shorter ones an index has
# little to say. Segments of 64 for the same reason.
long=(--context 1024 --from 512 --segment 64)

indexed_row() {  # indexed_row <estimator>
  total "$1" "${long[@]}" | awk -v spec="$1" '{
    printf "| `%s` | %.4f | %.4f | %.1f %% | %.3f | %.3f | %.3f | %.3f |\n", spec, $3, $4, 100 * $5, $6, $7, $8, $9 }'
}

echo "| | estimator | nll | KL | top-1 | keys read | values read |"
echo "|---|---|---|---|---|---|---|"
row "dense" "dense"
# Sinks and window take 5 positions, 2.5 % of the mean context of 190: the rest of the budget is the method's.
while read -r share rest; do
  row "top-k" "topk(fraction($share))"
  row "sinks, window, top-k" "sinks(1)+window(4)+topk(fraction($rest))"
  row "uniform" "uniform(fraction($share))"
  row "sinks, window, uniform" "sinks(1)+window(4)+uniform(fraction($rest))"
  row "priority" "priority(fraction($share))"
  row "sinks, window, priority" "sinks(1)+window(4)+priority(fraction($rest))"
done <<<'0.05 0.025
0.1 0.075
0.2 0.175'
# A power budget that reads as many positions at n = 256 as 5, 10 and 20 % would.
for alpha in 0.8 1.6 3.2; do
  row "power" "topk(power($alpha,0.5))"
done

echo
echo "| estimator | nll | KL | top-1 | keys read | values read | index bytes | bytes read |"
echo "|---|---|---|---|---|---|---|---|"
indexed_row "dense"
for share in 0.05 0.1; do
  indexed_row "topk(fraction($share))"
  indexed_row "topk(fraction($share),by=sketch8,exact)"
  indexed_row "topk(fraction($share),by=sketch8)"
  indexed_row "topk(fraction($share),by=sketch4)"
  indexed_row "topk(fraction($share),by=sketch4,candidates=fraction(0.2))"
  indexed_row "topk(fraction($share),by=sketch1)"
  indexed_row "topk(fraction($share),by=sketch1,candidates=fraction(0.2))"
  indexed_row "topk(fraction($share),by=boxes,exact)"
  # By pages, alone and behind what every model looks at.
  for stage in "quest(fraction($share))" "topk(fraction($share),by=boxes)" "topk(fraction($share),by=means)" \
    "priority(fraction($share),by=boxes)" "priority(fraction($share),by=means)"; do
    indexed_row "$stage"
    indexed_row "sinks(1)+window(4)+$stage"
  done
  indexed_row "topk(fraction($share))+summaries"
  indexed_row "topk(fraction($share),by=sketch4)+summaries"
  indexed_row "priority(fraction($share))"
  indexed_row "priority(fraction($share),by=sketch8)"
  indexed_row "priority(fraction($share),by=sketch4)"
  indexed_row "priority(fraction($share),by=sketch1)"
  indexed_row "sinks(1)+window(4)+systematic(fraction($share),by=sketch4)"
  indexed_row "sinks(1)+window(4)+systematic(fraction($share),by=sketch1)"
done
# LSH sampling, and what reads about as many values behind the same sinks and window.
indexed_row "sinks(4)+window(64)+lsh(10,150)"
indexed_row "sinks(4)+window(64)+lsh(8,75)"
indexed_row "sinks(4)+window(64)+uniform(fraction(0.15))"
indexed_row "sinks(4)+window(64)+topk(fraction(0.15),by=sketch4)"
indexed_row "sinks(4)+window(64)+priority(fraction(0.15),by=sketch4)"
echo
echo "Bytes a token and KV head:"
for estimator in "topk(4,by=sketch1)" "topk(4,by=sketch4)" "topk(4,by=sketch8)" "quest(4)" "sinks(4)+summaries" "lsh(10,150)"; do
  for type in f32 bf16; do
    "$program" --model "$model" --perplexity "$text" --estimator "$estimator" --kv $type "${long[@]}" 2>&1 >/dev/null |
      sed -n "s/^bytes a token and KV head:/- $type:/p"
  done
done

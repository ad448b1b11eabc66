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

# figures <format of a share> <estimator> [options]: nll, KL and top-1 as table cells, then the other columns. What draws
# is run with seven seeds: mean and, behind the sign, the standard deviation between seeds.
figures() {
  local share=$1 seed seeds=0
  shift
  case $1 in *uniform* | *priority* | *multinomial* | *systematic* | *poisson*) seeds=6 ;; esac
  for ((seed = 0; seed <= seeds; ++seed)); do total "$@" --seed $seed; done | awk -v share="$share" '
    { for (c = 3; c <= NF; ++c) { sum[c] += $c; squares[c] += $c * $c } last = NF }
    function cell(c, scale, form, of_spread, mean, variance) {
      mean = sum[c] / NR
      if (NR == 1) return sprintf(form, scale * mean)
      variance = (squares[c] - NR * mean * mean) / (NR - 1)
      return sprintf(form " ± " of_spread, scale * mean, scale * sqrt(variance > 0 ? variance : 0))
    }
    END {
      printf "%s | %s | %s %%", cell(3, 1, "%.4f", "%.4f"), cell(4, 1, "%.4f", "%.4f"), cell(5, 100, "%.1f", "%.1f")
      for (c = 6; c <= last; ++c) printf " | " share, sum[c] / NR
    }'
}

row() {  # row <name> <estimator>
  local cells
  cells=$(figures '%.2f' "$2")
  # Keys and values read; without an index there are no other bytes.
  echo "| $1 | \`$2\` | $(cut -d'|' -f1-5 <<< "$cells" | sed 's/ *$//') |"
}

# On texts of 1024 tokens, behind the first 512. Longer ones the model does not know, on shorter ones an index has
# little to say. Segments of 64 for the same reason.
long=(--context 1024 --from 512 --segment 64)

indexed_row() {  # indexed_row <estimator>
  echo "| \`$1\` | $(figures '%.3f' "$1" "${long[@]}") |"
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

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The README's table of what each estimator costs a model:
#   bash examples/generate/table.sh MODEL.gguf TEXT [path of the built program]
set -euo pipefail
model=$1 text=$2 program=${3:-build/release/examples/generate}

row() {  # row <name> <estimator>
  "$program" --model "$model" --perplexity "$text" --estimator "$2" 2>/dev/null |
    awk -v name="$1" -v spec="$2" '$1 == "total" {
      printf "| %s | `%s` | %.4f | %.4f | %.1f %% | %.2f | %.2f |\n", name, spec, $3, $4, 100 * $5, $6, $7 }'
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

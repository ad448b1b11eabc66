#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Tokens a second in training, dense beside top-k, by the length of texts; one thread, in turns, medians:
#   bash examples/train/speed.sh TEXT [path of the built program]
set -euo pipefail
text=$1 program=${2:-build/release/examples/train}
estimators=(dense 'topk(64)' 'topk(fraction(0.05))' 'sinks(4)+window(64)+topk(64)' 'sinks(4)+window(124)')
rounds=${ROUNDS:-3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# speed CONTEXT ESTIMATOR: of the last steps of a run of the program's default model.
speed() {
  "$program" --threads 1 run --text "$text" --curriculum "$1:4" --tokens 8192 --warmup 1 --report-every 2 --estimator "$2" \
    --out "$work/model.gguf" 2> "$work/log" || { cat "$work/log" >&2; exit 1; }
  sed -n 's|^step 4 .* \([0-9]*\) tokens/s.*|\1|p' "$work/log"
}

printf '| context |'
printf ' `%s` |' "${estimators[@]}"
printf '\n|---|'
printf -- '---|%.0s' "${estimators[@]}"
echo
for context in 512 2048 8192; do
  for ((round = 0; round < rounds; ++round)); do
    for i in "${!estimators[@]}"; do speed "$context" "${estimators[i]}" >> "$work/$context.$i"; done
  done
  printf '| %s |' "$context"
  dense=
  for i in "${!estimators[@]}"; do
    median=$(sort -n "$work/$context.$i" | sed -n "$(((rounds + 1) / 2))p")
    dense=${dense:-$median}
    awk -v x="$median" -v dense="$dense" 'BEGIN { printf " %d (%.2f) |", x, x / dense }'
  done
  echo
done

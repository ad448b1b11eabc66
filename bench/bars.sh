#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The figures that say whether skim runs at the machine's limit, as a markdown table, beside what is asked of each:
#   bash bench/bars.sh [options of skim_bench]
# About 5 minutes; a machine that does nothing else gives steadier figures (last column: the share of the time in which
# our threads did not run). Ratios only, each measured in turn with its yardstick; see bench/rounds.h.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${SKIM_BENCH:-build/release/bench/skim_bench}
[ -x "$program" ] || { echo "No $program: build it first, cmake --workflow --preset release" >&2; exit 1; }

# name without threads | counter | bar for 1 thread | for 2 threads; "-": none, reported
rows='
decode/dense/f32/heads:32x32/n:32768|read_fraction|.88|.90
decode/dense/f16/heads:32x32/n:131072|read_fraction|.84|.84
decode/dense/bf16/heads:32x32/n:131072|read_fraction|.80|.82
decode/dense/f32/heads:32x8/n:131072|read_fraction|.80|.84
decode/dense/f16/heads:32x8/n:131072|read_fraction|.68|.78
decode/dense/bf16/heads:32x8/n:131072|read_fraction|.68|.78
decode/dense/int8/heads:32x8/n:131072|read_fraction|-|-
decode/dense/int8/heads:32x32/n:131072|read_fraction|-|-
decode/dense/f32/heads:32x8/n:131072|vs_naive|4|4
prefill/dense/f32/heads:8x2/n:4096|sgemm_fraction|.88|.88
prefill/dense/bf16/heads:8x2/n:4096|sgemm_fraction|.88|.88
prefill/dense/f32/heads:8x2/n:1024|sgemm_fraction|.78|.78
prefill/dense/bf16/heads:8x2/n:1024|sgemm_fraction|.78|.78
decode/topk-1pct/f32/heads:32x32/n:131072|vs_dense|1.85|1.85
decode/topk-5pct/f32/heads:32x32/n:131072|vs_dense|1.7|1.7
decode/topk-1pct/bf16/heads:32x32/n:131072|vs_dense|1.55|1.55
decode/topk-5pct/bf16/heads:32x32/n:131072|vs_dense|1.33|1.33
decode/topk-5pct/bf16/heads:32x8/n:131072|vs_dense|1.25|1.25
prefill/topk-1pct/f32/heads:8x2/n:16384|vs_dense|1|1
prefill/priority-1pct/f32/heads:8x2/n:4096|vs_dense|-|-
select/topk-5pct/f32/n:131072|vs_nth_element|5|
gather/tokens-5pct/bf16/heads:32x32/n:131072|read_fraction|.34|.38
gather/tokens_adjacent-5pct/bf16/heads:32x32/n:131072|read_fraction|.39|.43
gather/pages16-10pct/bf16/heads:32x8/n:131072|read_fraction|.45|.50
'

names=$(cut -d'|' -f1 <<< "$rows" | sed '/^$/d' | sort -u | paste -sd'|')
report=$(mktemp)
trap 'rm -f "$report"' EXIT
"$program" --benchmark_filter="^($names)/threads:" --benchmark_out="$report" --benchmark_out_format=json "$@" >&2

echo '| benchmark | counter | bar, 1 and 2 threads | 1 thread | 2 threads | rel_l2 | off_cpu |'
echo '|---|---|---|---|---|---|---|'
awk '
  function figure(x) { return x == "" ? "" : sprintf(x + 0 < 10 ? "%.2f" : "%.1f", x) }
  FNR == NR {  # the report: one "key": value a line
    if (!match($0, /^ *"[^"]+": /)) next
    key = $0; sub(/^ *"/, "", key); sub(/".*/, "", key)
    figure_of = $0; sub(/^ *"[^"]+": /, "", figure_of); gsub(/[",]/, "", figure_of)
    if (key == "name") { name = figure_of; sub(/\/(real_time|manual_time)$/, "", name) }
    else value[name, key] = figure_of
    next
  }
  {
    split($0, row, "|")
    if (row[1] == "") next
    one = row[1] "/threads:1"; two = row[1] "/threads:2"
    error = value[one, "rel_l2"]; off = value[one, "off_cpu"] > value[two, "off_cpu"] ? value[one, "off_cpu"] : value[two, "off_cpu"]
    for (t = 1; t <= 2; ++t) {
      x = value[t == 1 ? one : two, row[2]]; bar = row[2 + t]
      shown[t] = figure(x)
      if (x != "" && bar != "-" && bar != "" && x + 0 < bar + 0) shown[t] = "**" shown[t] "**"
    }
    printf "| `%s` | %s | %s | %s | %s | %s | %s |\n", row[1], row[2], row[4] == "" ? row[3] : row[3] " / " row[4], shown[1], shown[2], \
           error == "" ? "" : sprintf("%.1e", error), off == "" ? "" : sprintf("%.2f", off)
  }
' "$report" <(echo "$rows")
echo
echo 'Bold: below the bar.'

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The figures that say whether skim runs at the machine's limit, as a markdown table, beside what is asked of each; or
# with `index` what indexes are worth, with `lsh` what LSH tables are:
#   bash bench/bars.sh [index|lsh] [options of skim_bench]
# About 5 minutes each; a machine that does nothing else gives steadier figures (last column: the share of the time in
# which our threads did not run). Ratios only, each measured in turn with its yardstick; see bench/rounds.h.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${SKIM_BENCH:-build/release/bench/skim_bench}
[ -x "$program" ] || { echo "No $program: build it first, cmake --workflow --preset release" >&2; exit 1; }

table=
if [ "${1:-}" = index ] || [ "${1:-}" = lsh ]; then
  table=$1
  # Indexes live in ordinary memory: the C library gives it huge pages, where keys and values have them from the arena.
  export GLIBC_TUNABLES=glibc.malloc.hugetlb=1
  shift
fi

# name without threads | counter | bar for 1 thread | for 2 threads; "-": none, reported; "<": it must be below
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
decode/dense_beside_prompt/f32/heads:1x1/n:32768|slowdown|<1.15|<1.15
backward/dense/f32/heads:8x2/n:2048|sgemm_fraction|.60|.60
backward/dense/f32/heads:8x2/n:4096|sgemm_fraction|.60|.60
backward/topk-5pct/f32/heads:8x2/n:4096|vs_dense|2|2
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

index_rows='
index/scan-1bit/bf16/heads:32x32/n:131072|read_fraction|.80|.75
index/scan-4bit/bf16/heads:32x32/n:131072|read_fraction|.85|.82
index/scan-8bit/bf16/heads:32x32/n:131072|read_fraction|.75|.75
decode/topk_sketch1-1pct/bf16/heads:32x32/n:131072|vs_dense|10.5|10.5
decode/topk_sketch1-2pct/bf16/heads:32x32/n:131072|vs_dense|8|8
decode/topk_sketch1-5pct/bf16/heads:32x32/n:131072|vs_dense|4.5|4.5
decode/topk_sketch1-1pct/bf16/heads:32x8/n:131072|vs_dense|6|6
decode/topk_sketch1-2pct/bf16/heads:32x8/n:131072|vs_dense|5|5
decode/topk_sketch1-5pct/bf16/heads:32x8/n:131072|vs_dense|3.2|3.2
decode/topk_sketch1_rescore-5pct_1pct/bf16/heads:32x32/n:131072|vs_dense|7|7
decode/topk_sketch4_rescore-5pct_1pct/bf16/heads:32x32/n:131072|vs_dense|3.6|3.6
decode/topk_sketch8_rescore-5pct_1pct/bf16/heads:32x32/n:131072|vs_dense|2.2|2.2
decode/priority_sketch4-1pct/bf16/heads:32x32/n:131072|vs_dense|-|-
decode/priority_sketch4-2pct/bf16/heads:32x32/n:131072|vs_dense|3.2|3.2
decode/priority_sketch4-5pct/bf16/heads:32x32/n:131072|vs_dense|-|-
decode/priority_sketch4-1pct/bf16/heads:32x8/n:131072|vs_dense|-|-
decode/priority_sketch4-2pct/bf16/heads:32x8/n:131072|vs_dense|2.2|2.2
decode/priority_sketch4-5pct/bf16/heads:32x8/n:131072|vs_dense|-|-
decode/priority_sketch1-1pct/bf16/heads:32x8/n:131072|vs_dense|-|-
decode/priority_sketch1-2pct/bf16/heads:32x8/n:131072|vs_dense|-|-
decode/priority_sketch1-5pct/bf16/heads:32x8/n:131072|vs_dense|-|-
decode/systematic_sketch4-2pct/bf16/heads:32x32/n:131072|vs_dense|-|-
decode/topk_sketch1_summaries-1pct/bf16/heads:32x32/n:131072|vs_dense|-|-
decode/topk_exact_int8-1pct/bf16/heads:32x32/n:131072|vs_dense|2.2|2.2
decode/topk_exact_int8-1pct/bf16/heads:32x32/n:131072|vs_topk|.87|.87
decode/topk_exact_int8-5pct/bf16/heads:32x32/n:131072|vs_topk|.87|.87
decode/topk_exact_int8-1pct/bf16/heads:32x32/n:131072/w:clustered05_runs|vs_topk|.87|.87
decode/topk_exact_boxes-1pct/bf16/heads:32x32/n:131072/w:clustered05_runs|vs_topk|1.5|1.5
decode/topk_exact_boxes-1pct/bf16/heads:32x32/n:131072|vs_topk|.87|.87
decode/quest-5pct/bf16/heads:32x32/n:131072/w:clustered05_runs|vs_dense|-|-
decode/quest-5pct/bf16/heads:32x32/n:131072|vs_dense|-|-
index/append-1bit/bf16/heads:32x8/n:32768|dense_share|<.01|<.01
index/append-4bit/bf16/heads:32x8/n:32768|dense_share|<.01|<.01
index/append-8bit/bf16/heads:32x8/n:32768|dense_share|<.01|<.01
index/append-boxes/bf16/heads:32x8/n:32768|dense_share|<.01|<.01
index/append-means/bf16/heads:32x8/n:32768|dense_share|<.01|<.01
index/append-1bit/bf16/heads:32x8/n:32768|dense_share_worst|-|-
index/append-4bit/bf16/heads:32x8/n:32768|dense_share_worst|-|-
index/append-8bit/bf16/heads:32x8/n:32768|dense_share_worst|-|-
index/append-boxes/bf16/heads:32x8/n:32768|dense_share_worst|-|-
index/append-means/bf16/heads:32x8/n:32768|dense_share_worst|-|-
'
lsh_rows='
decode/lsh-K8_L75/bf16/heads:32x8/n:131072|vs_dense|-|-
decode/lsh-K9_L120/bf16/heads:32x8/n:131072|vs_dense|-|-
decode/lsh-K10_L150/bf16/heads:32x8/n:131072|vs_dense|3|3
decode/lsh-K11_L300/bf16/heads:32x8/n:131072|vs_dense|-|-
decode/lsh-K8_L75/bf16/heads:32x8/n:131072|vs_priority_sketch4|-|-
decode/lsh-K9_L120/bf16/heads:32x8/n:131072|vs_priority_sketch4|-|-
decode/lsh-K10_L150/bf16/heads:32x8/n:131072|vs_priority_sketch4|-|-
decode/lsh-K11_L300/bf16/heads:32x8/n:131072|vs_priority_sketch4|-|-
decode/lsh-K10_L150/bf16/heads:32x8/n:131072|vs_uniform|-|-
decode/lsh_sinks-K10_L150/bf16/heads:32x8/n:131072/w:mixed|vs_dense|-|-
decode/lsh_sinks-K10_L150/bf16/heads:32x8/n:131072/w:corr0|vs_dense|-|-
decode/lsh_sinks-K10_L150/bf16/heads:32x8/n:131072/w:corr1|vs_dense|-|-
index/append-lsh_K10_L150/bf16/heads:32x8/n:32768|dense_share|-|-
'
columns=
case $table in
  index) rows=$index_rows columns='recall bytes_fraction ' ;;
  lsh) rows=$lsh_rows columns='rel_l2_by_head rel_l2_topk rel_l2_priority_sketch4 rel_l2_uniform density density_by_head table_bytes ' ;;
esac

names=$(cut -d'|' -f1 <<< "$rows" | sed '/^$/d' | sort -u | paste -sd'|')
report=$(mktemp)
trap 'rm -f "$report"' EXIT
"$program" --benchmark_filter="^($names)/threads:" --benchmark_out="$report" --benchmark_out_format=json "$@" >&2

head="| benchmark | counter | bar, 1 and 2 threads | 1 thread | 2 threads | rel_l2 | ${columns// / | }off_cpu |"
echo "$head"
sed 's/[^|][^|]*/---/g' <<< "$head"
awk -v columns="$columns" '
  function figure(x) { return x == "" ? "" : sprintf(x + 0 < .1 ? "%.2g" : x + 0 < 10 ? "%.2f" : "%.1f", x) }
  function misses(x, bar) { return sub(/^</, "", bar) ? x + 0 >= bar + 0 : x + 0 < bar + 0 }
  BEGIN { more = split(columns, column, " ") }
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
    error = value[one, "rel_l2"]
    off = value[one, "off_cpu"] > value[two, "off_cpu"] ? value[one, "off_cpu"] : value[two, "off_cpu"]
    for (t = 1; t <= 2; ++t) {
      x = value[t == 1 ? one : two, row[2]]; bar = row[2 + t]
      shown[t] = figure(x)
      if (x != "" && bar != "-" && bar != "" && misses(x, bar)) shown[t] = "**" shown[t] "**"
    }
    bars = row[4] == "" ? row[3] : row[3] " / " row[4]
    error = error == "" ? "" : sprintf("%.1e", error)
    printf "| `%s` | %s | %s | %s | %s | %s |", row[1], row[2], bars, shown[1], shown[2], error
    for (c = 1; c <= more; ++c) printf " %s |", figure(value[one, column[c]])
    printf " %s |\n", off == "" ? "" : sprintf("%.2f", off)
  }
' "$report" <(echo "$rows")
echo
echo 'Bold: the bar is missed.'

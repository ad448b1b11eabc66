#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What others rely on in skim_bench: names that work in a filter, a row for every estimator at every size, the
# counters of a row and the target in the context. No figure is judged here.
#   bash tests/bench/names.sh <program>; 77: this machine cannot run it
set -uo pipefail
program=$1

if ! list=$("$program" --benchmark_list_tests 2>&1); then
  echo "$list"
  case $list in *"slower than AVX2"* | *"does not have"* | *"without optimisation"*) exit 77 ;; esac
  exit 1
fi

failures=0
fail() {
  echo "$*"
  failures=$((failures + 1))
}

if "$program" --benchmark_list_tests > /dev/full 2> /dev/null; then fail "a full disk is not missed"; fi

# Letters, digits and _ : / . - only; the parts in their order.
wrong=$(grep -vE '^[a-z]+/[A-Za-z0-9_.-]+/(f32|f16|bf16|int8)(/heads:[0-9]+x[0-9]+)?/n:[0-9]+(/d:[0-9]+)?(/w:[A-Za-z0-9_.-]+)?(/warm)?/threads:[0-9]+(/real_time|/manual_time)?$' <<< "$list")
[ -z "$wrong" ] || fail "not SUITE/WHAT/DTYPE[/heads:HqxHkv]/n:N[/d:D][/w:WORKLOAD][/warm]/threads:T: $wrong"

for type in f32 bf16; do
  for heads in 32x8 32x32; do
    for n in 4096 32768 131072; do
      for what in dense sinks_window topk-1pct topk-5pct topk-10pct power sinks_window_topk topp-90 uniform-5pct priority-5pct \
        multinomial-5pct systematic-5pct poisson-5pct; do
        name=decode/$what/$type/heads:$heads/n:$n/threads:1
        grep -qE "^$name(/real_time|/manual_time)?$" <<< "$list" || fail "missing: $name"
      done
    done
  done
done

for name in decode/dense_beside_prompt/f32/heads:1x1/n:32768 backward/dense/f32/heads:8x2/n:{2048,4096} backward/topk-5pct/f32/heads:8x2/n:4096; do
  grep -qE "^$name/threads:1(/real_time|/manual_time)?$" <<< "$list" || fail "missing: $name/threads:1"
done

# By indexes: WHAT, heads, n and the rest.
wanted=
for row in scan-{1,4,8}bit/bf16/heads:{32x32,32x8}/n:131072 \
  append-{1bit,4bit,8bit,boxes,means}/bf16/heads:32x8/n:32768; do
  wanted+=" index/$row"
done
sketched=$(echo topk_sketch1-{1,2,5}pct topk_sketch{1,4,8}_rescore-5pct_1pct priority_sketch{4,1}-{1,2,5}pct)
sketched+=" systematic_sketch4-2pct"
exact=$(echo topk_exact_int8-{1,5}pct topk_exact_boxes-1pct quest-5pct)
for what in $sketched $exact; do
  for heads in 32x32 32x8; do wanted+=" decode/$what/bf16/heads:$heads/n:131072"; done
  for workload in clustered05 outliers; do wanted+=" decode/$what/bf16/heads:32x8/n:131072/w:$workload"; done
done
for what in $exact; do wanted+=" decode/$what/bf16/heads:32x32/n:131072/w:clustered05_runs"; done
for name in $wanted; do
  grep -qE "^$name/threads:1(/real_time|/manual_time)?$" <<< "$list" || fail "missing: $name/threads:1"
done

# judge <row> <counters>: runs it, and wants these in its report
judge() {
  row=$1
  shift
  report=$("$program" --quick --benchmark_filter="^$row(/real_time|/manual_time)?\$" --benchmark_format=json) ||
    fail "cannot run $row"
  for counter in "$@"; do
    grep -qF "\"$counter\":" <<< "$report" || fail "no $counter in the report of $row"
  done
}
# figure <counter> <pattern>: what the last report says of it
figure() { grep -qE "\"$1\": $2," <<< "$report" || fail "$1 of $row is not $2"; }

judge decode/priority-5pct/bf16/heads:32x8/n:4096/threads:1 vs_dense read_fraction rel_l2 rel_l2_worst 'SIMD target'
figure keys_read '1(\.0+)?e\+00'  # scores read every key; 5 % of the values
figure values_read '5\.0[0-9]*e-02'
judge decode/topk_sketch1_rescore-5pct_1pct/bf16/heads:32x8/n:32768/threads:1 \
  vs_dense rel_l2 recall index_bytes bytes_fraction
figure keys_read '5\.0[0-9]*e-02'  # of the candidates
figure values_read '1\.0[0-9]*e-02'
judge index/append-1bit/bf16/heads:32x8/n:32768/threads:1 dense_share dense_share_worst index_bytes

[ "$failures" = 0 ] || { echo "$failures failures"; exit 1; }
echo "$(wc -l <<< "$list") names"

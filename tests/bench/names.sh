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

row='^decode/priority-5pct/bf16/heads:32x8/n:4096/threads:1'
report=$("$program" --quick --benchmark_filter="$row" --benchmark_format=json) || fail "cannot run $row"
for counter in vs_dense read_fraction rel_l2 rel_l2_worst keys_read values_read 'SIMD target'; do
  grep -qF "\"$counter\":" <<< "$report" || fail "no $counter in the report of $row"
done
# Scores read every key; 5 % of the values.
grep -qE '"keys_read": 1(\.0+)?e\+00' <<< "$report" || fail "keys_read is not 1"
grep -qE '"values_read": 5\.0[0-9]*e-02' <<< "$report" || fail "values_read is not .05"

[ "$failures" = 0 ] || { echo "$failures failures"; exit 1; }
echo "$(wc -l <<< "$list") names"

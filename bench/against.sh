#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Is one build slower than another? Runs the rows of bench/bars.sh with both, in turn, and prints for each row the
# median of new time / old time over the runs and an interval that holds the true median with 95 % or more:
#   bash bench/against.sh OLD_SKIM_BENCH NEW_SKIM_BENCH [runs, 9] [regular expression of rows] [options of skim_bench]
# A row is slower when its interval lies above 1.03 as a whole. Exits with 1 if one is.
set -euo pipefail
cd "$(dirname "$0")/.."
old=$1 new=$2 runs=${3:-9} rows=${4:-}
shift $(($# < 4 ? $# : 4))
if [ -z "$rows" ]; then
  rows="^($(sed -nE 's/^([a-z]+\/[^|]*\/n:[^|]*)\|.*/\1/p' bench/bars.sh | sort -u | paste -sd'|'))/threads:1"
fi
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1 # as bars.sh does for indexes

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
one() { # one <program> <report> <options>
  "$1" --benchmark_filter="$rows" --benchmark_out="$work/report" --benchmark_out_format=json "${@:3}" > /dev/null 2>&1
  sed -nE 's/^ *"name": "(.*)",$/\1/p; s/^ *"real_time": (.*),$/\1/p' "$work/report" | paste -d' ' - - > "$2"
}
for ((run = 1; run <= runs; ++run)); do
  echo "run $run of $runs" >&2
  # Every other time the other way round, so that neither always comes first.
  if ((run % 2)); then order="old new"; else order="new old"; fi
  for which in $order; do one "${!which}" "$work/$which.$run" "$@"; done
done

awk -v runs="$runs" -v work="$work" '
  function time_of(line) { sub(/.* /, "", line); return line }
  function name_of(line) { sub(/(\/(real_time|manual_time))? .*/, "", line); return line }
  BEGIN {
    for (run = 1; run <= runs; ++run) {
      for (file = work "/old." run; (getline line < file) > 0;) before[name_of(line), run] = time_of(line)
      for (file = work "/new." run; (getline line < file) > 0;) {
        name = name_of(line)
        if (!((name, run) in before)) continue  # a row of the new build alone
        if (!(name in count)) order[++rows] = name
        ratio[name, ++count[name]] = time_of(line) / before[name, run]
      }
    }
    # The interval between the i-th smallest and the i-th largest misses the median with probability 2 P(fewer than i of
    # n fair coins fall on one side).
    i = 0; tail = 2 ^ -runs; missed = 2 * tail
    while (missed <= .05) {
      ++i
      tail *= (runs - i + 1) / i
      missed += 2 * tail
    }
    printf "| row | new / old | interval |\n|---|---|---|\n"
    for (r = 1; r <= rows; ++r) {
      name = order[r]; n = count[name]
      for (a = 1; a <= n; ++a) sorted[a] = ratio[name, a]
      for (a = 2; a <= n; ++a) {
        x = sorted[a]
        for (b = a - 1; b > 0 && sorted[b] > x; --b) sorted[b + 1] = sorted[b]
        sorted[b + 1] = x
      }
      low = i > 0 ? i : 1; high = n + 1 - low
      median = n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
      slower = i > 0 && sorted[low] > 1.03
      bad += slower
      printf "| `%s` | %s%.3f%s | %.3f to %.3f |\n", name, slower ? "**" : "", median, slower ? "**" : "", sorted[low], sorted[high]
    }
    print ""
    print (i > 0 ? "Bold: slower by more than 3 %." : "Too few runs for an interval: these are the least and the largest.")
    exit bad > 0
  }'

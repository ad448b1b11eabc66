#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the fuzzers and runs each for some seconds: bash tests/fuzz/run.sh SECONDS [target...]
# Each starts from a copy of its committed corpus, tests/fuzz/corpus/<target>; what it learns stays in
# build/fuzz/corpus/<target>, so that a longer run goes on where the last one was. An input that shows a fault is kept in
# build/fuzz/findings/<target>-..., and fails the run.
cd "$(dirname "$0")/../.."
source cmake/setup.sh

seconds=${1:?usage: bash tests/fuzz/run.sh SECONDS [target...]}
shift
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  mapfile -t targets < <(ls tests/fuzz/corpus)
fi

install_packages "${skim_packages[@]}" clang llvm libclang-rt-dev
say "Building the fuzzers: cmake --preset fuzz"
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz --target "${targets[@]/#/fuzz_}"

build=build/fuzz
mkdir -p $build/findings $build/logs
findings=0
for target in "${targets[@]}"; do
  corpus=$build/corpus/$target
  log=$build/logs/$target.txt
  mkdir -p "$corpus"
  options=(-max_total_time="$seconds" -max_len=4096 -len_control=0 -timeout=120 -rss_limit_mb=2048 -malloc_limit_mb=256
           -print_final_stats=1 -artifact_prefix="$build/findings/$target-")
  [ -f "tests/fuzz/$target.dict" ] && options+=(-dict="tests/fuzz/$target.dict")
  # (A busy machine stops a process of low priority for half a minute: that is no timeout.)
  status=0
  $build/tests/fuzz/fuzz_"$target" "${options[@]}" "$corpus" tests/fuzz/corpus/"$target" >"$log" 2>&1 || status=$?
  awk -v target="$target" '
    / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") edges = $(i + 1) }
    /^stat::number_of_executed_units:/ { runs = $2 }
    END { printf "%-12s %9d executions, %6d edges\n", target, runs, edges }' "$log"
  if [ $status -ne 0 ]; then
    findings=$((findings + 1))
    say "$target: found something; the end of $log:"
    grep -a -E '^FOUND|ERROR:|runtime error|^SUMMARY|Test unit written' "$log" | head -20
  fi
done
[ $findings -eq 0 ] || { say "$findings of ${#targets[@]} fuzzers found a fault"; exit 1; }

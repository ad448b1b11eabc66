#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Do files that programs write stay what they were until all of the new ones is there?
#   bash tests/compare/outputs.sh PROGRAM...: compare, and those of nc_study and lsh_study that are built
# Without gnuplot figures are left out.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
has_gnuplot=$(command -v gnuplot || true)

fail() {
  echo "outputs.sh: $*" >&2
  exit 1
}

# arguments NAME of little work, and of more than a test waits for
quick() {
  case $1 in
    compare) echo --n 64 --d 8 --heads 1 --group 1 --share 10,20 --estimator 'topk(B)' --seeds 1 --rounds 0 ;;
    nc_study) echo --min-n 64 --max-n 128 --max-matrix 0 --draws 2 --rows 2 --d 4 --k 4 ;;
    lsh_study) echo --n 2048 --d 8 --seeds 1 --weight-seeds 0 --bar-seeds 0 ;;
  esac
}
long() {
  case $1 in
    compare) echo --n 65536 --seeds 10000 --rounds 0 ;;
    nc_study) echo --max-n 16384 --draws 10000 ;;
    lsh_study) echo --n 131072 --seeds 1000 ;;
  esac
}

# old: a table and a figure of before; their options for NAME.
old() {
  rm -f -- *
  files=()
  case $1 in lsh_study) ;; *) files+=(--csv table.csv) ;; esac
  [ -z "$has_gnuplot" ] || files+=(--plot figure.svg)
  for file in table.csv figure.svg; do echo "old $file" > "$file"; done
}
are_old() {
  for file in table.csv figure.svg; do
    [ "$(cat "$file")" = "old $file" ] || fail "$1: $file is $(head -c 100 "$file" 2>&1)"
  done
  [ "$(echo *)" = "figure.svg table.csv" ] || fail "$1: $(echo *) lie there"
}

for program; do
  name=$(basename "$program")

  # Interrupted and killed at work.
  for signal in INT KILL; do
    old "$name"
    set -m  # else a background process does not hear SIGINT
    # shellcheck disable=SC2046
    "$program" $(long "$name") "${files[@]}" > /dev/null 2>&1 &
    set +m
    sleep 0.5
    kill -s "$signal" $!
    if wait $! 2> /dev/null; then fail "$name was done before SIG$signal"; fi
    are_old "$name, SIG$signal"
  done

  # Nobody reads what it says.
  old "$name"
  # shellcheck disable=SC2046
  if "$program" $(quick "$name") "${files[@]}" > /dev/full 2> /dev/null; then fail "$name does not miss stdout"; fi
  if [ "$name" = compare ]; then are_old "$name, stdout full"; fi  # it says something before it works

  # A disk that is full: at once, or in the middle of a figure, whose script is shorter.
  for blocks in 0 8; do
    old "$name"
    # shellcheck disable=SC2046
    if (trap '' XFSZ; ulimit -f $blocks; exec "$program" $(quick "$name") "${files[@]}") > /dev/null 2> /dev/null; then
      if [ $blocks = 0 ]; then fail "$name does not miss a full disk"; fi
    elif [ $blocks = 0 ]; then
      are_old "$name, disk full"
    elif [ "$(cat figure.svg)" != "old figure.svg" ]; then
      fail "$name, a disk of 8 KB: figure.svg is $(head -c 100 figure.svg)"
    fi
  done

  # In the end all of it is there.
  old "$name"
  # shellcheck disable=SC2046
  "$program" $(quick "$name") "${files[@]}" > /dev/null
  if [ "$name" != lsh_study ]; then grep -q ',' table.csv || fail "$name: no table"; fi
  if [ -n "$has_gnuplot" ]; then tail -n 2 figure.svg | grep -qxF '</svg>' || fail "$name: no figure"; fi
  [ "$(echo *)" = "figure.svg table.csv" ] || fail "$name: $(echo *) lie there"
done

# Any table goes to the file, one of indexes too: a head and a line for each workload.
for program; do
  if [ "$(basename "$program")" != compare ]; then continue; fi
  "$program" --indexed --n 256 --d 16 --heads 1 --group 1 --share 10 --estimator 'topk(B)' --seeds 1 --rounds 0 --csv table.csv > /dev/null
  [ "$(wc -l < table.csv)" = 9 ] || fail "compare --indexed: $(wc -l < table.csv) lines"
done

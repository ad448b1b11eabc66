#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Is what README and the guides print true? Programs are compiled and run by the command that stands behind them, and
# CMake files are configured, in a folder outside the repository, in which it is called skim.
# Usage: run.sh programs | cmake | guide <guide.md>
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ln -s "$root" "$work/skim"
cd "$work"

# Block number $2 of language $1 in file $3.
block() {
  awk -v language="$1" -v wanted="$2" '
    $0 == "```" language { inside = ++count == wanted; next }
    /^```/ { inside = 0 }
    inside { print }' "$3"
}

case $1 in
  programs)
    # Every program of README, by the command in the next block.
    count=0
    while read -r command; do
      source=$(grep -oE '[a-z]+\.cc' <<<"$command" | head -1)
      count=$((count + 1))
      block cpp $count "$root/README.md" >"$source"
      echo "== $command"
      bash -euc "$command"
    done < <(grep -E '^g\+\+ ' "$root/README.md")
    [ "$count" -eq "$(grep -c '^int main' "$root/README.md")" ] || { echo "a program without a command"; exit 1; }
    [ "$count" -ge 2 ]
    ;;
  cmake)
    block cmake 1 "$root/README.md" >CMakeLists.txt
    block cpp 1 "$root/README.md" >first.cc
    install=$(grep -oE 'cmake -S skim [^`]*' "$root/README.md")
    echo "== $install"
    bash -euc "${install//PREFIX/$work/prefix}" >log.txt 2>&1 || { cat log.txt; exit 1; }
    cmake -S . -B engine -DCMAKE_PREFIX_PATH="$work/prefix" >log.txt 2>&1 || { cat log.txt; exit 1; }
    cmake --build engine
    engine/engine
    ;;
  guide)
    # Every block of the guide is the body of a function; they run one after the other.
    {
      echo '#include "skim/tests/docs/preamble.h"'
      count=$(grep -c '^```cpp$' "$2")
      for i in $(seq "$count"); do
        echo "void block_$i() {"
        block cpp "$i" "$2"
        echo "}"
      done
      echo "int main() {"
      for i in $(seq "$count"); do echo "  block_$i();"; done
      echo "}"
    } >guide.cc
    [ "$count" -ge 1 ]
    g++ -std=c++20 -O1 -march=native -fopenmp -I skim/include -I . guide.cc -o guide
    ./guide
    echo "$count blocks"
    ;;
esac

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# One program, two machines. When two translation units hold the same inline function, the linker keeps
# one of them; if that one was compiled for the newer machine, the older one dies of an illegal
# instruction. So no function of ours that holds wide vector code may be shared between the two.
#
# Compiles odr.cc for an old and for a new machine, links and runs both as one program in either order,
# and looks at the functions that both hold and the linker may merge.
# Usage: odr.sh <work folder> <compiler and flags...>
set -euo pipefail
export LC_ALL=C  # one order for sort and comm
here=$(dirname "$0")
work=$1
shift
mkdir -p "$work"

old=(-march=x86-64-v2 -DSKIM_ALLOW_SLOW_TARGET -DODR_NAME=run_old)
new=(-march=x86-64-v3 -DODR_NAME=run_new)

# The functions of an object file that hold wide (ymm or zmm) instructions, one a line, mangled.
wide_functions() {
  objdump -d --no-show-raw-insn "$1" |
    awk '/^[0-9a-f]+ <.*>:$/ { name = substr($2, 2, length($2) - 3) } /%[yz]mm/ { print name }' | sort -u
}

# The functions the linker may take from another object file instead, one a line, mangled.
weak_functions() {
  nm --defined-only "$1" | awk '$2 ~ /^[WVu]$/ { print $3 }' | sort -u
}

"$@" -c "$here/odr_main.cc" -o "$work/main.o"
for optimisation in -O0 -O2 -O3; do
  "$@" $optimisation "${old[@]}" -c "$here/odr.cc" -o "$work/old.o"
  "$@" $optimisation "${new[@]}" -c "$here/odr.cc" -o "$work/new.o"

  for objects in "old.o new.o" "new.o old.o"; do
    (cd "$work" && "$1" main.o $objects -o odr && ./odr)
  done

  wide_functions "$work/new.o" >"$work/wide"
  grep -q 4skim "$work/wide" || { echo "$optimisation: no wide code, so nothing was tested"; exit 1; }

  weak_functions "$work/old.o" >"$work/old.weak"
  weak_functions "$work/new.o" >"$work/new.weak"
  bad=$(comm -12 "$work/old.weak" "$work/new.weak" | comm -12 - "$work/wide" | grep 4skim | c++filt || true)
  if [ -n "$bad" ]; then
    echo "At $optimisation these functions may be merged across machines and hold wide instructions:"
    echo "$bad"
    exit 1
  fi
  echo "$optimisation: $(grep -c 4skim "$work/wide") functions of skim hold wide code, none of them shared"
done

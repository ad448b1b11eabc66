#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Writes the tables and figures of this folder's README.md and INDEXED.md anew, between their markers:
#   bash examples/compare/page.sh MODEL.gguf TEXT [path of the built program]
# Times are part of it, so the machine should have nothing else to do. ROUNDS=0: errors only, without columns of time.
set -euo pipefail
model=$1 text=$2 program=${3:-build/release/examples/compare}
here=$(dirname "$0")
pages=("$here/README.md" "$here/INDEXED.md")
rounds=${ROUNDS:-9}

work=$(mktemp -d)
trap 'rm -rf "$work" "${pages[@]/%/.tmp}"' EXIT

# tables: what the program prints from its first table or the words before it on, without where the files are.
tables() { awk '/^(\||The best method|Recall|The least error)/ { on = 1 } /^wrote / { next } on'; }

for name in sweep synthetic real indexed_real indexed; do  # before the long work
  for marker in "<!-- begin $name -->" "<!-- end $name -->"; do
    if [ "$(cat "${pages[@]}" | grep -cxF -- "$marker")" != 1 ]; then
      echo "${pages[*]}: not one line '$marker'" >&2
      exit 1
    fi
  done
done

# put <name> <arguments>: what the program says of them goes between <!-- begin name --> and <!-- end name -->, all of it or,
# when the program fails or a disk is full, nothing.
put() {
  local page
  page=$(grep -lxF -- "<!-- begin $1 -->" "${pages[@]}")
  "$program" "${@:2}" > "$work/said"
  tables < "$work/said" > "$work/block"
  awk -v begin="<!-- begin $1 -->" -v end="<!-- end $1 -->" -v block="$work/block" '
    $0 == end { print ""; skip = 0 }
    !skip { print }
    $0 == begin {
      skip = 1
      while ((getline line < block) > 0) text = text line "\n"
      sub(/\n+$/, "", text)
      print "\n" text
    }' "$page" > "$work/page"
  cat "$work/page" > "$page.tmp"
  mv "$page.tmp" "$page"
}

echo "synthetic heads, nine workloads"
put sweep --sweep --rounds "$rounds" --plot "$here/sweep.svg"
echo "synthetic heads, one workload"
put synthetic --workload spread=1.5,corr=0.3 --rounds "$rounds" --plot "$here/synthetic.svg"
echo "real heads"
put real --model "$model" --text "$text" --rounds "$rounds" --plot "$here/real_heads.svg"
echo "real heads, with indexes"
put indexed_real --indexed --model "$model" --text "$text" --context 1024 --first-query 512 --segment 64 \
  --plot "$here/indexed_real.svg"
echo "synthetic heads, with indexes"
put indexed --indexed --rounds "$rounds" --plot "$here/indexed.svg"
echo "wrote ${pages[*]} and the figures beside them"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Writes the tables and the figure of this folder's README.md anew, between its markers; about 20 minutes on one core:
#   bash examples/lsh_study/page.sh MODEL.gguf TEXT [path of the built program]
set -euo pipefail
model=$1 text=$2 program=${3:-build/release/examples/lsh_study}
here=$(dirname "$0")
page=$here/README.md
for marker in '<!-- begin study -->' '<!-- end study -->'; do  # before the long work
  if [ "$(grep -cxF -- "$marker" "$page")" != 1 ]; then
    echo "$page: not one line '$marker'" >&2
    exit 1
  fi
done

work=$(mktemp -d)
trap 'rm -rf "$work" "$page.tmp"' EXIT
"$program" --model "$model" --text "$text" --plot "$here/crossing.svg" > "$work/said"
sed '/^wrote /d' "$work/said" > "$work/block"
awk -v block="$work/block" '
  $0 == "<!-- end study -->" { print ""; skip = 0 }
  !skip { print }
  $0 == "<!-- begin study -->" {
    skip = 1
    while ((getline line < block) > 0) text = text line "\n"
    sub(/\n+$/, "", text)
    print "\n" text
  }' "$page" > "$work/page"
cat "$work/page" > "$page.tmp"
mv "$page.tmp" "$page"  # a whole page at every moment
echo "wrote $page and $here/crossing.svg"

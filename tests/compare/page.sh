#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Does examples/compare/page.sh put tables between the markers of the pages and touch nothing else?
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$source_dir"/examples/compare/{page.sh,README.md,INDEXED.md} "$work"

# Stands for the program: says what it was asked in a table, with words before and a file name after it.
cat > "$work/program" <<'PROGRAM'
#!/bin/sh
printf 'words before\n\n| asked |\n|---|\n| %s |\n\nTime: of one thread\n\nwrote somewhere\n' "$*"
PROGRAM
chmod +x "$work/program"

outside() { awk '/^<!-- begin/ { print; skip = 1 } /^<!-- end/ { skip = 0 } !skip' "$1"; }

for round in 1 2; do  # the second time on its own work
  ROUNDS=7 bash "$work/page.sh" MODEL TEXT "$work/program" > /dev/null
  for page in README.md INDEXED.md; do
    diff <(outside "$source_dir/examples/compare/$page") <(outside "$work/$page")
  done
  [ "$(grep -c '^| asked |$' "$work/README.md")" = 3 ]
  [ "$(grep -c '^Time: of one thread$' "$work/README.md")" = 3 ]
  for what in '--sweep --rounds 7' '--workload spread=1.5,corr=0.3 --rounds 7' '--model MODEL --text TEXT --rounds 7'; do
    [ "$(grep -cF -- "| $what " "$work/README.md")" = 1 ]
  done
  for what in '--indexed --model MODEL --text TEXT ' '--indexed --rounds 7'; do
    [ "$(grep -cF -- "| $what" "$work/INDEXED.md")" = 1 ]
  done
  if grep -q 'words before\|^wrote somewhere' "$work"/*.md; then exit 1; fi
  if [ $round = 1 ]; then cp "$work/README.md" "$work/first"; fi
done
diff "$work/first" "$work/README.md"

# A program that fails, in the middle of its words, changes nothing.
cp "$work"/README.md "$work/before"
sed 's/^printf.*/&; exit 1/' "$work/program" > "$work/failing"
chmod +x "$work/failing"
sed -i 's/| --sweep --rounds 7 .*|/| old |/' "$work/README.md"
cp "$work/README.md" "$work/old"
if ROUNDS=7 bash "$work/page.sh" MODEL TEXT "$work/failing" > /dev/null 2>&1; then exit 1; fi
diff "$work/old" "$work/README.md"
if compgen -G "$work/*.tmp" > /dev/null; then exit 1; fi
cp "$work/before" "$work/README.md"

# A page without a marker is an error, and stays as it is.
grep -vxF '<!-- end real -->' "$work/first" > "$work/README.md"
if bash "$work/page.sh" MODEL TEXT "$work/program" > /dev/null 2> "$work/error"; then exit 1; fi
grep -qF 'end real' "$work/error"
diff <(grep -vxF '<!-- end real -->' "$work/first") "$work/README.md"

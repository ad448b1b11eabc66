#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Writes the tables of README.md anew, between its markers, and the figures beside it, from what experiment.sh has measured;
# that calls it at its end:
#   bash examples/train/page.sh DIR [PAGE]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$1 page=${2:-$here/README.md}  # --check for a folder: only whether the page has its markers
retrieval=${RETRIEVAL:-needle needles variables}
aggregation=${AGGREGATION:-common_words frequent_words}
for marker in '<!-- begin experiment -->' '<!-- end experiment -->'; do
  if [ "$(grep -cxF -- "$marker" "$page")" != 1 ]; then
    echo "$page: not one line '$marker'" >&2
    exit 1
  fi
done
if [ "$dir" = --check ]; then exit; fi
work=$(mktemp -d)
trap 'rm -rf "$work" "$page.tmp" "$(dirname "$page")"/{budget,precision,entropy}.svg.tmp' EXIT
# place FILE TO: a whole file at every moment, the one before or this.
place() {
  cat "$1" > "$2.tmp"
  mv "$2.tmp" "$2"
}

awk -v retrieval="$retrieval" -v aggregation="$aggregation" -f "$here/summary.awk" \
  "$dir"/{tasks,precision,entropy}.tsv > "$work/summary"
# table MEASURE TASK[,TASK...] FORMAT [REGEX of columns] [words before their names]
table() {
  awk -v measure="$1" -v task="$2" -v format="$3" -v matching="${4:-.}" -v label="${5:-}" -f "$here/table.awk" "$work/summary"
}
# The budgets that top-k decodes with in a file, in order.
budgets() { cut -f 4 "$dir/$1.tsv" | sed -n 's/^topk(\([0-9]*\)).*/\1/p' | sort -nu | paste -sd ' '; }
imprecise=$(budgets precision) decoding=$(budgets tasks)
tasks=$(tr ' ' , <<< "$retrieval $aggregation")
all=retrieval,aggregation
exact='^(dense|topk[(][0-9]+[)])$'
{
  printf '```\n'
  cat "$dir/settings.txt"
  printf '```\n'
  printf '\n### Accuracy, %% of answers, by what decodes\n\nMeans over seeds, in brackets the least and the largest.\n\n'
  printf '![accuracy by the budget that decodes](budget.svg)\n\n'
  table accuracy "$all" %.0f "$exact"
  printf '\nEach task:\n\n'
  table accuracy "$tasks" %.0f "$exact"
  printf '\n### Nats of a token of an answer, by what decodes\n\n'
  table nll "$all" %.2f "$exact"
  printf '\n### Bits of a byte of text, by what decodes\n\n'
  table bits text %.3f "$exact"
  printf '\n![accuracy by the precision of an approximate top-k](precision.svg)\n'
  for k in $imprecise; do
    printf '\n### Accuracy, %%, by the precision of an approximate top-k of %s\n\n' "$k"
    table accuracy "$all" %.0f "^topk[(]${k}[)][*]" | sed "1 s/topk($k)[*]//g"
  done
  printf '\n### Entropy of heads, nats\n\n![entropy of every head](entropy.svg)\n\n'
  table entropy "text,$all" %.2f '' 'layer '
  printf '\nAs the number of keys that it is the entropy of:\n\n'
  table keys "text,$all" %.1f '' 'layer '
} > "$work/block"
awk -v block="$work/block" '
  $0 == "<!-- end experiment -->" { print ""; skip = 0 }
  !skip { print }
  $0 == "<!-- begin experiment -->" {
    skip = 1
    print ""
    while ((getline line < block) > 0) print line
  }' "$page" > "$work/page"
place "$work/page" "$page"

# curves MEASURE TASK REGEX: for each kind of training a block of "x mean least most", as gnuplot reads it. x is the precision
# of what decodes, or else its budget; dense is where the next budget would be.
curves() {
  awk -F '\t' -v measure="$1" -v task="$2" -v matching="$3" '
    $1 != measure || $3 != task || $4 !~ matching { next }
    !($2 in points) { kinds[++count] = $2; points[$2] = "" }
    $4 == "dense" { dense[$2] = $5 " " $6 " " $7; next }
    {
      x = $4
      if (!sub(/.*[*]/, "", x)) gsub(/[^0-9]/, "", x)
      if (x + 0 > most) most = x + 0
      points[$2] = points[$2] x " " $5 " " $6 " " $7 "\n"
    }
    END {
      for (i = 1; i <= count; ++i) {
        kind = kinds[i]
        printf "\"%s\"\n%s%s\n\n", kind, points[kind], kind in dense ? 2 * most " " dense[kind] "\n" : ""
      }
    }' "$work/summary"
}
for panel in retrieval aggregation; do
  curves accuracy $panel "$exact" > "$work/budget.$panel"
  for k in $imprecise; do
    curves accuracy $panel "^topk[(]${k}[)][*]" > "$work/precision$k.$panel"
  done
done
# For each kind a block of a point for each head and seed: "layer entropy", over all tasks of a panel.
for panel in text retrieval aggregation; do
  case $panel in text) of=text ;; retrieval) of=$retrieval ;; *) of=$aggregation ;; esac
  awk -F '\t' -v of=" $of " '
    !index(of, " " $3 " ") { next }
    !($1 in is_known) { is_known[$1] = 1; kinds[++count] = $1 }
    { key = $1 FS $2 FS $4 FS $5; sum[key] += $6; ++n[key] }
    END {
      for (i = 1; i <= count; ++i) {
        printf "\"%s\"\n", kinds[i]
        for (key in sum) { split(key, part, FS); if (part[1] == kinds[i]) print part[3], sum[key] / n[key] }
        printf "\n\n"
      }
    }' "$dir/entropy.tsv" > "$work/entropy.$panel"
done
gnuplot -c "$here/figures.gp" "$work" "$work" "$(cut -f 1 "$dir/tasks.tsv" | sort -u | wc -l)" \
  "$imprecise" "$decoding"
for figure in budget precision entropy; do
  if ! tail -n 2 "$work/$figure.svg" | grep -qxF '</svg>'; then  # gnuplot says nothing of a full disk
    echo "page.sh: gnuplot could not draw $figure.svg" >&2
    exit 1
  fi
  place "$work/$figure.svg" "$(dirname "$page")/$figure.svg"
done
echo "wrote $page and $(dirname "$page")/{budget,precision,entropy}.svg" >&2

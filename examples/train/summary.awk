# SPDX-License-Identifier: Apache-2.0
# Means over seeds, and how far they spread. Reads tasks.tsv, precision.tsv and entropy.tsv; prints lines of
#   MEASURE KIND TASK AT MEAN LEAST MOST SEEDS        separated by tabs
# MEASURE: accuracy (percent), nll, bits, entropy (nats), keys (e^entropy). AT: what decodes, or the layer. Panels
# (-v retrieval="needle needles" -v aggregation=...) are tasks too: for each seed the mean of theirs.
BEGIN {
  FS = OFS = "\t"
  add_panel("retrieval", retrieval)
  add_panel("aggregation", aggregation)
}
function add_panel(name, tasks,    n, i, task) {
  n = split(tasks, task, " ")
  for (i = 1; i <= n; ++i) panel[task[i]] = name
}
# What one line says of a seed; what several say, the tasks of a panel or the heads of a layer, is averaged. A text without
# questions says "-" of its answers.
function add(measure, task, at, value,    key) {
  if (value == "-") return
  key = measure OFS $1 OFS task OFS at
  if (!(key in is_known)) { is_known[key] = 1; key_of[++keys] = key }
  if (!((key, $2) in times)) seeds_of[key] = seeds_of[key] " " $2
  sum[key, $2] += value
  ++times[key, $2]
}
function add_to_all(measure, at, value) {
  add(measure, $3, at, value)
  if ($3 in panel) add(measure, panel[$3], at, value)
}
FILENAME ~ /(tasks|precision)\.tsv$/ {
  add_to_all("accuracy", $4, $6)
  add_to_all("nll", $4, $8)
  if ($3 == "text") add("bits", $3, $4, $9)
}
FILENAME ~ /entropy\.tsv$/ {
  add_to_all("entropy", $4, $6)
  add_to_all("keys", $4, $6)
}
END {
  for (i = 1; i <= keys; ++i) {
    n = split(seeds_of[key_of[i]], seeds, " ")
    total = 0
    for (j = 1; j <= n; ++j) {
      value = sum[key_of[i], seeds[j]] / times[key_of[i], seeds[j]]
      if (key_of[i] ~ /^accuracy/) value *= 100  # percent
      if (key_of[i] ~ /^keys/) value = exp(value)
      if (j == 1 || value < least) least = value
      if (j == 1 || value > most) most = value
      total += value
    }
    print key_of[i], total / n, least, most, n
  }
}

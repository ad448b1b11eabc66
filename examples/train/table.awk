# SPDX-License-Identifier: Apache-2.0
# A Markdown table of what summary.awk prints: a row for each task and kind of training, a column for each AT. A cell has the
# mean, and in brackets the least and the largest of the seeds.
#   awk -v measure=accuracy -v task=needle,needles -v format=%.0f -f table.awk summary
# -v matching=REGEX picks columns, -v label=... stands before their names.
BEGIN {
  FS = "\t"
  task_count = split(task, tasks, ",")
}
$1 == measure && index("," task ",", "," $3 ",") && $4 ~ matching {
  if (!($2 in is_kind)) { is_kind[$2] = 1; kinds[++kind_count] = $2 }
  if (!($4 in is_column)) { is_column[$4] = 1; columns[++column_count] = $4 }
  mean = sprintf(format, $5)
  least = sprintf(format, $6)
  most = sprintf(format, $7)
  cell[$3, $2, $4] = least == most ? mean : mean " (" least " to " most ")"
}
END {
  head = task_count > 1 ? "| task | trained with |" : "| trained with |"
  line = task_count > 1 ? "|---|---|" : "|---|"
  for (j = 1; j <= column_count; ++j) { head = head " " label columns[j] " |"; line = line "---|" }
  print head
  print line
  for (t = 1; t <= task_count; ++t) {
    for (i = 1; i <= kind_count; ++i) {
      printf "| %s%s |", (task_count > 1 ? tasks[t] " | " : ""), kinds[i]
      for (j = 1; j <= column_count; ++j) printf " %s |", cell[tasks[t], kinds[i], columns[j]]
      print ""
    }
  }
}

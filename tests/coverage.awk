# SPDX-License-Identifier: Apache-2.0
#
# Of lcov's lines (SF:file, DA:line,runs) a table of files and the lines that were never run.

/^SF:/ { file = substr($0, 4); sub(root, "", file) }
/^DA:/ {
  split(substr($0, 4), part, ",")
  known[file]++
  all++
  if (part[2] > 0) { run[file]++; all_run++ }
  else missing[file] = missing[file] " " part[1]
}

# "3 4 5 9" -> "3-5 9"
function ranges(list,    n, line, i, first, text) {
  n = split(list, line, " ")
  for (i = 1; i <= n; i++) {
    first = line[i]
    while (i < n && line[i + 1] == line[i] + 1) i++
    text = text " " (first == line[i] ? first : first "-" line[i])
  }
  return text
}

END {
  count = split(headers, header, " ")
  for (i = 1; i <= count; i++) {
    file = header[i]
    if (file in known) printf "%6.1f %%  %5d of %5d  %s\n", 100 * run[file] / known[file], run[file], known[file], file
  }
  printf "%6.1f %%  %5d of %5d  all\n", 100 * all_run / all, all_run, all
  print "\nLines that no test runs:"
  for (i = 1; i <= count; i++) if (header[i] in missing) print header[i] ":" ranges(missing[header[i]])
  print "\nHeaders without a line of code that a test has compiled:"
  for (i = 1; i <= count; i++) if (!(header[i] in known)) print header[i]
}

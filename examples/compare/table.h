// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "streams/streams.h"

namespace table {

/// `x` as it was written: 2, 0.5, 12.5.
inline std::string plain_number(double x) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", x);
  return text;
}

/// `x` with a few significant digits, as people write it: 0.0123, 4.56, 78.9, 1230.
inline std::string short_number(double x, int digits = 3) {
  if (!std::isfinite(x)) return "-";
  char text[32];
  std::snprintf(text, sizeof(text), "%.*e", digits - 1, x);
  const int exponent = std::atoi(std::strchr(text, 'e') + 1);  // after rounding
  if (x == 0) return "0";
  if (exponent >= -4 && exponent < 6)
    std::snprintf(text, sizeof(text), "%.*f", std::max(0, digits - 1 - exponent), x);
  return text;
}

/// A markdown table whose columns are also aligned for a reader of the terminal.
class Table {
 public:
  explicit Table(std::vector<std::string> head) { rows_.push_back(std::move(head)); }

  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

  /// Throws when it cannot be printed.
  void print(FILE* out) const {
    std::vector<std::size_t> widths(rows_[0].size(), 3);
    for (const auto& row : rows_) {
      for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], length(row[c]));
    }
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      for (std::size_t c = 0; c < rows_[r].size(); ++c) {
        const std::string& cell = rows_[r][c];
        std::fprintf(out, "| %s%*s ", cell.c_str(), static_cast<int>(widths[c] - length(cell)), "");
      }
      std::fputs("|\n", out);
      if (r > 0) continue;
      for (const std::size_t width : widths)
        std::fprintf(out, "|%s", std::string(width + 2, '-').c_str());
      std::fputs("|\n", out);
    }
    streams::require_written(out);
  }

 private:
  // In characters, not bytes: cells may hold a multiplication sign.
  static std::size_t length(const std::string& text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
  }

  std::vector<std::vector<std::string>> rows_;
};

}  // namespace table

// SPDX-License-Identifier: Apache-2.0
#include "loss_curve.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <system_error>
#include <utility>

#include "generate/error.h"
#include "generate/whole_file.h"

namespace train {
namespace {

using engine::fail;

/// Seven digits, as a float has; no locale makes a comma of the point.
std::string number_text(double value) {
  char text[32];
  const auto result = std::to_chars(text, text + sizeof(text), value, std::chars_format::general, 7);
  return {text, result.ptr};
}

std::string head_of(const std::vector<std::string>& columns) {
  std::string head = "step";
  for (const std::string& column : columns) {
    if (!engine::is_printable(column) || column.find(',') != std::string::npos) {
      fail("loss curve: column ", engine::printable(column), " is not printable text without a comma");
    }
    head += ',' + column;
  }
  return head + '\n';
}

/// Takes the first line off `text`, with its end; empty when no line is complete.
std::string_view take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end == std::string_view::npos ? 0 : end + 1);
  text.remove_prefix(line.size());
  return line;
}

/// The head and the lines of `text` up to step `last`.
std::string kept_lines(std::string_view text, std::string_view head, std::uint64_t last,
                       std::size_t columns, const std::filesystem::path& path) {
  std::string kept(head);
  const std::string_view found = take_line(text);
  if (found != head) {
    fail("loss curve ", path, ": the head is ", engine::printable(found.substr(0, found.size() - 1)),
         " but this run has ", head.substr(0, head.size() - 1));
  }
  for (std::size_t number = 2;; ++number) {
    const std::string_view line = take_line(text);
    if (line.empty()) return kept;
    std::uint64_t step = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), step);
    const auto commas = static_cast<std::size_t>(std::count(line.begin(), line.end(), ','));
    if (error != std::errc() || *end != (columns ? ',' : '\n') || commas != columns) {
      fail("loss curve ", path, ": line ", number, " is not a step and ", columns, " values");
    }
    if (step <= last) kept += line;
  }
}

}  // namespace

LossCurve::LossCurve(std::filesystem::path path, const std::vector<std::string>& columns,
                     std::optional<std::uint64_t> resume_after)
    : path_(std::move(path)), columns_(columns.size()) {
  std::string lines = head_of(columns);
  if (resume_after && std::filesystem::exists(path_)) {
    const auto bytes = engine::read_whole(path_, "loss curve");
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    lines = kept_lines(text, lines, *resume_after, columns_, path_);
  }
  engine::WholeFile file(path_);
  file.write(std::as_bytes(std::span(lines)));
  file.commit();
}

void LossCurve::append(std::uint64_t step, std::span<const double> values) const {
  if (values.size() != columns_) {
    fail("loss curve ", path_, ": ", values.size(), " values for ", columns_, " columns");
  }
  std::string line = std::to_string(step);
  for (const double value : values) line += ',' + number_text(value);
  line += '\n';
  engine::append(path_, std::as_bytes(std::span(line)));
}

}  // namespace train

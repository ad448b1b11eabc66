// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace train {

/// What a run measured on its way, as a file of comma-separated lines: a head, `step` and the columns, then
/// a line for each logged step. A run that was stopped and resumed leaves the bytes of one that was not.
class LossCurve {
 public:
  /// Without `resume_after` the file begins anew. With it the lines up to that step are kept, and those
  /// beyond are dropped: the resumed run takes these steps again. So is a last line that was cut while it
  /// was written. A file with other columns, or with a line that is none, is a std::runtime_error.
  LossCurve(std::filesystem::path path, const std::vector<std::string>& columns,
            std::optional<std::uint64_t> resume_after = std::nullopt);

  /// On disk when it returns, so that no checkpoint saved later knows of a step that the curve does not.
  void append(std::uint64_t step, std::span<const double> values) const;

 private:
  std::filesystem::path path_;
  std::size_t columns_;
};

}  // namespace train

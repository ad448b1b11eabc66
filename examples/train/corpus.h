// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace train {

/// Texts, byte by byte as they are. The last twentieth of each is held out: no model learns from it.
class Corpus {
 public:
  /// So short that what is held out is still more than the shortest sample.
  static constexpr std::size_t kMinBytes = 4096;

  explicit Corpus(const std::vector<std::string>& texts);
  static Corpus read(const std::vector<std::filesystem::path>& paths);

  std::string_view training() const { return training_; }
  std::string_view held_out() const { return held_out_; }

 private:
  std::string training_;
  std::string held_out_;
};

}  // namespace train

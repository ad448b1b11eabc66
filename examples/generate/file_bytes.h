// SPDX-License-Identifier: Apache-2.0
// Files that are only read. Those of models are mapped: what is never looked at is never read.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace engine {

/// The first bytes of a file, `count` or as many as it has: its magic refuses a wrong file however long that is.
/// An error begins with `what`.
std::vector<std::byte> read_head(const std::filesystem::path& path, std::size_t count,
                                 std::string_view what);

/// Bytes that stay where they are as long as this lives, also when it is moved.
class FileBytes {
 public:
  explicit FileBytes(std::vector<std::byte> bytes) : read_(std::move(bytes)) {}

  /// All bytes of a file, mapped where the system can and read elsewhere. Nobody may cut the file short meanwhile:
  /// the system kills (SIGBUS) who looks at a mapped page that is no more. Replacing it by a rename is fine.
  static FileBytes map(const std::filesystem::path& path, std::string_view what);

  std::span<const std::byte> span() const {
    return mapped_ ? std::span(mapped_.get(), mapped_.get_deleter().size)
                   : std::span<const std::byte>(read_);
  }

 private:
  struct Unmap {
    std::size_t size;
    void operator()(const std::byte* first) const;
  };

  std::vector<std::byte> read_;
  std::unique_ptr<const std::byte, Unmap> mapped_;  // then `read_` is empty
};

}  // namespace engine

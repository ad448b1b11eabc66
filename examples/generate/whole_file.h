// SPDX-License-Identifier: Apache-2.0
// Files that are read and written whole. Whoever is killed, or whose disk is full, while writing one leaves
// the file that was there before.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace engine {

/// Throws unless there is such a file, and not a folder or a pipe: those have no size to check fields against.
/// An error begins with `what`.
void require_file(const std::filesystem::path& path, std::string_view what);

/// All bytes of a file. An error begins with `what`.
std::vector<std::byte> read_whole(const std::filesystem::path& path, std::string_view what);

/// Adds to the end of a file, and is on disk when it returns. An error adds nothing; who is killed meanwhile
/// may leave the first few of `bytes`.
void append(const std::filesystem::path& path, std::span<const std::byte> bytes);

/// The file that comes to `path`. Until `commit` it grows beside it, as `path`.tmp: a rename within a folder
/// is atomic, and one to another disk is none. Every error is a std::runtime_error that names `path`.
class WholeFile {
 public:
  explicit WholeFile(std::filesystem::path path);
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;
  /// Without `commit` nothing has happened.
  ~WholeFile();

  void write(std::span<const std::byte> bytes);

  /// Puts the file in its place, and on disk. What was there is gone, or at `previous` if that is not empty.
  void commit(const std::filesystem::path& previous = {});

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

/// Throws when a WholeFile cannot come to `path`: asked before long work, not after it.
void require_writable(const std::filesystem::path& path);

/// The file at `path` is `text` afterwards, or after an error what it was before.
void write_whole(const std::filesystem::path& path, std::string_view text);

}  // namespace engine

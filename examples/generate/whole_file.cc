// SPDX-License-Identifier: Apache-2.0
#include "whole_file.h"

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "error.h"

namespace engine {
namespace {

std::filesystem::path with_suffix(std::filesystem::path path, const char* suffix) {
  path += suffix;
  return path;
}

/// A rename is on disk once its folder is. Some file systems cannot sync a folder; the file is in its place
/// by then, so that is no error.
void sync_folder_of(const std::filesystem::path& path) {
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

[[noreturn]] void fail_to_write(const std::filesystem::path& path, int error = errno) {
  fail("cannot write ", path, ": ", std::generic_category().message(error));
}

/// Whether all was written; otherwise errno says why.
bool write_all(int descriptor, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) return false;
    if (written > 0) bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return true;
}

/// A rename would fail on a folder only after all is written, and would replace a device.
void require_file_or_nothing(const std::filesystem::path& path) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    fail("cannot write ", path, ": it is there and not a file");
  }
}

}  // namespace

void require_file(const std::filesystem::path& path, std::string_view what) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) fail(what, ": ", path, " is not a file");
}

std::vector<std::byte> read_whole(const std::filesystem::path& path, std::string_view what) {
  require_file(path, what);
  std::vector<std::byte> bytes(std::filesystem::file_size(path));
  std::ifstream in(path, std::ios::binary);
  in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!in) fail(what, ": cannot read ", path);
  return bytes;
}

void append(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (descriptor < 0) fail_to_write(path);
  const off_t end = ::lseek(descriptor, 0, SEEK_END);
  int error = 0;
  if (end < 0 || !write_all(descriptor, bytes) || ::fsync(descriptor) != 0) {
    error = errno;
    // What was added goes again. Should that fail too, the first error is still the one to tell.
    [[maybe_unused]] const bool undone = end >= 0 && ::ftruncate(descriptor, end) == 0;
  }
  if (::close(descriptor) != 0 && error == 0) error = errno;
  if (error != 0) fail_to_write(path, error);
}

WholeFile::WholeFile(std::filesystem::path path)
    : path_(std::move(path)), temporary_(with_suffix(path_, ".tmp")) {
  require_file_or_nothing(path_);
  ::unlink(temporary_.c_str());  // of a run that was killed
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail_to_write(path_);
}

WholeFile::~WholeFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void WholeFile::write(std::span<const std::byte> bytes) {
  if (!write_all(descriptor_, bytes)) fail_to_write(path_);
}

// At every moment `path_` is a whole file, the old one or the new one: its name goes from one to the other in
// a single rename, which comes after the new file's bytes are on disk. The old one has a second name by then,
// and moves to `previous` only afterwards: were `path_` already damaged, `previous` would be the only whole
// file until the new one is in its place. Losing power undoes any of the later steps, and each of those states
// is one that has been.
void WholeFile::commit(const std::filesystem::path& previous) {
  if (::fsync(descriptor_) != 0) fail_to_write(path_);
  if (::close(std::exchange(descriptor_, -1)) != 0) fail_to_write(path_);

  const bool keep = !previous.empty() && std::filesystem::exists(path_);
  const auto old = with_suffix(path_, ".old");
  if (keep) {
    require_file_or_nothing(previous);
    ::unlink(old.c_str());  // of a run that was killed
    if (::link(path_.c_str(), old.c_str()) != 0) fail_to_write(path_);
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    if (keep) ::unlink(old.c_str());
    fail_to_write(path_, error);
  }
  temporary_.clear();
  if (keep && ::rename(old.c_str(), previous.c_str()) != 0) {
    fail(path_, " is written, but what was there is ", old, " and cannot become ", previous, ": ",
         std::generic_category().message(errno));
  }
  if (keep) ::unlink(old.c_str());  // a rename between two names of one file leaves both
  sync_folder_of(path_);
}

void require_writable(const std::filesystem::path& path) { const WholeFile file(path); }

void write_whole(const std::filesystem::path& path, std::string_view text) {
  WholeFile file(path);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

}  // namespace engine

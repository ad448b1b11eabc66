// SPDX-License-Identifier: Apache-2.0
#include "file_bytes.h"

#include <fstream>
#include <system_error>

#if __has_include(<sys/mman.h>)
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#define SKIM_CAN_MAP_FILES
#endif

#include "error.h"
#include "whole_file.h"

namespace engine {

std::vector<std::byte> read_head(const std::filesystem::path& path, std::size_t count,
                                 std::string_view what) {
  require_file(path, what);
  std::vector<std::byte> bytes(count);
  std::ifstream in(path, std::ios::binary);
  in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(count));
  if (!in && !in.eof()) fail(what, ": cannot read ", path);
  bytes.resize(static_cast<std::size_t>(in.gcount()));
  return bytes;
}

FileBytes FileBytes::map(const std::filesystem::path& path, std::string_view what) {
#ifdef SKIM_CAN_MAP_FILES
  require_file(path, what);
  const std::size_t size = std::filesystem::file_size(path);
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(what, ": cannot read ", path, ": ", std::generic_category().message(errno));
  // Nothing can be mapped of an empty file, and nothing at all on some file systems.
  void* const first = size ? ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0) : MAP_FAILED;
  ::close(descriptor);
  if (first != MAP_FAILED) {
    FileBytes bytes({});
    bytes.mapped_ = {static_cast<const std::byte*>(first), Unmap{size}};
    return bytes;
  }
#endif
  return FileBytes(read_whole(path, what));
}

void FileBytes::Unmap::operator()([[maybe_unused]] const std::byte* first) const {
#ifdef SKIM_CAN_MAP_FILES
  ::munmap(const_cast<std::byte*>(first), size);
#endif
}

}  // namespace engine

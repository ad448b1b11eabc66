// SPDX-License-Identifier: Apache-2.0
// Memory straight from the kernel, in huge pages or not, touched before use.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <new>
#include <sstream>
#include <string>
#include <utility>

namespace skim_bench {

/// An anonymous mapping, aligned to 2 MiB.
class Mapping {
 public:
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;

  Mapping() = default;
  /// Throws std::bad_alloc when there is no address space.
  Mapping(std::size_t bytes, bool huge) : bytes_(bytes), mapped_(bytes + kHugePage) {
    base_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                 -1, 0);
    if (base_ == MAP_FAILED) throw std::bad_alloc();
    madvise(base_, mapped_, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    const auto address = reinterpret_cast<std::uintptr_t>(base_);
    data_ = reinterpret_cast<std::byte*>((address + kHugePage - 1) / kHugePage * kHugePage);
    for (std::size_t i = 0; i < bytes; i += 4096) data_[i] = std::byte{1};
  }
  Mapping(Mapping&& other) noexcept { swap(other); }
  Mapping& operator=(Mapping&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Mapping() {
    if (base_ != nullptr) munmap(base_, mapped_);
  }

  std::byte* data() const { return data_; }
  std::size_t size() const { return bytes_; }

  /// The share of this memory that lies in huge pages, as the kernel tells it.
  double huge_share() const {
    std::ifstream smaps("/proc/self/smaps");
    const auto first = reinterpret_cast<std::uintptr_t>(data_);
    bool inside = false;
    for (std::string line; std::getline(smaps, line);) {
      std::uintptr_t begin = 0, end = 0;
      char dash = 0;
      std::istringstream words(line);
      if (words >> std::hex >> begin >> dash >> end && dash == '-') {
        inside = begin <= first && first < end;
      } else if (inside && line.rfind("AnonHugePages:", 0) == 0) {
        const double kilobytes = std::stod(line.substr(14));
        const double share = kilobytes * 1024 / static_cast<double>(bytes_);
        return share < 1 ? share : 1;
      }
    }
    return 0;
  }

 private:
  void swap(Mapping& other) {
    std::swap(base_, other.base_);
    std::swap(mapped_, other.mapped_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }

  void* base_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t mapped_ = 0;
};

/// Bytes that can still be allocated without swapping.
inline std::size_t available_memory() {
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    if (line.rfind("MemAvailable:", 0) == 0) return std::stoull(line.substr(13)) * 1024;
  }
  return SIZE_MAX;
}

}  // namespace skim_bench

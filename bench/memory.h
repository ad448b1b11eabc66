// SPDX-License-Identifier: Apache-2.0
// Memory whose pages are known: huge ones or not, touched before use.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

#include "skim/arena.h"

namespace skim_bench {

/// An arena as a user would have it, or, for comparison, one of 4 KiB pages.
inline skim::Arena touched_memory(std::size_t bytes, bool huge) {
  skim::Arena memory(bytes);
  if (!huge) madvise(memory.data(), bytes, MADV_NOHUGEPAGE);
  memory.touch();
  return memory;
}

/// The share of this memory that lies in huge pages, as the kernel tells it.
inline double huge_share(const skim::Arena& memory) {
  std::ifstream smaps("/proc/self/smaps");
  const auto first = reinterpret_cast<std::uintptr_t>(memory.data());
  double kilobytes_of_area = 0;  // it may hold a neighbour too: the kernel joins areas of one kind
  for (std::string line; std::getline(smaps, line);) {
    std::uintptr_t begin = 0, end = 0;
    char dash = 0;
    std::istringstream words(line);
    if (words >> std::hex >> begin >> dash >> end && dash == '-') {
      const bool inside = begin <= first && first < end;
      kilobytes_of_area = inside ? static_cast<double>((end - begin) / 1024) : 0;
    } else if (kilobytes_of_area != 0 && line.rfind("AnonHugePages:", 0) == 0) {
      return std::stod(line.substr(14)) / kilobytes_of_area;
    }
  }
  return 0;
}

/// Bytes that can still be allocated without swapping.
inline std::size_t available_memory() {
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    if (line.rfind("MemAvailable:", 0) == 0) return std::stoull(line.substr(13)) * 1024;
  }
  return SIZE_MAX;
}

}  // namespace skim_bench

// SPDX-License-Identifier: Apache-2.0
// What a program prints arrives, or the program fails and says so. streams.cc, which every program here is linked with,
// sees to that when a program ends; long work also asks on the way, lest it go on for nobody.
#pragma once

#include <cerrno>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <system_error>

namespace streams {

/// Whether somebody has been told that stdout cannot be written.
inline bool is_told = false;

/// Throws std::runtime_error unless all that was printed to `out`, which is stdout, has gone out.
inline void require_written(FILE* out = stdout) {
  errno = 0;
  if (std::fflush(out) == 0 && !std::ferror(out)) return;
  const std::string reason = errno ? ": " + std::generic_category().message(errno) : "";
  is_told = true;
  throw std::runtime_error("cannot write to stdout" + reason);
}

}  // namespace streams

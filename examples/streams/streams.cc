// SPDX-License-Identifier: Apache-2.0
#include "streams.h"

#include <csignal>
#include <cstdlib>
#include <iostream>

#include <fcntl.h>
#include <unistd.h>

namespace streams {
namespace {

/// At the end of a program: what was lost on a full disk, in a closed pipe or descriptor makes it fail.
void require_all_written() {
  const bool was_told = is_told;
  bool is_lost = false;
  try {
    require_written();
    is_lost = !std::cout.flush();
  } catch (const std::exception& error) {
    is_lost = true;
    if (!was_told) std::fprintf(stderr, "%s\n", error.what());
  }
  if (is_lost || std::ferror(stderr)) std::_Exit(1);
}

/// Before `main`.
struct Streams {
  Streams() {
    // A closed pipe is an error like others, which is told, instead of a silent end.
    std::signal(SIGPIPE, SIG_IGN);
    // The first file that is opened would get the number of a closed descriptor, and what is printed would go into
    // it. One that refuses takes the place.
    for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
      if (::fcntl(descriptor, F_GETFD) >= 0) continue;
      const int refuses = descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY;
      if (::open("/dev/null", refuses) != descriptor) std::_Exit(1);
    }
    std::atexit(require_all_written);
  }
} const streams;

}  // namespace
}  // namespace streams

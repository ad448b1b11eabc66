// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace engine {

/// Throws std::runtime_error with all parts written one after the other.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw std::runtime_error(text.str());
}

/// Whether a terminal shows every byte of `text` and acts on none.
inline bool is_printable(std::string_view text) {
  for (const char c : text) {
    if (c < ' ' || c > '~') return false;
  }
  return true;
}

/// `text` from a file, made fit for a message.
inline std::string_view printable(std::string_view text) {
  return is_printable(text) ? text.substr(0, 64) : "(unprintable)";
}

}  // namespace engine

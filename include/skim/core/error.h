// SPDX-License-Identifier: Apache-2.0
// The only place that throws.
#ifndef SKIM_CORE_ERROR_H_
#define SKIM_CORE_ERROR_H_

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "skim/core/config.h"

namespace skim::inline SKIM_ABI {

/// Throws std::invalid_argument with `parts` joined: texts and numbers. Without exceptions it prints
/// the text and aborts.
template <class... Parts>
[[noreturn]] SKIM_COLD void fail(const Parts&... parts) {
  std::string text;
  const auto append = [&text](const auto& part) {
    using Part = std::decay_t<decltype(part)>;
    if constexpr (std::is_floating_point_v<Part>) {  // std::to_string would show 1e-9 as 0.000000
      char digits[48];
      text.append(digits, std::to_chars(digits, digits + sizeof(digits), part).ptr);
    } else if constexpr (std::is_arithmetic_v<Part>) {
      text += std::to_string(part);
    } else {
      text += part;
    }
  };
  (append(parts), ...);
#if defined(__cpp_exceptions)
  throw std::invalid_argument(text);
#else
  std::fprintf(stderr, "%s\n", text.c_str());
  std::abort();
#endif
}

/// Throws std::bad_array_new_length, a std::bad_alloc: for more memory than there are addresses. Without exceptions it
/// aborts, as `new` does.
[[noreturn]] SKIM_COLD inline void fail_to_allocate() {
#if defined(__cpp_exceptions)
  throw std::bad_array_new_length();
#else
  std::fprintf(stderr, "skim: more memory asked for than there are addresses\n");
  std::abort();
#endif
}

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_ERROR_H_

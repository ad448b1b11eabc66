// SPDX-License-Identifier: Apache-2.0
// What does a fuzzer want to try? Its bytes as numbers, choices and texts, read from the front, so that an input can be
// written by hand. (Clang's FuzzedDataProvider reads numbers from the back, and g++ has none.)
#ifndef SKIM_TESTS_FUZZ_INPUT_H_
#define SKIM_TESTS_FUZZ_INPUT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace skim::fuzz {

/// Past its end an input is zeros.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

  bool empty() const { return rest_.empty(); }

  /// Any bits of a T.
  template <class T>
  T bits() {
    T value{};
    const std::size_t count = std::min(sizeof(T), rest_.size());
    if (count != 0) std::memcpy(&value, rest_.data(), count);
    rest_ = rest_.subspan(count);
    return value;
  }
  std::uint8_t byte() { return bits<std::uint8_t>(); }
  bool flag() { return (byte() & 1) != 0; }
  /// True for one byte in `times`.
  bool rarely(std::size_t times) { return byte() % times == times - 1; }

  /// From first to last, both included.
  std::size_t between(std::size_t first, std::size_t last) {
    const std::size_t count = last - first + 1;
    return first + (count <= 256 ? byte() : bits<std::uint16_t>()) % count;
  }

  template <class T, std::size_t kCount>
  const T& one_of(const T (&choices)[kCount]) {
    return choices[between(0, kCount - 1)];
  }

  /// A length of one byte and so many bytes.
  std::string text() {
    const std::size_t length = std::min<std::size_t>(byte(), rest_.size());
    const std::string text(reinterpret_cast<const char*>(rest_.data()), length);
    rest_ = rest_.subspan(length);
    return text;
  }

 private:
  std::span<const std::uint8_t> rest_;
};

/// Ends the program, which is how a fuzzer hears of a fault.
[[noreturn]] inline void found(const std::string& what) {
  std::fprintf(stderr, "FOUND: %s\n", what.c_str());
  std::abort();
}

/// `holds`: a bool, or something with a message, such as gtest's AssertionResult.
template <class Result>
void expect(const Result& holds, const std::string& what) {
  if (holds) return;
  if constexpr (requires { holds.message(); }) found(what + ": " + holds.message());
  found(what);
}

}  // namespace skim::fuzz

#endif  // SKIM_TESTS_FUZZ_INPUT_H_

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "error.h"

namespace engine {

/// a * b, empty when that overflows.
inline std::optional<std::uint64_t> multiply(std::uint64_t a, std::uint64_t b) {
  if (b != 0 && a > std::numeric_limits<std::uint64_t>::max() / b) return std::nullopt;
  return a * b;
}

/// Walks through the bytes of a file nobody vouches for. `field` is what an error is about; it begins with
/// `file`, which must outlive the reader.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes, std::string_view file = "gguf")
      : bytes_(bytes), file_(file) {}

  std::size_t offset() const { return offset_; }
  std::size_t remaining() const { return bytes_.size() - offset_; }

  /// Throws unless that many bytes follow; an empty `bytes` is a product that overflowed.
  void require(std::optional<std::uint64_t> bytes, std::string_view field) const {
    if (bytes && *bytes <= remaining()) return;
    fail(file_, ": ", field, ": ", bytes ? std::to_string(*bytes) : "over 2^64", " bytes needed but ",
         remaining(), " remain");
  }

  std::span<const std::byte> take(std::uint64_t count, std::string_view field) {
    require(count, field);
    const auto taken = bytes_.subspan(offset_, static_cast<std::size_t>(count));
    offset_ += taken.size();
    return taken;
  }

  template <class T>
  T number(std::string_view field) {
    T value;
    std::memcpy(&value, take(sizeof(T), field).data(), sizeof(T));
    return value;
  }

  std::string_view text(std::string_view field) {
    const auto bytes = take(number<std::uint64_t>(field), field);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  /// A text that will stand in messages: bounded, and nothing a terminal would act on.
  std::string name(std::size_t max_length, std::string_view field) {
    const std::string_view name = text(field);
    if (name.size() > max_length) {
      fail(file_, ": ", field, " has ", name.size(), " bytes but ", max_length, " is the most");
    }
    if (!is_printable(name)) fail(file_, ": ", field, " is not printable ASCII");
    return std::string(name);
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view file_;
  std::size_t offset_ = 0;
};

}  // namespace engine

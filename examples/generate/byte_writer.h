// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace engine {

static_assert(std::endian::native == std::endian::little, "our files are little-endian");

using Bytes = std::vector<std::byte>;

/// Appends values as a file has them: what ByteReader reads.
class ByteWriter {
 public:
  template <class T>
  requires std::is_arithmetic_v<T> ByteWriter& number(T value) {
    return append(std::as_bytes(std::span(&value, 1)));
  }
  template <class T>
  ByteWriter& numbers(std::span<const T> values) {
    return append(std::as_bytes(values));
  }
  ByteWriter& text(std::string_view text) { return number<std::uint64_t>(text.size()).raw(text); }
  ByteWriter& raw(std::string_view text) { return append(std::as_bytes(std::span(text))); }
  ByteWriter& append(std::span<const std::byte> more) {
    bytes_.insert(bytes_.end(), more.begin(), more.end());
    return *this;
  }
  ByteWriter& pad(std::size_t alignment) {
    while (bytes_.size() % alignment != 0) bytes_.push_back(std::byte{0});
    return *this;
  }
  const Bytes& bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

}  // namespace engine

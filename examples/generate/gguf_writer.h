// SPDX-License-Identifier: Apache-2.0
// Writer of GGUF model files, version 3, as gguf.h reads them. What it cannot write so that the file is
// accepted, it refuses at once: a std::runtime_error that names the key or the tensor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "byte_writer.h"
#include "tensor.h"

namespace engine {

class GgufWriter {
 public:
  // Metadata. A key stands for one value.
  void text(std::string_view key, std::string_view value);
  void count(std::string_view key, std::uint32_t value);
  void number(std::string_view key, float value);
  void flag(std::string_view key, bool value);
  void texts(std::string_view key, std::span<const std::string> values);
  void numbers(std::string_view key, std::span<const float> values);
  void integers(std::string_view key, std::span<const std::int32_t> values);

  /// dims[0] is contiguous: a matrix is {columns, rows}. `values` are rounded to `type`, kF32 or kF16, to
  /// nearest, ties to even; beyond 65504 an f16 is infinite.
  void tensor(std::string_view name, TensorType type, const std::vector<std::uint64_t>& dims,
              std::span<const float> values);

  /// The file, with keys and tensors in the order in which they came.
  Bytes bytes() const;
  /// What is at `path` afterwards is the whole file, or after an error what was there before.
  void write(const std::filesystem::path& path) const;

 private:
  ByteWriter& add_key(std::string_view key, std::uint32_t type);
  ByteWriter& add_array(std::string_view key, std::uint32_t type, std::size_t count);

  std::set<std::string, std::less<>> keys_;
  std::set<std::string, std::less<>> names_;
  ByteWriter metadata_;
  ByteWriter table_;  // of the tensors
  ByteWriter data_;
};

}  // namespace engine

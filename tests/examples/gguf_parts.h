// SPDX-License-Identifier: Apache-2.0
// Writes small GGUF files in memory, right ones and wrong ones. The library's GgufWriter is no use for that: it
// refuses to write what a reader would not accept, and knows no types but those that a trainer needs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "byte_writer.h"
#include "tensor.h"

namespace engine {

using Floats = std::vector<float>;

/// The numbers of a tensor.
inline Floats floats(const Tensor& tensor) {
  Floats out(tensor.size());
  to_floats(tensor, out);
  return out;
}

/// A file as its parts. Every number in it may be made a lie before `bytes()` writes it down.
struct GgufParts {
  static constexpr std::size_t kAlignment = 32;

  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> dims;
    std::uint32_t type = 0;
    std::uint64_t offset = 0;
    std::uint32_t rank = 0;
  };

  std::uint32_t version = 3;
  std::uint64_t key_count = 0;
  std::uint64_t tensor_count = 0;
  ByteWriter metadata;
  std::vector<Tensor> tensors;
  ByteWriter data;

  /// Begins a key: its name and type, to be followed by its value in `metadata`.
  ByteWriter& key(std::string_view name, std::uint32_t type) {
    ++key_count;
    return metadata.text(name).number(type);
  }
  void text(std::string_view name, std::string_view value) { key(name, 8).text(value); }
  void u32(std::string_view name, std::uint32_t value) { key(name, 4).number(value); }
  void f32(std::string_view name, float value) { key(name, 6).number(value); }
  void flag(std::string_view name, bool value) { key(name, 7).number(std::uint8_t{value}); }
  /// Begins an array, to be followed by `count` elements.
  ByteWriter& array(std::string_view name, std::uint32_t type, std::uint64_t count) {
    return key(name, 9).number(type).number(count);
  }
  void texts(std::string_view name, const std::vector<std::string>& values) {
    array(name, 8, values.size());
    for (const auto& value : values) metadata.text(value);
  }
  template <class T>
  void numbers(std::string_view name, std::uint32_t type, const std::vector<T>& values) {
    array(name, type, values.size());
    for (const T value : values) metadata.number(value);
  }

  /// dims: columns first. `values` are bytes in the tensor's type.
  Tensor& tensor(std::string_view name, std::vector<std::uint64_t> dims, std::uint32_t type,
                 const Bytes& values) {
    ++tensor_count;
    data.pad(kAlignment);
    const auto rank = static_cast<std::uint32_t>(dims.size());
    tensors.push_back({std::string(name), std::move(dims), type, data.bytes().size(), rank});
    data.append(values);
    return tensors.back();
  }
  Tensor& f32_tensor(std::string_view name, std::vector<std::uint64_t> dims,
                     const std::vector<float>& values) {
    ByteWriter bytes;
    for (const float value : values) bytes.number(value);
    return tensor(name, std::move(dims), 0, bytes.bytes());
  }

  Bytes bytes() const {
    ByteWriter out;
    out.raw("GGUF").number(version).number(tensor_count).number(key_count);
    out.append(metadata.bytes());
    for (const Tensor& t : tensors) {
      out.text(t.name).number(t.rank);
      for (const std::uint64_t dim : t.dims) out.number(dim);
      out.number(t.type).number(t.offset);
    }
    return out.pad(kAlignment).append(data.bytes()).bytes();
  }
};

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
#include "tensor.h"

#include <cstring>

#include "byte_reader.h"
#include "error.h"
#include "skim/core/storage.h"

namespace engine {
namespace {

/// A model file's tensors are aligned to bytes only, as far as we know.
template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

template <class T>
void widen(const std::byte* from, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = skim::to_float(load<T>(from + i * sizeof(T)));
}

void widen_q8_0(const std::byte* from, std::span<float> out) {
  const Block block = *find_block(TensorType::kQ8_0);
  for (std::size_t begin = 0; begin < out.size(); begin += block.values, from += block.bytes) {
    const float scale = skim::to_float(load<skim::F16>(from));
    for (std::size_t i = 0; i < block.values; ++i) {
      const auto quant = load<std::int8_t>(from + sizeof(skim::F16) + i);
      out[begin + i] = scale * static_cast<float>(quant);
    }
  }
}

}  // namespace

std::optional<Block> find_block(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return Block{1, 4};
    case TensorType::kF16:
      return Block{1, 2};
    case TensorType::kBF16:
      return Block{1, 2};
    case TensorType::kQ8_0:
      return Block{32, 34};
  }
  return std::nullopt;
}

std::size_t Tensor::size() const {
  const Block block = *find_block(type);
  return bytes.size() / block.bytes * block.values;
}

std::optional<std::uint64_t> bytes_needed(const Tensor& tensor) {
  const Block block = *find_block(tensor.type);
  std::optional<std::uint64_t> bytes = multiply(tensor.dims[0] / block.values, block.bytes);
  for (std::size_t axis = 1; axis < tensor.rank && bytes; ++axis) {
    bytes = multiply(*bytes, tensor.dims[axis]);
  }
  return bytes;
}

std::string shape_text(const Tensor& tensor) {
  std::string text;
  for (std::size_t i = 0; i < tensor.rank; ++i) {
    text += (i ? " x " : "") + std::to_string(tensor.dims[i]);
  }
  return text;
}

void to_floats(const Tensor& tensor, std::span<float> out) {
  if (out.size() != tensor.size()) {
    fail("gguf: tensor ", tensor.name, ": ", tensor.size(), " values do not fill ", out.size());
  }
  switch (tensor.type) {
    case TensorType::kF32:
      return widen<float>(tensor.bytes.data(), out);
    case TensorType::kF16:
      return widen<skim::F16>(tensor.bytes.data(), out);
    case TensorType::kBF16:
      return widen<skim::BF16>(tensor.bytes.data(), out);
    case TensorType::kQ8_0:
      return widen_q8_0(tensor.bytes.data(), out);
  }
}

}  // namespace engine

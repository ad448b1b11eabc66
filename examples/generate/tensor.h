// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace engine {

/// How a tensor's values are stored. The numbers are GGUF's; it has some thirty more, which we refuse.
enum class TensorType : std::uint32_t { kF32 = 0, kF16 = 1, kQ8_0 = 8, kBF16 = 30 };

/// The smallest piece of a type that stands alone: one value, or for kQ8_0 an f16 scale and 32 int8.
struct Block {
  std::uint64_t values;
  std::uint64_t bytes;
};

/// Empty when `type` is a number we do not know.
std::optional<Block> find_block(TensorType type);

/// A view of a tensor inside a model file.
struct Tensor {
  std::string name;
  TensorType type = TensorType::kF32;
  std::size_t rank = 0;
  std::array<std::uint64_t, 4> dims{1, 1, 1, 1};  // dims[0] is contiguous: a matrix is {columns, rows}
  std::uint64_t offset = 0;                       // in the file's data section
  std::span<const std::byte> bytes;

  std::size_t size() const;  // number of values
};

/// What the type and the dimensions ask for; empty when that overflows.
std::optional<std::uint64_t> bytes_needed(const Tensor& tensor);

/// The dimensions as messages print them: "64 x 8".
std::string shape_text(const Tensor& tensor);

/// Widens every value of `tensor` to float. `out` holds exactly tensor.size() of them.
void to_floats(const Tensor& tensor, std::span<float> out);

}  // namespace engine

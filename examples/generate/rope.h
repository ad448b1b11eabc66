// SPDX-License-Identifier: Apache-2.0
// Rotary positions: how fast each pair of a head's values turns.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "gguf.h"

namespace engine {

/// The tensor of a divisor for each pair, as Llama 3 has them; a file need not have it.
inline constexpr std::string_view kRopeDivisors = "rope_freqs.weight";

/// Radians per position of each rotated pair of a head: pair i turns by theta^(-2i / dimensions), over the factor
/// of linear scaling, over its divisor. Throws std::runtime_error when the file asks for anything else.
std::vector<double> rope_frequencies(const Gguf& file, std::size_t head_size);

}  // namespace engine

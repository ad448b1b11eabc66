// SPDX-License-Identifier: Apache-2.0
#include "rope.h"

#include <cmath>
#include <optional>

#include "error.h"

namespace engine {
namespace {

constexpr float kDefaultTheta = 10000.0f;

std::optional<float> find_positive(const Gguf& file, std::string_view key) {
  const auto value = file.find_number(key);
  if (value && !(*value > 0 && std::isfinite(*value))) {
    fail("gguf: key ", key, " is ", *value, ", not a positive number");
  }
  return value;
}

/// By how much positions are compressed. As in llama.cpp, scaling is linear where a file names no type, and the
/// factor may stand under its old key.
float scaling_factor(const Gguf& file) {
  constexpr std::string_view kType = "llama.rope.scaling.type";
  constexpr std::string_view kFactor = "llama.rope.scaling.factor";
  constexpr std::string_view kOldFactor = "llama.rope.scale_linear";
  const auto factor = find_positive(file, kFactor), old = find_positive(file, kOldFactor);
  if (factor && old && *factor != *old) {
    fail("gguf: key ", kFactor, " is ", *factor, " but ", kOldFactor, " is ", *old,
         ": they should be the same");
  }
  const float scale = factor ? *factor : old.value_or(1.0f);
  if (scale != 1 && file.find_text(kType) == "none") {
    fail("gguf: key ", factor ? kFactor : kOldFactor, " is ", scale, " but ", kType, " is none");
  }
  return scale;
}

}  // namespace

std::vector<double> rope_frequencies(const Gguf& file, std::size_t head_size) {
  constexpr std::string_view kDimensions = "llama.rope.dimension_count";
  const double theta = find_positive(file, "llama.rope.freq_base").value_or(kDefaultTheta);
  const std::size_t dimensions = file.find_count(kDimensions).value_or(head_size);
  if (dimensions == 0) fail("gguf: key ", kDimensions, " is 0");
  if (dimensions > head_size || dimensions % 2 != 0) {
    fail("gguf: key ", kDimensions, " is ", dimensions, " for heads of ", head_size);
  }
  const double factor = scaling_factor(file);
  std::vector<double> frequencies(dimensions / 2);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] =
        std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(dimensions)) / factor;
  }

  const Tensor* const tensor = file.find_tensor(kRopeDivisors);
  if (!tensor) return frequencies;
  if (tensor->rank != 1 || tensor->dims[0] != frequencies.size()) {
    fail("gguf: tensor ", kRopeDivisors, " is ", shape_text(*tensor), " but should be ",
         frequencies.size());
  }
  std::vector<float> divisors(frequencies.size());
  to_floats(*tensor, divisors);
  for (std::size_t i = 0; i < divisors.size(); ++i) {
    if (!(divisors[i] > 0 && std::isfinite(divisors[i]))) {
      fail("gguf: tensor ", kRopeDivisors, ": value ", i, " is ", divisors[i],
           ", not a positive number");
    }
    frequencies[i] /= divisors[i];
  }
  return frequencies;
}

}  // namespace engine

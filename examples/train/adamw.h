// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "layout.h"

namespace train {

/// Multiplies a gradient so that its l2 norm is at most `most`; returns the norm it had.
inline double clip(std::span<float> gradient, double most) {
  double squares = 0;
  for (const float g : gradient) squares += static_cast<double>(g) * static_cast<double>(g);
  const double norm = std::sqrt(squares);
  if (norm > most) {
    const auto factor = static_cast<float>(most / norm);
    for (float& g : gradient) g *= factor;
  }
  return norm;
}

/// AdamW (Loshchilov and Hutter, arXiv 1711.05101). The gains of norms do not decay.
struct AdamW {
  double first_decay = 0.9;
  double second_decay = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;

  /// Step `step`, from 1.
  void update(const Layout& layout, std::uint64_t step, double rate, std::span<const float> gradient,
              std::vector<float>& weights, std::vector<float>& first,
              std::vector<float>& second) const {
    const auto steps = static_cast<double>(step);
    const auto b1 = static_cast<float>(first_decay), b2 = static_cast<float>(second_decay);
    // The moments begin at 0 and are that much too small.
    const auto scale = static_cast<float>(rate / (1 - std::pow(first_decay, steps)));
    const auto second_scale = static_cast<float>(1 / (1 - std::pow(second_decay, steps)));
    const auto small = static_cast<float>(epsilon);
    for (const Place* place : layout.places()) {
      const auto kept = static_cast<float>(place->is_gain ? 1 : 1 - rate * weight_decay);
      for (std::size_t i = place->begin; i < place->begin + place->size(); ++i) {
        const float g = gradient[i];
        first[i] = b1 * first[i] + (1 - b1) * g;
        second[i] = b2 * second[i] + (1 - b2) * g * g;
        weights[i] =
            kept * weights[i] - scale * first[i] / (std::sqrt(second_scale * second[i]) + small);
      }
    }
  }
};

}  // namespace train

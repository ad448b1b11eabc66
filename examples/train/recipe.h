// SPDX-License-Identifier: Apache-2.0
// All that a run depends on, besides the text it reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "adamw.h"
#include "generate/llama.h"

namespace train {

struct Recipe {
  /// A number of steps on texts of one length.
  struct Stage {
    std::size_t context = 0;
    std::size_t steps = 0;
  };

  engine::Shape shape{};
  std::string estimator = "dense";
  std::string tasks = "text:4,recall:3,needles:3,needle:1,variables:1,common_words:1,frequent_words:1";
  std::vector<Stage> curriculum{};
  std::size_t tokens = 8192;  // of a step, rounded down to whole texts
  double rate = 3e-3;
  double last_rate = 0.05;   // share of the rate that is left at the end
  std::size_t warmup = 100;  // steps
  double clip = 1;
  AdamW optimizer{};
  std::uint64_t seed = 1;

  std::size_t steps() const;
  /// Of step `step`, from 0.
  std::size_t context_of(std::size_t step) const;
  /// Rises over the warm-up, then falls by half a cosine.
  double rate_of(std::size_t step) const;
  /// Throws std::runtime_error where the parts do not fit together, or to a text of `bytes`: now, and not
  /// after the steps that would still have worked.
  void check(std::size_t bytes) const;
  /// Everything above, as one line. Equal lines are equal runs of the same text.
  std::string text() const;
};

/// "256:1000,2048:500" -> stages. Throws std::runtime_error on any other text.
std::vector<Recipe::Stage> parse_curriculum(const std::string& text);

/// Of a new model: normal, 1 / sqrt(inputs) wide, and narrower where a layer adds to the residual stream.
std::vector<float> first_weights(const engine::Shape& shape, std::uint64_t seed);

}  // namespace train

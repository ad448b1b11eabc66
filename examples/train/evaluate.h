// SPDX-License-Identifier: Apache-2.0
// How well a model does a task with some attention.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "attention.h"
#include "tasks.h"
#include "transformer.h"

namespace train {

/// Sums over texts.
struct Evaluation {
  std::size_t answers = 0;
  std::size_t correct =
      0;  // every token of the answer is the likeliest: what greedy decoding would write
  std::size_t answer_tokens = 0;
  double answer_nll = 0;   // nats
  std::size_t tokens = 0;  // of weight 1, text, behind the prompt: what decoding would write
  double nll = 0;

  double accuracy() const { return static_cast<double>(correct) / static_cast<double>(answers); }
  double bits() const;  // mean of a token of text
};

using MakeAttention = std::function<std::unique_ptr<Attention<float>>()>;

/// Draws `texts` texts of `task`; equal seeds draw equal texts.
Evaluation evaluate(const Transformer<float>& model, const std::vector<float>& weights,
                    const Task& task, std::size_t context, std::size_t texts, std::uint64_t seed,
                    const MakeAttention& make_attention, std::size_t threads);

}  // namespace train

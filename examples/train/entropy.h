// SPDX-License-Identifier: Apache-2.0
// How many keys a head attends to, as the entropy of its softmax says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tasks.h"
#include "transformer.h"

namespace train {

/// Nats of the softmax of `logits`: 0 when one has all the mass, ln n when all have the same. -inf has none.
double entropy(std::span<const double> logits);

/// The rows of a text to look at: those that write answers, or sixteen of the second half of one without questions.
std::vector<std::size_t> decoding_rows(const Sample& sample);

/// Means over rows of texts, of the softmax over all keys that a row can see, whatever the model reads of them.
class HeadEntropies {
 public:
  explicit HeadEntropies(const engine::Shape& shape)
      : shape_(shape), sums_(shape.layers * shape.heads) {}

  /// Rows of a text that `tape` is the forward pass of.
  void add(const Tape<float>& tape, std::span<const std::size_t> rows);
  void add(const HeadEntropies& other);

  double mean(std::size_t layer, std::size_t head) const {
    return sums_[layer * shape_.heads + head] / static_cast<double>(rows_);
  }

 private:
  engine::Shape shape_;
  std::vector<double> sums_;  // [layers, heads]
  std::size_t rows_ = 0;
};

/// Of `texts` texts of `task`, read with dense attention: models differ then in nothing but their weights.
/// Equal seeds draw equal texts, and those that `evaluate` draws.
HeadEntropies head_entropies(const Transformer<float>& model, const std::vector<float>& weights,
                             const Task& task, std::size_t context, std::size_t texts,
                             std::uint64_t seed, std::size_t threads);

}  // namespace train

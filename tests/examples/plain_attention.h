// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "llama.h"

namespace engine {

/// Exact attention in double, as a textbook has it.
class PlainAttention final : public Attention {
 public:
  explicit PlainAttention(const Shape& shape)
      : shape_(shape), keys_(shape.layers), values_(shape.layers) {}

  Vector attend(std::size_t layer, const Vector& q, const Vector& k, const Vector& v) override {
    keys_[layer].push_back(k);
    values_[layer].push_back(v);
    const auto size = static_cast<Eigen::Index>(shape_.head_size);
    Vector out(q.size());
    for (std::size_t head = 0; head < shape_.heads; ++head) {
      const auto q_at = static_cast<Eigen::Index>(head) * size;
      const auto kv_at = static_cast<Eigen::Index>(head / (shape_.heads / shape_.kv_heads)) * size;
      std::vector<double> weights;
      for (const Vector& key : keys_[layer]) {
        double dot = 0;
        for (Eigen::Index j = 0; j < size; ++j) dot += double{q[q_at + j]} * double{key[kv_at + j]};
        weights.push_back(dot / std::sqrt(static_cast<double>(size)));
      }
      const double largest = *std::max_element(weights.begin(), weights.end());
      double sum = 0;
      for (double& weight : weights) sum += weight = std::exp(weight - largest);
      for (Eigen::Index j = 0; j < size; ++j) {
        double mix = 0;
        for (std::size_t i = 0; i < weights.size(); ++i) {
          mix += weights[i] * double{values_[layer][i][kv_at + j]};
        }
        out[q_at + j] = static_cast<float>(mix / sum);
      }
    }
    return out;
  }

 private:
  Shape shape_;
  std::vector<std::vector<Vector>> keys_, values_;  // [layer][position]
};

}  // namespace engine

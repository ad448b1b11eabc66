// SPDX-License-Identifier: Apache-2.0
// Where the tensors of a model lie in one flat array. Gradients and the optimizer's moments have the same
// layout, so that clipping, AdamW and checkpoints are loops over numbers.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "generate/llama.h"
#include "matrix.h"

namespace train {

/// Row r gives output r of a product. A gain of RMSNorm is one row.
struct Place {
  std::string name;  // as GGUF files of the Llama architecture call it
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::size_t begin = 0;
  bool is_gain = false;

  std::size_t size() const { return rows * columns; }
};

/// The tensor at `place`, in an array of that layout.
template <class Real>
MatrixView<Real> at(const Place& place, Real* array) {
  return {array + place.begin, static_cast<Eigen::Index>(place.rows),
          static_cast<Eigen::Index>(place.columns)};
}
template <class Real>
ConstMatrixView<Real> at(const Place& place, const Real* array) {
  return {array + place.begin, static_cast<Eigen::Index>(place.rows),
          static_cast<Eigen::Index>(place.columns)};
}

/// The output matrix is the embedding.
struct Layout {
  struct Layer {
    Place attention_norm, query, key, value, output;
    Place feed_forward_norm, gate, up, down;
    // Neighbours that read the same rows, as one matrix.
    Place query_key_value, gate_up;
  };

  explicit Layout(const engine::Shape& shape);

  /// Every tensor once, in the order of the array.
  std::vector<const Place*> places() const;

  Place embedding;
  std::vector<Layer> layers;
  Place norm;
  std::size_t size = 0;  // of the array
};

}  // namespace train

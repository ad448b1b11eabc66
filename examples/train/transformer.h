// SPDX-License-Identifier: Apache-2.0
// A Llama model for whole texts, forward and backward: what generate/llama.h computes token by token.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "attention.h"
#include "generate/llama.h"
#include "layers.h"
#include "layout.h"

namespace train {

using engine::Token;

inline constexpr double kTheta = 10000;   // of the rotary positions
inline constexpr double kEpsilon = 1e-5;  // of RMSNorm

/// What the forward pass of a text leaves for the backward pass. Used again, it allocates nothing.
template <class Real>
struct Tape {
  struct Layer {
    Matrix<Real> in;      // [n, width], the residual stream before the layer
    Matrix<Real> normed;  // [n, width]
    std::vector<Real> scales;
    Matrix<Real> qkv;  // [n, (heads + 2 kv_heads) * head_size], positions rotated in
    Attended<Real> attended;
    Matrix<Real> middle;  // [n, width], the residual stream between attention and feed-forward
    Matrix<Real> middle_normed;
    std::vector<Real> middle_scales;
    Matrix<Real> gate_up;  // [n, 2 * hidden]
    Matrix<Real> hidden;   // [n, hidden]
  };
  std::vector<Layer> layers;
  Matrix<Real> x;  // [n, width], the residual stream
  Matrix<Real> normed;
  std::vector<Real> scales;
  Matrix<Real> logits;  // [n, vocabulary]

  // Gradients, of one layer at a time.
  Matrix<Real> dx, dnormed, dqkv, dout, dhidden, dgate_up;
};

template <class Real>
class Transformer {
 public:
  explicit Transformer(const engine::Shape& shape);

  const engine::Shape& shape() const { return shape_; }
  const Layout& layout() const { return layout_; }

  /// Leaves the logits of what follows each token in tape.logits. weights: [layout().size].
  void forward(const Real* weights, std::span<const Token> tokens, Attention<Real>& attention,
               Tape<Real>& tape) const;

  /// tape.logits holds the gradient of the loss in the logits. Adds that in the weights to `gradients`.
  void backward(const Real* weights, std::span<const Token> tokens, TrainedAttention<Real>& attention,
                Tape<Real>& tape, Real* gradients) const;

 private:
  engine::Shape shape_;
  Layout layout_;
  Rotation<Real> rotation_;
};

}  // namespace train

// SPDX-License-Identifier: Apache-2.0
// A language model of the Llama architecture: RMSNorm, rotary positions, grouped-query attention,
// SwiGLU. All of it but the attention itself, which is behind an interface (see skim_attention.h).
#pragma once

#include <cstddef>
#include <vector>

#include <Eigen/Core>

#include "gguf.h"
#include "tokenizer.h"

namespace engine {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Vector = Eigen::VectorXf;

/// The sizes of a model. Query head h reads KV head h / (heads / kv_heads).
struct Shape {
  std::size_t layers = 0;
  std::size_t width = 0;  // of the residual stream
  std::size_t heads = 0;
  std::size_t kv_heads = 0;
  std::size_t head_size = 0;
  std::size_t hidden = 0;  // width of the feed-forward layer
  std::size_t vocabulary = 0;
  std::size_t context = 0;  // the longest text the model was trained on
};

/// The attention of one sequence, which remembers the keys and values of all its tokens.
class Attention {
 public:
  virtual ~Attention() = default;
  /// Takes the newest token's keys and values in `layer` and answers its queries.
  /// q and the result: [heads * head_size]; k, v: [kv_heads * head_size]; positions are rotated in.
  virtual Vector attend(std::size_t layer, const Vector& q, const Vector& k, const Vector& v) = 0;
};

class Llama {
 public:
  /// Checks the metadata (see metadata.h) and holds it against every tensor; widens all weights to f32.
  explicit Llama(const Gguf& file);

  const Shape& shape() const { return shape_; }

  /// The logits, [vocabulary], of what follows `token`, which stands at `position`, counted from 0; `attention` has
  /// seen the tokens before it and no others. Throws std::runtime_error when a logit is not finite.
  Vector decode(Token token, std::size_t position, Attention& attention) const;

 private:
  struct Layer {
    Vector attention_norm;     // [width]
    Matrix query, key, value;  // [heads or kv_heads * head_size, width]
    Matrix output;             // [width, heads * head_size]
    Vector feed_forward_norm;  // [width]
    Matrix gate, up;           // [hidden, width]
    Matrix down;               // [width, hidden]
  };

  Vector normalize(const Vector& x, const Vector& gain) const;
  void rotate(Vector& heads, std::size_t position) const;

  Shape shape_;
  float epsilon_ = 0;
  std::vector<double> frequencies_;  // of the rotated pairs of one head, radians per position
  Matrix embedding_;                 // [vocabulary, width]
  std::vector<Layer> layers_;
  Vector norm_;  // [width]
  Matrix head_;  // [vocabulary, width]; empty: the embedding serves
};

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
// The attention of a whole text, forward and backward, through skim.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <skim/core/record.h>
#include <skim/core/workspace.h>
#include <skim/estimator/text.h>

#include "generate/llama.h"
#include "matrix.h"
#include "sample.h"

namespace train {

/// What the forward pass of one layer leaves for the backward pass.
template <class Real>
struct Attended {
  Matrix<Real> out;       // [n, heads * head_size]
  std::vector<Real> lse;  // [n, heads]
  skim::SelectionRecord record;
};

/// Of one text at a time. qkv and dqkv: [n, (heads + 2 kv_heads) * head_size], the queries, then the keys, then the
/// values; positions are rotated in.
template <class Real>
class Attention {
 public:
  virtual ~Attention() = default;
  /// Before the first layer of a text. Samplers draw by the seed.
  virtual void begin(const Sample& sample, std::uint64_t seed) = 0;
  virtual void forward(std::size_t layer, const Matrix<Real>& qkv, Attended<Real>& to) = 0;
};

/// Any estimator, for every layer and row.
template <class Real>
class TrainedAttention final : public Attention<Real> {
 public:
  TrainedAttention(const engine::Shape& shape, const skim::StageList& estimator)
      : shape_(shape), estimator_(estimator) {}

  void begin(const Sample&, std::uint64_t seed) override { seed_ = seed; }
  void forward(std::size_t layer, const Matrix<Real>& qkv, Attended<Real>& to) override;
  /// Selection and weights are constants. dqkv is overwritten.
  void backward(std::size_t layer, const Matrix<Real>& qkv, const Attended<Real>& from,
                const Matrix<Real>& dout, Matrix<Real>& dqkv);

 private:
  engine::Shape shape_;
  skim::StageList estimator_;
  std::uint64_t seed_ = 0;
  skim::Workspace workspace_;
};

/// One estimator for the rows that read a prompt, another for those that decode. Decode: a StageList or
/// an ImpreciseTopK.
template <class Decode>
class PromptedAttention final : public Attention<float> {
 public:
  PromptedAttention(const engine::Shape& shape, const skim::StageList& prompt, const Decode& decode)
      : shape_(shape), prompt_(prompt), decode_(decode) {}

  void begin(const Sample& sample, std::uint64_t seed) override;
  void forward(std::size_t layer, const Matrix<float>& qkv, Attended<float>& to) override;

 private:
  engine::Shape shape_;
  skim::StageList prompt_;
  Decode decode_;
  std::uint64_t seed_ = 0;
  std::size_t prompt_rows_ = 0;
  skim::Workspace workspace_;
};

}  // namespace train

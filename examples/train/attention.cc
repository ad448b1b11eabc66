// SPDX-License-Identifier: Apache-2.0
#include "attention.h"

#include <skim/skim.h>

#include "imprecise_topk.h"

namespace train {
namespace {

/// The heads from `first` on, of rows that hold (heads + 2 kv_heads) of them.
template <class T>
skim::HeadRows<T> heads_of(T* qkv, std::size_t rows, const engine::Shape& shape, std::size_t first,
                           std::size_t count) {
  const std::size_t d = shape.head_size;
  const std::size_t all = shape.heads + 2 * shape.kv_heads;
  return {qkv + first * d, rows, count, d, static_cast<std::ptrdiff_t>(all * d)};
}

/// Rows [first, end) of a layer of one text, as skim takes it: they read the keys before `end`.
template <class Real>
struct LayerViews {
  LayerViews(const Matrix<Real>& qkv, const engine::Shape& shape, std::uint64_t seed, std::size_t layer,
             std::size_t first, std::size_t end) {
    const auto keys = heads_of(qkv.data(), end, shape, shape.heads, shape.kv_heads);
    const auto values = heads_of(qkv.data(), end, shape, shape.heads + shape.kv_heads, shape.kv_heads);
    for (std::size_t h = 0; h < shape.kv_heads; ++h) heads.push_back({keys.head(h), values.head(h)});
    query.rows = heads_of(qkv.data() + first * static_cast<std::size_t>(qkv.cols()), end - first, shape,
                          0, shape.heads);
    query.stream = {.seed = seed, .layer = static_cast<std::uint32_t>(layer)};
    kv = {heads, shape.kv_heads};
  }
  LayerViews(const LayerViews&) = delete;  // it points into itself
  LayerViews& operator=(const LayerViews&) = delete;

  std::vector<skim::ContiguousKv<Real>> heads;
  skim::BasicLayerQuery<Real> query;
  skim::LayerKv<skim::ContiguousKv<Real>> kv;
};

}  // namespace

template <class Real>
void TrainedAttention<Real>::forward(std::size_t layer, const Matrix<Real>& qkv, Attended<Real>& to) {
  const auto n = static_cast<std::size_t>(qkv.rows());
  const LayerViews<Real> views(qkv, shape_, seed_, layer, 0, n);
  to.out.resize(qkv.rows(), static_cast<Eigen::Index>(shape_.heads * shape_.head_size));
  to.lse.resize(n * shape_.heads);
  const skim::BasicLayerState<Real> state{{to.out.data(), n, shape_.heads, shape_.head_size},
                                          to.lse.data()};
  skim::attend(estimator_, views.query, views.kv, state,
               {.workspaces = {&workspace_, 1}, .record = &to.record});
}

template <class Real>
void TrainedAttention<Real>::backward(std::size_t layer, const Matrix<Real>& qkv,
                                      const Attended<Real>& from, const Matrix<Real>& dout,
                                      Matrix<Real>& dqkv) {
  const auto n = static_cast<std::size_t>(qkv.rows());
  const LayerViews<Real> views(qkv, shape_, seed_, layer, 0, n);
  dqkv.resize(qkv.rows(), qkv.cols());
  const auto dk = heads_of(dqkv.data(), n, shape_, shape_.heads, shape_.kv_heads);
  const auto dv = heads_of(dqkv.data(), n, shape_, shape_.heads + shape_.kv_heads, shape_.kv_heads);
  std::vector<skim::BasicKvGradient<Real>> dkv;
  for (std::size_t h = 0; h < shape_.kv_heads; ++h) dkv.push_back({dk.head(h), dv.head(h)});

  // A state can be written to, though backward only reads it.
  auto& saved = const_cast<Attended<Real>&>(from);
  skim::BasicLayerGradients<Real> gradients;
  gradients.state = {{saved.out.data(), n, shape_.heads, shape_.head_size}, saved.lse.data()};
  gradients.dout = {dout.data(), n, shape_.heads, shape_.head_size};
  gradients.dq = heads_of(dqkv.data(), n, shape_, 0, shape_.heads);
  gradients.kv = dkv;
  skim::backward(from.record, views.query, views.kv, gradients, {.workspaces = {&workspace_, 1}});
}

template <class Decode>
void PromptedAttention<Decode>::begin(const Sample& sample, std::uint64_t seed) {
  seed_ = seed;
  prompt_rows_ = prompt_rows(sample);
}

template <class Decode>
void PromptedAttention<Decode>::forward(std::size_t layer, const Matrix<float>& qkv,
                                        Attended<float>& to) {
  const auto n = static_cast<std::size_t>(qkv.rows());
  const std::size_t width = shape_.heads * shape_.head_size;
  to.out.resize(qkv.rows(), static_cast<Eigen::Index>(width));
  const auto attend = [&](const auto& estimator, std::size_t first, std::size_t end) {
    if (first == end) return;
    const LayerViews<float> views(qkv, shape_, seed_, layer, first, end);
    const skim::LayerState state{
        {to.out.data() + first * width, end - first, shape_.heads, shape_.head_size}};
    skim::attend(estimator, views.query, views.kv, state, {.workspaces = {&workspace_, 1}});
  };
  attend(prompt_, 0, prompt_rows_);
  attend(decode_, prompt_rows_, n);
}

template class TrainedAttention<float>;
template class TrainedAttention<double>;  // for tests
template class PromptedAttention<skim::StageList>;
template class PromptedAttention<ImpreciseTopK>;

}  // namespace train

// SPDX-License-Identifier: Apache-2.0
#include "transformer.h"

#include "generate/error.h"

namespace train {

template <class Real>
Transformer<Real>::Transformer(const engine::Shape& shape)
    : shape_(shape), layout_(shape), rotation_(shape.context, shape.head_size, kTheta) {}

template <class Real>
void Transformer<Real>::forward(const Real* weights, std::span<const Token> tokens,
                                Attention<Real>& attention, Tape<Real>& tape) const {
  if (tokens.size() > shape_.context) {
    engine::fail("train: ", tokens.size(), " tokens but the context is ", shape_.context);
  }
  const auto n = static_cast<Eigen::Index>(tokens.size());
  const auto epsilon = static_cast<Real>(kEpsilon);
  const auto embedding = at(layout_.embedding, weights);
  Matrix<Real>& x = tape.x;
  x.resize(n, embedding.cols());
  for (Eigen::Index r = 0; r < n; ++r) x.row(r) = embedding.row(tokens[static_cast<std::size_t>(r)]);

  tape.layers.resize(shape_.layers);
  for (std::size_t i = 0; i < shape_.layers; ++i) {
    const Layout::Layer& place = layout_.layers[i];
    typename Tape<Real>::Layer& to = tape.layers[i];
    to.in = x;
    normalize(to.in, at(place.attention_norm, weights), epsilon, to.normed, to.scales);
    to.qkv.noalias() = to.normed * at(place.query_key_value, weights).transpose();
    rotation_.turn(to.qkv, shape_.heads + shape_.kv_heads, 1);
    attention.forward(i, to.qkv, to.attended);
    x.noalias() += to.attended.out * at(place.output, weights).transpose();

    to.middle = x;
    normalize(to.middle, at(place.feed_forward_norm, weights), epsilon, to.middle_normed,
              to.middle_scales);
    to.gate_up.noalias() = to.middle_normed * at(place.gate_up, weights).transpose();
    swiglu(to.gate_up, to.hidden);
    x.noalias() += to.hidden * at(place.down, weights).transpose();
  }
  normalize(x, at(layout_.norm, weights), epsilon, tape.normed, tape.scales);
  tape.logits.noalias() = tape.normed * embedding.transpose();
}

template <class Real>
void Transformer<Real>::backward(const Real* weights, std::span<const Token> tokens,
                                 TrainedAttention<Real>& attention, Tape<Real>& tape,
                                 Real* gradients) const {
  const auto embedding = at(layout_.embedding, weights);
  auto dembedding = at(layout_.embedding, gradients);
  Matrix<Real>& dx = tape.dx;
  dembedding.noalias() += tape.logits.transpose() * tape.normed;
  tape.dnormed.noalias() = tape.logits * embedding;
  dx.setZero(tape.x.rows(), tape.x.cols());
  normalize_backward(tape.x, at(layout_.norm, weights), tape.scales, tape.dnormed,
                     at(layout_.norm, gradients), dx);

  for (std::size_t i = shape_.layers; i-- > 0;) {
    const Layout::Layer& place = layout_.layers[i];
    typename Tape<Real>::Layer& from = tape.layers[i];
    at(place.down, gradients).noalias() += dx.transpose() * from.hidden;
    tape.dhidden.noalias() = dx * at(place.down, weights);
    swiglu_backward(from.gate_up, tape.dhidden, tape.dgate_up);
    at(place.gate_up, gradients).noalias() += tape.dgate_up.transpose() * from.middle_normed;
    tape.dnormed.noalias() = tape.dgate_up * at(place.gate_up, weights);
    normalize_backward(from.middle, at(place.feed_forward_norm, weights), from.middle_scales,
                       tape.dnormed, at(place.feed_forward_norm, gradients), dx);

    at(place.output, gradients).noalias() += dx.transpose() * from.attended.out;
    tape.dout.noalias() = dx * at(place.output, weights);
    attention.backward(i, from.qkv, from.attended, tape.dout, tape.dqkv);
    rotation_.turn(tape.dqkv, shape_.heads + shape_.kv_heads, -1);
    at(place.query_key_value, gradients).noalias() += tape.dqkv.transpose() * from.normed;
    tape.dnormed.noalias() = tape.dqkv * at(place.query_key_value, weights);
    normalize_backward(from.in, at(place.attention_norm, weights), from.scales, tape.dnormed,
                       at(place.attention_norm, gradients), dx);
  }
  for (Eigen::Index r = 0; r < dx.rows(); ++r)
    dembedding.row(tokens[static_cast<std::size_t>(r)]) += dx.row(r);
}

template class Transformer<float>;
template class Transformer<double>;  // for tests

}  // namespace train

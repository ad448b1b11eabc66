// SPDX-License-Identifier: Apache-2.0
// Uses as much of skim as fits in a page, so that odr.sh finds its functions in the object file.
// ODR_NAME is the name of the one function that this file defines.
#include <cstdint>
#include <memory>
#include <vector>

#include "skim/skim.h"

namespace {

constexpr std::size_t kPositions = 300;
constexpr std::size_t kDim = 20;

/// The same numbers on every machine, in (-1, 1).
template <class T>
std::vector<T> numbers(std::size_t count, std::uint32_t seed) {
  std::vector<T> all(count);
  for (T& x : all) {
    seed = seed * 1664525u + 1013904223u;
    const float value = static_cast<float>(seed >> 8) / 8388608.0f - 1.0f;
    x = skim::from_float<T>(value);
  }
  return all;
}

template <class Real>
double total(const std::vector<Real>& values) {
  double sum = 0;
  for (const Real x : values) sum += static_cast<double>(x);
  return sum;
}

/// A layer of two KV heads and four query heads over pages of seven positions, in storage T.
template <class T, class Real>
double layer(const auto& estimator) {
  constexpr std::size_t kPage = 7, kPages = kPositions / kPage + 1, kHeads = 2;
  const auto keys = numbers<T>(kPages * kPage * kHeads * kDim, 1);
  const auto values = numbers<T>(kPages * kPage * kHeads * kDim, 2);
  const auto q = numbers<Real>(4 * kDim, 3);
  std::vector<Real> out(4 * kDim);
  std::vector<std::int32_t> table(kPages);
  for (std::size_t p = 0; p < kPages; ++p) table[p] = static_cast<std::int32_t>(kPages - 1 - p);

  constexpr auto kPageStride = static_cast<std::ptrdiff_t>(kPage * kHeads * kDim);
  constexpr auto kRowStride = static_cast<std::ptrdiff_t>(kHeads * kDim);
  std::vector<skim::PagedKv<T>> heads(kHeads);
  for (std::size_t h = 0; h < kHeads; ++h) {
    heads[h] = {kPositions, kPage, table, kPages, {keys.data() + h * kDim, kDim, kPageStride, kRowStride},
                {values.data() + h * kDim, kDim, kPageStride, kRowStride}};
  }
  skim::BasicLayerQuery<Real> query;
  query.rows = {q.data(), 1, 4, kDim};
  query.stream.seed = 5;
  skim::attend(estimator, query, skim::LayerKv<skim::PagedKv<T>>{heads, kHeads},
               skim::BasicLayerState<Real>{{out.data(), 1, 4, kDim}});
  return total(out);
}

/// The three verbs on one head.
double verbs(const auto& estimator) {
  const auto k = numbers<float>(kPositions * kDim, 1);
  const auto v = numbers<float>(kPositions * kDim, 2);
  const auto q = numbers<float>(kDim, 3);
  skim::Query query;
  query.rows = {q.data(), 1, kDim};
  query.logit.soft_cap = 30;
  const skim::ContiguousKv<float> kv{{k.data(), kPositions, kDim}, {v.data(), kPositions, kDim}};
  skim::State state = skim::attend(skim::select(estimator, query, kv), query, kv);
  skim::State other = skim::attend(skim::Window{3}, query, kv);
  skim::merge(state.view(), other.view());
  return static_cast<double>(state.lse());
}

/// One head with sketches of all three sizes, page boxes and LSH tables beside it, in storage T.
template <class T>
double indexed(const auto& estimator) {
  constexpr std::size_t kRow = skim::row_values<T>(kDim);
  const auto numbers_of_rows = numbers<float>(kPositions * kDim, 1);
  std::vector<T> k(kPositions * kRow);
  for (std::size_t i = 0; i < kPositions; ++i) {
    skim::from_floats(numbers_of_rows.data() + i * kDim, kDim, k.data() + i * kRow);
  }
  const auto q = numbers<float>(2 * kDim, 3);
  const auto scores = numbers<float>(kPositions, 4);
  const skim::ContiguousKv<T> kv{{k.data(), kPositions, kDim}, {k.data(), kPositions, kDim}};
  skim::Sketch1 one;
  skim::Sketch4 four;
  skim::Sketch8 eight;
  skim::append(one, kv);
  skim::append(four, kv);
  skim::append(eight, kv, 0);
  skim::truncate(eight, kv, kPositions - 1);
  skim::append(eight, kv);
  skim::PageBoxes boxes;
  skim::append(boxes, kv);
  skim::truncate(boxes, kv, kPositions - 1);
  skim::append(boxes, kv);
  skim::LshTables tables(std::make_shared<const skim::LshPlanes>(kDim, 4, 6, 1));
  skim::append(tables, kv);
  skim::truncate(tables, kv, kPositions - 40);
  skim::append(tables, kv);
  const skim::ExternalScores external{{scores.data(), 1, kPositions}, kPositions - 1};
  skim::Query query;
  query.rows = {q.data(), 2, kDim};
  skim::State state = skim::attend(estimator, query, skim::with_index(kv, one, four, eight, boxes, tables, external));
  return static_cast<double>(state.lse());
}

/// A training step of a layer of two query heads on one KV head.
template <class Real>
double training(const auto& estimator) {
  constexpr std::size_t kHeads = 2;
  const auto q = numbers<Real>(kPositions * kHeads * kDim, 1), k = numbers<Real>(kPositions * kDim, 2);
  const auto v = numbers<Real>(kPositions * kDim, 3), dout = numbers<Real>(kPositions * kHeads * kDim, 4);
  std::vector<Real> out(q.size()), lse(kPositions * kHeads), dq(q.size()), dk(k.size()), dv(v.size());
  const skim::ContiguousKv<Real> kv{{k.data(), kPositions, kDim}, {v.data(), kPositions, kDim}};
  const skim::BasicKvGradient<Real> dkv{{dk.data(), kPositions, kDim}, {dv.data(), kPositions, kDim}};
  const skim::LayerKv<skim::ContiguousKv<Real>> heads{{&kv, 1}, 1};
  skim::BasicLayerQuery<Real> query;
  query.rows = {q.data(), kPositions, kHeads, kDim};
  skim::BasicLayerGradients<Real> gradients;
  gradients.state = {{out.data(), kPositions, kHeads, kDim}, lse.data()};
  gradients.dout = {dout.data(), kPositions, kHeads, kDim};
  gradients.dq = {dq.data(), kPositions, kHeads, kDim};
  gradients.kv = {&dkv, 1};
  skim::attend(estimator, query, heads, gradients.state);
  skim::backward(estimator, query, heads, gradients);
  return total(dq) + total(dk) + total(dv);
}

}  // namespace

double ODR_NAME() {
  const auto stack = skim::stack(skim::Sinks{4}, skim::Window{16}, skim::TopK{32}, skim::PriorityTail{32});
  const auto text = skim::parse("sinks(4)+topk(power(2,0.5))+uniform(fraction(0.2))");
  const auto by_index = skim::stack(skim::TopK{9, skim::Source::kSketch8, 60}, skim::TopK{9, skim::Source::kSketch4, 200});
  const auto by_text = skim::parse("topk(9,by=sketch8,exact)+topk(9,by=sketch1,candidates=280)+quest(20)"
                                   "+topk(9,by=boxes,exact)+topk(9,by=boxes)+systematic(20,by=external)");
  return layer<float, float>(skim::Dense{}) + layer<float, float>(stack) + layer<skim::F16, float>(stack) +
         layer<skim::BF16, float>(text) + layer<double, double>(stack) + verbs(stack) + verbs(text) +
         indexed<skim::BF16>(by_index) + indexed<skim::I8>(by_text) + indexed<skim::F16>(skim::LshTail{4, 6}) +
         training<float>(skim::Dense{}) + training<float>(text) + training<double>(stack);
}

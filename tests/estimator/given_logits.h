// SPDX-License-Identifier: Apache-2.0
// A group of query heads whose logits are what the test says, bit for bit.
#ifndef SKIM_TESTS_ESTIMATOR_GIVEN_LOGITS_H_
#define SKIM_TESTS_ESTIMATOR_GIVEN_LOGITS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "skim/core/kv.h"
#include "skim/core/query.h"
#include "skim/core/selection.h"

namespace skim::test {

/// s[h][i] is the logit of head h at position i: the queries are the unit vectors, key i is (s[0][i], s[1][i], ...),
/// and the scale is 1. Infinite and NaN logits: with one head only, since 0 * inf is NaN. Values are 1.
template <class Real>
class GivenLogits {
 public:
  explicit GivenLogits(std::vector<std::vector<Real>> s)
      : logits(std::move(s)), heads_(logits.size()), n_(logits[0].size()) {
    q_.assign(heads_ * heads_, 0);
    keys_.resize(n_ * heads_);
    values_.assign(n_, 1);
    for (std::size_t h = 0; h < heads_; ++h) {
      q_[h * heads_ + h] = 1;
      for (std::size_t i = 0; i < n_; ++i) keys_[i * heads_ + h] = logits[h][i];
    }
  }

  BasicQuery<Real> query(const Stream& stream = {}) const {
    BasicQuery<Real> q;
    q.rows = {q_.data(), heads_, heads_};
    q.logit.scale = 1;
    q.stream = stream;
    return q;
  }
  ContiguousKv<Real> kv() const { return {{keys_.data(), n_, heads_}, {values_.data(), n_, 1}}; }

  std::size_t heads() const { return heads_; }
  std::size_t size() const { return n_; }

  const std::vector<std::vector<Real>> logits;

 private:
  std::size_t heads_, n_;
  std::vector<Real> q_, keys_, values_;
};

/// Normal logits.
template <class Real>
GivenLogits<Real> normal_logits(std::size_t heads, std::size_t n, double spread, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal(0, spread);
  std::vector<std::vector<Real>> s(heads, std::vector<Real>(n));
  for (auto& row : s) {
    for (Real& x : row) x = static_cast<Real>(normal(generator));
  }
  return GivenLogits<Real>(std::move(s));
}

/// The probability of each of `among` under one head; NaN logits have none. In double.
template <class Real>
std::vector<double> reference_shares(const std::vector<Real>& logits,
                                     const std::vector<Position>& among) {
  double top = -INFINITY, sum = 0;
  const auto at = [&](Position i) {
    const double x = logits[static_cast<std::size_t>(i)];
    return std::isnan(x) ? -INFINITY : x;
  };
  for (const Position i : among) top = std::max(top, at(i));
  std::vector<double> share;
  for (const Position i : among) {
    share.push_back(at(i) == top ? (top > -INFINITY ? 1.0 : 0.0) : std::exp(at(i) - top));
    sum += share.back();
  }
  for (double& x : share) x /= sum > 0 ? sum : 1;
  return share;
}

/// The mean over the heads of the probability of each of `among`: what a group samples from.
template <class Real>
std::vector<double> reference_proposal(const GivenLogits<Real>& p, const std::vector<Position>& among) {
  std::vector<double> mean(among.size(), 0.0);
  for (const auto& logits : p.logits) {
    const std::vector<double> share = reference_shares(logits, among);
    for (std::size_t j = 0; j < mean.size(); ++j) mean[j] += share[j] / static_cast<double>(p.heads());
  }
  return mean;
}

/// c of p_i = min(1, c share_i) with sum p_i = budget, by bisection on ln c.
inline double reference_inclusion_scale(const std::vector<double>& share, double budget) {
  double low = -800, high = 800;
  for (int step = 0; step < 200; ++step) {
    const double middle = (low + high) / 2;
    double sum = 0;
    for (const double x : share) sum += std::min(1.0, x * std::exp(middle));
    (sum < budget ? low : high) = middle;
  }
  return std::exp((low + high) / 2);
}

/// Positions [0, n) that are neither below `sinks` nor among the newest `window`.
inline std::vector<Position> middle_of(std::size_t n, Position sinks, Position window) {
  std::vector<Position> among;
  for (Position i = sinks; i < static_cast<Position>(n) - window; ++i) among.push_back(i);
  return among;
}

}  // namespace skim::test

#endif  // SKIM_TESTS_ESTIMATOR_GIVEN_LOGITS_H_

// SPDX-License-Identifier: Apache-2.0
// The one-layer attention of the n^C paper: Gaussian X, logits X W X^T.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <random>
#include <vector>

#include <skim/core/kv.h>
#include <skim/core/query.h>

namespace nc {

/// The values a head reads. Neither is published for the synthetic experiments: both are our choice.
enum class Values {
  kIndependent,  ///< Gaussian, of nothing else: what is dropped looks like what is kept
  kTokens,       ///< X itself (X W_V for an orthogonal W_V): values go with keys, as in a trained layer
};

/// One draw. X: [n, d], independent N(0, 1). W: [d, d], independent N(0, R^2 / d^2), so that |W|_F
/// = R and, with entries of unit size (B = 1), R is the paper's B^2 |W|_F; it is also the standard
/// deviation of a row's logits. That W is Gaussian, and d, are our choice: the paper's are not
/// known to us.
class Layer {
 public:
  Layer(std::size_t n, std::size_t d, double r, std::uint64_t seed)
      : n_(n), d_(d), tokens_(n * d), queries_(n * d), others_(n * d) {
    random_.seed(seed);
    fill(tokens_, 1);
    fill(others_, 1);
    std::vector<float> w(d * d);
    fill(w, r / static_cast<double>(d));
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t a = 0; a < d; ++a) {
        for (std::size_t b = 0; b < d; ++b) queries_[i * d + b] += tokens_[i * d + a] * w[a * d + b];
      }
    }
  }

  std::size_t size() const { return n_; }
  std::size_t dim() const { return d_; }
  const std::vector<float>& tokens() const { return tokens_; }
  const std::vector<float>& queries() const { return queries_; }
  const std::vector<float>& values(Values which) const {
    return which == Values::kTokens ? tokens_ : others_;
  }

  skim::ContiguousKv<float> kv(Values which) const {
    return {{tokens_.data(), n_, d_}, {values(which).data(), n_, d_}};
  }

  /// Row i, which sees itself and what is before it, or everything.
  skim::Query query(std::size_t i, bool is_causal) const {
    skim::Query q;
    q.rows = {queries_.data() + i * d_, 1, d_};
    q.position = static_cast<skim::Position>(i);
    q.causal = is_causal;
    q.logit.scale = 1.0;
    return q;
  }

 private:
  /// Box and Muller: the same numbers with every standard library.
  void fill(std::vector<float>& out, double deviation) {
    const auto uniform = [this] { return static_cast<double>((random_() >> 11) + 1) * 0x1p-53; };
    for (std::size_t i = 0; i < out.size(); i += 2) {
      const double radius = deviation * std::sqrt(-2 * std::log(uniform()));
      const double angle = 2 * std::numbers::pi * uniform();
      out[i] = static_cast<float>(radius * std::cos(angle));
      if (i + 1 < out.size()) out[i + 1] = static_cast<float>(radius * std::sin(angle));
    }
  }

  std::size_t n_, d_;
  std::mt19937_64 random_;
  std::vector<float> tokens_, queries_, others_;
};

}  // namespace nc

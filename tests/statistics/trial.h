// SPDX-License-Identifier: Apache-2.0
// A problem to sample from again and again, and what one sample says about it.
#ifndef SKIM_TESTS_STATISTICS_TRIAL_H_
#define SKIM_TESTS_STATISTICS_TRIAL_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "estimator/given_logits.h"
#include "skim/skim.h"
#include "statistics/judge.h"

namespace skim::test {

/// Values are columns that each ask a question: how much mass does a part of the keys get?
enum Column : std::size_t {
  kEighths = 0,      // 8 columns: is the key in this eighth of the positions?
  kLastLeft = 8,     // is it the last one that earlier stages leave?
  kFirstLeft = 9,    // the first?
  kLargest = 10,     // is its logit among the largest 2 %?
  kSmallest = 11,    // among the smaller half?
  kCorrelated = 12,  // a number that grows with the logit of the first head, with noise
  kNormal = 13,      // 3 columns of noise
  kColumns = 16,
};

/// Parts of a stack before the sampler.
inline constexpr Position kSinks = 4, kWindow = 64;

/// Normal logits for a group of heads over n keys, and the exact answer, in double.
class Trial {
 public:
  /// `alone`: the sampler is the only stage, so that the first and last positions are its own.
  Trial(std::size_t heads, std::size_t n, double spread, bool alone, std::uint64_t seed)
      : Trial(make_logits(heads, n, spread, alone, seed), alone, seed) {}

  Trial(GivenLogits<float> given, bool alone, std::uint64_t seed) : logits_(std::move(given)) {
    const std::size_t n = logits_.size();
    std::mt19937_64 generator(seed + 1);
    std::normal_distribution<double> normal;
    std::vector<float> sorted = logits_.logits[0];
    std::sort(sorted.begin(), sorted.end());
    const float large = sorted[n - n / 50], half = sorted[n / 2];
    values_.assign(n * kColumns, 0);
    for (std::size_t i = 0; i < n; ++i) {
      float* v = values_.data() + i * kColumns;
      const float s = logits_.logits[0][i];
      v[kEighths + i * 8 / n] = 1;
      v[kLargest] = s >= large ? 1 : 0;
      v[kSmallest] = s < half ? 1 : 0;
      v[kCorrelated] = 1 + 0.3f * s + static_cast<float>(0.5 * normal(generator));
      for (std::size_t c = kNormal; c < kColumns; ++c) v[c] = 1 + static_cast<float>(normal(generator));
    }
    values_[last_left(n, alone) * kColumns + kLastLeft] = 1;
    values_[first_left(alone) * kColumns + kFirstLeft] = 1;

    for (const auto& s : logits_.logits) {
      const std::vector<double> share = reference_shares(s, middle_of(n, 0, 0));
      std::vector<double> o(kColumns, 0.0);
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t c = 0; c < kColumns; ++c)
          o[c] += share[i] * static_cast<double>(values_[i * kColumns + c]);
      }
      output_.push_back(o);
      double top = -INFINITY, sum = 0;
      for (const float x : s) top = std::max(top, static_cast<double>(x));
      for (const float x : s) sum += std::exp(static_cast<double>(x) - top);
      lse_.push_back(top + std::log(sum));
    }
    state_ = State(heads(), kColumns);
  }

  std::size_t heads() const { return logits_.heads(); }
  std::size_t size() const { return logits_.size(); }
  const GivenLogits<float>& logits() const { return logits_; }
  double lse(std::size_t h) const { return lse_[h]; }
  double output(std::size_t h, std::size_t c) const { return output_[h][c]; }
  double value(std::size_t i, std::size_t c) const { return values_[i * kColumns + c]; }

  ContiguousKv<float> kv() const {
    ContiguousKv<float> kv = logits_.kv();
    kv.values = {values_.data(), size(), kColumns};
    return kv;
  }

  /// Estimates of one run, relative to the true denominator: D^ / D and N^_c / D for each head.
  struct Estimate {
    double denominator;
    std::array<double, kColumns> numerator;
    double output(std::size_t c) const { return denominator == 0 ? 0 : numerator[c] / denominator; }
  };

  template <class E>
  void run(const E& estimator, std::uint64_t seed, std::vector<Estimate>& estimates,
           Grouping grouping = Grouping::kPerGroup) {
    Query q = logits_.query({.seed = seed});
    q.grouping = grouping;
    attend(estimator, q, kv(), state_.view(), ws_);
    estimates.resize(heads());
    for (std::size_t h = 0; h < heads(); ++h) estimates[h] = estimate_of(state_, h);
  }

  Estimate estimate_of(const State& state, std::size_t h) const {
    Estimate estimate;
    estimate.denominator = std::exp(static_cast<double>(state.lse(h)) - lse_[h]);
    for (std::size_t c = 0; c < kColumns; ++c) {
      estimate.numerator[c] = static_cast<double>(state.out(h)[c]) * estimate.denominator;
    }
    return estimate;
  }

  Workspace& workspace() { return ws_; }

  static std::size_t first_left(bool alone) { return alone ? 0 : static_cast<std::size_t>(kSinks); }
  static std::size_t last_left(std::size_t n, bool alone) {
    return n - 1 - (alone ? 0 : static_cast<std::size_t>(kWindow));
  }

 private:
  static GivenLogits<float> make_logits(std::size_t heads, std::size_t n, double spread, bool alone,
                                        std::uint64_t seed) {
    auto s = normal_logits<float>(heads, n, spread, seed).logits;
    // The first and the last that the sampler may choose are large, but not so large that top-k takes them first.
    for (auto& row : s) {
      row[first_left(alone)] = static_cast<float>(1.6 * spread);
      row[last_left(n, alone)] = static_cast<float>(1.7 * spread);
    }
    return GivenLogits<float>(std::move(s));
  }

  GivenLogits<float> logits_;
  std::vector<float> values_;                // [n, kColumns]
  std::vector<std::vector<double>> output_;  // [heads][kColumns]
  std::vector<double> lse_;                  // [heads]
  State state_;
  Workspace ws_;
};

/// Seeds of run r of a test: no two tests share one.
inline std::uint64_t run_seed(std::uint64_t test, std::uint64_t r) {
  return (suite_seed() * 1000003 + test) * 0x9E3779B97F4A7C15u + r;
}

/// How an lse becomes a denominator; the mutant takes it for one to base 2.
enum class Base { kE, kTwo };

/// Numerators and denominator, each on its own: their means over `runs` seeds are the truth. (Their ratio is biased.)
/// Rounding in float: 4e-6 of the denominator.
template <class E, class AnyTrial>
Judge unbiased(const std::string& name, const E& estimator, AnyTrial& trial, std::uint64_t runs,
               std::uint64_t test, Base base = Base::kE) {
  constexpr double kRounding = 4e-6;
  std::vector<std::array<Mean, kColumns + 1>> means(trial.heads());
  std::vector<Trial::Estimate> estimates;
  for (std::uint64_t r = 0; r < runs; ++r) {
    trial.run(estimator, run_seed(test, r), estimates);
    for (std::size_t h = 0; h < trial.heads(); ++h) {
      double scale = 1;
      if (base == Base::kTwo) {  // 2^lse for e^lse
        const double lse = trial.lse(h) + std::log(estimates[h].denominator);
        scale = std::exp(lse * (std::log(2.0) - 1));
      }
      means[h][kColumns].add(estimates[h].denominator * scale);
      for (std::size_t c = 0; c < kColumns; ++c) means[h][c].add(estimates[h].numerator[c] * scale);
    }
  }
  Judge judge(name);
  for (std::size_t h = 0; h < trial.heads(); ++h) {
    const std::string head = "head " + std::to_string(h);
    judge.mean_is(head + ", denominator", means[h][kColumns], 1, kRounding);
    for (std::size_t c = 0; c < kColumns; ++c) {
      judge.mean_is(head + ", numerator " + std::to_string(c), means[h][c], trial.output(h, c),
                    kRounding);
    }
  }
  return judge;
}

}  // namespace skim::test

#endif  // SKIM_TESTS_STATISTICS_TRIAL_H_

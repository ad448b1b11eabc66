// SPDX-License-Identifier: Apache-2.0
// Does truncation obey the identities of total variation, to rounding? (Mathematical theory of top-k attention by
// total variation, arXiv 2512.07647.) P: softmax over all positions; P^: over the selected ones, S; tau: the dropped
// mass.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

constexpr std::size_t kFew = 200, kChannels = 8, kColumns = 5;

/// Top-k against everything: what the library says, and what plain loops say of the same logits.
struct Truncation {
  Problem<double> p;
  std::vector<double> s;       // logits
  std::vector<bool> selected;  // in S
  BasicState<double> dense, kept, dropped;

  Truncation(std::size_t k, double spread, std::uint64_t seed)
      : p(random_problem<double>({kFew, kChannels, kColumns, 1}, seed, spread)) {
    s = reference_logits(reference_query(p.query(), 0, kFew), numbers_of(p.keys, kFew, kChannels));
    const Selection set = select(TopK{k}, p.query(), p.kv());
    selected.assign(kFew, false);
    for (const Weighted& w : list_of(set)) selected[static_cast<std::size_t>(w.position)] = true;
    Selection complement;
    for (std::size_t i = 0; i < kFew; ++i) {
      if (!selected[i]) complement.add(static_cast<Position>(i));
    }
    dense = attend(Dense{}, p.query(), p.kv());
    kept = attend(set, p.query(), p.kv());
    dropped = attend(complement, p.query(), p.kv());
  }

  double share(std::size_t i) const { return std::exp(s[i] - dense.lse()); }
  /// Of the states alone: 1 - e^{lse_S - lse}.
  double tau() const { return -std::expm1(kept.lse() - dense.lse()); }
  double value(std::size_t i, std::size_t c) const { return p.values[i * kColumns + c]; }

  double distance_of_outputs() const {
    double sum = 0;
    for (std::size_t c = 0; c < kColumns; ++c) {
      sum += (dense.out()[c] - kept.out()[c]) * (dense.out()[c] - kept.out()[c]);
    }
    return std::sqrt(sum);
  }
};

template <class Visit>
void for_each_truncation(const Visit& visit) {
  std::uint64_t seed = 0;
  for (const double spread : {0.3, 1.5, 4.0}) {
    for (const std::size_t k : {1u, 2u, 20u, 100u, 199u}) {
      SCOPED_TRACE(testing::Message() << "spread " << spread << ", k " << k);
      visit(Truncation(k, spread, ++seed), k);
    }
  }
}

// Lemma 4.1: TV(P, P^) is the dropped mass.
TEST(TotalVariation, IsTheDroppedMass) {
  for_each_truncation([](const Truncation& t, std::size_t) {
    double variation = 0, dropped = 0, kept_mass = 0;
    for (std::size_t i = 0; i < kFew; ++i) kept_mass += t.selected[i] ? t.share(i) : 0;
    for (std::size_t i = 0; i < kFew; ++i) {
      const double truncated = t.selected[i] ? t.share(i) / kept_mass : 0;
      variation += std::abs(t.share(i) - truncated) / 2;
      dropped += t.selected[i] ? 0 : t.share(i);
    }
    EXPECT_NEAR(variation, dropped, 1e-12);
    EXPECT_NEAR(t.tau(), dropped, 1e-12);
  });
}

// Theorem 4.3: KL(P^ || P) = ln(D / D_S), and TV = 1 - e^{-KL}.
TEST(TotalVariation, OfTheDivergence) {
  for_each_truncation([](const Truncation& t, std::size_t) {
    double divergence = 0;
    for (std::size_t i = 0; i < kFew; ++i) {
      if (!t.selected[i]) continue;
      const double truncated = std::exp(t.s[i] - t.kept.lse());
      divergence += truncated * std::log(truncated / t.share(i));
    }
    EXPECT_NEAR(divergence, t.dense.lse() - t.kept.lse(), 1e-12);
    EXPECT_NEAR(1 - std::exp(-divergence), t.tau(), 1e-12);
  });
}

// Theorem 4.5: with the gap g between the k-th and the next logit, tau <= 1 / (1 + k / (n - k) e^g).
TEST(TotalVariation, IsBoundedByTheGap) {
  for_each_truncation([](const Truncation& t, std::size_t k) {
    std::vector<double> sorted = t.s;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const double gap = sorted[k - 1] - sorted[k];
    const double bound = 1 / (1 + static_cast<double>(k) / static_cast<double>(kFew - k) * std::exp(gap));
    EXPECT_LE(t.tau(), bound + 1e-12);
    EXPECT_GE(gap, 0);
  });
  // It is attained: k logits of one size, the others of another.
  std::vector<double> keys(10, 0), values(10, 1);
  for (std::size_t i = 0; i < 3; ++i) keys[3 * i] = 1.25;
  const double one = 1;
  BasicQuery<double> q;
  q.rows = {&one, 1, 1};
  q.logit.scale = 1;
  const ContiguousKv<double> kv{{keys.data(), 10, 1}, {values.data(), 10, 1}};
  const double tau = -std::expm1(attend(TopK{3}, q, kv).lse() - attend(Dense{}, q, kv).lse());
  EXPECT_NEAR(tau, 1 / (1 + 3.0 / 7 * std::exp(1.25)), 1e-14);
}

// Theorem 5.2: o - o^ = tau (mu_tail - mu_head), in every coordinate.
TEST(TotalVariation, ExactErrorOfTheOutput) {
  for_each_truncation([](const Truncation& t, std::size_t) {
    for (std::size_t c = 0; c < kColumns; ++c) {
      const double error = t.dense.out()[c] - t.kept.out()[c];
      EXPECT_NEAR(error, t.tau() * (t.dropped.out()[c] - t.kept.out()[c]), 1e-12) << "column " << c;
    }
  });
}

// Theorem 5.6: |o - o^| <= min(tau diam, sqrt(chi^2) sqrt(Var), 2 C tau).
TEST(TotalVariation, BoundsOfTheOutput) {
  for_each_truncation([](const Truncation& t, std::size_t) {
    double diameter = 0, largest = 0, variance = 0;
    for (std::size_t i = 0; i < kFew; ++i) {
      double norm = 0;
      for (std::size_t c = 0; c < kColumns; ++c) {
        norm += t.value(i, c) * t.value(i, c);
        const double from_mean = t.value(i, c) - t.dense.out()[c];
        variance += t.share(i) * from_mean * from_mean;
      }
      largest = std::max(largest, std::sqrt(norm));
      for (std::size_t j = 0; j < kFew && t.selected[i]; ++j) {
        double apart = 0;
        for (std::size_t c = 0; c < kColumns; ++c) {
          apart += (t.value(i, c) - t.value(j, c)) * (t.value(i, c) - t.value(j, c));
        }
        if (!t.selected[j]) diameter = std::max(diameter, std::sqrt(apart));
      }
    }
    const double chi_squared = t.tau() / (1 - t.tau());
    const double error = t.distance_of_outputs();
    EXPECT_LE(error, t.tau() * diameter + 1e-12);
    EXPECT_LE(error, std::sqrt(chi_squared * variance) + 1e-12);
    EXPECT_LE(error, 2 * largest * t.tau() + 1e-12);
  });
}

// The two parts merge into the whole: the algebra behind all of the above.
TEST(TotalVariation, HeadAndTailMergeIntoDense) {
  for_each_truncation([](const Truncation& t, std::size_t) {
    BasicState<double> merged = t.kept, tail = t.dropped;
    merge(merged.view(), tail.view());
    for (std::size_t c = 0; c < kColumns; ++c) EXPECT_NEAR(merged.out()[c], t.dense.out()[c], 1e-13);
    EXPECT_NEAR(merged.lse(), t.dense.lse(), 1e-13);
  });
}

// Top-p drops at most 1 - p, so its error is at most 2 (1 - p) max |v|.
TEST(TotalVariation, OfTopP) {
  for (const double mass : {0.5, 0.9, 0.99, 0.9999}) {
    const Truncation t(1, 1.5, 99);
    const BasicState<double> kept = attend(TopP{mass}, t.p.query(), t.p.kv());
    EXPECT_LE(-std::expm1(kept.lse() - t.dense.lse()), 1 - mass + 1e-12);
    double largest = 0, error = 0;
    for (std::size_t i = 0; i < kFew; ++i) {
      double norm = 0;
      for (std::size_t c = 0; c < kColumns; ++c) norm += t.value(i, c) * t.value(i, c);
      largest = std::max(largest, std::sqrt(norm));
    }
    for (std::size_t c = 0; c < kColumns; ++c) error += std::pow(kept.out()[c] - t.dense.out()[c], 2);
    EXPECT_LE(std::sqrt(error), 2 * (1 - mass) * largest + 1e-12);
  }
}

}  // namespace
}  // namespace skim::test

// SPDX-License-Identifier: Apache-2.0
// Is every key chosen as often as it should be, and every pair? Counts are judged by the exact binomial
// distribution: no normal approximation.
#include <gtest/gtest.h>

#include "statistics/trial.h"
#include "statistics/wrong_estimators.h"

namespace skim::test {
namespace {

/// What `runs` runs have chosen.
struct Counts {
  std::vector<std::uint64_t> of_key;  // [n], times each position was chosen
  std::vector<Mean> in_eighth;        // picks in each eighth of the positions
  std::vector<Mean> at_distance;      // pairs (i, i + distance) chosen together: 1..16 and n / budget
  std::uint64_t runs = 0;
};

constexpr std::size_t kDistances = 17;

template <class E>
Counts count_picks(const E& estimator, Trial& trial, std::uint64_t runs, std::size_t budget,
                   std::uint64_t test) {
  const std::size_t n = trial.size();
  Counts counts{std::vector<std::uint64_t>(n), std::vector<Mean>(8), std::vector<Mean>(kDistances),
                runs};
  std::vector<char> chosen(n);
  Workspace& ws = trial.workspace();
  Selection selection;
  for (std::uint64_t r = 0; r < runs; ++r) {
    const Query q =
        trial.logits().query({.seed = run_seed(test, r)}).resolved(static_cast<Position>(n));
    HWY_NAMESPACE::select_resolved(estimator, q, trial.kv(), selection, ws);
    std::fill(chosen.begin(), chosen.end(), 0);
    std::array<double, 8> in_eighth{};
    for (const Pick& pick : selection.picks()) {
      const auto at = static_cast<std::size_t>(pick.position);
      chosen[at] = 1;
      ++counts.of_key[at];
      ++in_eighth[at * 8 / n];
    }
    for (std::size_t e = 0; e < 8; ++e) counts.in_eighth[e].add(in_eighth[e]);
    for (std::size_t k = 0; k < kDistances; ++k) {
      const std::size_t distance = k < 16 ? k + 1 : n / budget;
      double pairs = 0;
      for (const Pick& pick : selection.picks()) {
        const std::size_t other = static_cast<std::size_t>(pick.position) + distance;
        pairs += other < n && chosen[other] ? 1 : 0;
      }
      counts.at_distance[k].add(pairs);
    }
  }
  return counts;
}

/// Every key on its own, and in bins by position and by probability. p: [n], the probability of each key.
template <class E>
Judge inclusion(const std::string& name, const E& estimator, Trial& trial, const std::vector<double>& p,
                std::size_t budget, std::uint64_t runs, std::uint64_t test) {
  const Counts counts = count_picks(estimator, trial, runs, budget, test);
  Judge judge(name + ", inclusion");
  for (std::size_t i = 0; i < p.size(); ++i) {
    judge.count_is("key " + std::to_string(i), counts.of_key[i], runs, std::clamp(p[i], 0.0, 1.0));
  }
  for (std::size_t e = 0; e < 8; ++e) {
    double expected = 0;
    for (std::size_t i = 0; i < p.size(); ++i) expected += i * 8 / p.size() == e ? p[i] : 0;
    judge.mean_is("eighth " + std::to_string(e), counts.in_eighth[e], expected, 1e-6 * expected);
  }
  return judge;
}

std::vector<double> shares_of(const Trial& trial) {
  return reference_shares(trial.logits().logits[0], middle_of(trial.size(), 0, 0));
}

std::vector<double> proportional_to_size(const Trial& trial, std::size_t budget) {
  std::vector<double> p = shares_of(trial);
  const double c = reference_inclusion_scale(p, static_cast<double>(budget));
  for (double& x : p) x = std::min(1.0, c * x);
  return p;
}

constexpr std::size_t kKeys = 4099, kBudget = 256;
constexpr std::uint64_t kRuns = 4000;

TEST(Inclusion, Uniform) {
  Trial trial(1, kKeys, 1.5, true, 1);
  const std::vector<double> p(kKeys, static_cast<double>(kBudget) / kKeys);
  EXPECT_TRUE(inclusion("uniform", UniformTail{kBudget}, trial, p, kBudget, kRuns, 2001).accepts());
}

// 64 bins of neighbours: chi-square, with the correction for drawing without replacement.
TEST(Inclusion, UniformInBins) {
  Trial trial(1, kKeys, 1.5, true, 2);
  const Counts counts = count_picks(UniformTail{kBudget}, trial, kRuns, kBudget, 2002);
  std::array<double, 64> bin{}, size{};
  for (std::size_t i = 0; i < kKeys; ++i) {
    bin[i * 64 / kKeys] += static_cast<double>(counts.of_key[i]);
    ++size[i * 64 / kKeys];
  }
  double x = 0;
  for (std::size_t b = 0; b < 64; ++b) {
    const double expected = static_cast<double>(kRuns * kBudget) * size[b] / kKeys;
    ASSERT_GT(expected, 10);
    x += (bin[b] - expected) * (bin[b] - expected) / expected;
  }
  Judge judge("uniform, in bins");
  judge.chi_square("64 bins", x * (kKeys - 1) / (kKeys - kBudget), 63);
  EXPECT_TRUE(judge.accepts());
}

TEST(Inclusion, Systematic) {
  Trial trial(1, kKeys, 1.5, true, 3);
  const std::vector<double> p = proportional_to_size(trial, kBudget);
  EXPECT_TRUE(
      inclusion("systematic", SystematicTail{kBudget}, trial, p, kBudget, kRuns, 2003).accepts());
}

TEST(Inclusion, Poisson) {
  Trial trial(1, kKeys, 1.5, true, 4);
  const std::vector<double> p = proportional_to_size(trial, kBudget);
  EXPECT_TRUE(inclusion("poisson", PoissonTail{kBudget}, trial, p, kBudget, kRuns, 2004).accepts());
}

TEST(Inclusion, Multinomial) {
  Trial trial(1, kKeys, 1.5, true, 5);
  std::vector<double> p = shares_of(trial);
  for (double& x : p) x = -std::expm1(kBudget * std::log1p(-x));
  EXPECT_TRUE(
      inclusion("multinomial", MultinomialTail{kBudget}, trial, p, kBudget, kRuns, 2005).accepts());
}

// ---- pairs ----------------------------------------------------------------------------------------------------

/// Pairs of uniform draws without replacement: each is chosen with probability b (b - 1) / (n (n - 1)).
template <class E>
Judge pairs(const std::string& name, const E& estimator, std::uint64_t test) {
  Trial trial(1, kKeys, 1.5, true, 6);
  const Counts counts = count_picks(estimator, trial, kRuns, kBudget, test);
  const double n = kKeys, b = kBudget, of_pair = b * (b - 1) / (n * (n - 1));
  Judge judge(name + ", pairs");
  for (std::size_t k = 0; k < kDistances; ++k) {
    const double distance = k < 16 ? static_cast<double>(k + 1) : static_cast<double>(kKeys / kBudget);
    judge.mean_is("distance " + std::to_string(distance), counts.at_distance[k],
                  (n - distance) * of_pair);
  }
  return judge;
}

TEST(Pairs, AtADistance) { EXPECT_TRUE(pairs("uniform", UniformTail{kBudget}, 2006).accepts()); }

// All 276 pairs of 24 keys, each by the exact binomial distribution.
TEST(Pairs, EveryPairOfAFewKeys) {
  constexpr std::size_t kFew = 24, kOf = 5;
  constexpr std::uint64_t kMany = 200000;
  const GivenLogits<float> p({std::vector<float>(kFew, 0.0f)});
  std::vector<std::uint64_t> together(kFew * kFew);
  Workspace ws;
  Selection selection;
  for (std::uint64_t r = 0; r < kMany; ++r) {
    const Query q = p.query({.seed = run_seed(2007, r)}).resolved(kFew);
    HWY_NAMESPACE::select_resolved(UniformTail{kOf}, q, p.kv(), selection, ws);
    ASSERT_EQ(selection.picks().size(), kOf);
    for (const Pick& a : selection.picks()) {
      for (const Pick& b : selection.picks())
        ++together[static_cast<std::size_t>(a.position) * kFew + static_cast<std::size_t>(b.position)];
    }
  }
  Judge judge("uniform, every pair");
  for (std::size_t i = 0; i < kFew; ++i) {
    judge.count_is("key " + std::to_string(i), together[i * kFew + i], kMany, kOf / double{kFew});
    for (std::size_t j = 0; j < i; ++j) {
      judge.count_is("pair " + std::to_string(i) + ", " + std::to_string(j), together[i * kFew + j],
                     kMany, kOf * (kOf - 1) / double{kFew * (kFew - 1)});
    }
  }
  EXPECT_TRUE(judge.accepts());
}

// ---- power ----------------------------------------------------------------------------------------------------

TEST(InclusionPower, LastNeverDrawn) {
  Trial trial(1, kKeys, 1.5, true, 7);
  const std::vector<double> uniform(kKeys, static_cast<double>(kBudget) / kKeys);
  EXPECT_TRUE(inclusion("last never drawn, uniform", LastNeverDrawn<UniformTail>{{{kBudget}}}, trial,
                        uniform, kBudget, kRuns, 3001)
                  .finds_fault());
  const std::vector<double> p = proportional_to_size(trial, kBudget);
  EXPECT_TRUE(inclusion("last never drawn, systematic", LastNeverDrawn<SystematicTail>{{{kBudget}}},
                        trial, p, kBudget, kRuns, 3002)
                  .finds_fault());
}

// Draws with replacement lose 3 % of their picks at 6 % of the keys.
TEST(InclusionPower, Deduplicated) {
  Trial trial(1, kKeys, 1.5, true, 8);
  const std::vector<double> p(kKeys, static_cast<double>(kBudget) / kKeys);
  EXPECT_TRUE(inclusion("deduplicated", DeduplicatedUniform{kBudget}, trial, p, kBudget, kRuns, 3003)
                  .finds_fault());
}

// Each key is as likely as it should be, and numerator and denominator are unbiased: only pairs show it.
TEST(InclusionPower, Clumped) {
  Trial trial(1, kKeys, 1.5, true, 9);
  const std::vector<double> p(kKeys, static_cast<double>(kBudget) / kKeys);
  EXPECT_FALSE(inclusion("clumped", Clumped{kBudget}, trial, p, kBudget, kRuns, 3004).rejects());
  EXPECT_TRUE(pairs("clumped", Clumped{kBudget}, 3005).finds_fault());
}

}  // namespace
}  // namespace skim::test

// SPDX-License-Identifier: Apache-2.0
// Does oracle sampling have the mean, the covariance and the number of distinct keys that are proved of it?
// MagicPIG, arXiv 2410.16179: theorem 3.2, o is the mean and Tr Cov = (E|v|^2 - |o|^2) / B; theorem 3.3, the expected
// number of distinct keys is at most 1 + B (1 - max pi).
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include <gtest/gtest.h>

#include "estimator/given_logits.h"
#include "estimator/inclusion.h"
#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

Outcome multinomial(const std::vector<double>& log_proposal, std::size_t draws, std::vector<double> u) {
  Workspace ws;
  std::vector<std::size_t> ranks(draws);
  std::vector<double> log_weights(draws);
  const HWY_NAMESPACE::Tail<double> tail{log_proposal.data(), log_proposal.size(), draws};
  const std::size_t count =
      HWY_NAMESPACE::multinomial_sample(tail, u.data(), ranks.data(), log_weights.data(), ws);
  Outcome outcome;
  for (std::size_t j = 0; j < count; ++j) outcome.push_back({ranks[j], log_weights[j]});
  return outcome;
}

/// Calls visit(probability, outcome) for every tuple of draws.
template <class Visit>
void for_each_tuple(const std::vector<double>& log_proposal, std::size_t draws, const Visit& visit) {
  const auto keys = intervals([&](double u) { return multinomial(log_proposal, 1, {u}); });
  std::vector<std::size_t> tuple(draws, 0);
  for (std::size_t digit = 0; digit != draws;) {
    double probability = 1;
    std::vector<double> u;
    for (const std::size_t t : tuple) {
      probability *= keys[t].length();
      u.push_back(keys[t].middle());
    }
    visit(probability, multinomial(log_proposal, draws, u));
    for (digit = 0; digit < draws && ++tuple[digit] == keys.size(); ++digit) tuple[digit] = 0;
  }
}

// All outcomes through the public `attend(selection, ...)`, in double: the theorem to rounding.
TEST(OracleSampling, MeanAndCovarianceOverEveryOutcome) {
  for (const std::size_t n : {3u, 5u}) {
    const auto p = random_problem<double>({n, 6, 3, 1}, n, 1.5);
    const ReferenceQuery row = reference_query(p.query(), 0, n);
    const std::vector<double> s = reference_logits(row, numbers_of(p.keys, n, 6));
    const Matrix values = numbers_of(p.values, n, 3);
    const auto dense = reference_attention(s, values, everything(0, static_cast<Position>(n)));
    double second_moment = 0, o_squared = 0;
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t c = 0; c < 3; ++c)
        second_moment += std::exp(s[i] - dense.lse) * values(i, c) * values(i, c);
    }
    for (const double o : dense.out) o_squared += o * o;

    for (const std::size_t draws : {1u, 2u, 3u, 4u}) {
      SCOPED_TRACE(testing::Message() << n << " keys, " << draws << " draws");
      double mean[3] = {}, trace = 0;
      for_each_tuple(s, draws, [&](double probability, const Outcome& outcome) {
        Selection selection;
        for (const Chosen& c : outcome) selection.add(static_cast<Position>(c.rank), c.log_weight);
        const BasicState<double> state = attend(selection, p.query(), p.kv());
        EXPECT_NEAR(state.lse(), dense.lse, 1e-12);
        for (std::size_t c = 0; c < 3; ++c) {
          mean[c] += probability * state.out()[c];
          trace += probability * (state.out()[c] - dense.out[c]) * (state.out()[c] - dense.out[c]);
        }
      });
      for (std::size_t c = 0; c < 3; ++c)
        EXPECT_NEAR(mean[c], dense.out[c], 1e-12) << "unbiased, not only consistent";
      EXPECT_NEAR(trace, (second_moment - o_squared) / static_cast<double>(draws), 1e-12);
    }
  }
}

double largest_share(const std::vector<double>& share) {
  return *std::max_element(share.begin(), share.end());
}

TEST(OracleSampling, DistinctKeysOverEveryOutcome) {
  for (const auto& [name, s] : proposals<double>()) {
    std::vector<Position> all;
    for (std::size_t i = 0; i < s.size(); ++i) all.push_back(static_cast<Position>(i));
    const std::vector<double> share = reference_shares(s, all);
    for (const std::size_t draws : {1u, 2u, 3u, 4u}) {
      SCOPED_TRACE(testing::Message() << name << ", " << draws << " draws");
      double distinct = 0, formula = 0;
      for_each_tuple(s, draws, [&](double probability, const Outcome& outcome) {
        distinct += probability * static_cast<double>(outcome.size());
      });
      const auto b = static_cast<double>(draws);
      for (const double pi : share) formula += 1 - std::pow(1 - pi, b);
      EXPECT_NEAR(distinct, formula, 1e-11);
      EXPECT_LE(distinct, 1 + b * (1 - largest_share(share)) + 1e-11);
    }
  }
}

// Many keys: the average over seeds of the picks of `select`. The number of distinct keys lies between 1 and B, so
// Hoeffding's bound holds without a normal approximation: false alarms below 1e-9.
TEST(OracleSampling, DistinctKeysOfManyKeys) {
  constexpr int kDraws = 256;
  constexpr std::uint64_t kSeeds = 400;
  for (const double spread : {0.5, 1.5, 3.0, 6.0}) {
    const auto p = normal_logits<float>(1, 4096, spread, 11);
    const std::vector<double> share = reference_shares(p.logits[0], middle_of(4096, 0, 0));
    double truth = 0, distinct = 0;
    for (const double pi : share) truth += 1 - std::pow(1 - pi, kDraws);
    for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
      distinct += static_cast<double>(
          select(MultinomialTail{kDraws}, p.query({.seed = seed}), p.kv()).picks().size());
    }
    distinct /= static_cast<double>(kSeeds);
    const double bound = kDraws * std::sqrt(std::log(2 / 1e-9) / (2.0 * static_cast<double>(kSeeds)));
    EXPECT_NEAR(distinct, truth, bound);
    EXPECT_NEAR(distinct, truth, 0.02 * truth) << "spread " << spread;
    EXPECT_LE(truth, 1 + kDraws * (1 - largest_share(share)));
  }
}

}  // namespace
}  // namespace skim::test

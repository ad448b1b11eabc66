// SPDX-License-Identifier: Apache-2.0
// Does Poisson sampling count every key once in expectation, and does it choose its budget on average?
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "estimator/given_logits.h"
#include "estimator/inclusion.h"
#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

/// The library's, as a function of its uniform numbers.
struct Poisson {
  template <class Real>
  Outcome operator()(const std::vector<Real>& log_proposal, std::size_t budget,
                     std::vector<Real> u) const {
    Workspace ws;
    std::vector<std::size_t> ranks(log_proposal.size());
    std::vector<double> log_weights(log_proposal.size());
    const HWY_NAMESPACE::Tail<Real> tail{log_proposal.data(), log_proposal.size(), budget};
    const std::size_t count =
        HWY_NAMESPACE::poisson_sample(tail, u.data(), ranks.data(), log_weights.data(), ws);
    Outcome outcome;
    for (std::size_t j = 0; j < count; ++j) outcome.push_back({ranks[j], log_weights[j]});
    return outcome;
  }
};

template <class Real>
class PoissonExact : public testing::Test {};
using Reals = testing::Types<double, float>;
TYPED_TEST_SUITE(PoissonExact, Reals);

TYPED_TEST(PoissonExact, EverySubset) {
  for (const auto& [name, log_proposal] : proposals<TypeParam>()) {
    const auto possible = static_cast<std::size_t>(std::count_if(
        log_proposal.begin(), log_proposal.end(), [](TypeParam x) { return x > kNone<TypeParam>; }));
    for (std::size_t budget = 1; budget < log_proposal.size(); ++budget) {
      SCOPED_TRACE(testing::Message() << name << ", budget " << budget);
      const Expectation e = expect_poisson(log_proposal, budget, Poisson{});
      EXPECT_TRUE(is_one_everywhere(e, log_proposal, inclusion_tolerance(log_proposal)));
      const auto expected = static_cast<double>(std::min(budget, possible));
      EXPECT_NEAR(e.count(), expected, expected * inclusion_tolerance(log_proposal));
    }
  }
}

// A sink e^100 above the rest is certain, and the rest is sampled as if it were alone.
TYPED_TEST(PoissonExact, DominatedTail) {
  const std::vector<TypeParam> log_proposal = {0, 1, 100, -1, 0};
  for (const std::size_t budget : {2u, 3u, 4u}) {
    const Expectation e = expect_poisson(log_proposal, budget, Poisson{});
    EXPECT_TRUE(is_one_everywhere(e, log_proposal, inclusion_tolerance(log_proposal)))
        << "budget " << budget;
    EXPECT_EQ(e.mean(2), 1);
  }
  // One pick only: the rest has probability e^-99, which no uniform number reaches.
  EXPECT_LE(mass_bias(expect_poisson(log_proposal, 1, Poisson{}), log_proposal), 1e-12);
}

TYPED_TEST(PoissonExact, NothingHasAProbability) {
  EXPECT_TRUE(
      Poisson{}(std::vector<TypeParam>(4, kNone<TypeParam>), 2, std::vector<TypeParam>(4, 1)).empty());
}

TYPED_TEST(PoissonExact, InfiniteLogitIsCertain) {
  const std::vector<TypeParam> log_proposal = {1, 500, -kNone<TypeParam>, 3};
  for (const std::size_t budget : {1u, 2u, 3u}) {
    const Outcome outcome = Poisson{}(log_proposal, budget, std::vector<TypeParam>(4, 1));
    ASSERT_GE(outcome.size(), 1u);
    EXPECT_TRUE(std::any_of(outcome.begin(), outcome.end(),
                            [](const Chosen& c) { return c.rank == 2 && c.log_weight == 0; }));
  }
}

// ---- the estimator ------------------------------------------------------------------------------------------

// The uniform number of a position is that draw of the stream: the same key is chosen, or not, whatever is selected
// before it. A group samples by the mean of its heads' probabilities over the residual.
TEST(PoissonTail, SamplesTheResidual) {
  for (const std::size_t heads : {1u, 2u, 5u}) {
    const auto p = normal_logits<double>(heads, 90, 1.5, 20 + heads);
    const Stream stream{.seed = 8, .layer = 3, .head = 1, .sequence = 9};
    const Selection selection =
        select(stack(Sinks{2}, Window{7}, PoissonTail{20}), p.query(stream), p.kv());
    const std::vector<Position> among = middle_of(90, 2, 7);
    const std::vector<double> share = reference_proposal(p, among);
    const double c = reference_inclusion_scale(share, 20);
    std::size_t at = 0;
    for (std::size_t j = 0; j < share.size(); ++j) {
      const double p_j = std::min(1.0, c * share[j]);
      if (Draws(stream, 89).uniform(static_cast<std::uint64_t>(among[j])) > p_j) continue;
      ASSERT_LT(at, selection.picks().size());
      EXPECT_EQ(selection.picks()[at].position, among[j]);
      EXPECT_NEAR(selection.picks()[at++].log_weight, -std::log(p_j), 1e-11);
    }
    EXPECT_EQ(at, selection.picks().size());
  }
}

TEST(PoissonTail, BudgetOfAllThatIsLeftIsDense) {
  const auto p = normal_logits<float>(2, 40, 1, 3);
  for (const int budget : {34, 35, 1000}) {
    const Selection selection =
        select(stack(Sinks{2}, Window{4}, PoissonTail{budget}), p.query(), p.kv());
    EXPECT_TRUE(selection.picks().empty());
    Position held = 0;
    for (const Span& span : selection.spans()) held += span.size();
    EXPECT_EQ(held, 40);
  }
}

TEST(PoissonTail, NanIsNeverChosen) {
  const GivenLogits<float> p({{NAN, 1, -INFINITY, 2, NAN, 0, -INFINITY, 1}});
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Selection selection = select(PoissonTail{3}, p.query({.seed = seed}), p.kv());
    for (const Pick& pick : selection.picks()) {
      ASSERT_TRUE(p.logits[0][static_cast<std::size_t>(pick.position)] > -INFINITY) << pick.position;
    }
  }
}

// ---- the checker can fail ---------------------------------------------------------------------------------

/// Poisson sampling written plainly, with a mistake to choose.
struct PlainPoisson {
  enum Mistake {
    kNoMistake,
    kFloor,
    kWeightIsProbability,
    kLastNeverChosen,
    kNeverCertain
  } mistake = kNoMistake;

  Outcome operator()(const std::vector<double>& log_proposal, std::size_t budget,
                     const std::vector<double>& u) const {
    std::vector<Position> all(log_proposal.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<Position>(i);
    const std::vector<double> share = reference_shares(log_proposal, all);
    const double c = mistake == kNeverCertain
                         ? static_cast<double>(budget)
                         : reference_inclusion_scale(share, static_cast<double>(budget));
    Outcome outcome;
    for (std::size_t i = 0; i < share.size(); ++i) {
      if (!(u[i] <= c * share[i]) || (mistake == kLastNeverChosen && i + 1 == share.size())) continue;
      const double p = mistake == kNeverCertain ? c * share[i] : std::min(1.0, c * share[i]);
      const double weight = mistake == kWeightIsProbability ? p
                            : mistake == kFloor             ? 1 / (p + 1e-4)
                                                            : 1 / p;
      outcome.push_back({i, std::log(weight)});
    }
    return outcome;
  }
};

testing::AssertionResult passes(PlainPoisson::Mistake mistake) {
  const std::vector<double> log_proposal = {0.3, 3.1, -1.7, 1.1, -0.4};
  return is_one_everywhere(expect_poisson(log_proposal, 2, PlainPoisson{mistake}), log_proposal, 1e-9);
}

TEST(PoissonControl, PlainPasses) { EXPECT_TRUE(passes(PlainPoisson::kNoMistake)); }
TEST(PoissonControl, FloorInTheWeightFails) { EXPECT_FALSE(passes(PlainPoisson::kFloor)); }
TEST(PoissonControl, ProbabilityForItsInverseFails) {
  EXPECT_FALSE(passes(PlainPoisson::kWeightIsProbability));
}
TEST(PoissonControl, LastKeyNeverChosenFails) { EXPECT_FALSE(passes(PlainPoisson::kLastNeverChosen)); }
TEST(PoissonControl, ProbabilityAboveOneFails) { EXPECT_FALSE(passes(PlainPoisson::kNeverCertain)); }

// Two independent designs on the same keys, u[i] for one and u[n + i] for the other. On their union the weight is
// 1 / (1 - (1 - p)(1 - p')); a weight of 1 / min(1, p + p') is what must fail.
testing::AssertionResult union_passes(bool clamped_sum) {
  const std::vector<double> p = {0.2, 0.5, 0.7, 0.9}, other = {0.3, 0.4, 0.6, 0.05};
  const std::vector<double> log_proposal(4, 0.0);
  Expectation e(4);
  for (std::size_t chosen = 0; chosen < 256;
       ++chosen) {  // by the one: low bits, by the other: high bits
    double probability = 1;
    Outcome outcome;
    for (std::size_t i = 0; i < 4; ++i) {
      const bool a = (chosen >> i & 1) != 0, b = (chosen >> (4 + i) & 1) != 0;
      probability *= (a ? p[i] : 1 - p[i]) * (b ? other[i] : 1 - other[i]);
      const double both =
          clamped_sum ? std::min(1.0, p[i] + other[i]) : 1 - (1 - p[i]) * (1 - other[i]);
      if (a || b) outcome.push_back({i, -std::log(both)});
    }
    e.add(probability, outcome);
  }
  return is_one_everywhere(e, log_proposal, 1e-12);
}

TEST(PoissonControl, UnionOfTwoDesignsPasses) { EXPECT_TRUE(union_passes(false)); }
TEST(PoissonControl, ClampedSumOfTwoDesignsFails) { EXPECT_FALSE(union_passes(true)); }

}  // namespace
}  // namespace skim::test

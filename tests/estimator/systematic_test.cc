// SPDX-License-Identifier: Apache-2.0
// Does systematic sampling choose exactly its budget, none twice, and every key once in expectation?
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "estimator/given_logits.h"
#include "estimator/inclusion.h"
#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

/// The library's, as a function of its one uniform number.
struct Systematic {
  template <class Real>
  Outcome operator()(const std::vector<Real>& log_proposal, std::size_t budget, double u) const {
    Workspace ws;
    std::vector<std::size_t> ranks(log_proposal.size());
    std::vector<double> log_weights(log_proposal.size());
    const HWY_NAMESPACE::Tail<Real> tail{log_proposal.data(), log_proposal.size(), budget};
    const std::size_t count =
        HWY_NAMESPACE::systematic_sample(tail, u, ranks.data(), log_weights.data(), ws);
    Outcome outcome;
    for (std::size_t j = 0; j < count; ++j) outcome.push_back({ranks[j], log_weights[j]});
    return outcome;
  }
};

/// Keys that can be chosen at all.
template <class Real>
std::size_t possible(const std::vector<Real>& log_proposal) {
  return static_cast<std::size_t>(
      std::count_if(log_proposal.begin(), log_proposal.end(), [](Real x) { return x > kNone<Real>; }));
}

template <class Real>
class SystematicExact : public testing::Test {};
using Reals = testing::Types<double, float>;
TYPED_TEST_SUITE(SystematicExact, Reals);

TYPED_TEST(SystematicExact, EveryInterval) {
  for (const auto& [name, log_proposal] : proposals<TypeParam>()) {
    for (std::size_t budget = 1; budget < log_proposal.size(); ++budget) {
      SCOPED_TRACE(testing::Message() << name << ", budget " << budget);
      const Expectation e = expect_systematic(log_proposal, budget, Systematic{});
      EXPECT_TRUE(is_one_everywhere(e, log_proposal, inclusion_tolerance(log_proposal)));
      EXPECT_NEAR(e.count(), static_cast<double>(std::min(budget, possible(log_proposal))), 1e-12);
    }
  }
}

// Not only in expectation: every outcome has the budget, or all that can be chosen.
TYPED_TEST(SystematicExact, ExactlyTheBudget) {
  std::mt19937_64 generator(1);
  std::normal_distribution<double> normal(0, 2);
  for (int problem = 0; problem < 300; ++problem) {
    std::vector<TypeParam> log_proposal(3 + generator() % 60);
    for (TypeParam& x : log_proposal) {
      x = static_cast<TypeParam>(normal(generator));
      if (problem % 3 == 0) x = std::round(x);
      if (problem % 5 == 0 && generator() % 4 == 0) x = kNone<TypeParam>;
    }
    const std::size_t budget = 1 + generator() % (log_proposal.size() - 1);
    for (const double u : {0x1p-32, 0.1, 0.5, 0.9, 1 - 0x1p-32, 1.0}) {
      const Outcome outcome = Systematic{}(log_proposal, budget, u);
      ASSERT_TRUE(well_formed(outcome, log_proposal.size()));
      ASSERT_EQ(outcome.size(), std::min(budget, possible(log_proposal)))
          << "problem " << problem << ", u " << u;
    }
  }
}

TYPED_TEST(SystematicExact, RandomProblems) {
  std::mt19937_64 generator(2);
  for (int problem = 0; problem < 400; ++problem) {
    std::normal_distribution<double> normal(0, problem % 4 == 0 ? 8 : 1.5);
    std::vector<TypeParam> log_proposal(2 + generator() % 12);
    for (TypeParam& x : log_proposal) x = static_cast<TypeParam>(normal(generator));
    const std::size_t budget = 1 + generator() % (log_proposal.size() - 1);
    SCOPED_TRACE(testing::Message() << "problem " << problem);
    const Expectation e = expect_systematic(log_proposal, budget, Systematic{});
    EXPECT_LE(mass_bias(e, log_proposal), inclusion_tolerance(log_proposal));
    EXPECT_NEAR(e.count(), static_cast<double>(budget), 1e-12);
  }
}

// Each key's probability is min(1, c share): the budget goes where the mass is.
TYPED_TEST(SystematicExact, WeightsAreOneOverTheInclusionProbability) {
  for (const auto& [name, log_proposal] : proposals<TypeParam>()) {
    SCOPED_TRACE(name);
    std::vector<Position> all(log_proposal.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<Position>(i);
    const std::vector<double> share = reference_shares(log_proposal, all);
    const std::size_t budget = std::min<std::size_t>(3, possible(log_proposal));
    const double c = reference_inclusion_scale(share, static_cast<double>(budget));
    for (const double u : {0.05, 0.35, 0.65, 0.95}) {
      for (const Chosen& x : Systematic{}(log_proposal, budget, u)) {
        EXPECT_NEAR(x.log_weight, -std::log(std::min(1.0, c * share[x.rank])),
                    inclusion_tolerance(log_proposal));
      }
    }
  }
}

// A sink e^100 above the rest is certain, and the rest is sampled as if it were alone.
TYPED_TEST(SystematicExact, DominatedTail) {
  const std::vector<TypeParam> log_proposal = {0, 1, 100, -1, 0};
  for (const std::size_t budget : {2u, 3u, 4u}) {
    const Expectation e = expect_systematic(log_proposal, budget, Systematic{});
    EXPECT_TRUE(is_one_everywhere(e, log_proposal, inclusion_tolerance(log_proposal)));
    EXPECT_EQ(e.mean(2), 1);
  }
  // One pick only: the rest has probability e^-99 and is never chosen.
  const Expectation e = expect_systematic(log_proposal, 1, Systematic{});
  EXPECT_NEAR(e.mean(2), 1, 1e-12);
}

// A key whose probability is just below 1 must not push a point onto a neighbour that is hardly ever chosen, with
// its huge weight.
TYPED_TEST(SystematicExact, NearlyCertain) {
  for (const double gap : {1e-1, 1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10, 1e-13, 1e-15}) {
    // Budget 2: p = (1 - gap, 1, gap / 2, gap / 2), and the same with the small ones around the large one.
    const auto ln = [](double x) { return static_cast<TypeParam>(std::log(x)); };
    for (const std::vector<TypeParam>& log_proposal :
         {std::vector<TypeParam>{ln(1 - gap), 3, ln(gap / 2), ln(gap / 2)},
          std::vector<TypeParam>{ln(gap / 2), ln(1 - gap), ln(gap / 2), 3}}) {
      SCOPED_TRACE(gap);
      const Expectation e = expect_systematic(log_proposal, 2, Systematic{});
      EXPECT_NEAR(e.probability(), 1, 1e-12);
      EXPECT_LE(mass_bias(e, log_proposal), inclusion_tolerance(log_proposal));
    }
  }
}

TYPED_TEST(SystematicExact, NothingHasAProbability) {
  EXPECT_TRUE(Systematic{}(std::vector<TypeParam>(4, kNone<TypeParam>), 2, 0.5).empty());
}

TYPED_TEST(SystematicExact, InfiniteLogits) {
  constexpr TypeParam kAll = std::numeric_limits<TypeParam>::infinity();
  const std::vector<TypeParam> one = {1, 500, kAll, 3, 2};
  for (const double u : {0x1p-32, 0.4, 1.0}) {
    const Outcome outcome = Systematic{}(one, 2, u);
    ASSERT_EQ(outcome.size(), 2u);
    EXPECT_TRUE(outcome[0].rank == 2 || outcome[1].rank == 2);
  }
  const std::vector<TypeParam> three = {kAll, 500, kAll, 3, kAll};
  for (const std::size_t budget : {1u, 2u, 3u, 4u}) {
    const Outcome outcome = Systematic{}(three, budget, 0.5);
    EXPECT_TRUE(well_formed(outcome, 5));
    EXPECT_LE(outcome.size(), budget) << "max_picks";
  }
}

// ---- the estimator ------------------------------------------------------------------------------------------

// The uniform number is draw 0 of the stream; a group samples by the mean of its heads' probabilities over what
// earlier stages have left.
TEST(SystematicTail, SamplesTheResidual) {
  for (const std::size_t heads : {1u, 2u, 5u}) {
    const auto p = normal_logits<double>(heads, 90, 1.5, 10 + heads);
    const Stream stream{.seed = 6, .layer = 3, .head = 1, .sequence = 9};
    const Selection selection =
        select(stack(Sinks{2}, Window{7}, SystematicTail{20}), p.query(stream), p.kv());
    const std::vector<Position> among = middle_of(90, 2, 7);
    const std::vector<double> share = reference_proposal(p, among);
    const double c = reference_inclusion_scale(share, 20);
    std::size_t certain = 0;
    for (const double x : share) certain += c * x >= 1 ? 1 : 0;
    const double u = Draws(stream, 89).uniform(0);
    ASSERT_EQ(selection.picks().size(), 20u);
    std::size_t at = 0, passed = 0;
    double prefix = 0;
    for (std::size_t j = 0; j < share.size(); ++j) {
      const double p_j = std::min(1.0, c * share[j]);
      bool chosen = p_j == 1;
      if (p_j < 1) {
        prefix += p_j;
        chosen = passed < 20 - certain && static_cast<double>(passed) + u <= prefix;
        passed += chosen ? 1 : 0;
      }
      if (!chosen) continue;
      ASSERT_LT(at, 20u);
      EXPECT_EQ(selection.picks()[at].position, among[j]);
      EXPECT_NEAR(selection.picks()[at++].log_weight, -std::log(p_j), 1e-11);
    }
    EXPECT_EQ(at, 20u);
  }
}

TEST(SystematicTail, BudgetOfAllThatIsLeftIsDense) {
  const auto p = normal_logits<float>(2, 40, 1, 3);
  for (const int budget : {34, 35, 1000}) {
    const Selection selection =
        select(stack(Sinks{2}, Window{4}, SystematicTail{budget}), p.query(), p.kv());
    EXPECT_TRUE(selection.picks().empty());
    Position held = 0;
    for (const Span& span : selection.spans()) held += span.size();
    EXPECT_EQ(held, 40);
  }
}

TEST(SystematicTail, NanIsNeverChosen) {
  const GivenLogits<float> p({{NAN, 1, -INFINITY, 2, NAN, 0, -INFINITY, 1}});
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Selection selection = select(SystematicTail{3}, p.query({.seed = seed}), p.kv());
    EXPECT_EQ(selection.picks().size(), 3u);
    for (const Pick& pick : selection.picks()) {
      ASSERT_TRUE(p.logits[0][static_cast<std::size_t>(pick.position)] > -INFINITY) << pick.position;
    }
  }
}

// ---- the checker can fail ---------------------------------------------------------------------------------

/// Systematic sampling written plainly, with a mistake to choose.
struct PlainSystematic {
  enum Mistake {
    kNoMistake,
    kNoCertainties,
    kWeightIsProbability,
    kFirstPointAtZero,
    kLastNeverChosen
  };
  Mistake mistake = kNoMistake;

  Outcome operator()(const std::vector<double>& log_proposal, std::size_t budget, double u) const {
    std::vector<Position> all(log_proposal.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<Position>(i);
    const std::vector<double> share = reference_shares(log_proposal, all);
    const double c = reference_inclusion_scale(share, static_cast<double>(budget));
    Outcome outcome;
    double prefix = 0, point = mistake == kFirstPointAtZero ? u / 2 : u;
    for (std::size_t i = 0; i < share.size(); ++i) {
      // Without certainties a large key takes several points, and has one of them in its weight.
      const double p = mistake == kNoCertainties ? static_cast<double>(budget) * share[i]
                                                 : std::min(1.0, c * share[i]);
      prefix += p;
      if (!(point <= prefix) || (mistake == kLastNeverChosen && i + 1 == share.size())) continue;
      while (point <= prefix) point += 1;
      outcome.push_back({i, mistake == kWeightIsProbability ? std::log(p) : -std::log(p)});
    }
    return outcome;
  }
};

testing::AssertionResult passes(PlainSystematic::Mistake mistake) {
  const std::vector<double> log_proposal = {0.3, 3.1, -1.7, 1.1, -0.4};
  return is_one_everywhere(expect_systematic(log_proposal, 2, PlainSystematic{mistake}), log_proposal, 1e-9);
}

TEST(SystematicControl, PlainPasses) { EXPECT_TRUE(passes(PlainSystematic::kNoMistake)); }
TEST(SystematicControl, WithoutCertaintiesFails) { EXPECT_FALSE(passes(PlainSystematic::kNoCertainties)); }
TEST(SystematicControl, ProbabilityForItsInverseFails) {
  EXPECT_FALSE(passes(PlainSystematic::kWeightIsProbability));
}
TEST(SystematicControl, PointsNotUniformFails) { EXPECT_FALSE(passes(PlainSystematic::kFirstPointAtZero)); }
TEST(SystematicControl, LastKeyNeverChosenFails) { EXPECT_FALSE(passes(PlainSystematic::kLastNeverChosen)); }

}  // namespace
}  // namespace skim::test

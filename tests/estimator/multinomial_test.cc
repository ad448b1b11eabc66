// SPDX-License-Identifier: Apache-2.0
// Does oracle sampling count every key once in expectation, however often it draws it?
#include <cmath>
#include <cstddef>
#include <limits>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "estimator/given_logits.h"
#include "estimator/inclusion.h"
#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

/// The library's, as a function of its uniform numbers.
struct Multinomial {
  template <class Real>
  Outcome operator()(const std::vector<Real>& log_proposal, std::size_t draws,
                     std::vector<double> u) const {
    Workspace ws;
    std::vector<std::size_t> ranks(draws);
    std::vector<double> log_weights(draws);
    const HWY_NAMESPACE::Tail<Real> tail{log_proposal.data(), log_proposal.size(), draws};
    const std::size_t count =
        HWY_NAMESPACE::multinomial_sample(tail, u.data(), ranks.data(), log_weights.data(), ws);
    Outcome outcome;
    for (std::size_t j = 0; j < count; ++j) outcome.push_back({ranks[j], log_weights[j]});
    return outcome;
  }
};

template <class Real>
class MultinomialExact : public testing::Test {};
using Reals = testing::Types<double, float>;
TYPED_TEST_SUITE(MultinomialExact, Reals);

// Prefix sums are in double whatever the arithmetic, and a draw's weight is the length of the key's own
// stretch: so the law holds to 1e-12 in float too.
TYPED_TEST(MultinomialExact, EveryTupleOfDraws) {
  for (const auto& [name, log_proposal] : proposals<TypeParam>()) {
    for (const std::size_t draws : {1u, 2u, 3u, 4u}) {
      SCOPED_TRACE(testing::Message() << name << ", " << draws << " draws");
      const Expectation e = expect_multinomial(log_proposal, draws, Multinomial{});
      EXPECT_TRUE(is_one_everywhere(e, log_proposal, 1e-12));
    }
  }
}

// With the exact probabilities the denominator has no variance: every draw adds D / B.
TYPED_TEST(MultinomialExact, EveryOutcomeHasTheWholeMass) {
  for (const auto& [name, log_proposal] : proposals<TypeParam>()) {
    SCOPED_TRACE(name);
    double top = -INFINITY, mass = 0;
    for (const TypeParam x : log_proposal) top = std::max(top, static_cast<double>(x));
    for (const TypeParam x : log_proposal) mass += std::exp(static_cast<double>(x) - top);
    for (const double u : {0.01, 0.3, 0.77, 1.0}) {
      double sum = 0;
      for (const Chosen& c : Multinomial{}(log_proposal, 3, {u, 0.5, u / 2})) {
        sum += std::exp(c.log_weight + static_cast<double>(log_proposal[c.rank]) - top);
      }
      EXPECT_NEAR(sum / mass, 1, inclusion_tolerance(log_proposal));
    }
  }
}

// Two draws on one key: 2 / (2 pi), not 1 / (2 pi).
TYPED_TEST(MultinomialExact, MultiplicityIsInTheWeight) {
  const std::vector<TypeParam> log_proposal = {0, 0, 0, 0};
  const Outcome once = Multinomial{}(log_proposal, 2, {0.1, 0.9});
  ASSERT_EQ(once.size(), 2u);
  EXPECT_NEAR(once[0].log_weight, std::log(2.0), 1e-12);
  const Outcome twice = Multinomial{}(log_proposal, 2, {0.3, 0.4});
  ASSERT_EQ(twice.size(), 1u);
  EXPECT_EQ(twice[0].rank, 1u);
  EXPECT_NEAR(twice[0].log_weight, std::log(4.0), 1e-12);
}

TYPED_TEST(MultinomialExact, OrderOfTheDrawsDoesNotMatter) {
  const std::vector<TypeParam> log_proposal = {0, 1, 2, 1, 0};
  const Outcome a = Multinomial{}(log_proposal, 4, {0.9, 0.2, 0.5, 0.21});
  const Outcome b = Multinomial{}(log_proposal, 4, {0.2, 0.21, 0.5, 0.9});
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t j = 0; j < a.size(); ++j) {
    EXPECT_EQ(a[j].rank, b[j].rank);
    EXPECT_EQ(a[j].log_weight, b[j].log_weight);
  }
}

TYPED_TEST(MultinomialExact, TheLastKeyIsDrawnAtOne) {
  std::vector<TypeParam> log_proposal = {TypeParam(0.1), TypeParam(0.7), TypeParam(-0.3),
                                         TypeParam(0.2)};
  for (int extra = 0; extra < 3; ++extra, log_proposal.push_back(kNone<TypeParam>)) {
    const Outcome outcome = Multinomial{}(log_proposal, 3, {1.0, 1.0, 1.0});
    ASSERT_EQ(outcome.size(), 1u);
    EXPECT_EQ(outcome[0].rank, 3u) << "the last that has a probability";
  }
  // 1e5 keys: rounding of the prefix sums must not lose the last one.
  std::vector<TypeParam> many(100000);
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = std::sin(static_cast<TypeParam>(i));
  const Outcome outcome = Multinomial{}(many, 1, {1.0});
  ASSERT_EQ(outcome.size(), 1u);
  EXPECT_EQ(outcome[0].rank, many.size() - 1);
}

TYPED_TEST(MultinomialExact, ZeroProbabilityIsNeverDrawn) {
  const std::vector<TypeParam> log_proposal = {kNone<TypeParam>, 0, kNone<TypeParam>, 0,
                                               kNone<TypeParam>};
  for (const double u : {0x1p-60, 0x1p-32, 0.25, 0.5, std::nextafter(0.5, 1.0), 0.75, 1.0}) {
    const Outcome outcome = Multinomial{}(log_proposal, 1, {u});
    ASSERT_EQ(outcome.size(), 1u);
    EXPECT_EQ(outcome[0].rank, u <= 0.5 ? 1u : 3u) << "u = " << u;
    EXPECT_NEAR(outcome[0].log_weight, std::log(2.0), 1e-12);
  }
}

TYPED_TEST(MultinomialExact, NothingHasAProbability) {
  EXPECT_TRUE(Multinomial{}(std::vector<TypeParam>(4, kNone<TypeParam>), 2, {0.5, 0.6}).empty());
}

// One logit of +inf is everything.
TYPED_TEST(MultinomialExact, InfiniteLogit) {
  const std::vector<TypeParam> log_proposal = {1, 500, -kNone<TypeParam>, 3};
  const Outcome outcome = Multinomial{}(log_proposal, 3, {0x1p-32, 0.5, 1.0});
  ASSERT_EQ(outcome.size(), 1u);
  EXPECT_EQ(outcome[0].rank, 2u);
  EXPECT_EQ(outcome[0].log_weight, 0);
}

// A sink e^100 above the rest: the others are below the resolution of any uniform number and are not drawn.
// What that loses is below e^-99 of the mass.
TYPED_TEST(MultinomialExact, DominatedTail) {
  const std::vector<TypeParam> log_proposal = {100, 0, 1, -1, 0};
  const Expectation e = expect_multinomial(log_proposal, 3, Multinomial{});
  EXPECT_NEAR(e.probability(), 1, 1e-12);
  EXPECT_NEAR(e.mean(0), 1, 1e-12);
  for (std::size_t i = 1; i < 5; ++i) EXPECT_GE(e.mean(i), 0);
}

// ---- the estimator ------------------------------------------------------------------------------------------

// Draw b of a query is draw b of its stream; a group draws from the mean of its heads' probabilities over what
// earlier stages have left.
TEST(MultinomialTail, DrawsFromTheResidual) {
  for (const std::size_t heads : {1u, 2u, 5u}) {
    const auto p = normal_logits<double>(heads, 90, 1.5, heads);
    const Stream stream{.seed = 5, .layer = 3, .head = 1, .sequence = 9};
    const Selection selection =
        select(stack(Sinks{2}, Window{7}, MultinomialTail{30}), p.query(stream), p.kv());
    const std::vector<Position> among = middle_of(90, 2, 7);
    const std::vector<double> share = reference_proposal(p, among);
    std::map<Position, int> times;
    for (std::uint64_t draw = 0; draw < 30; ++draw) {
      const double u = Draws(stream, 89).uniform(draw);
      double prefix = share[0];
      std::size_t j = 0;
      while (prefix < u && j + 1 < share.size()) prefix += share[++j];
      ++times[among[j]];
    }
    ASSERT_EQ(selection.picks().size(), times.size());
    std::size_t at = 0;
    for (const auto& [position, c] : times) {
      const Pick pick = selection.picks()[at++];
      EXPECT_EQ(pick.position, position);
      const double pi = share[static_cast<std::size_t>(position - among[0])];
      EXPECT_NEAR(pick.log_weight, std::log(c / (30 * pi)), 1e-12);
    }
  }
}

TEST(MultinomialTail, BudgetOfAllThatIsLeftIsDense) {
  const auto p = normal_logits<float>(2, 40, 1, 3);
  for (const int budget : {34, 35, 1000}) {
    const Selection selection =
        select(stack(Sinks{2}, Window{4}, MultinomialTail{budget}), p.query(), p.kv());
    EXPECT_TRUE(selection.picks().empty());
    Position held = 0;
    for (const Span& span : selection.spans()) held += span.size();
    EXPECT_EQ(held, 40);
  }
}

TEST(MultinomialTail, NanAndNothing) {
  const GivenLogits<float> p({{NAN, 1, -INFINITY, 2, NAN, 0, -INFINITY, 1}});
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Selection selection = select(MultinomialTail{3}, p.query({.seed = seed}), p.kv());
    for (const Pick& pick : selection.picks()) {
      ASSERT_TRUE(p.logits[0][static_cast<std::size_t>(pick.position)] > -INFINITY) << pick.position;
    }
  }
  const GivenLogits<float> nothing({std::vector<float>(9, -INFINITY)});
  EXPECT_TRUE(select(MultinomialTail{3}, nothing.query(), nothing.kv()).picks().empty());
}

// ---- the checker can fail ---------------------------------------------------------------------------------

/// Oracle sampling written plainly, with a mistake to choose.
struct PlainMultinomial {
  enum Mistake {
    kNoMistake,
    kDeduplicated,
    kOneDrawLess,
    kLastNeverDrawn,
    kFloor
  } mistake = kNoMistake;

  Outcome operator()(const std::vector<double>& log_proposal, std::size_t draws,
                     const std::vector<double>& u) const {
    const std::size_t n = log_proposal.size();
    double total = 0;
    for (const double x : log_proposal) total += std::exp(x);
    std::vector<int> times(n, 0);
    for (const double at : u) {
      double prefix = 0;
      std::size_t i = 0;
      const std::size_t reachable = mistake == kLastNeverDrawn ? n - 1 : n;
      for (prefix = std::exp(log_proposal[0]); i + 1 < reachable && prefix < at * total;) {
        prefix += std::exp(log_proposal[++i]);
      }
      ++times[i];
    }
    Outcome outcome;
    for (std::size_t i = 0; i < n; ++i) {
      if (times[i] == 0) continue;
      const double c = mistake == kDeduplicated ? 1 : times[i];
      const double b = static_cast<double>(draws) - (mistake == kOneDrawLess ? 1 : 0);
      const double pi = std::exp(log_proposal[i]) / total;
      outcome.push_back(
          {i, mistake == kFloor ? std::log(c) - std::log(b * pi + 1e-4) : std::log(c / (b * pi))});
    }
    return outcome;
  }
};

testing::AssertionResult passes(PlainMultinomial::Mistake mistake) {
  const std::vector<double> log_proposal = {0.3, -1.7, 1.1, -0.4};
  return is_one_everywhere(expect_multinomial(log_proposal, 3, PlainMultinomial{mistake}), log_proposal, 1e-12);
}

TEST(MultinomialControl, PlainPasses) { EXPECT_TRUE(passes(PlainMultinomial::kNoMistake)); }
TEST(MultinomialControl, DeduplicatedDrawsFail) { EXPECT_FALSE(passes(PlainMultinomial::kDeduplicated)); }
TEST(MultinomialControl, OneDrawLessInTheWeightFails) { EXPECT_FALSE(passes(PlainMultinomial::kOneDrawLess)); }
TEST(MultinomialControl, LastKeyNeverDrawnFails) { EXPECT_FALSE(passes(PlainMultinomial::kLastNeverDrawn)); }
TEST(MultinomialControl, FloorInTheWeightFails) { EXPECT_FALSE(passes(PlainMultinomial::kFloor)); }

}  // namespace
}  // namespace skim::test

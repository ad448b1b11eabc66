// SPDX-License-Identifier: Apache-2.0
// Are the parts right that the samplers by size share: what is left, its proposals, and the inclusion
// probabilities that add up to the budget?
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "estimator/given_logits.h"
#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

using HWY_NAMESPACE::log_inclusion;
using HWY_NAMESPACE::Tail;
using HWY_NAMESPACE::tail_of;

template <class Real>
class Proportional : public testing::Test {
 public:
  static constexpr bool kIsDouble = sizeof(Real) == sizeof(double);
};
using Reals = testing::Types<double, float>;
TYPED_TEST_SUITE(Proportional, Reals);

// ---- what is left ---------------------------------------------------------------------------------------------

TYPED_TEST(Proportional, TailIsWhatIsLeft) {
  const auto p = normal_logits<TypeParam>(1, 20, 1, 1);
  const auto q = p.query().resolved(20);
  Workspace ws;
  Selection selection;
  selection.add(skim::Span{0, 3});
  selection.add(7);
  selection.add(9);
  HWY_NAMESPACE::commit(selection);
  const Tail<TypeParam> tail = tail_of(Budget(5), Source::kKeys, q, p.kv(), selection, ws);
  ASSERT_EQ(tail.n, 15u);
  EXPECT_EQ(tail.budget, 5u);
  std::size_t rank = 0;
  for (std::size_t i = 3; i < 20; ++i) {
    if (i != 7 && i != 9) {
      EXPECT_EQ(tail.log_proposal[rank++], p.logits[0][i]) << "position " << i;
    }
  }
}

TYPED_TEST(Proportional, NothingOrEverythingIsDoneAtOnce) {
  const auto p = normal_logits<TypeParam>(1, 20, 1, 1);
  const auto q = p.query().resolved(20);
  for (const int budget : {0, 16, 17, 18, 20, 1000}) {
    Workspace ws;
    Selection selection;
    selection.add(skim::Span{0, 3});
    HWY_NAMESPACE::commit(selection);
    const auto kv = p.kv();
    const HWY_NAMESPACE::Asking asking(q, kv, ws);
    const Tail<TypeParam> tail = tail_of(Budget(budget), Source::kKeys, q, kv, selection, ws);
    const bool sampled = budget == 16;
    EXPECT_EQ(tail.n, sampled ? 17u : 0u) << budget;
    EXPECT_EQ(selection.picks().size(), 0u);
    Position held = 0;
    for (const skim::Span& span : selection.spans()) held += span.size();
    EXPECT_EQ(held, budget >= 17 ? 20 : 3) << budget;
    EXPECT_EQ(ws.asked.logits == nullptr, !sampled) << "keys are read only when they are needed";
  }
}

// The budget is a function of what is visible, not of what is left.
TYPED_TEST(Proportional, BudgetCountsVisiblePositions) {
  const auto p = normal_logits<TypeParam>(1, 100, 1, 1);
  const auto q = p.query().resolved(100);
  Workspace ws;
  Selection selection;
  selection.add(skim::Span{0, 50});
  HWY_NAMESPACE::commit(selection);
  EXPECT_EQ(tail_of(fraction(0.1), Source::kKeys, q, p.kv(), selection, ws).budget, 10u);
}

// One head: its logits. A group: ln of the mean of its heads' probabilities over the residual.
TYPED_TEST(Proportional, GroupsPoolTheirProbabilities) {
  const double tolerance = TestFixture::kIsDouble ? 1e-13 : 2e-6;
  for (const std::size_t heads : {2u, 3u, 4u, 5u, 8u}) {
    for (const std::size_t n : {10u, 37u, 1000u}) {
      const auto p = normal_logits<TypeParam>(heads, n, 2, heads * n);
      const auto q = p.query().resolved(static_cast<Position>(n));
      Workspace ws;
      Selection selection;
      selection.add(skim::Span{0, 2});
      HWY_NAMESPACE::commit(selection);
      const Tail<TypeParam> tail = tail_of(Budget(4), Source::kKeys, q, p.kv(), selection, ws);
      const std::vector<double> share = reference_proposal(p, middle_of(n, 2, 0));
      ASSERT_EQ(tail.n, share.size());
      for (std::size_t j = 0; j < share.size(); ++j) {
        ASSERT_NEAR(tail.log_proposal[j], std::log(share[j]),
                    tolerance * std::max(1.0, -std::log(share[j])));
      }
    }
  }
}

// A head that sees NaN at a position does not speak for it; the others still do.
TYPED_TEST(Proportional, GroupPoolsOverTheHeadsThatAreNumbers) {
  // A NaN key coordinate makes the logits of every head NaN, so the logits are put in place directly.
  constexpr auto kNanReal = std::numeric_limits<TypeParam>::quiet_NaN();
  std::vector<std::vector<TypeParam>> s = {{0, 1, kNanReal, 2, 1, 0, 3, 1, 2},
                                           {1, kNanReal, kNanReal, 0, 2, 1, 1, 0, 1}};
  const std::size_t stride = 16;
  std::vector<TypeParam> all(2 * stride, 0);
  for (std::size_t h = 0; h < 2; ++h)
    std::copy(s[h].begin(), s[h].end(), all.begin() + static_cast<std::ptrdiff_t>(h * stride));
  const GivenLogits<TypeParam> p({{0, 0, 0, 0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 0, 0, 0}});
  const auto q = p.query().resolved(9);
  const auto kv = p.kv();
  Workspace ws;
  const HWY_NAMESPACE::Asking asking(q, kv, ws);
  ws.asked.logits = all.data();
  Selection selection;
  const Tail<TypeParam> tail = tail_of(Budget(4), Source::kKeys, q, kv, selection, ws);
  ASSERT_EQ(tail.n, 9u);
  const std::vector<double> share = reference_proposal(GivenLogits<TypeParam>(s), middle_of(9, 0, 0));
  for (std::size_t i = 0; i < 9; ++i) {
    if (i == 2) {
      EXPECT_EQ(tail.log_proposal[i], kNone<TypeParam>);
    } else {
      EXPECT_NEAR(tail.log_proposal[i], std::log(share[i]), TestFixture::kIsDouble ? 1e-13 : 1e-6);
    }
  }
}

TYPED_TEST(Proportional, UniformsAreKeyedByPosition) {
  const auto p = normal_logits<TypeParam>(1, 50, 1, 1);
  const Stream stream{.seed = 4, .head = 2};
  const auto q = p.query(stream).resolved(50);
  Workspace ws;
  Selection selection;
  selection.add(skim::Span{0, 3});
  selection.add(20);
  HWY_NAMESPACE::commit(selection);
  const TypeParam* u = HWY_NAMESPACE::uniforms<TypeParam>(q, selection, 46, ws);
  std::size_t rank = 0;
  for (std::uint64_t i = 3; i < 50; ++i) {
    if (i != 20) {
      EXPECT_EQ(u[rank++], static_cast<TypeParam>(Draws(stream, 49).uniform(i))) << "position " << i;
    }
  }
}

// ---- arithmetic -----------------------------------------------------------------------------------------------

TYPED_TEST(Proportional, Logarithms) {
  for (const std::size_t n : {0u, 1u, 7u, 8u, 9u, 100u}) {
    std::vector<TypeParam> u(n), x;
    for (std::size_t i = 0; i < n; ++i) u[i] = static_cast<TypeParam>(Draws(Stream{}, 1).uniform(i));
    if (n > 2) u[0] = 1, u[1] = TypeParam(0x1p-32);
    x = u;
    HWY_NAMESPACE::take_logs(x.data(), n);
    for (std::size_t i = 0; i < n; ++i) {
      const double log = std::log(static_cast<double>(u[i]));
      EXPECT_NEAR(x[i], log, (TestFixture::kIsDouble ? 0x1p-51 : 0x1p-22) * std::max(0.05, -log));
    }
    if (n > 2) {
      EXPECT_EQ(x[0], 0);
    }
  }
}

TYPED_TEST(Proportional, ShiftedExponentials) {
  for (const std::size_t n : {0u, 1u, 7u, 8u, 9u, 67u}) {
    for (const double shift : {0.0, -3.5, 10.0}) {
      std::vector<TypeParam> x(n), p(n + 8, TypeParam(-1));
      for (std::size_t i = 0; i < n; ++i)
        x[i] = static_cast<TypeParam>(std::sin(static_cast<double>(i)) * 20);
      if (n > 1) x[n - 2] = kNone<TypeParam>;
      HWY_NAMESPACE::exp_shifted(x.data(), n, static_cast<TypeParam>(shift), p.data());
      for (std::size_t i = 0; i < n; ++i) {
        const double truth =
            x[i] == kNone<TypeParam> ? 0 : std::exp(std::min(0.0, static_cast<double>(x[i]) + shift));
        EXPECT_NEAR(p[i], truth, (TestFixture::kIsDouble ? 1e-14 : 3e-6) * truth)
            << x[i] << " + " << shift;
      }
      for (std::size_t i = n; i < p.size(); ++i) EXPECT_EQ(p[i], TypeParam(-1));
    }
  }
  // Nothing has a probability, whatever the shift.
  const std::vector<TypeParam> none(9, kNone<TypeParam>);
  std::vector<TypeParam> p(9, 1);
  HWY_NAMESPACE::exp_shifted(none.data(), 9, -kNone<TypeParam>, p.data());
  for (const TypeParam x : p) EXPECT_EQ(x, 0);
}

// ---- inclusion probabilities ------------------------------------------------------------------------------------

/// sum of min(1, c e^x), in double.
template <class Real>
double expected_count(const std::vector<Real>& log_proposal, double log_c) {
  double sum = 0;
  for (const Real x : log_proposal) {
    if (x > kNone<Real>) sum += std::exp(std::min(0.0, static_cast<double>(x) + log_c));
  }
  return sum;
}

template <class Real>
Real log_c_of(const std::vector<Real>& log_proposal, std::size_t budget) {
  Workspace ws;
  return log_inclusion(Tail<Real>{log_proposal.data(), log_proposal.size(), budget}, ws);
}

TYPED_TEST(Proportional, InclusionProbabilitiesAddUpToTheBudget) {
  std::mt19937_64 generator(3);
  for (int problem = 0; problem < 600; ++problem) {
    const double spread = problem % 3 == 0 ? 0.1 : problem % 3 == 1 ? 1.5 : 12;
    std::normal_distribution<double> normal(problem % 7 == 0 ? 500 : 0, spread);
    std::vector<TypeParam> x(problem % 100 == 99 ? 20000 : 2 + generator() % 300);
    for (TypeParam& at : x) {
      at = static_cast<TypeParam>(normal(generator));
      if (problem % 4 == 0) at = std::round(at);  // ties
      if (problem % 5 == 0 && generator() % 3 == 0) at = kNone<TypeParam>;
    }
    const auto possible = static_cast<std::size_t>(
        std::count_if(x.begin(), x.end(), [](TypeParam at) { return at > kNone<TypeParam>; }));
    const std::size_t budget = 1 + generator() % (x.size() - 1);
    const double log_c = static_cast<double>(log_c_of(x, budget));
    if (possible < budget) {
      EXPECT_EQ(log_c, INFINITY) << "all that can be chosen are";
      continue;
    }
    double largest = 0;
    for (const TypeParam at : x)
      largest = std::isfinite(at) ? std::max(largest, std::abs(static_cast<double>(at))) : largest;
    const double rounding = TestFixture::kIsDouble ? 1e-12 : 2e-6 + 8 * 0x1p-24 * largest;
    const auto count = static_cast<double>(budget);
    ASSERT_NEAR(expected_count(x, log_c), count, count * rounding) << "problem " << problem;
  }
}

TYPED_TEST(Proportional, AllEqual) {
  for (const std::size_t n : {2u, 17u, 10000u}) {
    for (const std::size_t budget : {std::size_t{1}, n / 2, n - 1}) {
      const std::vector<TypeParam> x(n, TypeParam(3));
      const double truth = std::log(static_cast<double>(budget) / static_cast<double>(n)) - 3;
      EXPECT_NEAR(log_c_of(x, budget), truth, TestFixture::kIsDouble ? 1e-14 : 2e-6);
    }
  }
}

// A sink e^100 above the rest takes one of the budget and leaves the others alone.
TYPED_TEST(Proportional, DominatedTail) {
  for (const double sink : {100.0, 1000.0, 1e30}) {
    std::vector<TypeParam> x = {0, 1, static_cast<TypeParam>(sink), -1, 0};
    std::vector<TypeParam> rest = {0, 1, -1, 0};
    for (const std::size_t budget : {2u, 3u, 4u}) {
      EXPECT_NEAR(log_c_of(x, budget), log_c_of(rest, budget - 1), 1e-6);
      EXPECT_NEAR(expected_count(x, static_cast<double>(log_c_of(x, budget))),
                  static_cast<double>(budget), 1e-5);
    }
  }
}

TYPED_TEST(Proportional, InfiniteLogits) {
  constexpr auto kAll = std::numeric_limits<TypeParam>::infinity();
  const std::vector<TypeParam> x = {1, kAll, 0, 1, kAll, 1};
  EXPECT_NEAR(log_c_of(x, 3), log_c_of(std::vector<TypeParam>{1, 0, 1, 1}, 1), 1e-6)
      << "two are certain";
}

TYPED_TEST(Proportional, FewerPossibleThanTheBudget) {
  EXPECT_EQ(log_c_of(std::vector<TypeParam>{0, kNone<TypeParam>, 1, kNone<TypeParam>}, 3),
            -kNone<TypeParam>);
}

}  // namespace
}  // namespace skim::test

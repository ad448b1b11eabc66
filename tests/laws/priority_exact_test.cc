// SPDX-License-Identifier: Apache-2.0
// Law 6 for PriorityTail: with the other uniform numbers fixed, breakpoint times weight is 1 for every rank.
#include <random>

#include <gtest/gtest.h>

#include "laws/unbiased.h"
#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

template <class Real>
double tolerance_for(const std::vector<Real>& log_proposal) {
  if (std::is_same_v<Real, double>) return 1e-12;
  double largest = 0;
  for (const Real s : log_proposal) {
    if (std::isfinite(s)) largest = std::max(largest, std::abs(static_cast<double>(s)));
  }
  return 1e-6 + 8 * 0x1p-24 * largest;
}

/// The library's sampler.
template <class Real>
struct Library {
  std::vector<Real> log_proposal;
  std::size_t budget;

  std::vector<Drawn> operator()(std::vector<Real> u) const {
    Workspace ws;
    const auto sample = HWY_NAMESPACE::priority_sample(log_proposal.data(), u.data(), u.size(), budget, ws);
    std::vector<Drawn> chosen;
    for (std::size_t j = 0; j < sample.count; ++j) {
      const std::size_t rank = sample.ranks[j];
      chosen.push_back({rank, std::exp(sample.log_weight(log_proposal[rank]))});
    }
    return chosen;
  }
};

/// Priority sampling as a sentence, with the faults a test must find: the weight 1, or tau as the smallest
/// priority that was chosen instead of the largest that was not.
struct ByHand {
  std::vector<double> log_proposal;
  std::size_t budget;
  bool weight_one = false;
  bool tau_of_last_chosen = false;

  std::vector<Drawn> operator()(const std::vector<double>& u) const {
    std::vector<std::pair<double, std::size_t>> priorities;
    for (std::size_t i = 0; i < u.size(); ++i) priorities.push_back({std::exp(log_proposal[i]) / u[i], i});
    std::sort(priorities.rbegin(), priorities.rend());
    const double tau = priorities[tau_of_last_chosen ? budget - 1 : budget].first;
    std::vector<Drawn> chosen;
    for (std::size_t j = 0; j < budget; ++j) {
      const std::size_t rank = priorities[j].second;
      chosen.push_back({rank, weight_one ? 1.0 : std::max(1.0, tau / std::exp(log_proposal[rank]))});
    }
    return chosen;
  }
};

/// Every rank that has a probability, for several draws of the numbers of the others.
template <class Real, class Sample>
testing::AssertionResult priority_is_unbiased(const std::vector<Real>& log_proposal, const Sample& sample, unsigned seed) {
  std::mt19937_64 generator(seed);
  std::uniform_real_distribution<Real> uniform(Real{0x1p-20f}, Real{1});
  std::vector<Real> u(log_proposal.size());
  for (int draw = 0; draw < 5; ++draw) {
    for (Real& x : u) x = uniform(generator);
    if (draw == 3) std::fill(u.begin(), u.end(), Real{0.5});  // ties of priorities, where proposals are tied
    if (draw == 4) std::fill(u.begin(), u.end(), Real{1});
    for (std::size_t i = 0; i < u.size(); ++i) {
      if (log_proposal[i] == -std::numeric_limits<Real>::infinity()) {
        if (weight_at(u, i, Real{1e-30f}, sample) == 0) continue;
        return testing::AssertionFailure() << "rank " << i << " has no probability, yet it is chosen";
      }
      const auto unbiased = is_unbiased_at(u, i, tolerance_for(log_proposal), sample);
      if (!unbiased) return unbiased;
    }
  }
  return testing::AssertionSuccess();
}

template <class Real>
std::vector<Real> normal_logits(std::size_t n, double spread, double offset, unsigned seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal(offset, spread);
  std::vector<Real> logits(n);
  for (Real& s : logits) s = static_cast<Real>(normal(generator));
  return logits;
}

template <class Real>
struct PriorityExact : testing::Test {
  static void expect_unbiased(const std::vector<Real>& log_proposal) {
    for (std::size_t budget = 1; budget < log_proposal.size(); budget += 1 + budget / 3) {
      EXPECT_TRUE(priority_is_unbiased(log_proposal, Library<Real>{log_proposal, budget}, static_cast<unsigned>(budget)))
          << budget << " of " << log_proposal.size();
    }
  }
};
using Arithmetics = testing::Types<float, double>;
TYPED_TEST_SUITE(PriorityExact, Arithmetics);

TYPED_TEST(PriorityExact, RandomLogits) {
  for (const std::size_t n : {2u, 3u, 5u, 9u, 17u, 33u}) {
    for (const double spread : {0.1, 1.5, 6.0}) this->expect_unbiased(normal_logits<TypeParam>(n, spread, 0, 1));
  }
}

TYPED_TEST(PriorityExact, LogitsFarFromZero) {
  for (const double offset : {-1000.0, -80.0, 80.0, 1000.0}) {
    this->expect_unbiased(normal_logits<TypeParam>(12, 1.5, offset, 2));
  }
}

TYPED_TEST(PriorityExact, Ties) {
  this->expect_unbiased(std::vector<TypeParam>(9, TypeParam{0}));
  this->expect_unbiased(std::vector<TypeParam>(20, TypeParam{-2.5}));
  auto logits = normal_logits<TypeParam>(16, 1.5, 0, 3);
  for (std::size_t i = 0; i < 16; ++i) logits[i] = logits[i % 3];
  this->expect_unbiased(logits);
}

TYPED_TEST(PriorityExact, OnePositionHasNearlyEverything) {
  auto logits = normal_logits<TypeParam>(12, 0.5, 0, 4);
  logits[5] = 30;
  this->expect_unbiased(logits);
}

// What has no probability is never chosen, and what has is not disturbed by it. When no more have one than there is
// room for, all of these are chosen with weight 1.
TYPED_TEST(PriorityExact, SomeLogitsOfMinusInfinity) {
  constexpr TypeParam kNone = -std::numeric_limits<TypeParam>::infinity();
  auto logits = normal_logits<TypeParam>(12, 1.5, 0, 5);
  for (const std::size_t i : {0u, 3u, 4u, 11u}) logits[i] = kNone;
  this->expect_unbiased(logits);
  std::vector<TypeParam> two(10, kNone);
  two[2] = 1;
  two[7] = -4;
  this->expect_unbiased(two);
  const auto chosen = Library<TypeParam>{two, 5}(std::vector<TypeParam>(10, TypeParam{0.3f}));
  ASSERT_EQ(chosen.size(), 2u);
  EXPECT_EQ(chosen[0].weight, 1.0);
  EXPECT_EQ(chosen[1].weight, 1.0);
}

// ---- what a group samples from --------------------------------------------------------------------------

/// ln of the mean over heads of their probabilities over what is left, in double and in words.
template <class Real>
std::vector<double> pooled_by_hand(const Problem<Real>& p, const Selection& earlier) {
  std::vector<bool> taken(p.shape.n);
  for (const Weighted& w : list_of(earlier)) taken[static_cast<std::size_t>(w.position)] = true;
  std::vector<Weighted> left;
  for (std::size_t i = 0; i < p.shape.n; ++i) {
    if (!taken[i]) left.push_back({static_cast<Position>(i), 1});
  }
  std::vector<double> mean(left.size(), 0);
  const Matrix keys = numbers_of(p.keys, p.shape.n, p.shape.d);
  for (std::size_t h = 0; h < p.shape.group; ++h) {
    const auto s = reference_logits(reference_query(p.query(), h, p.shape.n), keys);
    const double lse = reference_attention(s, Matrix{p.shape.n, 0, {}}, left).lse;
    for (std::size_t i = 0; i < left.size(); ++i) {
      mean[i] += std::exp(s[static_cast<std::size_t>(left[i].position)] - lse) / static_cast<double>(p.shape.group);
    }
  }
  for (double& x : mean) x = std::log(x);
  return mean;
}

/// What the library pools, after `earlier` stages.
template <class Real>
std::vector<Real> pooled(const Problem<Real>& p, const Selection& earlier) {
  Workspace ws;
  const auto q = p.query().resolved(static_cast<Position>(p.shape.n));
  const auto proposal = HWY_NAMESPACE::pool_log_share(logits(q, p.kv(), ws), q.heads(), earlier, q.visible, ws);
  return {proposal.scores, proposal.scores + proposal.count};
}

TYPED_TEST(PriorityExact, AGroupSamplesFromTheMeanOfItsHeads) {
  for (const std::size_t group : {2u, 3u, 8u}) {
    for (const std::size_t n : {1u, 7u, 18u, 40u}) {
      const auto p = random_problem<TypeParam>({n, 8, 1, group}, n + group, 2.5);
      const Selection none, some = select(stack(Sinks{2}, TopK{3}), p.query(), p.kv());
      for (const Selection* earlier : {&none, &some}) {
        const auto proposal = pooled(p, *earlier);
        const auto expected = pooled_by_hand(p, *earlier);
        ASSERT_EQ(proposal.size(), expected.size());
        for (std::size_t i = 0; i < expected.size(); ++i) {
          EXPECT_NEAR(proposal[i], expected[i], (std::is_same_v<TypeParam, double> ? 1e-12 : 4e-6));
        }
      }
    }
  }
}

TYPED_TEST(PriorityExact, PooledProposals) {
  for (const std::size_t group : {1u, 2u, 3u, 8u}) {
    const auto p = random_problem<TypeParam>({20, 8, 1, group}, group, 2.5);
    this->expect_unbiased(pooled(p, Selection{}));
    this->expect_unbiased(pooled(p, select(stack(Sinks{2}, TopK{3}), p.query(), p.kv())));
  }
}

// A head that has no logits has no say; a position that has none in one head has its share of the others.
TYPED_TEST(PriorityExact, PooledProposalsWithHolesInThem) {
  constexpr TypeParam kNone = -std::numeric_limits<TypeParam>::infinity();
  constexpr TypeParam kNotANumber = std::numeric_limits<TypeParam>::quiet_NaN();
  constexpr std::size_t n = 20;
  std::vector<TypeParam> s = normal_logits<TypeParam>(3 * n, 1.5, 0, 7);
  std::fill_n(s.begin() + n, n, kNotANumber);
  for (std::size_t h = 0; h < 3; ++h) s[h * n + 4] = kNone;
  s[0 * n + 5] = kNotANumber;
  s[2 * n + 17] = kNone;
  Workspace ws;
  const auto pooled = HWY_NAMESPACE::pool_log_share(HWY_NAMESPACE::Logits<TypeParam>{s.data(), n, 0}, 3, Selection{},
                                                    skim::Span{0, n}, ws);
  ASSERT_EQ(pooled.count, n);
  double sum[3] = {0, 0, 0};
  for (const std::size_t h : {0u, 2u}) {
    for (std::size_t i = 0; i < n; ++i) {
      if (s[h * n + i] > kNone) sum[h] += std::exp(static_cast<double>(s[h * n + i]));
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    double mean = 0;
    for (const std::size_t h : {0u, 2u}) {
      if (s[h * n + i] > kNone) mean += std::exp(static_cast<double>(s[h * n + i])) / sum[h] / 3;
    }
    if (i == 4) {
      EXPECT_EQ(pooled.scores[i], kNone);
    } else {
      EXPECT_NEAR(pooled.scores[i], std::log(mean), (std::is_same_v<TypeParam, double> ? 1e-12 : 4e-6)) << i;
    }
  }
  this->expect_unbiased({pooled.scores, pooled.scores + n});
}

// Residual not larger than the budget: everything, with weight 1. Not a matter of the sampler, so of the estimator.
TEST(PriorityTailExact, NoMoreLeftThanTheBudgetIsDense) {
  const auto p = random_problem<float>({10, 8, 1, 2}, 8);
  for (const std::size_t left : {1u, 2u, 9u, 10u}) {
    const auto sinks = static_cast<Position>(10 - left);
    for (const std::size_t budget : {left, left + 1, std::size_t{1000}}) {
      const Selection all = select(stack(Sinks{sinks}, PriorityTail{budget}), p.query(), p.kv());
      EXPECT_EQ(list_of(all).size(), 10u);
      EXPECT_TRUE(all.picks().empty());
    }
    if (left > 1) {
      EXPECT_EQ(select(stack(Sinks{sinks}, PriorityTail{left - 1}), p.query(), p.kv()).picks().size(), left - 1);
    }
  }
}

// ---- what must be found out -----------------------------------------------------------------------------

TEST(PriorityTailExact, TheCheckerAcceptsWhatIsRight) {
  for (const std::size_t budget : {1u, 3u, 7u, 11u}) {
    const auto logits = normal_logits<double>(12, 1.5, 0, 6);
    EXPECT_TRUE(priority_is_unbiased(logits, ByHand{logits, budget}, 1));
  }
}

TEST(PriorityTailExact, WeightOneIsFoundOut) {
  for (const std::size_t budget : {1u, 3u, 7u, 11u}) {
    const auto logits = normal_logits<double>(12, 1.5, 0, 6);
    EXPECT_FALSE(priority_is_unbiased(logits, ByHand{logits, budget, true, false}, 1)) << budget;
  }
}

TEST(PriorityTailExact, TauOfTheLastChosenIsFoundOut) {
  for (const std::size_t budget : {1u, 3u, 7u, 11u}) {
    const auto logits = normal_logits<double>(12, 1.5, 0, 6);
    EXPECT_FALSE(priority_is_unbiased(logits, ByHand{logits, budget, false, true}, 1)) << budget;
  }
}

}  // namespace
}  // namespace skim::test

// SPDX-License-Identifier: Apache-2.0
// Law 6 where an index proposes: E[w_i 1(i chosen)] = 1 for every position, however bad the index is. By every outcome
// of systematic, Poisson and multinomial sampling. (Priority sampling: priority_proposal_exact_test.cc.)
#include <gtest/gtest.h>

#include "estimator/inclusion.h"
#include "laws/bad_proposals.h"

namespace skim::test {
namespace {

namespace kernel = HWY_NAMESPACE;

/// A sampler of the library as a function of its uniform numbers (inclusion.h).
template <class Sample>
Outcome outcome_of(const std::vector<double>& log_proposal, std::size_t budget, std::size_t room, const Sample& sample) {
  Workspace ws;
  std::vector<std::size_t> ranks(room);
  std::vector<double> log_weights(room);
  const kernel::Tail<double> tail{log_proposal.data(), log_proposal.size(), budget};
  const std::size_t count = sample(tail, ranks.data(), log_weights.data(), ws);
  Outcome outcome;
  for (std::size_t j = 0; j < count; ++j) outcome.push_back({ranks[j], log_weights[j]});
  return outcome;
}

Outcome systematic(const std::vector<double>& log_proposal, std::size_t budget, double u) {
  return outcome_of(log_proposal, budget, log_proposal.size(), [u](const auto& tail, auto* ranks, auto* weights, auto& ws) {
    return kernel::systematic_sample(tail, u, ranks, weights, ws);
  });
}
Outcome poisson(const std::vector<double>& log_proposal, std::size_t budget, std::vector<double> u) {
  return outcome_of(log_proposal, budget, log_proposal.size(), [&u](const auto& tail, auto* ranks, auto* weights, auto& ws) {
    return kernel::poisson_sample(tail, u.data(), ranks, weights, ws);
  });
}
Outcome multinomial(const std::vector<double>& log_proposal, std::size_t draws, std::vector<double> u) {
  return outcome_of(log_proposal, draws, draws, [&u](const auto& tail, auto* ranks, auto* weights, auto& ws) {
    return kernel::multinomial_sample(tail, u.data(), ranks, weights, ws);
  });
}

/// 1 to 1e-12 for every rank, also those that the index gives nothing, and 0 for those that are ruled out. Where an interval of the uniform number begins
/// and ends is known to 2^-53 of the whole, so for small probabilities p to 2^-51 / p.
testing::AssertionResult is_one(const Expectation& e, const std::vector<double>& log_proposal) {
  if (!(std::abs(e.probability() - 1) <= 1e-12)) {
    return testing::AssertionFailure() << "the outcomes have probability " << e.probability();
  }
  double sum = 0;
  for (const double x : log_proposal) sum += std::exp(x);
  for (std::size_t i = 0; i < e.size(); ++i) {
    if (log_proposal[i] == -kInf && e.mean(i) == 0) continue;
    if (std::abs(e.mean(i) - 1) <= std::max(1e-12, 0x1p-51 * sum / std::exp(log_proposal[i]))) continue;
    return testing::AssertionFailure() << "E[w 1] of rank " << i << " is 1 + " << e.mean(i) - 1;
  }
  return testing::AssertionSuccess();
}

template <class Visit>
void for_each_proposal(const Visit& visit) {
  for (const auto& [name, scores] : bad_scores()) {
    for (const std::size_t group : {1u, 3u}) {
      const BadlyScored bad(scores, group);
      for (const Position sinks : {0, 1}) {
        SCOPED_TRACE(testing::Message() << name << ", group of " << group << ", " << sinks << " sinks before");
        Selection earlier;
        earlier.add(skim::Span{0, sinks});
        const auto log_proposal = bad.log_proposal(earlier);
        if (!log_proposal.empty()) visit(log_proposal);
      }
      SCOPED_TRACE(testing::Message() << name << ", of an index");
      visit(bad.index_proposal());
    }
  }
}

TEST(ProposalExact, IsFiniteAndOfALimitedWidthUnlessRuledOut) {
  for (const auto& [name, scores] : bad_scores()) {
    const BadlyScored bad(scores, 1);
    const auto expect_limited = [&, name = name](const std::vector<double>& log_proposal) {
      double least = 0, most = -kInf;
      for (const double x : log_proposal) {
        if (x == -kInf) continue;
        EXPECT_TRUE(std::isfinite(x)) << name;
        least = std::min(least, x), most = std::max(most, x);
      }
      EXPECT_LE(most - least, kernel::kProposalRange<double>) << name;
    };
    const auto of_index = bad.index_proposal(), of_caller = bad.log_proposal();
    expect_limited(of_index);
    expect_limited(of_caller);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      EXPECT_GT(of_index[i], -kInf) << name;
    }
    for (std::size_t i = 0; i < of_caller.size(); ++i) EXPECT_EQ(of_caller[i] == -kInf, scores[i] == -INFINITY) << name;
    EXPECT_EQ(of_caller.empty(), std::all_of(scores.begin(), scores.end(), [](float x) { return x == -INFINITY; }));
  }
}

// Within the range a proposal is the scores, up to a constant.
TEST(ProposalExact, FollowsTheScores) {
  const std::vector<float> scores = {0.5f, -1, 3, 2.5f, -9};
  const auto log_proposal = BadlyScored(scores, 2).log_proposal();
  for (std::size_t i = 0; i < scores.size(); ++i) {
    EXPECT_NEAR(log_proposal[i] - log_proposal[0], double{scores[i]} - double{scores[0]}, 1e-14);
  }
}

// Long ones go through vectors, short ones do not: the same numbers.
TEST(ProposalExact, OfManyPositionsIsThatOfFew) {
  for (const auto& [name, scores] : bad_scores()) {
    std::vector<float> many;
    for (std::size_t i = 0; i < 101; ++i) many.push_back(scores[i % scores.size()]);
    const auto few = BadlyScored(scores, 1).log_proposal(), all = BadlyScored(many, 1).log_proposal();
    ASSERT_EQ(all.size(), few.empty() ? 0u : 101u);
    for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], few[i % scores.size()]) << name << ", " << i;
  }
}

TEST(ProposalExact, Systematic) {
  for_each_proposal([](const std::vector<double>& log_proposal) {
    for (std::size_t budget = 1; budget < log_proposal.size(); ++budget) {
      EXPECT_TRUE(is_one(expect_systematic(log_proposal, budget, systematic), log_proposal)) << "budget " << budget;
    }
  });
}

TEST(ProposalExact, Poisson) {
  for_each_proposal([](const std::vector<double>& log_proposal) {
    for (std::size_t budget = 1; budget < log_proposal.size(); ++budget) {
      EXPECT_TRUE(is_one(expect_poisson(log_proposal, budget, poisson), log_proposal)) << "budget " << budget;
    }
  });
}

TEST(ProposalExact, Multinomial) {
  for_each_proposal([](const std::vector<double>& log_proposal) {
    for (const std::size_t draws : {1u, 2u, 3u}) {
      EXPECT_TRUE(is_one(expect_multinomial(log_proposal, draws, multinomial), log_proposal)) << draws << " draws";
    }
  });
}

// ---- the estimators are these functions ---------------------------------------------------------------------------

std::vector<Pick> picks_of(const auto& estimator, const BadlyScored& bad, std::uint64_t seed, const BadlyScored& keys_of) {
  auto q = keys_of.p.query();
  q.stream.seed = seed;
  const Selection selection = select(estimator, q, with_index(keys_of.p.kv(), bad.external));
  return {selection.picks().begin(), selection.picks().end()};
}

// Positions and weights come from the proposal alone: other keys under the same scores, and not a bit is different.
// A weight that looked at a logit could not be right for both.
TEST(ProposalExact, NoSamplerLooksAtTheKeys) {
  for (const auto& [name, scores] : bad_scores()) {
    for (const std::size_t group : {1u, 3u}) {
      const BadlyScored bad(scores, group);
      BadlyScored other(scores, group);
      for (double& x : other.p.keys) x = 5 - 3 * x;
      const auto expect_same = [&, name = name](const auto& estimator) {
        std::size_t picks = 0;
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
          const auto a = picks_of(estimator, bad, seed, bad), b = picks_of(estimator, bad, seed, other);
          ASSERT_EQ(a.size(), b.size()) << name;
          for (std::size_t j = 0; j < a.size(); ++j) {
            EXPECT_EQ(a[j].position, b[j].position) << name;
            EXPECT_EQ(a[j].log_weight, b[j].log_weight) << name;
          }
          picks += a.size();
        }
        EXPECT_EQ(picks > 0, !bad.log_proposal().empty()) << name;
      };
      expect_same(PriorityTail{2, Source::kExternal});
      expect_same(SystematicTail{2, Source::kExternal});
      expect_same(MultinomialTail{2, Source::kExternal});
      expect_same(PoissonTail{2, Source::kExternal});
      expect_same(stack(Sinks{1}, PriorityTail{2, Source::kExternal}));
    }
  }
}

// ---- what must be found out -----------------------------------------------------------------------------------------

/// A proposal as it would be without a floor.
std::vector<double> without_floor(const std::vector<float>& scores) {
  std::vector<double> x;
  for (const float s : scores) x.push_back(std::isnan(s) ? -kInf : double{s});
  return x;
}

TEST(ProposalExact, AMissingFloorIsFoundOut) {
  const std::vector<float> scores = {-INFINITY, 0, NAN, 0, 1.5f, -INFINITY, 0};
  const auto bare = without_floor(scores), floored = BadlyScored(scores, 1).log_proposal();
  EXPECT_FALSE(is_one(expect_systematic(bare, 2, systematic), floored));
  EXPECT_FALSE(is_one(expect_poisson(bare, 2, poisson), floored));
  EXPECT_FALSE(is_one(expect_multinomial(bare, 2, multinomial), floored));
}

// Chosen by the index, weighed by what the exact logits would have made the probability.
TEST(ProposalExact, AWeightFromTheExactLogitIsFoundOut) {
  const BadlyScored bad({0.3f, -1.7f, 1.1f, -0.4f, 2.3f, 0.9f}, 1);
  const auto proposed = bad.log_proposal();
  Workspace ws;
  const auto exact = logits(bad.p.query().resolved(6), bad.p.kv(), ws);
  const auto wrong = [&](const Outcome& chosen, const auto& weight_by) {
    Outcome outcome = chosen;
    for (Chosen& c : outcome) c.log_weight += weight_by(c.rank);
    return outcome;
  };
  const double shift = exact.data[0] - proposed[0];
  const auto error = [&](std::size_t i) { return proposed[i] - exact.data[i] + shift; };
  EXPECT_FALSE(is_one(expect_systematic(
      proposed, 2, [&](const auto& x, std::size_t budget, double u) { return wrong(systematic(x, budget, u), error); }), proposed));
  EXPECT_FALSE(is_one(expect_poisson(
      proposed, 2, [&](const auto& x, std::size_t budget, const auto& u) { return wrong(poisson(x, budget, u), error); }), proposed));
  EXPECT_FALSE(is_one(expect_multinomial(
      proposed, 2, [&](const auto& x, std::size_t draws, const auto& u) { return wrong(multinomial(x, draws, u), error); }), proposed));
}

}  // namespace
}  // namespace skim::test

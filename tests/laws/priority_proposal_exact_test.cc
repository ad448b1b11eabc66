// SPDX-License-Identifier: Apache-2.0
// Law 6 for PriorityTail where an index proposes, however bad it is: with the other uniform numbers fixed, breakpoint
// times weight is 1 for every position, also those that the index gives nothing. What the caller rules out is never chosen.
#include <algorithm>
#include <random>

#include <gtest/gtest.h>

#include "laws/bad_proposals.h"
#include "laws/unbiased.h"

namespace skim::test {
namespace {

namespace kernel = HWY_NAMESPACE;

/// The library's sampler, and two mistakes: a weight from other logits than it chose by, and a floor in the weight that
/// was not in the choice.
struct Priority {
  std::vector<double> log_proposal;
  std::size_t budget;
  std::vector<double> weigh_by{};  // none: what was sampled from

  std::vector<Drawn> operator()(std::vector<double> u) const {
    Workspace ws;
    const auto sample = kernel::priority_sample(log_proposal.data(), u.data(), u.size(), budget, ws);
    std::vector<Drawn> chosen;
    for (std::size_t j = 0; j < sample.count; ++j) {
      const std::size_t rank = sample.ranks[j];
      chosen.push_back({rank, std::exp(sample.log_weight(weigh_by.empty() ? log_proposal[rank] : weigh_by[rank]))});
    }
    return chosen;
  }
};

testing::AssertionResult proposal_is_unbiased(const Priority& sample, std::vector<bool> ruled_out = {}) {
  ruled_out.resize(sample.log_proposal.size());
  std::mt19937_64 generator(sample.budget);
  std::uniform_real_distribution<double> uniform(0x1p-20, 1);
  std::vector<double> u(sample.log_proposal.size());
  for (int draw = 0; draw < 4; ++draw) {
    for (double& x : u) x = uniform(generator);
    if (draw == 3) std::fill(u.begin(), u.end(), 0.5);
    for (const Drawn& c : sample(u)) {
      if (ruled_out[c.rank]) return testing::AssertionFailure() << "rank " << c.rank << " is ruled out, and chosen";
    }
    for (std::size_t i = 0; i < u.size(); ++i) {
      if (ruled_out[i]) continue;
      const auto unbiased = is_unbiased_at(u, i, 1e-12, sample);
      if (!unbiased) return unbiased;
    }
  }
  return testing::AssertionSuccess();
}

std::vector<bool> ruled_out_by(const std::vector<float>& scores) {
  std::vector<bool> result;
  for (const float x : scores) result.push_back(x == -INFINITY);
  return result;
}
std::size_t allowed_by(const std::vector<float>& scores) {
  return static_cast<std::size_t>(std::count_if(scores.begin(), scores.end(), [](float x) { return x != -INFINITY; }));
}

TEST(PriorityProposalExact, HoweverBadTheScores) {
  for (const auto& [name, scores] : bad_scores()) {
    for (const std::size_t group : {1u, 3u}) {
      const BadlyScored bad(scores, group);
      const auto of_index = bad.index_proposal(), of_caller = bad.log_proposal();
      const auto ruled_out = ruled_out_by(scores);
      for (std::size_t budget = 1; budget < scores.size(); ++budget) {
        EXPECT_TRUE(proposal_is_unbiased({of_index, budget})) << name << ", group of " << group << ", budget " << budget;
        if (budget >= allowed_by(scores)) continue;  // all of them then
        EXPECT_TRUE(proposal_is_unbiased({of_caller, budget}, ruled_out)) << name << ", group of " << group << ", budget " << budget;
      }
    }
  }
}

TEST(PriorityProposalExact, ManyScores) {
  std::mt19937_64 generator(1);
  std::normal_distribution<float> normal(0, 4);
  for (int problem = 0; problem < 10; ++problem) {
    std::vector<float> scores(24);
    for (float& x : scores) x = generator() % 4 == 0 ? (generator() % 2 == 0 ? NAN : -INFINITY) : normal(generator);
    const BadlyScored bad(scores, 2);
    for (const std::size_t budget : {1u, 7u, 23u}) EXPECT_TRUE(proposal_is_unbiased({bad.index_proposal(), budget})) << budget;
    for (const std::size_t budget : {1u, 7u}) {
      EXPECT_TRUE(proposal_is_unbiased({bad.log_proposal(), budget}, ruled_out_by(scores))) << budget;
    }
  }
}

// ---- what must be found out ---------------------------------------------------------------------------------------

TEST(PriorityProposalExact, AWeightFromTheExactLogitIsFoundOut) {
  const BadlyScored bad({0.3f, -1.7f, 1.1f, -0.4f, 2.3f, 0.9f}, 1);
  const auto log_proposal = bad.log_proposal();
  Workspace ws;
  const auto exact = logits(bad.p.query().resolved(6), bad.p.kv(), ws);
  std::vector<double> weigh_by;
  for (std::size_t i = 0; i < 6; ++i) weigh_by.push_back(exact.data[i] - exact.data[0] + log_proposal[0]);
  for (const std::size_t budget : {1u, 3u, 5u}) EXPECT_FALSE(proposal_is_unbiased({log_proposal, budget, weigh_by})) << budget;
}

TEST(PriorityProposalExact, AMissingFloorIsFoundOut) {
  const std::vector<double> log_proposal = {-kInf, 0, -kInf, 0, 1.5, 0};
  EXPECT_FALSE(proposal_is_unbiased({log_proposal, 2}));
}

// Drawn without a floor, weighed with one: what is far below the rest is chosen too rarely for its weight.
TEST(PriorityProposalExact, AFloorInTheWeightOnlyIsFoundOut) {
  const std::vector<double> log_proposal = {0, -20, 1, 0.5, 2};
  std::vector<double> floored = log_proposal;
  floored[1] = -14;
  EXPECT_FALSE(proposal_is_unbiased({log_proposal, 2, floored}));
}

}  // namespace
}  // namespace skim::test

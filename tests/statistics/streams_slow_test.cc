// SPDX-License-Identifier: Apache-2.0
// Does every head, row, sequence and layer draw for itself? If two shared their draws, their errors would not average
// out over a model.
#include <gtest/gtest.h>

#include "statistics/trial.h"
#include "statistics/wrong_estimators.h"

namespace skim::test {
namespace {

constexpr std::size_t kSequences = 2, kRows = 2, kHeads = 4, kKvHeads = 2, kLayers = 2;

/// The error of one column of the output, for each (layer, sequence, row, query head): all ask the same of the same
/// keys and values, so nothing but their draws differs.
template <class E>
std::vector<double> errors_of_all(const E& estimator, const Trial& trial, Grouping grouping,
                                  std::uint64_t seed, std::vector<Workspace>& workspaces) {
  constexpr std::size_t kAllRows = kSequences * kRows;
  static const std::vector<float> q(kAllRows * kHeads, 1.0f);
  const std::vector<ContiguousKv<float>> kv(kSequences * kKvHeads, trial.kv());
  std::vector<float> out(kAllRows * kHeads * kColumns);
  std::vector<double> errors;
  Options options;
  options.workspaces = workspaces;
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
    LayerQuery query;
    query.rows = {q.data(), kAllRows, kHeads, 1};
    query.causal = false;
    query.logit.scale = 1;
    query.grouping = grouping;
    query.stream = {.seed = seed, .layer = layer};
    attend(estimator, query, LayerKv<ContiguousKv<float>>{kv, kKvHeads},
           LayerState{{out.data(), kAllRows, kHeads, kColumns}}, options);
    // In a group all heads have one selection: one of them speaks for it.
    const std::size_t step = grouping == Grouping::kPerHead ? 1 : kHeads / kKvHeads;
    for (std::size_t i = 0; i < kAllRows * kHeads; i += step) {
      errors.push_back(static_cast<double>(out[i * kColumns + kNormal]) - trial.output(0, kNormal));
    }
  }
  return errors;
}

/// No two errors are correlated.
template <class E>
Judge independent(const std::string& name, const E& estimator, Grouping grouping, std::uint64_t runs,
                  std::uint64_t test) {
  const Trial trial(1, 1021, 1.0, true, 9);
  std::vector<Workspace> workspaces(1);
  std::vector<std::vector<Mean>> products;
  for (std::uint64_t r = 0; r < runs; ++r) {
    const std::vector<double> e =
        errors_of_all(estimator, trial, grouping, run_seed(test, r), workspaces);
    products.resize(e.size(), std::vector<Mean>(e.size()));
    for (std::size_t i = 0; i < e.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) products[i][j].add(e[i] * e[j]);
    }
  }
  Judge judge(name + (grouping == Grouping::kPerHead ? ", streams per head" : ", streams per group"));
  for (std::size_t i = 0; i < products.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      judge.mean_is("errors " + std::to_string(i) + " and " + std::to_string(j), products[i][j], 0);
    }
  }
  return judge;
}

constexpr std::uint64_t kRuns = 2000;

template <class E>
void expect_independent(const std::string& name, std::uint64_t test) {
  EXPECT_TRUE(independent(name, E{32}, Grouping::kPerHead, kRuns, test).accepts());
  EXPECT_TRUE(independent(name, E{32}, Grouping::kPerGroup, kRuns, test + 1).accepts());
}

TEST(Streams, Uniform) { expect_independent<UniformTail>("uniform", 5001); }
TEST(Streams, Priority) { expect_independent<PriorityTail>("priority", 5003); }
TEST(Streams, Multinomial) { expect_independent<MultinomialTail>("multinomial", 5005); }
TEST(Streams, Systematic) { expect_independent<SystematicTail>("systematic", 5007); }
TEST(Streams, Poisson) { expect_independent<PoissonTail>("poisson", 5009); }

template <template <class> class Mistake>
void expect_found(const std::string& name, std::uint64_t test) {
  const auto found = [&](const char* sampler, const auto& wrong) {
    const Judge judge =
        independent(name + ", " + sampler, wrong, Grouping::kPerHead, kRuns / 10, ++test);
    EXPECT_TRUE(judge.finds_fault());
  };
  found("uniform", Mistake<UniformTail>{{{32}}});
  found("priority", Mistake<PriorityTail>{{{32}}});
  found("multinomial", Mistake<MultinomialTail>{{{32}}});
  found("systematic", Mistake<SystematicTail>{{{32}}});
  found("poisson", Mistake<PoissonTail>{{{32}}});
}

TEST(StreamsPower, SameSeedForAllHeads) {
  expect_found<SameSeedForAllHeads>("one seed for all heads", 6000);
}
TEST(StreamsPower, SameSeedForAllPositions) {
  expect_found<SameSeedForAllPositions>("one seed for all rows", 6010);
}

// The suite's false-alarm rate is shared among as many tests as there are.
class RateIsShared : public testing::Environment {
  void TearDown() override {
    EXPECT_LE(Judge::tests_that_accept(), kTests)
        << "more tests than share the false-alarm rate: raise kTests in judge.h";
  }
};
const auto* const kRateIsShared = testing::AddGlobalTestEnvironment(new RateIsShared);

}  // namespace
}  // namespace skim::test

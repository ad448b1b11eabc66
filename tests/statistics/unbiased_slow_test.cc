// SPDX-License-Identifier: Apache-2.0
// Are numerator and denominator of every sampler right on average, alone, after other stages and for a group? And
// would this test see it if they were not?
#include <gtest/gtest.h>

#include "statistics/trial.h"
#include "statistics/wrong_estimators.h"

namespace skim::test {
namespace {

constexpr std::size_t kKeys = 4099;
constexpr std::uint64_t kRuns = 20000;
constexpr int kBudget = 64;
constexpr double kSpread = 1.0;

/// The sampler as the only stage, one head.
template <class E>
Judge alone(const std::string& name, const E& sampler, std::uint64_t test, Base base = Base::kE) {
  Trial trial(1, kKeys, kSpread, true, 100 + test);
  return unbiased(name + " alone", sampler, trial, kRuns, test, base);
}

/// After sinks, window and top-k.
template <class E>
Judge stacked(const std::string& name, const E& sampler, std::uint64_t test, Base base = Base::kE,
              std::uint64_t runs = kRuns) {
  Trial trial(1, kKeys, kSpread, false, 200 + test);
  return unbiased(name + " stacked", stack(Sinks{kSinks}, Window{kWindow}, TopK{32}, sampler), trial,
                  runs, test, base);
}

/// The same with four heads that share one selection, each with logits of its own.
template <class E>
Judge grouped(const std::string& name, const E& sampler, std::uint64_t test) {
  Trial trial(4, kKeys, kSpread, false, 300 + test);
  return unbiased(name + " grouped", stack(Sinks{kSinks}, Window{kWindow}, TopK{32}, sampler), trial,
                  kRuns / 4, test);
}

TEST(Unbiased, Uniform) {
  EXPECT_TRUE(alone("uniform", UniformTail{kBudget}, 1).accepts());
  EXPECT_TRUE(stacked("uniform", UniformTail{kBudget}, 2).accepts());
  EXPECT_TRUE(grouped("uniform", UniformTail{kBudget}, 3).accepts());
}
TEST(Unbiased, Priority) {
  EXPECT_TRUE(alone("priority", PriorityTail{kBudget}, 4).accepts());
  EXPECT_TRUE(stacked("priority", PriorityTail{kBudget}, 5).accepts());
  EXPECT_TRUE(grouped("priority", PriorityTail{kBudget}, 6).accepts());
}
TEST(Unbiased, Multinomial) {
  EXPECT_TRUE(alone("multinomial", MultinomialTail{kBudget}, 7).accepts());
  EXPECT_TRUE(stacked("multinomial", MultinomialTail{kBudget}, 8).accepts());
  EXPECT_TRUE(grouped("multinomial", MultinomialTail{kBudget}, 9).accepts());
}
TEST(Unbiased, Systematic) {
  EXPECT_TRUE(alone("systematic", SystematicTail{kBudget}, 10).accepts());
  EXPECT_TRUE(stacked("systematic", SystematicTail{kBudget}, 11).accepts());
  EXPECT_TRUE(grouped("systematic", SystematicTail{kBudget}, 12).accepts());
}
TEST(Unbiased, Poisson) {
  EXPECT_TRUE(alone("poisson", PoissonTail{kBudget}, 13).accepts());
  EXPECT_TRUE(stacked("poisson", PoissonTail{kBudget}, 14).accepts());
  EXPECT_TRUE(grouped("poisson", PoissonTail{kBudget}, 15).accepts());
}

// More keys, a wider spread and a larger budget, with keys that are certain to be chosen.
TEST(Unbiased, ManyKeys) {
  const auto wide = [](const std::string& name, const auto& sampler, std::uint64_t test) {
    Trial trial(1, 16384, 2.0, false, 400);
    return unbiased(name + " of 16384", stack(Sinks{kSinks}, Window{kWindow}, sampler), trial, 2000,
                    test);
  };
  EXPECT_TRUE(wide("uniform", UniformTail{512}, 16).accepts());
  EXPECT_TRUE(wide("priority", PriorityTail{512}, 17).accepts());
  EXPECT_TRUE(wide("multinomial", MultinomialTail{512}, 18).accepts());
  EXPECT_TRUE(wide("systematic", SystematicTail{512}, 19).accepts());
  EXPECT_TRUE(wide("poisson", PoissonTail{512}, 20).accepts());
}

// ---- power: the same tests, with mistakes --------------------------------------------------------------------

/// A mistake made to each of the five samplers must be found, large ones with a tenth of the runs already.
template <template <class> class Mistake>
void expect_found(const std::string& name, std::uint64_t runs) {
  const auto judge = [&](const char* sampler, const auto& wrong, std::uint64_t test) {
    return stacked(name + ", " + sampler, wrong, test, Base::kE, runs);
  };
  EXPECT_TRUE(judge("uniform", Mistake<UniformTail>{{{kBudget}}}, 1001).finds_fault());
  EXPECT_TRUE(judge("priority", Mistake<PriorityTail>{{{kBudget}}}, 1002).finds_fault());
  EXPECT_TRUE(judge("multinomial", Mistake<MultinomialTail>{{{kBudget}}}, 1003).finds_fault());
  EXPECT_TRUE(judge("systematic", Mistake<SystematicTail>{{{kBudget}}}, 1004).finds_fault());
  EXPECT_TRUE(judge("poisson", Mistake<PoissonTail>{{{kBudget}}}, 1005).finds_fault());
}

TEST(Power, ProbabilityForWeight) { expect_found<ProbabilityForWeight>("pi for 1 / pi", kRuns / 10); }
TEST(Power, NoWeight) { expect_found<NoWeight>("no weight", kRuns / 10); }
TEST(Power, LastNeverDrawn) { expect_found<LastNeverDrawn>("last never drawn", kRuns / 10); }
TEST(Power, OneLess) { expect_found<OneLess>("m - 1 for m", kRuns); }

TEST(Power, BaseTwoLse) {
  EXPECT_TRUE(alone("base 2, uniform", UniformTail{kBudget}, 1006, Base::kTwo).finds_fault());
  EXPECT_TRUE(alone("base 2, multinomial", MultinomialTail{kBudget}, 1007, Base::kTwo).finds_fault());
  EXPECT_TRUE(stacked("base 2, priority", PriorityTail{kBudget}, 1008, Base::kTwo).finds_fault());
}

TEST(Power, TiesDropped) {
  EXPECT_TRUE(alone("ties dropped", TiesDropped{kBudget}, 1009).finds_fault());
}

TEST(Power, DeduplicatedUniform) {
  Trial trial(1, kKeys, kSpread, true, 500);
  EXPECT_TRUE(
      unbiased("deduplicated, 25 %", DeduplicatedUniform{kKeys / 4}, trial, 4000, 1010).finds_fault());
  EXPECT_TRUE(
      unbiased("deduplicated, 10 %", DeduplicatedUniform{kKeys / 10}, trial, 4000, 1011).finds_fault());
}

TEST(Power, FloorInTheWeight) {
  EXPECT_TRUE(alone("floor, systematic", Floor<SystematicTail>{{{kBudget}}}, 1012).finds_fault());
  EXPECT_TRUE(alone("floor, poisson", Floor<PoissonTail>{{{kBudget}}}, 1013).finds_fault());
}

}  // namespace
}  // namespace skim::test

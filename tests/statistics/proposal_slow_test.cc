// SPDX-License-Identifier: Apache-2.0
// Are samplers right on average when a sketch proposes, over segments and the keys behind the last one? Would this
// test see it if a weight came from elsewhere? And how much variance does a sketch cost?
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "statistics/sketched_trial.h"
#include "statistics/wrong_estimators.h"

namespace skim::test {
namespace {

constexpr std::size_t kKeys = 5000;  // 19 segments and 136 keys that no segment holds
constexpr std::uint64_t kRuns = 20000;
constexpr int kBudget = 64;

template <class E>
Judge alone(const std::string& name, const E& sampler, std::uint64_t test, std::uint64_t runs = kRuns) {
  SketchedTrial trial(1, kKeys, 1.0, 600 + test);
  return unbiased(name, sampler, trial, runs, test);
}

template <class E>
Judge grouped(const std::string& name, const E& sampler, std::uint64_t test) {
  SketchedTrial trial(4, kKeys, 1.0, 700 + test);
  return unbiased(name + ", grouped", sampler, trial, kRuns / 4, test);
}

TEST(Proposal, PriorityBySketches) {
  EXPECT_TRUE(alone("priority by sketch1", PriorityTail{kBudget, Source::kSketch1}, 5001).accepts());
  EXPECT_TRUE(grouped("priority by sketch1", PriorityTail{kBudget, Source::kSketch1}, 5002).accepts());
  const auto whole = stack(Sinks{kSinks}, Window{kWindow}, TopK{32, Source::kSketch4}, PriorityTail{kBudget, Source::kSketch4});
  EXPECT_TRUE(alone("sinks, window, top-k and priority by sketch4", whole, 5003).accepts());
}
TEST(Proposal, SystematicBySketches) {
  EXPECT_TRUE(alone("systematic by sketch1", SystematicTail{kBudget, Source::kSketch1}, 5004).accepts());
  EXPECT_TRUE(grouped("systematic by sketch4", SystematicTail{kBudget, Source::kSketch4}, 5005).accepts());
}
TEST(Proposal, MultinomialAndPoissonBySketches) {
  EXPECT_TRUE(alone("multinomial by sketch1", MultinomialTail{kBudget, Source::kSketch1}, 5006).accepts());
  EXPECT_TRUE(alone("poisson by sketch4", PoissonTail{kBudget, Source::kSketch4}, 5007).accepts());
}

// ---- power --------------------------------------------------------------------------------------------------------

/// Chosen by the sketch, weighed as if the exact logits had proposed: tau - s for tau - s'.
template <class E>
struct WeightFromTheLogit : Wrapped<E> {
  template <class Kv>
  void select(const Query& q, const Kv& kv, Selection& selection, Workspace& ws) const {
    std::vector<double> proposed, exact;
    const auto keep = [&](const auto& s, std::vector<double>& to) {
      to.assign(s.of_head(0), s.of_head(0) + q.visible.size());
    };
    keep(logits(q, kv, ws), exact);
    keep(HWY_NAMESPACE::scores(this->right.by, q, kv, ws).of, proposed);
    this->choose_and_change(q, kv, selection, ws, [&](Pick& pick) {
      const auto i = static_cast<std::size_t>(pick.position - q.visible.first);
      if (pick.log_weight > 0) pick.log_weight = std::max(0.0, pick.log_weight + proposed[i] - exact[i]);
    });
  }
};

TEST(ProposalPower, AWeightFromTheExactLogit) {
  const auto wrong = [](const auto& right) { return WeightFromTheLogit<std::decay_t<decltype(right)>>{{right}}; };
  EXPECT_TRUE(alone("exact weight, priority by sketch1", wrong(PriorityTail{kBudget, Source::kSketch1}), 5101, kRuns / 10)
                  .finds_fault());
  EXPECT_TRUE(alone("exact weight, systematic by sketch1", wrong(SystematicTail{kBudget, Source::kSketch1}), 5102, kRuns / 10)
                  .finds_fault());
  EXPECT_TRUE(alone("exact weight, poisson by sketch4", wrong(PoissonTail{kBudget, Source::kSketch4}), 5103, kRuns).finds_fault());
}

// ---- variance -----------------------------------------------------------------------------------------------------

/// Mean square of the error of the output over columns of noise, and its standard error.
Mean squared_error(const auto& estimator, SketchedTrial& trial, std::uint64_t runs, std::uint64_t test) {
  Mean mean;
  std::vector<Trial::Estimate> estimates;
  for (std::uint64_t r = 0; r < runs; ++r) {
    trial.run(estimator, run_seed(test, r), estimates);
    double squares = 0;
    for (std::size_t c = kNormal; c < kColumns; ++c) {
      squares += std::pow(estimates[0].output(c) - trial.output(0, c), 2);
    }
    mean.add(squares);
  }
  return mean;
}

/// delta = s' - s, the log of proposed over true, weighted by what the keys count.
struct LogError {
  double eta = 0;        // its deviation
  double inflation = 0;  // E[e^delta] E[e^-delta]: of the variance, exactly, for independent draws
};

LogError log_error(Source by, SketchedTrial& trial) {
  Workspace ws;
  const auto n = static_cast<Position>(trial.size());
  const Query q = trial.query().resolved(n);
  const auto proposed = HWY_NAMESPACE::scores(by, q, trial.kv(), ws);
  const std::vector<float>& exact = trial.logits().logits[0];
  double mean = 0, squares = 0, up = 0, down = 0;
  for (std::size_t i = 0; i < trial.size(); ++i) {
    const double share = std::exp(double{exact[i]} - trial.lse(0));
    const double delta = double{proposed.of.data[i]} - double{exact[i]};
    mean += share * delta;
    squares += share * delta * delta;
    up += share * std::exp(delta);
    down += share * std::exp(-delta);
  }
  return {std::sqrt(squares - mean * mean), up * down};
}

/// Against the exact proposal.
struct Ratio {
  double value = 0, error = 0;
};
Ratio ratio_of(const Mean& by_sketch, const Mean& by_keys) {
  const double ratio = by_sketch.mean() / by_keys.mean();
  return {ratio, ratio * std::hypot(by_sketch.error() / by_sketch.mean(), by_keys.error() / by_keys.mean())};
}

// Errors of a sketch are nearly normal and independent of the logits, so a sketch multiplies the variance of priority
// sampling by e^{eta^2}: here to a tenth. Systematic sampling, whose picks depend on each other, pays no more.
TEST(Proposal, VarianceGrowsByEToTheSquareOfTheLogError) {
  constexpr std::uint64_t kShortRuns = 4000;
  constexpr double kBand = 0.1;
  Judge judge("variance by sketches");
  for (const double spread : {1.0, 1.5}) {
    SketchedTrial trial(1, 4864, spread, 800);
    const Mean priority = squared_error(PriorityTail{256}, trial, kShortRuns, 5201);
    const Mean systematic = squared_error(SystematicTail{256}, trial, kShortRuns, 5202);
    for (const Source by : {Source::kSketch8, Source::kSketch4, Source::kSketch1}) {
      const std::string name = "spread " + std::to_string(spread) + ", by " + std::string(name_of(by));
      const LogError error = log_error(by, trial);
      const double expected = std::exp(error.eta * error.eta);
      const Ratio of_priority = ratio_of(squared_error(PriorityTail{256, by}, trial, kShortRuns, 5203), priority);
      const Ratio of_systematic = ratio_of(squared_error(SystematicTail{256, by}, trial, kShortRuns, 5204), systematic);
      judge.at_most("priority, most, " + name, of_priority.value, expected * (1 + kBand), of_priority.error);
      judge.at_most("priority, least, " + name, expected * (1 - kBand), of_priority.value, of_priority.error);
      judge.at_most("systematic, " + name, of_systematic.value, expected * (1 + kBand), of_systematic.error);
      if (std::getenv("SKIM_TEST_VERBOSE") != nullptr) {
        std::printf("%s: eta %.3f, e^(eta^2) %.3f, E e^d E e^-d %.3f, priority %.3f +- %.3f, systematic %.3f +- %.3f\n",
                    name.c_str(), error.eta, expected, error.inflation, of_priority.value, of_priority.error,
                    of_systematic.value, of_systematic.error);
      }
    }
  }
  EXPECT_TRUE(judge.accepts());
}

}  // namespace
}  // namespace skim::test

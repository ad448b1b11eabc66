// SPDX-License-Identifier: Apache-2.0
// The output is a ratio of two unbiased numbers and biased itself. Does its bias shrink like 1 / m, its error like
// 1 / sqrt(m), and do bias and variance follow the delta method?
#include <gtest/gtest.h>

#include "statistics/trial.h"
#include "statistics/wrong_estimators.h"

namespace skim::test {
namespace {

/// Mean and squares of the error of the outputs over seeds: one for each head and column.
struct Errors {
  std::vector<std::array<Mean, kColumns>> error;    // o^ - o
  std::vector<std::array<Mean, kColumns>> squared;  // (o^ - o)^2
};

template <class E>
Errors errors_of(const E& estimator, Trial& trial, std::uint64_t runs, std::uint64_t test) {
  Errors errors{std::vector<std::array<Mean, kColumns>>(trial.heads()),
                std::vector<std::array<Mean, kColumns>>(trial.heads())};
  std::vector<Trial::Estimate> estimates;
  for (std::uint64_t r = 0; r < runs; ++r) {
    trial.run(estimator, run_seed(test, r), estimates);
    for (std::size_t h = 0; h < trial.heads(); ++h) {
      for (std::size_t c = 0; c < kColumns; ++c) {
        const double error = estimates[h].output(c) - trial.output(h, c);
        errors.error[h][c].add(error);
        errors.squared[h][c].add(error * error);
      }
    }
  }
  return errors;
}

/// Columns whose ratio is biased enough to be measured: the mass of the largest keys, and values that grow with the
/// logit.
constexpr std::size_t kBiased[] = {kLargest, kSmallest, kCorrelated};

/// |bias(4 m)| <= |bias(m)| / 2 + noise. `clear`: how many biases at m are far above the noise; the others say nothing.
template <class MakeEstimator>
Judge bias_shrinks(const std::string& name, const MakeEstimator& make, Trial& trial, int m,
                   std::uint64_t runs, std::uint64_t test, int* clear) {
  const Errors few = errors_of(make(m), trial, runs, test),
               many = errors_of(make(4 * m), trial, runs, test + 1);
  Judge judge(name + ", bias of the ratio");
  *clear = 0;
  for (std::size_t h = 0; h < trial.heads(); ++h) {
    for (const std::size_t c : kBiased) {
      const Mean &a = few.error[h][c], &b = many.error[h][c];
      judge.at_most("head " + std::to_string(h) + ", column " + std::to_string(c) +
                        ": |bias(4m)| - |bias(m)| / 2",
                    std::abs(b.mean()) - std::abs(a.mean()) / 2, 0,
                    std::hypot(b.error(), a.error() / 2));
      *clear += std::abs(a.mean()) > 10 * a.error() ? 1 : 0;
    }
  }
  return judge;
}

constexpr std::uint64_t kRuns = 40000;

TEST(RatioBias, OfUniformShrinksLikeOneOverM) {
  Trial trial(1, 1021, 1.2, true, 1);
  int clear = 0;
  const auto make = [](int m) { return UniformTail{m}; };
  EXPECT_TRUE(bias_shrinks("uniform", make, trial, 8, kRuns, 4001, &clear).accepts());
  EXPECT_EQ(clear, 3);
}

// Samplers by size hardly have a bias with one head. In a group of heads that look elsewhere each sees a proposal
// that is not its own.
template <class E>
void expect_bias_shrinks(const std::string& name, std::uint64_t test) {
  Trial trial(2, 509, 1.8, true, 2);
  int clear = 0;
  const auto make = [](int m) { return E{m}; };
  EXPECT_TRUE(bias_shrinks(name, make, trial, 6, kRuns, test, &clear).accepts());
  EXPECT_GE(clear, 1);
}

TEST(RatioBias, OfPriority) { expect_bias_shrinks<PriorityTail>("priority", 4003); }
TEST(RatioBias, OfMultinomial) { expect_bias_shrinks<MultinomialTail>("multinomial", 4005); }
TEST(RatioBias, OfSystematic) { expect_bias_shrinks<SystematicTail>("systematic", 4007); }
TEST(RatioBias, OfPoisson) { expect_bias_shrinks<PoissonTail>("poisson", 4009); }

// A bias that does not go away: half the weight that is due, after sinks and window.
TEST(RatioBiasPower, NoWeight) {
  Trial trial(1, 1021, 1.2, false, 3);
  int clear = 0;
  const auto make = [](int m) { return stack(Sinks{4}, Window{64}, NoWeight<UniformTail>{{{m}}}); };
  EXPECT_TRUE(bias_shrinks("no weight", make, trial, 8, kRuns / 4, 4011, &clear).finds_fault());
}

// ---- the delta method, for Poisson sampling -------------------------------------------------------------------

/// bias = -(1 / D^2) sum c_i (v_i - o) and variance = (1 / D^2) sum c_i (v_i - o)^2 with c_i = a_i^2 (1 - p_i) / p_i.
struct Delta {
  double bias = 0, variance = 0;
};

Delta delta_method(const Trial& trial, std::size_t head, std::size_t column,
                   const std::vector<double>& p) {
  const std::vector<double> a =
      reference_shares(trial.logits().logits[head], middle_of(trial.size(), 0, 0));
  Delta delta;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double c = a[i] * a[i] * (1 - p[i]) / p[i],
                 off = trial.value(i, column) - trial.output(head, column);
    delta.bias -= c * off;
    delta.variance += c * off * off;
  }
  return delta;
}

std::vector<double> poisson_probabilities(const Trial& trial, std::size_t budget) {
  std::vector<double> p = reference_proposal(trial.logits(), middle_of(trial.size(), 0, 0));
  const double c = reference_inclusion_scale(p, static_cast<double>(budget));
  for (double& x : p) x = std::min(1.0, c * x);
  return p;
}

/// Empirical bias and variance against the formula; its own error is of the next order in 1 / m: 3 %.
template <class E>
Judge follows_delta_method(const std::string& name, const E& estimator, std::size_t heads,
                           std::size_t budget, std::uint64_t runs, std::uint64_t test) {
  Trial trial(heads, 4099, 1.5, true, 5);
  const std::vector<double> p = poisson_probabilities(trial, budget);
  const Errors errors = errors_of(estimator, trial, runs, test);
  Judge judge(name + ", delta method");
  for (std::size_t h = 0; h < heads; ++h) {
    for (const std::size_t c :
         {kLargest, kSmallest, kCorrelated, kNormal, static_cast<Column>(kNormal + 1)}) {
      const Delta delta = delta_method(trial, h, c, p);
      const Mean &error = errors.error[h][c], &squared = errors.squared[h][c];
      const double ratio = squared.mean() / delta.variance;
      const std::string at = "head " + std::to_string(h) + ", column " + std::to_string(c);
      judge.at_most(at + ": |variance / formula - 1|", std::abs(ratio - 1), 0.03,
                    squared.error() / delta.variance);
      judge.at_most(at + ": |bias - formula|", std::abs(error.mean() - delta.bias),
                    0.1 * std::abs(delta.bias), error.error());
    }
  }
  return judge;
}

TEST(DeltaMethod, Variance) {
  EXPECT_TRUE(follows_delta_method("poisson", PoissonTail{400}, 1, 400, 20000, 4013).accepts());
  EXPECT_TRUE(
      follows_delta_method("poisson, group of 2", PoissonTail{400}, 2, 400, 20000, 4014).accepts());
}

TEST(DeltaMethodPower, WrongBudgetOrWeights) {
  EXPECT_TRUE(
      follows_delta_method("a tenth fewer picks", PoissonTail{360}, 1, 400, 20000, 4015).finds_fault());
  EXPECT_TRUE(follows_delta_method("pi for 1 / pi", ProbabilityForWeight<PoissonTail>{{{400}}}, 1, 400,
                                   2000, 4016)
                  .finds_fault());
}

// The variance estimated from one sample, (1 / D^^2) sum over picks of w^2 (1 - p) a^2 (v - o^)^2, is right on average.
TEST(DeltaMethod, PlugInVariance) {
  constexpr std::size_t kBudget = 400;
  constexpr std::uint64_t kSamples = 2000;
  Trial trial(1, 4099, 1.5, true, 6);
  const std::vector<double> p = poisson_probabilities(trial, kBudget);
  Workspace ws;
  std::array<Mean, kColumns> plug_in;
  for (std::uint64_t r = 0; r < kSamples; ++r) {
    const Query q = trial.logits().query({.seed = run_seed(4017, r)});
    const Selection selection = select(PoissonTail{kBudget}, q, trial.kv());
    const State state = attend(selection, q, trial.kv());
    std::array<double, kColumns> variance{};
    for (const Pick& pick : selection.picks()) {
      const auto i = static_cast<std::size_t>(pick.position);
      // w a / D^: the share the estimate gives the key.
      const double share = std::exp(pick.log_weight + static_cast<double>(trial.logits().logits[0][i]) -
                                    static_cast<double>(state.lse()));
      for (std::size_t c = 0; c < kColumns; ++c) {
        const double off = trial.value(i, c) - static_cast<double>(state.out()[c]);
        variance[c] += share * share * (1 - std::exp(-pick.log_weight)) * off * off;
      }
    }
    for (std::size_t c = 0; c < kColumns; ++c) plug_in[c].add(variance[c]);
  }
  Judge judge("poisson, plug-in variance");
  for (const std::size_t c :
       {kLargest, kSmallest, kCorrelated, kNormal, static_cast<Column>(kNormal + 1)}) {
    const double formula = delta_method(trial, 0, c, p).variance;
    judge.at_most("column " + std::to_string(c), std::abs(plug_in[c].mean() / formula - 1), 0.03,
                  plug_in[c].error() / formula);
  }
  EXPECT_TRUE(judge.accepts());
}

// ---- the error decays like 1 / sqrt(m) ------------------------------------------------------------------------

/// Four times the keys, half the error, and a little less since what is chosen for certain has none: from m to 4 m and
/// on to 16 m.
template <class MakeEstimator>
Judge error_halves(const std::string& name, const MakeEstimator& make, int m, std::uint64_t runs,
                   std::uint64_t test) {
  Trial trial(1, 16384, 1.2, true, 7);
  Judge judge(name + ", error against m");
  std::array<Mean, 3> squared;
  for (std::size_t step = 0; step < 3; ++step) {
    std::vector<Trial::Estimate> estimates;
    for (std::uint64_t r = 0; r < runs; ++r) {
      trial.run(make(m << (2 * step)), run_seed(test + step, r), estimates);
      double sum = 0;
      for (std::size_t c = kCorrelated; c < kColumns; ++c) {
        sum += std::pow(estimates[0].output(c) - trial.output(0, c), 2);
      }
      squared[step].add(sum);
    }
  }
  for (std::size_t step = 0; step + 1 < 3; ++step) {
    const double from = squared[step].mean(), to = squared[step + 1].mean();
    const double ratio = to / from;
    const double noise =
        ratio * std::hypot(squared[step].error() / from, squared[step + 1].error() / to);
    const std::string at =
        "m = " + std::to_string(m << (2 * step)) + " to " + std::to_string(4 * m << (2 * step));
    judge.at_most(at + ": mean square, at most 1.1 / 4", ratio, 1.1 / 4, noise);
    judge.at_most(at + ": mean square, at least 0.5 / 4", 0.5 / 4, ratio, noise);
  }
  return judge;
}

TEST(Error, HalvesWithFourTimesTheKeys) {
  constexpr std::uint64_t kFew = 2000;
  // Of fewer than 256 uniform keys too few matter for the square root to show.
  EXPECT_TRUE(error_halves(
                  "uniform", [](int m) { return UniformTail{m}; }, 256, kFew, 4020)
                  .accepts());
  EXPECT_TRUE(error_halves(
                  "priority", [](int m) { return PriorityTail{m}; }, 64, kFew, 4030)
                  .accepts());
  EXPECT_TRUE(error_halves(
                  "multinomial", [](int m) { return MultinomialTail{m}; }, 64, kFew, 4040)
                  .accepts());
  EXPECT_TRUE(error_halves(
                  "systematic", [](int m) { return SystematicTail{m}; }, 64, kFew, 4050)
                  .accepts());
  EXPECT_TRUE(error_halves(
                  "poisson", [](int m) { return PoissonTail{m}; }, 64, kFew, 4060)
                  .accepts());
}

TEST(ErrorPower, ABiasStops) {
  EXPECT_TRUE(error_halves(
                  "top-k", [](int m) { return TopK{m}; }, 64, 4, 4070)
                  .finds_fault());
  EXPECT_TRUE(error_halves(
                  "no weight", [](int m) { return NoWeight<PriorityTail>{{{m}}}; }, 64, 500, 4080)
                  .finds_fault());
}

}  // namespace
}  // namespace skim::test

// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "nc_study/effective.h"
#include "nc_study/layer.h"
#include "nc_study/row_errors.h"
#include "nc_study/rule.h"
#include "nc_study/softmax_row.h"
#include "nc_study/spectral.h"
#include "nc_study/stats.h"
#include "nc_study/study.h"

namespace nc {
namespace {

TEST(Rules, AgreeWhereTheyAreAligned) {
  for (const Rule& rule : growth_rules(64, 1024)) {
    if (rule.is_dynamic) {
      EXPECT_EQ(rule.keys(1024), 64u) << rule.name;
    }
    EXPECT_LE(rule.keys(3), 3u) << rule.name;
    EXPECT_GE(rule.keys(1), 1u) << rule.name;
  }
}

TEST(Rules, CostTheSameInAPass) {
  const auto rules = equal_cost_rules(64, 4096);
  const double cost = mean_keys(rules[0], 4096);
  for (const Rule& rule : rules) {
    const bool is_exact = rule.name.find("same cost") != std::string::npos;
    EXPECT_LE(mean_keys(rule, 4096), is_exact ? cost : cost + 1) << rule.name;
    EXPECT_GT(mean_keys(rule, 4096), cost - 0.1) << rule.name;
  }
}

TEST(Layer, HasTheSpreadItSays) {
  for (const double r : {0.5, 2.0}) {
    const Layer layer(2000, 64, r, 1);
    double deviation = 0;
    for (std::size_t row = 0; row < 20; ++row) {
      const auto p = softmax_row(layer, row, false);
      double sum = 0, squares = 0;
      for (const double x : p) {
        sum += std::log(x);
        squares += std::log(x) * std::log(x);
      }
      const double mean = sum / 2000;
      deviation += std::sqrt(squares / 2000 - mean * mean) / 20;
    }
    EXPECT_NEAR(deviation, r, 0.1 * r);
  }
}

TEST(RowErrors, VanishWhenEverythingIsKept) {
  const Layer layer(100, 8, 1, 1);
  const std::vector<Rule> rules{{"all", [](skim::Position n) { return static_cast<std::size_t>(n); }}};
  const std::vector<std::size_t> rows{0, 50, 99};
  for (const bool is_causal : {false, true}) {
    const auto errors = row_errors(layer, rules, rows, is_causal);
    for (const double x : errors[0]) EXPECT_LT(x, 1e-5);
  }
}

/// P^ - P by the definition, in double.
std::vector<std::vector<double>> difference(const Layer& layer, std::size_t k, bool is_causal) {
  std::vector<std::vector<double>> e(layer.size(), std::vector<double>(layer.size()));
  for (std::size_t i = 0; i < layer.size(); ++i) {
    const auto p = softmax_row(layer, i, is_causal);
    std::vector<double> sorted = p;
    std::sort(sorted.rbegin(), sorted.rend());
    const std::size_t kept = std::min(k, p.size());
    const double mass =
        std::accumulate(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(kept), 0.0);
    for (std::size_t j = 0; j < p.size(); ++j)
      e[i][j] = (p[j] >= sorted[kept - 1] ? p[j] / mass : 0) - p[j];
  }
  return e;
}

TEST(RowErrors, AreTheirDefinitions) {
  const Layer layer(60, 8, 1.5, 2);
  const std::vector<Rule> rules{{"7", [](skim::Position) { return std::size_t{7}; }}};
  for (const bool is_causal : {false, true}) {
    const auto e = difference(layer, 7, is_causal);
    for (const std::size_t row : {3u, 30u, 59u}) {
      double squares = 0, variation = 0;
      for (const double x : e[row]) {
        squares += x * x;
        variation += std::abs(x) / 2;
      }
      const std::vector<std::size_t> rows{row};
      const Errors errors = row_errors(layer, rules, rows, is_causal)[0];
      EXPECT_NEAR(errors[kRowL2], std::sqrt(squares), 1e-9);
      EXPECT_NEAR(errors[kVariation], variation, 1e-9);
      for (const auto& [metric, values] : {std::pair{kOutputIndependent, Values::kIndependent},
                                           std::pair{kOutputTokens, Values::kTokens}}) {
        double wrong = 0, norm = 0;
        const auto p = softmax_row(layer, row, is_causal);
        for (std::size_t c = 0; c < 8; ++c) {
          double change = 0, exact = 0;
          for (std::size_t j = 0; j < p.size(); ++j) {
            change += e[row][j] * layer.values(values)[j * 8 + c];
            exact += p[j] * layer.values(values)[j * 8 + c];
          }
          wrong += change * change;
          norm += exact * exact;
        }
        EXPECT_NEAR(errors[metric], std::sqrt(wrong / norm), 1e-5);
      }
    }
  }
}

TEST(Spectral, IsTheLargestSingularValueOverN) {
  const Layer layer(60, 8, 1.5, 3);
  const std::vector<Rule> rules{{"7", [](skim::Position) { return std::size_t{7}; }},
                                {"20", [](skim::Position) { return std::size_t{20}; }}};
  for (const bool is_causal : {false, true}) {
    const auto errors = spectral_errors(layer, rules, is_causal);
    for (std::size_t r = 0; r < rules.size(); ++r) {
      const auto e = difference(layer, rules[r].keys(60), is_causal);
      std::vector<double> v(60, 1.0);
      v[0] = 2;  // every row of e adds up to 0
      double norm = 0;
      for (int step = 0; step < 5000; ++step) {
        std::vector<double> u(60, 0.0), next(60, 0.0);
        for (std::size_t i = 0; i < 60; ++i) {
          for (std::size_t j = 0; j < 60; ++j) u[i] += e[i][j] * v[j];
        }
        for (std::size_t i = 0; i < 60; ++i) {
          for (std::size_t j = 0; j < 60; ++j) next[j] += e[i][j] * u[i];
        }
        norm = std::sqrt(std::inner_product(next.begin(), next.end(), next.begin(), 0.0));
        for (double& x : next) x /= norm;
        v = next;
      }
      EXPECT_NEAR(errors[r] * 60, std::sqrt(norm), 0.01 * std::sqrt(norm));
    }
  }
}

TEST(Effective, CountsWhatIsAtMostEps) {
  const Layer layer(500, 8, 1, 4);
  const std::vector<std::size_t> rows{7};
  const auto p = softmax_row(layer, 7, false, 2.0);
  const std::vector<double> thresholds{0, 1.0 / 500, 1};
  const auto shares = ineffective_share(layer, 2.0, thresholds, rows);
  EXPECT_EQ(shares[0], 0);
  const auto below = std::count_if(p.begin(), p.end(), [](double x) { return x <= 1.0 / 500; });
  EXPECT_NEAR(shares[1] * 500, static_cast<double>(below), 1e-9);
  EXPECT_NEAR(shares[2], 1, 1e-12);
}

TEST(Stats, ConfidenceIntervalAndExponent) {
  const Estimate e = estimate({1, 2, 3, 4});
  EXPECT_DOUBLE_EQ(e.mean, 2.5);
  EXPECT_NEAR(e.half_width, 1.96 * std::sqrt(5.0 / 3 / 4), 1e-12);
  EXPECT_NEAR(exponent({1, 2, 4, 8}, {3, 3 * std::sqrt(2), 6, 6 * std::sqrt(2)}), 0.5, 1e-12);
}

TEST(Study, IsTheSameOnAnyThreadAndAgreesWithGaussianTheory) {
  Plan plan;
  plan.lengths = {512, 1024};
  plan.effective_lengths = {512};
  plan.draws = 3;
  plan.rows = 32;
  plan.longest_matrix = 512;
  plan.matrix_draws = 2;
  std::size_t done = 0;
  const Findings a = run_study(plan, [&](std::size_t part) { done = part; });
  const Findings b = run_study(plan, {});
  EXPECT_EQ(done, parts(plan));
  for (std::size_t r = 0; r < a.growth.size(); ++r) {
    for (std::size_t at = 0; at < 2; ++at) EXPECT_EQ(a.growth[r].at[at], b.growth[r].at[at]);
    EXPECT_EQ(a.growth[r].at[0][kSpectral].size(), 2u);
    EXPECT_TRUE(a.growth[r].at[1][kSpectral].empty());
  }
  EXPECT_LT(a.worst_variation_gap, 0.05);
}

}  // namespace
}  // namespace nc

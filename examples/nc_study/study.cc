// SPDX-License-Identifier: Apache-2.0
#include "study.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "effective.h"
#include "generate/parallel.h"
#include "layer.h"
#include "row_errors.h"
#include "spectral.h"
#include "stats.h"

namespace nc {
namespace {

constexpr double kSpreads[] = {0.5, 1, 2, 4};
constexpr double kThresholds[] = {1e-3, 1e-4, 0};  // 0 stands for 1/n

std::uint64_t seed_of(const Plan& plan, std::size_t n, std::size_t draw) {
  return plan.seed * 0x9E3779B97F4A7C15u + n * 1000003u + draw;
}

/// `count` rows of n, each in the middle of its share of them.
std::vector<std::size_t> spread_rows(std::size_t n, std::size_t count) {
  std::vector<std::size_t> rows;
  for (std::size_t i = 0; i < count; ++i) rows.push_back((2 * i + 1) * n / (2 * count));
  return rows;
}

std::vector<Curve> empty_curves(const std::vector<Rule>& rules, std::size_t lengths) {
  std::vector<Curve> curves;
  for (const Rule& rule : rules)
    curves.push_back({rule, std::vector<Samples>(lengths), std::vector<double>(lengths)});
  return curves;
}

/// The lower tail of the normal distribution.
double normal(double x) { return std::erfc(-x * std::sqrt(0.5)) / 2; }

/// The mass that is dropped when the top f of Gaussian logits with deviation r is kept: 1 - Phi(r -
/// z) where Phi(-z) = f.
double gaussian_variation(double f, double r) {
  double low = -10, high = 10;
  for (int step = 0; step < 100; ++step) {
    const double z = (low + high) / 2;
    (normal(-z) > f ? low : high) = z;
  }
  return 1 - normal(r - low);
}

/// Everything about one length; draws run in parallel and results lie in the order of the draws.
void measure_length(const Plan& plan, std::size_t at, Findings& findings,
                    const std::function<void()>& part_done) {
  const std::size_t n = plan.lengths[at];
  const auto length = static_cast<skim::Position>(n);
  const auto full_rules = growth_rules(plan.k, static_cast<skim::Position>(plan.lengths.front()));
  const auto causal_rules = equal_cost_rules(plan.k, length);
  const std::vector<std::size_t> rows = spread_rows(n, plan.rows);

  std::vector<std::vector<Errors>> full(plan.draws), causal(plan.draws);
  const std::size_t matrix_draws =
      n <= plan.longest_matrix ? std::min(plan.draws, plan.matrix_draws) : 0;
  engine::for_each_parallel(plan.draws, engine::machine_threads(), [&](std::size_t draw, std::size_t) {
    const Layer layer(n, plan.d, plan.r, seed_of(plan, n, draw));
    full[draw] = row_errors(layer, full_rules, rows, false);
    causal[draw] = row_errors(layer, causal_rules, rows, true);
    part_done();
    if (draw >= matrix_draws) return;
    const auto full_norms = spectral_errors(layer, full_rules, false);
    const auto causal_norms = spectral_errors(layer, causal_rules, true);
    for (std::size_t r = 0; r < full_rules.size(); ++r) full[draw][r][kSpectral] = full_norms[r];
    for (std::size_t r = 0; r < causal_rules.size(); ++r) causal[draw][r][kSpectral] = causal_norms[r];
    part_done();
  });

  const auto store = [&](std::vector<Curve>& curves, const std::vector<Rule>& rules, const auto& errors,
                         bool is_causal) {
    for (std::size_t r = 0; r < rules.size(); ++r) {
      curves[r].rule = rules[r];
      curves[r].keys[at] =
          is_causal ? mean_keys(rules[r], length) : static_cast<double>(rules[r].keys(length));
      for (std::size_t metric = 0; metric < kMetrics; ++metric) {
        const std::size_t draws = metric == kSpectral ? matrix_draws : plan.draws;
        for (std::size_t draw = 0; draw < draws; ++draw)
          curves[r].at[at][metric].push_back(errors[draw][r][metric]);
      }
    }
  };
  store(findings.growth, full_rules, full, false);
  store(findings.equal_cost, causal_rules, causal, true);
  for (const Curve& curve : findings.growth) {
    const double expected = gaussian_variation(curve.keys[at] / static_cast<double>(n), plan.r);
    const double gap = std::abs(estimate(curve.at[at][kVariation]).mean - expected);
    findings.worst_variation_gap = std::max(findings.worst_variation_gap, gap);
  }
}

void measure_effective(const Plan& plan, std::size_t at, Findings& findings,
                       const std::function<void()>& part_done) {
  const std::size_t n = plan.effective_lengths[at];
  const std::vector<std::size_t> rows = spread_rows(n, plan.rows / 2);
  std::vector<double> thresholds(std::begin(kThresholds), std::end(kThresholds));
  std::replace(thresholds.begin(), thresholds.end(), 0.0, 1 / static_cast<double>(n));
  engine::for_each_parallel(plan.effective_draws, engine::machine_threads(), [&](std::size_t draw, std::size_t) {
    const Layer layer(n, plan.d, 1, seed_of(plan, n, 1000 + draw));
    for (std::size_t s = 0; s < std::size(kSpreads); ++s) {
      const auto shares = ineffective_share(layer, kSpreads[s], thresholds, rows);
      for (std::size_t t = 0; t < shares.size(); ++t) {
        findings.effective[s * shares.size() + t].samples[at][draw] = shares[t];
      }
    }
    part_done();
  });
}

}  // namespace

std::size_t parts(const Plan& plan) {
  std::size_t count = plan.effective_lengths.size() * plan.effective_draws;
  for (const std::size_t n : plan.lengths) {
    count += plan.draws + (n <= plan.longest_matrix ? std::min(plan.draws, plan.matrix_draws) : 0);
  }
  return count;
}

Findings run_study(const Plan& plan, const OnPart& on_part) {
  Findings findings;
  findings.growth = empty_curves(growth_rules(plan.k, 1), plan.lengths.size());
  findings.equal_cost = empty_curves(equal_cost_rules(plan.k, 1), plan.lengths.size());
  for (const double r : kSpreads) {
    for (const double epsilon : kThresholds) {
      const std::vector<double> one_length(plan.effective_draws);
      findings.effective.push_back({r, epsilon, {plan.effective_lengths.size(), one_length}});
    }
  }
  std::mutex mutex;
  std::size_t done = 0;
  const auto part_done = [&] {
    const std::scoped_lock lock(mutex);
    if (on_part) on_part(++done);
  };
  for (std::size_t at = 0; at < plan.lengths.size(); ++at)
    measure_length(plan, at, findings, part_done);
  for (std::size_t at = 0; at < plan.effective_lengths.size(); ++at)
    measure_effective(plan, at, findings, part_done);
  return findings;
}

}  // namespace nc

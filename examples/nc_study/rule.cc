// SPDX-License-Identifier: Apache-2.0
#include "rule.h"

#include <algorithm>
#include <cmath>

#include <skim/core/budget.h>

#include "compare/table.h"

namespace nc {
namespace {

Rule of_budget(std::string name, const skim::Budget& budget) {
  return {std::move(name), [budget](skim::Position n) { return budget.count(n); }};
}

Rule dynamic(std::string name, const skim::Budget& budget) {
  Rule rule = of_budget(std::move(name), budget);
  rule.growth = budget.exponent();
  rule.is_dynamic = true;
  return rule;
}

std::string exponent_text(double c) { return c == 0.001 ? "1/1000" : table::plain_number(c); }

}  // namespace

std::vector<Rule> growth_rules(std::size_t k, skim::Position from) {
  const auto rounded_up = [](double x, skim::Position n) {
    return std::clamp<std::size_t>(static_cast<std::size_t>(std::ceil(x)), 1,
                                   static_cast<std::size_t>(n));
  };
  std::vector<Rule> rules;
  rules.push_back(of_budget("k = " + std::to_string(k), skim::Budget(k)));
  rules.push_back(
      {"ln n", [=](skim::Position n) { return rounded_up(std::log(static_cast<double>(n)), n); }});
  rules.push_back({"sqrt n",
                   [=](skim::Position n) { return rounded_up(std::sqrt(static_cast<double>(n)), n); },
                   0.5});
  for (const double c : kExponents) {
    const auto budget = skim::power_matching_decode(static_cast<double>(k), from, c);
    rules.push_back(
        dynamic(table::short_number(budget.amount()) + " n^(" + exponent_text(c) + ")", budget));
  }
  return rules;
}

std::vector<Rule> equal_cost_rules(std::size_t k, skim::Position n) {
  std::vector<Rule> rules;
  rules.push_back(of_budget("k = " + std::to_string(k), skim::Budget(k)));
  const double cost = mean_keys(rules[0], n);
  for (const double c : kExponents) {
    const auto budget = skim::power_matching_pass(static_cast<double>(k), n, c);
    rules.push_back(dynamic("C = " + exponent_text(c), budget));
  }
  for (const double c : kExponents) {
    double low = 0, high = 2 * skim::power_matching_pass(static_cast<double>(k), n, c).amount();
    for (int step = 0; step < 50; ++step) {
      const double alpha = (low + high) / 2;
      (mean_keys(of_budget("", skim::power(alpha, c)), n) > cost ? high : low) = alpha;
    }
    rules.push_back(dynamic("C = " + exponent_text(c) + ", same cost", skim::power(low, c)));
  }
  return rules;
}

double mean_keys(const Rule& rule, skim::Position n) {
  double sum = 0;
  for (skim::Position m = 1; m <= n; ++m) sum += static_cast<double>(rule.keys(m));
  return sum / static_cast<double>(n);
}

}  // namespace nc

// SPDX-License-Identifier: Apache-2.0
// How many keys a row keeps, as a function of how many it sees.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <skim/core/position.h>

namespace nc {

struct Rule {
  std::string name;
  std::function<std::size_t(skim::Position visible)> keys;
  double growth = 0;        ///< C of alpha n^C; 0 for constant k and for ln n
  bool is_dynamic = false;  ///< alpha n^C with alpha aligned to the cost of constant k
};

/// The C of the study. 1/1000 is the best of the paper's table 1.
inline constexpr double kExponents[] = {0.001, 0.25, 0.5, 0.75};

/// What grows how: constant k, ln n, sqrt n, and alpha n^C that agrees with k at n = `from`.
std::vector<Rule> growth_rules(std::size_t k, skim::Position from);

/// Equal work over a causal pass of n rows. The first rule is constant k. The others are alpha m^C,
/// first with skim::power_matching_pass, whose rounded-up budgets cost up to one key a row more
/// than k; then ("same cost") with alpha lowered until the keys that are really read are as many.
std::vector<Rule> equal_cost_rules(std::size_t k, skim::Position n);

/// Keys a row keeps, mean over a causal pass of n rows.
double mean_keys(const Rule& rule, skim::Position n);

}  // namespace nc

// SPDX-License-Identifier: Apache-2.0
#include "verdict.h"

#include "table.h"

namespace compare {
namespace {

using table::short_number;

/// A method's stages without their arguments, for a narrow column: "topk+priority", "topk power".
std::string stages_of(const Method& method) {
  std::string text;
  int depth = 0;
  for (const char c : method.spec()) {
    depth += c == '(';
    depth -= c == ')';
    if (depth == 0 && c != ')') text += c;
  }
  return method.spec().find("power(") == std::string::npos ? text : text + " power";
}

}  // namespace

const Result* best_at(std::span<const Result> results, double share, bool is_random) {
  constexpr double kRounding = 1.03;  // to a whole number of keys, or by chance
  const Result* winner = nullptr;
  for (const Result& result : results) {
    if (result.run.share != share || !result.accuracy || result.run.method->is_random() != is_random)
      continue;
    if (result.accuracy->values_read > kRounding * share) continue;
    if (!winner || result.accuracy->median_error() < winner->accuracy->median_error()) winner = &result;
  }
  return winner;
}

std::string verdict(std::span<const Result> results, double share) {
  const Result* drawn = best_at(results, share, true);
  const Result* kept = best_at(results, share, false);
  if (!drawn || !kept) return "-";
  const bool drawn_wins = drawn->accuracy->median_error() < kept->accuracy->median_error();
  const Result& winner = drawn_wins ? *drawn : *kept;
  const Result& other = drawn_wins ? *kept : *drawn;
  const auto& a = winner.accuracy->head_errors;
  const auto& b = other.accuracy->head_errors;
  std::size_t heads = 0;
  for (std::size_t h = 0; h < a.size(); ++h) heads += a[h] < b[h];
  return "**" + stages_of(*winner.run.method) + "** " + short_number(winner.accuracy->median_error()) +
         "; " + stages_of(*other.run.method) + " × " +
         short_number(other.accuracy->median_error() / winner.accuracy->median_error()) + " (" +
         std::to_string(heads) + " of " + std::to_string(a.size()) + ")";
}

}  // namespace compare

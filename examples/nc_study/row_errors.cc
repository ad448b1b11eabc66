// SPDX-License-Identifier: Apache-2.0
#include "row_errors.h"

#include <skim/skim.h>

#include "softmax_row.h"

namespace nc {
namespace {

/// sum_i p_i v_i
std::vector<double> average(const std::vector<double>& p, const std::vector<float>& values,
                            std::size_t d) {
  std::vector<double> out(d);
  for (std::size_t i = 0; i < p.size(); ++i) {
    for (std::size_t c = 0; c < d; ++c) out[c] += p[i] * values[i * d + c];
  }
  return out;
}

double relative_error(const float* approximate, const std::vector<double>& exact) {
  double difference = 0, norm = 0;
  for (std::size_t c = 0; c < exact.size(); ++c) {
    difference += (approximate[c] - exact[c]) * (approximate[c] - exact[c]);
    norm += exact[c] * exact[c];
  }
  return std::sqrt(difference / norm);
}

}  // namespace

std::vector<Errors> row_errors(const Layer& layer, std::span<const Rule> rules,
                               std::span<const std::size_t> rows, bool is_causal) {
  const std::size_t d = layer.dim();
  const auto by_own = layer.kv(Values::kIndependent);
  const auto by_tokens = layer.kv(Values::kTokens);
  std::vector<Errors> errors(rules.size(), Errors{});
  skim::Workspace ws;
  skim::State out(1, d);
  for (const std::size_t row : rows) {
    const std::vector<double> p = softmax_row(layer, row, is_causal);
    const auto exact_own = average(p, layer.values(Values::kIndependent), d);
    const auto exact_tokens = average(p, layer.values(Values::kTokens), d);
    double sum_of_squares = 0;
    for (const double x : p) sum_of_squares += x * x;

    const skim::Query query = layer.query(row, is_causal);
    for (std::size_t r = 0; r < rules.size(); ++r) {
      const std::size_t k = rules[r].keys(static_cast<skim::Position>(p.size()));
      const skim::Selection kept = skim::select(skim::TopK{k}, query, by_own);
      double mass = 0, squares = 0;
      const auto add = [&](skim::Position i) {
        const double x = p[static_cast<std::size_t>(i)];
        mass += x;
        squares += x * x;
      };
      for (const skim::Span span : kept.spans()) {
        for (skim::Position i = span.first; i < span.last; ++i) add(i);
      }
      for (const skim::Pick& pick : kept.picks()) add(pick.position);

      Errors& e = errors[r];
      const double scale_up = 1 / mass - 1;  // what is kept is p / mass, what is dropped is 0
      e[kRowL2] += std::sqrt(std::max(0.0, sum_of_squares - squares) + squares * scale_up * scale_up);
      e[kVariation] += std::max(0.0, 1 - mass);
      skim::attend(kept, query, by_own, out.view(), ws);
      e[kOutputIndependent] += relative_error(out.out(), exact_own);
      skim::attend(kept, query, by_tokens, out.view(), ws);
      e[kOutputTokens] += relative_error(out.out(), exact_tokens);
    }
  }
  for (Errors& e : errors) {
    for (double& x : e) x /= static_cast<double>(rows.size());
  }
  return errors;
}

}  // namespace nc

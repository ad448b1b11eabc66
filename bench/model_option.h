// SPDX-License-Identifier: Apache-2.0
// What families of models ask of dense attention beside the plain kind, with exact answers to match.
#pragma once

#include <cmath>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "bench/dataset.h"
#include "bench/rounds.h"
#include "bench/sweep.h"
#include "skim/attend/layer.h"

namespace skim_bench {

/// As it stands: plain causal attention.
struct ModelOption {
  std::string what{};  ///< of the benchmark's name
  double scale = 0;    ///< 0: 1/sqrt(d)
  double soft_cap = 0;
  bool alibi = false;  ///< slopes 2^(-8 (h + 1) / heads), as trained models have
  bool sink_logits =
      false;               ///< another for each head, all near the lse of the data, so that they count
  std::size_t window = 0;  ///< newest positions that a row sees; 0: all
  bool causal = true;

  bool is_plain() const {
    return scale == 0 && soft_cap == 0 && !alibi && !sink_logits && window == 0 && causal;
  }
};

/// One method for each option, all of them dense.
inline std::vector<Method> methods_of(const std::vector<ModelOption>& options) {
  std::vector<Method> methods;
  for (const ModelOption& option : options) methods.push_back({option.what, "dense"});
  return methods;
}

/// The option a case is about, plain attention if none.
inline ModelOption option_of(const std::vector<ModelOption>& options, const Case& c) {
  for (const ModelOption& option : options) {
    if (option.what == c.method.what) return option;
  }
  return {c.method.what};
}

/// An option put to all rows and heads of a dataset. A query that was told to `ask` points into it.
class AskedOption {
 public:
  AskedOption(const ModelOption& option, const DataSpec& spec)
      : option_(option), n_(spec.shape.n), first_position_(spec.shape.n - spec.rows) {
    const std::size_t heads = spec.shape.q_heads;
    for (std::size_t h = 0; h < heads; ++h) {
      const double place = static_cast<double>(h + 1) / static_cast<double>(heads);
      slopes_.push_back(static_cast<float>(std::exp2(-8 * place)));
      sinks_.push_back(static_cast<float>(std::log(static_cast<double>(n_)) - 2 + 4 * place));
    }
    for (std::size_t row = 0; row < spec.rows; ++row) {
      const auto position = static_cast<skim::Position>(first_position_ + row);
      const skim::Span all{0, option.causal ? position + 1 : static_cast<skim::Position>(n_)};
      visible_.push_back(
          option.window == 0
              ? all
              : skim::intersect(
                    all, skim::sliding_window(position, static_cast<skim::Position>(option.window))));
    }
  }

  AskedOption(const AskedOption&) = delete;  // queries point into it
  AskedOption& operator=(const AskedOption&) = delete;

  void ask(skim::LayerQuery& query) const {
    if (option_.scale != 0) query.logit.scale = option_.scale;
    query.logit.soft_cap = option_.soft_cap;
    if (option_.alibi) query.logit.alibi_slopes = slopes_.data();
    if (option_.sink_logits) query.sink_logits = sinks_.data();
    if (option_.window != 0) query.visible = visible_;
    query.causal = option_.causal;
  }

  /// Pairs of a row and a position it sees, of one query head.
  double pairs() const {
    double count = 0;
    for (const skim::Span& span : visible_) count += static_cast<double>(span.size());
    return count;
  }

  /// Relative l2 errors of out [rows, q_heads, d] against exact answers under the option. Throws where they
  /// would say nothing: when they are not far below what the option changes, so that `out` or the exact
  /// answers may be without it, and when float storage has errors that rounding does not explain.
  template <class T>
  std::vector<double> errors(const Dataset<T>& data, const float* out) const {
    if (option_.is_plain()) return data.errors(out);
    const std::vector<double> exact =
        data.answers([this](std::size_t row, std::size_t q_head) { return asked(row, q_head); });
    const std::size_t d = data.shape().d;
    std::vector<double> changes;
    for (std::size_t i = 0; i < exact.size(); i += d) {
      changes.push_back(relative_l2(exact.data() + i, data.answers().data() + i, d));
    }
    std::vector<double> all = data.errors(out, exact);
    const double error = median(all), most = std::is_same_v<T, float> ? 1e-5 : 1;
    if (!(error < most && error < median(changes) / 10)) {
      throw std::logic_error("an error of " + std::to_string(error) + " where " + option_.what +
                             " changes " + std::to_string(median(changes)));
    }
    return all;
  }

 private:
  Asked asked(std::size_t row, std::size_t q_head) const {
    Asked a{static_cast<std::size_t>(visible_[row].first),
            static_cast<std::size_t>(visible_[row].last)};
    a.rule.scale = option_.scale;
    a.rule.soft_cap = option_.soft_cap;
    a.rule.position = first_position_ + row;
    if (option_.alibi) a.rule.alibi_slope = static_cast<double>(slopes_[q_head]);
    if (option_.sink_logits) a.rule.sink_logit = static_cast<double>(sinks_[q_head]);
    return a;
  }

  ModelOption option_;
  std::size_t n_, first_position_;
  std::vector<float> slopes_, sinks_;  // [q_heads]
  std::vector<skim::Span> visible_;    // [rows]
};

}  // namespace skim_bench

// SPDX-License-Identifier: Apache-2.0
// An estimator that is put together at run time.
#ifndef SKIM_ESTIMATOR_STAGE_LIST_H_
#define SKIM_ESTIMATOR_STAGE_LIST_H_

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <variant>
#include <vector>

#include "skim/core/source.h"
#include "skim/estimator/dense.h"
#include "skim/estimator/estimator.h"
#include "skim/estimator/lsh.h"
#include "skim/estimator/multinomial.h"
#include "skim/estimator/poisson.h"
#include "skim/estimator/priority.h"
#include "skim/estimator/quest.h"
#include "skim/estimator/sinks.h"
#include "skim/estimator/summaries.h"
#include "skim/estimator/systematic.h"
#include "skim/estimator/topk.h"
#include "skim/estimator/topp.h"
#include "skim/estimator/uniform.h"
#include "skim/estimator/window.h"

namespace skim::inline SKIM_ABI {

using Stage = std::variant<Dense, Sinks, Window, TopK, TopP, Quest, UniformTail, PriorityTail, MultinomialTail,
                           SystematicTail, PoissonTail, LshTail, Summaries>;

/// An estimator put together at run time: what `parse` returns. Accepted wherever an estimator is.
struct StageList {
  std::vector<Stage> stages;

  void validate() const {
    for (const Stage& any : stages) std::visit([](const auto& stage) { stage.validate(); }, any);
    check_order("StageList", stages.size(), [&](std::size_t i) { return is_tail(stages[i]); });
  }
  bool stands_for_rest() const { return std::any_of(stages.begin(), stages.end(), is_tail); }
  std::size_t max_picks(std::size_t n) const {
    std::size_t sum = 0;
    for (const Stage& any : stages) {
      sum += std::visit([n](const auto& stage) { return stage.max_picks(n); }, any);
    }
    return std::min(n, sum);
  }

  static bool is_tail(const Stage& any) {
    return std::visit([](const auto& stage) { return skim::stands_for_rest(stage); }, any);
  }
};

inline Sources sources(const StageList& e) {
  Sources all = 0;
  for (const Stage& any : e.stages) all |= std::visit([](const auto& stage) { return sources(stage); }, any);
  return all;
}

inline Sources scored_sources(const StageList& e) {
  Sources all = 0;
  for (const Stage& any : e.stages) all |= std::visit([](const auto& stage) { return scored_sources(stage); }, any);
  return all;
}

template <class Kv>
void check_indexes(const StageList& e, const Kv& kv) {
  for (const Stage& any : e.stages) std::visit([&kv](const auto& stage) { check_indexes(stage, kv); }, any);
}

inline bool reads_logits(const StageList& e) {
  for (const Stage& any : e.stages) {
    if (std::visit([](const auto& stage) { return reads_logits(stage); }, any)) return true;
  }
  return false;
}

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_STAGE_LIST_H_

// SPDX-License-Identifier: Apache-2.0
#if defined(SKIM_ESTIMATOR_STAGE_LIST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ESTIMATOR_STAGE_LIST_INL_H_
#undef SKIM_ESTIMATOR_STAGE_LIST_INL_H_
#else
#define SKIM_ESTIMATOR_STAGE_LIST_INL_H_
#endif

#include "skim/estimator/lsh-inl.h"
#include "skim/estimator/multinomial-inl.h"
#include "skim/estimator/poisson-inl.h"
#include "skim/estimator/priority-inl.h"
#include "skim/estimator/quest-inl.h"
#include "skim/estimator/select-inl.h"
#include "skim/estimator/spans-inl.h"
#include "skim/estimator/stage_list.h"
#include "skim/estimator/summaries-inl.h"
#include "skim/estimator/systematic-inl.h"
#include "skim/estimator/topk-inl.h"
#include "skim/estimator/topp-inl.h"
#include "skim/estimator/uniform-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Visits the stages once for each query group; no stack type is built at run time.
template <>
struct Select<StageList> {
  template <class Real, class Kv>
  static void run(const StageList& e, const BasicQuery<Real>& q, const Kv& kv, Selection& selection,
                  Workspace& ws) {
    const Sources outside = ws.asked.scored_later;  // of a stack around this list
    for (std::size_t i = 0; i < e.stages.size(); ++i) {
      ws.asked.scored_later = outside;
      for (std::size_t j = i + 1; j < e.stages.size(); ++j) {
        ws.asked.scored_later |= std::visit([](const auto& stage) { return scored_sources(stage); }, e.stages[j]);
      }
      std::visit([&](const auto& stage) { Select<std::decay_t<decltype(stage)>>::run(stage, q, kv, selection, ws); },
                 e.stages[i]);
      commit(selection);
    }
    ws.asked.scored_later = outside;
  }
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ESTIMATOR_STAGE_LIST_INL_H_

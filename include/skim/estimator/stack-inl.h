// SPDX-License-Identifier: Apache-2.0
#if defined(SKIM_ESTIMATOR_STACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ESTIMATOR_STACK_INL_H_
#undef SKIM_ESTIMATOR_STACK_INL_H_
#else
#define SKIM_ESTIMATOR_STACK_INL_H_
#endif

#include "skim/estimator/select-inl.h"
#include "skim/estimator/stack.h"
#include "skim/kernel/select-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

template <class... Stages>
struct Select<Stack<Stages...>> {
  template <class Real, class Kv>
  static void run(const Stack<Stages...>& e, const BasicQuery<Real>& q, const Kv& kv, Selection& selection,
                  Workspace& ws) {
    const Sources outside = ws.asked.scored_later;  // of a stack around this one
    std::apply(
        [&](const Stages&... stage) {
          const Sources of_stage[] = {scored_sources(stage)...};
          std::size_t i = 0;
          const auto later = [&] {
            Sources all = outside;
            for (std::size_t j = ++i; j < sizeof...(Stages); ++j) all |= of_stage[j];
            return all;
          };
          ((ws.asked.scored_later = later(), Select<Stages>::run(stage, q, kv, selection, ws), commit(selection)), ...);
        },
        e.stages);
    ws.asked.scored_later = outside;
  }
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ESTIMATOR_STACK_INL_H_

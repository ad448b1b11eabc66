// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_ESTIMATOR_STACK_H_
#define SKIM_ESTIMATOR_STACK_H_

#include <algorithm>
#include <cstddef>
#include <tuple>

#include "skim/estimator/estimator.h"

namespace skim::inline SKIM_ABI {

template <Estimator... Stages>
struct Stack;

template <class... Stages>
constexpr bool stands_for_rest(const Stack<Stages...>& e);

/// Stages that select one after the other, each from what those before it have left.
template <Estimator... Stages>
struct Stack {
  static constexpr bool stands_for_rest = (skim::stands_for_rest<Stages>() || ...);

  std::tuple<Stages...> stages;

  void validate() const {
    std::apply(
        [](const auto&... stage) {
          (stage.validate(), ...);
          const bool tails[] = {skim::stands_for_rest(stage)...};
          check_order("Stack", sizeof...(Stages), [&](std::size_t i) { return tails[i]; });
        },
        stages);
  }
  std::size_t max_picks(std::size_t n) const {
    const std::size_t sum =
        std::apply([n](const auto&... stage) { return (std::size_t{0} + ... + stage.max_picks(n)); }, stages);
    return std::min(n, sum);
  }
};

template <class... Stages>
constexpr bool stands_for_rest(const Stack<Stages...>& e) {
  return std::apply([](const auto&... stage) { return (skim::stands_for_rest(stage) || ...); }, e.stages);
}

template <class... Stages>
Sources sources(const Stack<Stages...>& e) {
  return std::apply([](const auto&... stage) { return (0u | ... | sources(stage)); }, e.stages);
}

template <class... Stages>
Sources scored_sources(const Stack<Stages...>& e) {
  return std::apply([](const auto&... stage) { return (0u | ... | scored_sources(stage)); }, e.stages);
}

template <class... Stages, class Kv>
void check_indexes(const Stack<Stages...>& e, const Kv& kv) {
  std::apply([&kv](const auto&... stage) { (check_indexes(stage, kv), ...); }, e.stages);
}

template <class... Stages>
bool reads_logits(const Stack<Stages...>& e) {
  return std::apply([](const auto&... stage) { return (reads_logits(stage) || ...); }, e.stages);
}

namespace stack_detail {

/// Whether no stage whose type says that it stands for everything left is followed by another. (A list that was put
/// together at run time is asked by `validate`.)
template <class... Stages>
constexpr bool tail_is_last() {
  constexpr bool tails[] = {skim::stands_for_rest<Stages>()..., false};
  return first_followed_tail(sizeof...(Stages), [&](std::size_t i) { return tails[i]; }) == sizeof...(Stages);
}

}  // namespace stack_detail

/// stack(Sinks{4}, Window{64}, TopK{128}, PriorityTail{256})
template <Estimator... Stages>
constexpr Stack<Stages...> stack(Stages... stages) {
  static_assert(sizeof...(Stages) > 0, "skim::stack: at least one stage");
  static_assert(stack_detail::tail_is_last<Stages...>(),
                "skim::stack: a stage that stands for every position left (Dense, a sampled tail) must be last");
  return {{stages...}};
}

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_STACK_H_

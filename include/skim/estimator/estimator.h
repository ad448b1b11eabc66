// SPDX-License-Identifier: Apache-2.0
// What every method of sparse attention is: something that selects.
#ifndef SKIM_ESTIMATOR_ESTIMATOR_H_
#define SKIM_ESTIMATOR_ESTIMATOR_H_

#include <concepts>
#include <cstddef>

#include "skim/core/error.h"
#include "skim/core/kv.h"
#include "skim/core/query.h"
#include "skim/core/selection.h"
#include "skim/core/source.h"
#include "skim/core/workspace.h"

namespace skim::inline SKIM_ABI {

/// An estimator is a description: immutable parameters, freely copied and shared by threads.
///
///   validate()            throws std::invalid_argument when a parameter is out of range
///   max_picks(n)          the most positions it selects when n are visible, whatever the indexes that it goes by hold
///   select(q, kv, selection, ws)
///                         appends the positions it selects, ascending, with their log weights. `q` has
///                         all defaults filled in; `selection` holds what earlier stages of a stack have
///                         selected, which must not be selected again.
///   static constexpr bool stands_for_rest = true;
///                         if it stands for every position still unselected: then nothing can follow it
///                         in a stack. bool stands_for_rest() const where that depends on its parameters.
///   static constexpr bool reads_logits = true;
///                         if it asks for the logits of every visible position (`skim::logits`): with more threads
///                         than query groups they are then computed by all threads.
///   Source by             a member, if it goes by an index: `attend` then wants the KV to carry it.
///   check_indexes(kv)     if that is not enough: throws std::invalid_argument when it does not suit.
///
/// The estimators of the library are plain descriptions without `select`: their loops are compiled
/// once for each SIMD target (`Select` in estimator/select-inl.h).
template <class E>
concept Estimator = requires(const E& e, std::size_t n) {
  { e.validate() };
  { e.max_picks(n) } -> std::convertible_to<std::size_t>;
};

/// An estimator of a user's own, with its `select`.
template <class E, class Kv, class Real = float>
concept SelectsFrom = Estimator<E> && KvHead<Kv> &&
    requires(const E& e, const BasicQuery<Real>& q, const Kv& kv, Selection& selection, Workspace& ws) {
      { e.select(q, kv, selection, ws) };
    };

/// Whether nothing can be left to select after any E (law 3).
template <class E>
constexpr bool stands_for_rest() {
  if constexpr (requires { { E::stands_for_rest } -> std::convertible_to<bool>; }) {
    return E::stands_for_rest;
  } else {
    return false;
  }
}

/// Whether nothing can be left to select after `e`.
template <class E>
constexpr bool stands_for_rest(const E& e) {
  if constexpr (requires { { e.stands_for_rest() } -> std::convertible_to<bool>; }) {
    return e.stands_for_rest();
  } else {
    return stands_for_rest<E>();
  }
}

/// Law 3, for every form of composition: the first of `count` stages that stands for every position left and is followed
/// by another, which would count positions twice; `count` if there is none. tail(i): whether stage i stands for the rest.
template <class Tail>
constexpr std::size_t first_followed_tail(std::size_t count, const Tail& tail) {
  for (std::size_t i = 0; i + 1 < count; ++i) {
    if (tail(i)) return i;
  }
  return count;
}

/// Throws std::invalid_argument if there is one; `owner` names the composition.
template <class Tail>
void check_order(const char* owner, std::size_t count, const Tail& tail) {
  const std::size_t at = first_followed_tail(count, tail);
  if (at != count) {
    fail("skim::", owner, ": stage ", at, " of ", count,
         " stands for every position left (dense, a sampled tail, or ends in one), so no stage can follow it");
  }
}

/// The indexes that an estimator needs beside the keys.
template <class E>
Sources sources(const E& e) {
  if constexpr (requires { e.by; }) {
    return sources_bit(e.by);
  } else {
    return 0;
  }
}

/// Those of which it wants the scores of all positions; not where it has bounds only.
template <class E>
Sources scored_sources(const E& e) {
  if constexpr (requires { e.exact; }) {
    return e.exact ? 0 : sources(e);
  } else {
    return sources(e);
  }
}

/// Throws std::invalid_argument if E cannot go by the indexes that `kv` carries, whatever their size.
template <class E, class Kv>
void check_indexes(const E& e, const Kv& kv) {
  if constexpr (requires { e.check_indexes(kv); }) e.check_indexes(kv);
}

/// Whether E asks for the logits of every visible position.
template <class E>
bool reads_logits(const E& e) {
  if constexpr (requires { E::reads_logits; }) {
    return E::reads_logits && sources(e) == 0;
  } else {
    return false;
  }
}

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_ESTIMATOR_H_

// SPDX-License-Identifier: Apache-2.0
// Whatever holds of every index is asked of all of them: how each is made, reserved and compared.
#ifndef SKIM_TESTS_SUPPORT_ANY_INDEX_H_
#define SKIM_TESTS_SUPPORT_ANY_INDEX_H_

#include <cstddef>
#include <memory>
#include <type_traits>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/indexes.h"

namespace skim::test {

using AllIndexes = testing::Types<Sketch1, Sketch4, Sketch8, PageBoxes, PageMeans, LshTables>;

/// An empty index for keys of d columns. LSH tables are few and of a short segment, so that parts come and go.
template <class Index>
Index make_index(std::size_t d) {
  if constexpr (std::is_same_v<Index, LshTables>) {
    return LshTables(std::make_shared<const LshPlanes>(d, 3, 3, 1), 2048);
  } else {
    return Index();
  }
}

template <class Index, class Kv>
Index index_of_all(const Kv& kv) {
  Index index = make_index<Index>(kv.key_dim());
  append(index, kv);
  return index;
}

/// The first n positions of a problem.
template <class K>
ContiguousKv<K> first_positions(const Problem<K>& p, Position n) {
  auto kv = p.kv();
  kv.keys.rows = kv.values.rows = static_cast<std::size_t>(n);
  return kv;
}

template <class Index>
void reserve_index(Index& index, Position positions, std::size_t d, std::size_t d_v) {
  if constexpr (std::is_same_v<Index, LshTables>) {
    reserve(index, positions);
  } else if constexpr (std::is_same_v<Index, PageMeans>) {
    reserve(index, positions, d, d_v);
  } else {
    reserve(index, positions, d);
  }
}

/// Bit for bit, all that an index holds.
template <int kBits>
testing::AssertionResult same_index(const Sketch<kBits>& a, const Sketch<kBits>& b) {
  return same_sketch(a, b);
}
inline testing::AssertionResult same_index(const LshTables& a, const LshTables& b) { return same_tables(a, b); }
inline testing::AssertionResult same_index(const PageBoxes& a, const PageBoxes& b) {
  if (a.size() != b.size()) return testing::AssertionFailure() << a.size() << " and " << b.size() << " positions";
  for (const auto& same : {same_buffer("boxes", BoxAccess::boxes(a), BoxAccess::boxes(b)),
                           same_buffer("reach", BoxAccess::reach(a), BoxAccess::reach(b)),
                           same_buffer("fingerprints", a.fingerprints(), b.fingerprints())}) {
    if (!same) return same;
  }
  return testing::AssertionSuccess();
}
inline testing::AssertionResult same_index(const PageMeans& x, const PageMeans& y) {
  PageMeans a = x, b = y;  // whose buffers are looked at
  if (a.size() != b.size() || a.pages() != b.pages()) {
    return testing::AssertionFailure() << a.size() << " and " << b.size() << " positions";
  }
  for (const auto& same : {same_buffer("keys", MeansAccess::keys(a), MeansAccess::keys(b)),
                           same_buffer("values", MeansAccess::values(a), MeansAccess::values(b)),
                           same_buffer("positions left out", a.left_out(), b.left_out()),
                           same_buffer("fingerprints", a.fingerprints(), b.fingerprints())}) {
    if (!same) return same;
  }
  return testing::AssertionSuccess();
}

/// Calls visit(K{}) for each type that keys are stored in.
template <class Visit>
void for_each_stored(const Visit& visit) {
  visit(float{});
  visit(F16{});
  visit(BF16{});
  visit(I8{});
}

}  // namespace skim::test

#endif  // SKIM_TESTS_SUPPORT_ANY_INDEX_H_

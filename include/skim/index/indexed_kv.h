// SPDX-License-Identifier: Apache-2.0
// Keys and values of one KV head together with the indexes that grow beside them.
#ifndef SKIM_INDEX_INDEXED_KV_H_
#define SKIM_INDEX_INDEXED_KV_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <type_traits>

#include "skim/core/buffer.h"
#include "skim/core/error.h"
#include "skim/core/kv.h"
#include "skim/core/source.h"
#include "skim/core/validate.h"

namespace skim::inline SKIM_ABI {

/// What can travel with a KV head: it knows how many positions it covers, and which `Source` it serves.
template <class I>
concept KvIndex = requires(const I& index) {
  { I::kName } -> std::convertible_to<const char*>;
  { index.size() } -> std::same_as<Position>;
  { index.bytes() } -> std::same_as<std::size_t>;
};

/// A KV head with indexes beside it: a KvHead itself, so that it goes wherever keys and values go. Holds the view of
/// keys and values, and points at the indexes. Any number of threads may read one at a time when nobody appends.
template <class Kv, class... Indexes>
struct IndexedKv {
  using Base = Kv;
  using Key = typename Kv::Key;
  using Value = typename Kv::Value;

  Kv base;
  std::tuple<const Indexes*...> indexes;

  Position size() const { return base.size(); }
  std::size_t key_dim() const { return base.key_dim(); }
  std::size_t value_dim() const { return base.value_dim(); }
  const Key* key(Position i) const { return base.key(i); }
  const Value* value(Position i) const { return base.value(i); }
};

/// The KV head `kv` with one or more indexes, each of another type, that cover exactly its positions.
///   with_index(kv, sketch)    with_index(kv, boxes, sketch)
/// It points at the indexes, so a temporary one does not compile.
template <KvHead Kv, class... Indexes>
  requires((KvIndex<std::remove_cvref_t<Indexes>> && std::is_lvalue_reference_v<Indexes>) && ...)
constexpr IndexedKv<Kv, std::remove_cvref_t<Indexes>...> with_index(const Kv& kv, Indexes&&... indexes) {
  static_assert(sizeof...(Indexes) > 0, "skim::with_index: at least one index");
  return {kv, {&indexes...}};
}

namespace index_detail {

template <class I, class Kv>
struct Carries : std::false_type {};
template <class I, class Kv, class... Indexes>
struct Carries<I, IndexedKv<Kv, Indexes...>> : std::bool_constant<(std::is_same_v<I, Indexes> || ...)> {};

}  // namespace index_detail

/// Whether a KV type carries an index of type I.
template <class I, class Kv>
inline constexpr bool kCarries = index_detail::Carries<I, Kv>::value;

/// The index of type I that `kv` carries.
template <class I, class Kv, class... Indexes>
constexpr const I& index_of(const IndexedKv<Kv, Indexes...>& kv) {
  return *std::get<const I*>(kv.indexes);
}

/// The sources that a KV type has beside its keys.
template <class Kv>
struct CarriedSources {
  static constexpr Sources value = 0;
};
template <class Kv, class... Indexes>
struct CarriedSources<IndexedKv<Kv, Indexes...>> {
  template <class I>
  static constexpr Sources bit() {
    if constexpr (requires { I::kSource; }) {
      return sources_bit(I::kSource);
    } else {
      return 0;
    }
  }
  static constexpr Sources value = (0u | ... | bit<Indexes>());
};

/// Throws std::invalid_argument unless the index covers exactly the positions of `kv`, and rows of its width. caller: the
/// function that wants to know.
template <class Index, class Kv>
void check_covers(const char* caller, const Index& index, const Kv& kv) {
  if (index.size() != kv.size()) {
    fail(caller, ": the ", index.kName, " covers ", index.size(), " positions but there are ", kv.size(),
         " keys (skim::append, skim::truncate)");
  }
  if constexpr (requires { index.key_dim(); }) {
    if (index.size() != 0 && index.key_dim() != kv.key_dim()) {
      fail(caller, ": the ", index.kName, " is of keys with ", index.key_dim(), " columns but keys have ",
           kv.key_dim());
    }
  }
  if constexpr (requires { index.value_dim(); }) {
    if (index.size() != 0 && index.value_dim() != kv.value_dim()) {
      fail(caller, ": the ", index.kName, " is of values with ", index.value_dim(), " columns but values have ",
           kv.value_dim());
    }
  }
}

/// Calls visit(index) for each index that a KV head carries.
template <class Kv, class Visit>
void for_each_index(const Kv&, const Visit&) {}
template <class Kv, class... Indexes, class Visit>
void for_each_index(const IndexedKv<Kv, Indexes...>& kv, const Visit& visit) {
  std::apply([&](const auto*... index) { (visit(*index), ...); }, kv.indexes);
}

/// check_covers for each index that `kv` carries: a few comparisons a head, so that no call goes without, not even one that
/// checks nothing else.
template <class Kv>
void check_indexes_cover(const Kv& kv) {
  for_each_index(kv, [&](const auto& index) { check_covers("skim::attend", index, kv); });
}

/// Shapes of the keys and values, and that every index covers exactly their positions.
template <class Kv, class... Indexes>
void check_kv(const IndexedKv<Kv, Indexes...>& kv, Buffer<std::uint64_t>& seen) {
  check_kv(kv.base, seen);
  check_indexes_cover(kv);
}

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_INDEX_INDEXED_KV_H_

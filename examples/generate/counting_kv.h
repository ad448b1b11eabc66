// SPDX-License-Identifier: Apache-2.0
// How much of keys, values and indexes a method reads: the keys that it has asked for are marked as it asks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <vector>

#include <skim/core/kv.h>
#include <skim/core/query.h>
#include <skim/core/selection.h>
#include <skim/core/storage.h>
#include <skim/core/workspace.h>
#include <skim/index/indexed_kv.h>

namespace engine {

/// The positions whose keys somebody has asked for.
class KeyMarks {
 public:
  void clear(std::size_t n) { marks_.assign(n, 0); }
  void mark(skim::Position i) { marks_[static_cast<std::size_t>(i)] = 1; }
  std::size_t count() const { return static_cast<std::size_t>(std::count(marks_.begin(), marks_.end(), 1)); }

 private:
  std::vector<unsigned char> marks_;
};

/// A KV head that marks the keys it is asked for.
template <class Kv>
struct CountingKv {
  using Key = typename Kv::Key;
  using Value = typename Kv::Value;

  Kv kv;
  KeyMarks* marks = nullptr;

  skim::Position size() const { return kv.size(); }
  std::size_t key_dim() const { return kv.key_dim(); }
  std::size_t value_dim() const { return kv.value_dim(); }
  const Key* key(skim::Position i) const {
    marks->mark(i);
    return kv.key(i);
  }
  const Value* value(skim::Position i) const { return kv.value(i); }
};

/// What one query group reads of a KV head.
struct Reads {
  std::size_t held = 0;    ///< positions
  std::size_t keys = 0;    ///< distinct keys, to choose or to attend to
  std::size_t values = 0;  ///< positions attended to
  std::size_t index_bytes = 0;  ///< of the indexes that the head carries: all of them, each once, which is the most
  std::size_t position_bytes = 0;  ///< of the key and the value of one position
};

/// Bytes of all indexes beside a KV head.
template <class Kv>
std::size_t index_bytes(const Kv&) {
  return 0;
}
template <class Kv, class... Indexes>
std::size_t index_bytes(const skim::IndexedKv<Kv, Indexes...>& kv) {
  return std::apply([](const auto*... index) { return (std::size_t{0} + ... + index->bytes()); }, kv.indexes);
}

/// The first stage of what is to be counted. It selects nothing.
struct StartCount {
  KeyMarks* marks;

  void validate() const {}
  std::size_t max_picks(std::size_t) const { return 0; }

  template <class Kv>
  void select(const skim::Query&, const Kv& kv, skim::Selection&, skim::Workspace&) const {
    marks->clear(static_cast<std::size_t>(kv.size()));
  }
};

/// The last one: hear(query, reads, selection) for each query group. It selects nothing either.
template <class Hear>
struct StopCount {
  KeyMarks* marks;
  Hear hear;

  void validate() const {}
  std::size_t max_picks(std::size_t) const { return 0; }

  template <class Kv>
  void select(const skim::Query& query, const Kv& kv, skim::Selection& selection, skim::Workspace&) const {
    using Key = typename Kv::Key;
    using Value = typename Kv::Value;
    Reads reads;
    reads.held = static_cast<std::size_t>(query.visible.size());
    for (const skim::Pick& pick : selection.picks()) marks->mark(pick.position);
    for (const skim::Span span : selection.spans()) {
      for (skim::Position i = span.first; i < span.last; ++i) marks->mark(i);
      reads.values += static_cast<std::size_t>(span.size());
    }
    reads.values += selection.picks().size();
    reads.keys = marks->count();
    reads.index_bytes = engine::index_bytes(kv);
    reads.position_bytes = skim::row_values<Key>(kv.key_dim()) * sizeof(Key) +
                           skim::row_values<Value>(kv.value_dim()) * sizeof(Value);
    hear(query, reads, selection);
  }
};

}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
// Scratch memory of one thread. Grows to a high-water mark, then nothing allocates.
#ifndef SKIM_CORE_WORKSPACE_H_
#define SKIM_CORE_WORKSPACE_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "skim/core/buffer.h"
#include "skim/core/position.h"
#include "skim/core/selection.h"
#include "skim/core/source.h"

namespace skim::inline SKIM_ABI {

/// What calls have read with one workspace, summed up until the caller sets it back: rows, and bytes of indexes. A row
/// that is read twice, as a candidate and when it is attended to, counts twice. Many rows at once, by matrix products, are
/// not counted.
struct Reads {
  std::uint64_t keys = 0;
  std::uint64_t values = 0;
  std::uint64_t index_bytes = 0;
};

/// What is known of the query that a call is asking. It is remembered of that query and KV head alone, by their addresses:
/// both live as long as the call does (`Asking` in kernel/score-inl.h), so nothing else can have them. Of any other query
/// nothing is known.
struct Asked {
  const void* query = nullptr;  ///< the resolved BasicQuery; null between calls
  const void* kv = nullptr;     ///< its KV head, without indexes

  /// Logits of the query, [g, visible], where `skim::logits` puts them, or null when none are computed yet.
  const void* logits = nullptr;
  bool looked = false;  ///< whether a stage has asked for them: a call may have computed them before
  /// Which index the scores in kIndexScores are of, kKeys for none.
  Source scored_by = Source::kKeys;
  /// The sources that later stages of a stack will ask for all scores of: a stage that could do without then keeps them.
  Sources scored_later = 0;
  /// Positions, ascending, which hold all that the query's estimator may select by largest logit, or nothing when that is
  /// not known.
  std::span<const Position> candidates{};

  bool is_of(const void* of_query, const void* of_kv) const { return query == of_query && kv == of_kv && query != nullptr; }
};

/// Two threads must not share one, nor a call and another that its estimator makes. `Workspace` knows nothing of what it
/// holds: each user has a slot.
class Workspace {
 public:
  enum Slot {
    kQuery,        // query rows in the order of the storage's lanes
    kLogits,       // [g, visible] transformed logits
    kBlockLogits,  // [g, stretch] logits that are about to become weights
    kProposal,     // pooled log proposal of the residual
    kPriorities,   // log priorities of the residual
    kRanks,        // ranks a selection kernel has found
    kSurvivors,    // what is left after a first threshold
    kChosen,       // ranks a sampler has chosen
    kWeights,      // log weights of these, or a histogram
    kAccumulator,  // running and chunk-local numerators
    kChunks,       // chunks of a selection, for several threads
    kRowRanges,    // how a layer's rows are cut
    kPanels,       // panels of a prefill
    kPrefill,      // their rows, and one block of keys and values
    kPrefillRows,  // the rows they are made of
    kRowNumbers,   // where a row is among these
    kCandidates,   // positions that a row's largest logits are among
    kUnwantedLse,  // lse for a caller who does not want it
    kIndexQuery,   // query rows as an index reads them
    kIndexScores,  // [g, visible] scores of an index
    kBounds,       // bounds of logits
    kShortlist,    // [g, candidates] logits of these alone: those of all positions may be known, and stay
    kSummaries,    // state of what page summaries stand for
    kBackwardRows, // query rows of a backward pass
    kDelta,        // <dout, out> of all rows of a layer
    kPairs,        // which rows meet which keys in a phase of a backward pass
    kTiles,        // blocks of query rows and keys of a backward pass
    kScatter,      // a query group of a backward pass
    kSelectingHeads, // query rows of a group without those that are NaN
    kUser,         // for a user's own estimator
    kSlots
  };

  /// `count` values of T with no defined content, aligned to 64 bytes. Valid until the same slot is
  /// asked for again.
  template <class T>
  T* get(Slot slot, std::size_t count) {
    Buffer<std::byte>& memory = slots_[slot];
    memory.clear();  // growing copies what a buffer holds, and nobody wants it
    if (count > Buffer<std::byte>::kMost / sizeof(T)) fail_to_allocate();
    memory.resize(count * sizeof(T));
    return reinterpret_cast<T*>(memory.data());
  }

  /// Makes a slot ready for so many bytes. What was in it is lost.
  void reserve(Slot slot, std::size_t bytes) {
    slots_[slot].clear();
    slots_[slot].reserve_exactly(bytes);
  }

  /// The selection that the fused calls fill.
  Selection selection;

  Reads reads;

  /// Which pages a page table has named: for validation.
  Buffer<std::uint64_t> page_marks;

  Asked asked;

 private:
  Buffer<std::byte> slots_[kSlots];
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_WORKSPACE_H_

// SPDX-License-Identifier: Apache-2.0
// A selection, cut into chunks and blocks.
//
// Where these begin depends on the selection alone (spans: on absolute positions; picks: on their rank), never on
// threads, pages, batch or n: so neither do the bits of what is summed over them.
#if defined(SKIM_KERNEL_CHUNK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_KERNEL_CHUNK_INL_H_
#undef SKIM_KERNEL_CHUNK_INL_H_
#else
#define SKIM_KERNEL_CHUNK_INL_H_
#endif

#include <algorithm>

#include "skim/core/selection.h"
#include "skim/kernel/block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Positions (of spans) or picks in a chunk: what one thread accumulates at a time.
constexpr Position kChunk = 4096;

/// A part of a selection: spans [begin, end) within `range`, or [begin, end) of a list of picks.
struct Chunk {
  const Pick* picks = nullptr;
  std::size_t begin = 0;
  std::size_t end = 0;
  Span range{};  // of absolute positions, for spans
};

/// Calls visit(Chunk) for each chunk of a list of picks.
template <class Visit>
void for_each_chunk(const Buffer<Pick>& picks, const Visit& visit) {
  for (std::size_t p = 0; p < picks.size(); p += kChunk) {
    visit(Chunk{picks.data(), p, std::min<std::size_t>(p + kChunk, picks.size()), {}});
  }
}

/// Calls visit(Chunk) for each chunk of the positions of a selection, in the order in which they are merged. Spans within
/// one aligned range of positions share a chunk.
template <class Visit>
void for_each_chunk(const Selection& selection, const Visit& visit) {
  const auto& spans = selection.spans();
  Chunk open{};
  for (std::size_t s = 0; s < spans.size(); ++s) {
    for (Position at = spans[s].first / kChunk; at * kChunk < spans[s].last; ++at) {
      const Span range{at * kChunk, (at + 1) * kChunk};
      if (open.end != 0 && open.range == range) {
        open.end = s + 1;
        continue;
      }
      if (open.end != 0) visit(open);
      open = {nullptr, s, s + 1, range};
    }
  }
  if (open.end != 0) visit(open);
  for_each_chunk(selection.picks(), visit);
}

/// Hands out a chunk block by block.
template <class Kv>
class Blocks {
 public:
  Blocks(const Kv& kv, const Selection& selection, const Chunk& chunk)
      : kv_(kv), selection_(selection), chunk_(chunk), index_(chunk.begin) {
    if (!chunk.picks) enter_span();
  }

  /// Fills `block`; false when the chunk is done.
  HWY_INLINE bool next(Block<Kv>& block) {
    if (index_ == chunk_.end) return false;
    if (chunk_.picks) {
      const Pick* picks = chunk_.picks + index_;
      fill_list(kv_, [picks](std::size_t t) { return picks[t].position; }, std::min(kBlock, chunk_.end - index_), block);
      for (std::size_t t = 0; t < block.count; ++t) block.log_weights[t] = picks[t].log_weight;
      index_ += block.count;
      return true;
    }
    // Up to the next multiple of kBlock, so that a block never depends on where a span began.
    const Position boundary = (at_ / static_cast<Position>(kBlock) + 1) * static_cast<Position>(kBlock);
    const Position last = std::min(boundary, span_.last);
    fill_run(kv_, at_, static_cast<std::size_t>(last - at_), block);
    at_ = last;
    if (at_ == span_.last && ++index_ != chunk_.end) enter_span();
    return true;
  }

 private:
  void enter_span() {
    span_ = intersect(selection_.spans()[index_], chunk_.range);
    at_ = span_.first;
  }

  const Kv& kv_;
  const Selection& selection_;
  const Chunk& chunk_;
  std::size_t index_;
  Span span_{};
  Position at_ = 0;
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_KERNEL_CHUNK_INL_H_

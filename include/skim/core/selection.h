// SPDX-License-Identifier: Apache-2.0
// The answer to "which positions does this query read, and how much does each one count?"
#ifndef SKIM_CORE_SELECTION_H_
#define SKIM_CORE_SELECTION_H_

#include <cstddef>

#include "skim/core/buffer.h"
#include "skim/core/position.h"

namespace skim::inline SKIM_ABI {

/// One selected position. The kernel adds `log_weight`, ln w, to its logit.
struct Pick {
  Position position = 0;
  double log_weight = 0;
};

/// Selected positions: spans (weight 1) and picks (a weight each). No position twice, in both lists
/// together. A stage appends its own in ascending order; between stages the library merges what a stage
/// has appended with what was there, so that a stage always finds two ascending lists.
///
/// What nobody selects may be stood for by summaries: rows of the `PageMeans` that the KV carries, each as a pick of its
/// row. They are of one stage, the last.
class Selection {
 public:
  const Buffer<Span>& spans() const { return spans_; }
  const Buffer<Pick>& picks() const { return picks_; }
  const Buffer<Pick>& summaries() const { return summaries_; }

  /// Appends [first, last) with weight 1. An empty span is ignored.
  void add(Span span) {
    if (span.size() > 0) spans_.push_back(span);
  }
  /// Appends one position with log weight ln w.
  void add(Position position, double log_weight = 0) { picks_.push_back({position, log_weight}); }

  /// Appends row `row` of the page means; log weight: ln of how many positions it stands for.
  void add_summary(Position row, double log_weight) { summaries_.push_back({row, log_weight}); }

  void clear() {
    spans_.clear();
    picks_.clear();
    summaries_.clear();
    merged_spans_ = merged_picks_ = 0;
  }

 private:
  friend struct SelectionAccess;

  Buffer<Span> spans_, spare_spans_;
  Buffer<Pick> picks_, spare_picks_, summaries_;
  std::size_t merged_spans_ = 0;  // spans and picks already in order
  std::size_t merged_picks_ = 0;
};

/// For the kernels, whose loops may not live in a class of this floor.
struct SelectionAccess {
  static Buffer<Span>& spans(Selection& s) { return s.spans_; }
  static Buffer<Pick>& picks(Selection& s) { return s.picks_; }
  static Buffer<Pick>& summaries(Selection& s) { return s.summaries_; }
  static Buffer<Span>& spare_spans(Selection& s) { return s.spare_spans_; }
  static Buffer<Pick>& spare_picks(Selection& s) { return s.spare_picks_; }
  static std::size_t& merged_spans(Selection& s) { return s.merged_spans_; }
  static std::size_t& merged_picks(Selection& s) { return s.merged_picks_; }
};

/// Room for so many spans, picks and summaries each.
static inline void reserve_selection(Selection& selection, std::size_t count) {
  using Access = SelectionAccess;
  for (auto* spans : {&Access::spans(selection), &Access::spare_spans(selection)}) spans->reserve_exactly(count);
  for (auto* picks : {&Access::picks(selection), &Access::spare_picks(selection), &Access::summaries(selection)}) {
    picks->reserve_exactly(count);
  }
}

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_SELECTION_H_

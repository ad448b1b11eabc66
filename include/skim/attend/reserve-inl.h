// SPDX-License-Identifier: Apache-2.0
// Workspaces that are made ready for calls of a size, so that not even the first of them allocates.
#if defined(SKIM_ATTEND_RESERVE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ATTEND_RESERVE_INL_H_
#undef SKIM_ATTEND_RESERVE_INL_H_
#else
#define SKIM_ATTEND_RESERVE_INL_H_
#endif

#include <algorithm>
#include <span>

#include "skim/attend/layer-inl.h"
#include "skim/attend/reserve.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// No less than the bytes that attend and select ask each slot for, whatever the data: one line a slot, the largest of who
/// uses it. tests/attend/reserve_test.cc holds it to that.
template <class Real, class E>
class SlotBytes {
 public:
  SlotBytes(const E& estimator, const CallSize& size)
      : n_(static_cast<std::size_t>(size.positions) + 2 * static_cast<std::size_t>(kChunk)),
        group_(size.q_heads / size.kv_heads),
        row_(round_up(std::max(size.d, size.d_v), 128) + 128),
        units_(size.rows * size.kv_heads),
        tables_(size.lsh_tables),
        chooses_(!is_dense(estimator)) {
    const ManyRows how = many_rows_kernel(estimator);
    if (how == ManyRows::kNone || size.rows < 2) return;
    together_ = std::min(size.rows, std::max<std::size_t>(1, kMostRowsAtOnce / group_));
    if (how == ManyRows::kLargest) {
      // Candidates are listed only where they are few.
      const auto all = static_cast<std::size_t>(size.positions);
      listed_ = 2 * std::min(estimator.max_picks(all), all / 8) + 64 + kPanelKeys;
    }
  }

  std::size_t of(Workspace::Slot slot) const {
    const std::size_t by_head = chooses_ ? group_ * n_ * sizeof(Real) : 0, by_position = chooses_ ? n_ * 8 : 0;
    const std::size_t panels = together_ * std::max<std::size_t>(1, group_) / kPanel<Real> + 1;
    switch (slot) {
      case Workspace::kQuery: return (group_ + 3) * (row_ + 1) * sizeof(Real);
      case Workspace::kLogits: return by_head;
      case Workspace::kBlockLogits: return group_ * (chunk_scratch(1) + 8 * kBlock) * sizeof(Real);
      case Workspace::kProposal: return by_position + 2 * group_ * sizeof(Real);
      case Workspace::kPriorities: return std::max(by_head, by_position);
      case Workspace::kRanks: return by_position;
      case Workspace::kSurvivors: return 2 * by_position + 2 * kSample + tables_ * bucketed() * 2;
      case Workspace::kChosen: return 2 * by_position + tables_ * (n_ / LshTables::kLeastPart + 8) * 16;
      case Workspace::kWeights: return std::max(2 * by_position, chooses_ ? group_ * kHistogram : 0);
      case Workspace::kAccumulator: return (2 * chunks() + 1) * (group_ * (row_ + 2) + kStep<Real>) * sizeof(Real);
      case Workspace::kChunks: return 2 * chunks() * sizeof(Chunk);
      case Workspace::kRowRanges: return units_ * sizeof(RowRange);
      case Workspace::kPanels: return panels * kPanel<Real> * 128;
      case Workspace::kPrefill:
        return (panels * (group_ + 1) * (row_ + 2) * kPanel<Real> + 2 * kPanelKeys * (row_ + kPanel<Real>) +
                (together_ + 1) * listed_ + 64) * sizeof(Real);
      case Workspace::kPrefillRows:
        return together_ * std::max(group_ * sizeof(PrefillRow<Real>), sizeof(Wanted<Real>));
      case Workspace::kRowNumbers: return together_ * sizeof(std::size_t);
      case Workspace::kCandidates: return std::max(by_position, together_ * listed_ * sizeof(Position));
      case Workspace::kUnwantedLse: return std::max<std::size_t>(1, together_) * group_ * sizeof(Real);
      case Workspace::kIndexQuery:
        return (chooses_ ? group_ * (n_ / 64 + 64 + 16 * row_) + 64 * row_ : 0) * sizeof(float) + 2 * tables_;
      case Workspace::kIndexScores: return by_head;
      case Workspace::kBounds: return by_position + (group_ + 1) * kBlock * sizeof(Real) + row_ * 8;
      case Workspace::kShortlist: return std::max(by_head, by_position);
      case Workspace::kSummaries: return group_ * (row_ + 1) * sizeof(Real);
      default: return 0;  // of backward passes, and the user's own
    }
  }

  /// Spans or picks of a selection.
  std::size_t selected() const { return chooses_ ? n_ : 1; }

 private:
  static constexpr std::size_t kMostRowsAtOnce = 256;
  static constexpr std::size_t kSample = 65536;               // bytes, of scores from which a threshold is guessed
  static constexpr std::size_t kHistogram = 2049 * sizeof(double);  // a head, of top-p

  /// Chunks of spans and of picks.
  std::size_t chunks() const { return n_ / static_cast<std::size_t>(kChunk) + 1; }
  /// Positions of one part of LSH tables.
  std::size_t bucketed() const { return std::min(n_, LshTables::kMostPart) + 64; }

  std::size_t n_, group_, row_, units_, tables_;
  std::size_t together_ = 0;  // rows that go through matrix products at once
  std::size_t listed_ = 0;    // candidates of each of them
  bool chooses_;              // rather than reads all
};

/// Makes workspaces, one a thread, ready for `attend` and `select` with this estimator and calls up to this size: then not
/// even the first of them allocates, whatever the data. Without it a workspace grows when it has to, and a first call of
/// the largest size does nearly the same: how many positions a sampler or bounds leave depends on the data. Sets aside
/// some 160 bytes a position and 16 a position and head of a group, 31 MB at 131072 positions and groups of 4, hardly
/// anything for `Dense`; pages that no call touches take no memory on most systems. Real: of the queries. Backward passes,
/// records and a user's own estimator (kUser) are not covered. Throws std::invalid_argument on sizes out of range, and
/// std::bad_alloc; workspaces may be used as before then.
template <class Real = float, Estimator E>
void reserve(std::span<Workspace> workspaces, const E& estimator, const CallSize& size) {
  size.validate();
  estimator.validate();
  const SlotBytes<Real, E> bytes(estimator, size);
  for (Workspace& ws : workspaces) {
    for (int slot = 0; slot < Workspace::kSlots; ++slot) {
      ws.reserve(static_cast<Workspace::Slot>(slot), bytes.of(static_cast<Workspace::Slot>(slot)));
    }
    reserve_selection(ws.selection, bytes.selected());
    ws.page_marks.reserve_exactly(size.pool_pages / 64 + 1);
  }
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ATTEND_RESERVE_INL_H_

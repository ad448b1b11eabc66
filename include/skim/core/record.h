// SPDX-License-Identifier: Apache-2.0
// What all rows of a layer have selected, kept for their backward pass.
#ifndef SKIM_CORE_RECORD_H_
#define SKIM_CORE_RECORD_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <utility>

#include "skim/core/buffer.h"
#include "skim/core/error.h"
#include "skim/core/limits.h"
#include "skim/core/position.h"
#include "skim/core/selection.h"

namespace skim::inline SKIM_ABI {

/// The selections of a layer: one for each row and KV head, or one for each row and query head where heads select for
/// themselves. Row r, KV head h, head j of its group is entry (r * kv_heads + h) * per_unit + j.
///
/// A span takes 16 bytes, a pick 4, or 12 if its row has weights; memory grows to a high-water mark and is used again.
/// Every worker writes to a shelf of its own, so what is where depends on threads, and what it says does not.
class SelectionRecord {
 public:
  /// The selection of one entry. Both lists ascend.
  struct View {
    std::span<const Span> spans{};
    std::span<const std::uint32_t> picks{};  ///< positions
    const double* log_weights = nullptr;     ///< [picks], or null: all 0
  };

  std::size_t rows() const { return rows_; }
  std::size_t kv_heads() const { return kv_heads_; }
  std::size_t per_unit() const { return per_unit_; }  ///< 1, or the heads of a group when each selects for itself
  std::size_t size() const { return entries_.size(); }

  View operator[](std::size_t i) const {
    const Entry& e = entries_[i];
    if (e.shelf == 0) return {};
    const Shelf& shelf = shelves_[e.shelf - 1];
    return {{shelf.spans.data() + e.spans, e.span_count},
            {shelf.picks.data() + e.picks, e.pick_count},
            e.has_weights ? shelf.log_weights.data() + e.log_weights : nullptr};
  }

 private:
  friend struct RecordAccess;

  /// What one worker has written.
  struct Shelf {
    Buffer<Span> spans;
    Buffer<std::uint32_t> picks;
    Buffer<double> log_weights;
  };

  /// All zeros: nothing selected.
  struct Entry {
    std::size_t shelf;  // its number + 1
    std::size_t spans, span_count;
    std::size_t picks, pick_count;
    std::size_t log_weights;
    bool has_weights;
  };

  std::unique_ptr<Shelf[]> shelves_;
  std::size_t shelf_count_ = 0;
  std::size_t rows_ = 0, kv_heads_ = 0, per_unit_ = 1;
  Buffer<Entry> entries_;
};

/// For the loops below, which may not live in a class of this floor.
struct RecordAccess {
  using Shelf = SelectionRecord::Shelf;
  using Entry = SelectionRecord::Entry;

  static std::span<Shelf> shelves(const SelectionRecord& r) { return {r.shelves_.get(), r.shelf_count_}; }
  static Entry& entry(SelectionRecord& r, std::size_t i) { return r.entries_[i]; }

  /// Room for as many entries, nothing selected in any.
  static void resize(SelectionRecord& r, std::size_t rows, std::size_t kv_heads, std::size_t per_unit,
                     std::size_t workers) {
    // All memory first: a record that cannot grow is the one it was.
    std::unique_ptr<Shelf[]> shelves;
    if (workers > r.shelf_count_) shelves = std::make_unique<Shelf[]>(workers);
    r.entries_.resize(checked_product(checked_product(rows, kv_heads), per_unit));
    if (shelves != nullptr) {
      r.shelves_ = std::move(shelves);
      r.shelf_count_ = workers;
    }
    r.rows_ = rows;
    r.kv_heads_ = kv_heads;
    r.per_unit_ = per_unit;
    if (!r.entries_.empty()) std::memset(r.entries_.data(), 0, r.entries_.size() * sizeof(Entry));
  }
};

/// Empties a record and makes room for a layer of `rows` rows, to be written by `workers` workers. most: the most
/// positions that a KV head has.
static inline void begin_record(SelectionRecord& record, std::size_t rows, std::size_t kv_heads, std::size_t per_unit,
                                Position most, std::size_t workers) {
  constexpr auto kMost = static_cast<Position>(std::numeric_limits<std::uint32_t>::max());
  if (most > kMost) fail("skim::attend: a KV head has ", most, " positions but a record holds at most ", kMost);
  RecordAccess::resize(record, rows, kv_heads, per_unit, workers);
  for (auto& shelf : RecordAccess::shelves(record)) {
    shelf.spans.clear();
    shelf.picks.clear();
    shelf.log_weights.clear();
  }
}

/// Writes a selection down as entry i. Throws std::invalid_argument when summaries stand for a part of it: their keys
/// and values are means, and no gradient leads from there to positions.
static inline void write_down(SelectionRecord& record, std::size_t i, const Selection& selection, std::size_t worker) {
  const auto& picks = selection.picks();
  if (!selection.summaries().empty()) {
    fail("skim::attend: a record cannot hold summaries but entry ", i, " of ", record.size(), " has ",
         selection.summaries().size());
  }
  auto& shelf = RecordAccess::shelves(record)[worker];
  RecordAccess::Entry entry{worker + 1,   shelf.spans.size(),       selection.spans().size(), shelf.picks.size(),
                            picks.size(), shelf.log_weights.size(), false};
  for (const Span& span : selection.spans()) shelf.spans.push_back(span);
  for (const Pick& pick : picks) {
    shelf.picks.push_back(static_cast<std::uint32_t>(pick.position));
    entry.has_weights = entry.has_weights || pick.log_weight != 0;
  }
  if (entry.has_weights) {
    for (const Pick& pick : picks) shelf.log_weights.push_back(pick.log_weight);
  }
  RecordAccess::entry(record, i) = entry;  // last: without memory for it nothing is selected
}

/// The same for a row that reads one span.
static inline void write_down(SelectionRecord& record, std::size_t i, Span span, std::size_t worker) {
  auto& shelf = RecordAccess::shelves(record)[worker];
  const std::size_t at = shelf.spans.size();
  if (span.size() > 0) shelf.spans.push_back(span);
  RecordAccess::entry(record, i) = {worker + 1, at, span.size() > 0 ? 1u : 0u, 0, 0, 0, false};
}

/// Bytes that hold what is written down.
static inline std::size_t bytes_of(const SelectionRecord& record) {
  std::size_t sum = record.size() * sizeof(RecordAccess::Entry);
  for (const auto& shelf : RecordAccess::shelves(record)) {
    sum += shelf.spans.size() * sizeof(Span) + shelf.picks.size() * sizeof(std::uint32_t) +
           shelf.log_weights.size() * sizeof(double);
  }
  return sum;
}

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_RECORD_H_

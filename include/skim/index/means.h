// SPDX-License-Identifier: Apache-2.0
// The mean key and the mean value of every page of one KV head.
#ifndef SKIM_INDEX_MEANS_H_
#define SKIM_INDEX_MEANS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "skim/core/buffer.h"
#include "skim/core/kv.h"
#include "skim/core/limits.h"
#include "skim/core/position.h"
#include "skim/core/source.h"
#include "skim/core/storage.h"

namespace skim::inline SKIM_ABI {

/// The rows of a table of means as a KV head: position j is page j of the head that was summarised.
using MeanRows = ContiguousKv<BF16>;

/// One row of keys and one of values for every page of positions, [0, 64), [64, 128) ...: the means of its keys and of
/// its values. `Summaries` lets them stand for what nobody has read. By the mean key alone an estimator can also rank
/// positions, a page at a time (`by=means`; as in MoBA, Lu et al., arXiv 2502.13189). Grows with the head (`append`,
/// `truncate` in index/means-inl.h).
///
/// A page has its row when it is complete. So the table depends on the keys and values alone, not on how they arrived;
/// appending never changes what is there; and the newest positions, which no complete page holds, have no summary. A
/// position whose key or value is not finite is left out of its page's means, and noted: whoever uses them reads it
/// itself. So is a key 16 times as far from the mean as half of the page's keys, of which the mean would say nothing, nor
/// of the others with it; in a page of less than 18 none can be that far. If no finite mean is left, that is noted of the
/// whole page.
///
/// Means are kept in bfloat16: 2 (d + d_v) / page bytes a position, 8 with d = d_v = 128 and pages of 64 (beside 512 of
/// keys and values in bfloat16). What that rounds off, at most 2^-8 of a component, is little beside how far keys are
/// from their mean; float would double the bytes.
///
/// Of the keys and values of each page a hash of 64 bits is kept, by which `verify` and `Options::strict` tell others:
/// 1.6 % of the two rows at d = d_v = 128.
class PageMeans {
 public:
  static constexpr Source kSource = Source::kMeans;
  static constexpr const char* kName = "table of page means";

  /// page: positions in a page, 1 to kMostInPiece; throws std::invalid_argument otherwise.
  explicit PageMeans(std::size_t page = 64) : page_(page) {
    check_between("skim::PageMeans: page", page, std::size_t{1}, kMostInPiece);
  }
  PageMeans(const PageMeans&) = default;
  PageMeans(PageMeans&&) noexcept = default;
  PageMeans& operator=(const PageMeans& other) { return *this = PageMeans(other); }  // whole or not at all
  PageMeans& operator=(PageMeans&&) noexcept = default;

  /// Positions covered.
  Position size() const { return size_; }
  /// Columns of the keys and of the values.
  std::size_t key_dim() const { return d_; }
  std::size_t value_dim() const { return d_v_; }
  /// Positions in a page.
  std::size_t page() const { return page_; }
  /// Complete pages.
  std::size_t pages() const { return pages_; }
  /// Positions that complete pages hold: those from here on have no summary.
  Position summarised() const { return static_cast<Position>(pages_ * page_); }
  /// The part of `visible` that complete pages make up whose positions are all visible: [first, first) if there are none.
  Span whole_pages(Span visible) const {
    const auto step = static_cast<Position>(page_);
    const Position first = std::min(visible.last, (visible.first + step - 1) / step * step);
    return {first, std::max(first, std::min(visible.last, summarised()) / step * step)};
  }
  /// Bytes of all that is stored.
  std::size_t bytes() const {
    return (keys_.size() + values_.size()) * sizeof(BF16) + left_out_.size() * sizeof(Position) +
           fingerprints_.size() * sizeof(std::uint64_t);
  }

  /// keys: [pages, d], values: [pages, d_v]. Valid until the table grows.
  MeanRows rows() const { return {{keys_.data(), pages_, d_}, {values_.data(), pages_, d_v_}}; }

  /// Positions of complete pages that their means leave out, ascending.
  const Buffer<Position>& left_out() const { return left_out_; }

  /// Hashes of the keys and values of complete pages, one each, and the positions that one is of.
  const Buffer<std::uint64_t>& fingerprints() const { return fingerprints_; }
  std::size_t piece() const { return page_; }

 private:
  friend struct MeansAccess;

  std::size_t page_;
  std::size_t d_ = 0, d_v_ = 0;
  Position size_ = 0;
  std::size_t pages_ = 0;
  Buffer<BF16> keys_;           // [pages, d]
  Buffer<BF16> values_;         // [pages, d_v]
  Buffer<Position> left_out_;
  Buffer<std::uint64_t> fingerprints_;  // [pages]
  Buffer<std::byte> scratch_;           // what `reserve` sets aside
};

/// For the loops, which may not live in a class of this kind.
struct MeansAccess {
  static std::size_t& d(PageMeans& m) { return m.d_; }
  static std::size_t& d_v(PageMeans& m) { return m.d_v_; }
  static Position& size(PageMeans& m) { return m.size_; }
  static std::size_t& pages(PageMeans& m) { return m.pages_; }
  static Buffer<BF16>& keys(PageMeans& m) { return m.keys_; }
  static Buffer<BF16>& values(PageMeans& m) { return m.values_; }
  static Buffer<Position>& left_out(PageMeans& m) { return m.left_out_; }
  static Buffer<std::uint64_t>& fingerprints(PageMeans& m) { return m.fingerprints_; }
  static Buffer<std::byte>& scratch(PageMeans& m) { return m.scratch_; }
};

/// The same rows where the kernel looks for them: to ALiBi a page is at its middle, rounded down.
struct PlacedMeans : MeanRows {
  Position page = 0;

  explicit PlacedMeans(const PageMeans& means) : MeanRows(means.rows()), page(static_cast<Position>(means.page())) {}

  Position place(Position row) const { return row * page + (page - 1) / 2; }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_INDEX_MEANS_H_

// SPDX-License-Identifier: Apache-2.0
// For each page of keys of one KV head the box that holds them.
#ifndef SKIM_INDEX_BOXES_H_
#define SKIM_INDEX_BOXES_H_

#include <cstddef>
#include <cstdint>

#include "skim/core/buffer.h"
#include "skim/core/limits.h"
#include "skim/core/position.h"
#include "skim/core/source.h"
#include "skim/core/storage.h"

namespace skim::inline SKIM_ABI {

/// Boxes around the keys of one KV head, page by page: a centre and a half-width for each channel. Grows with the head
/// (`append`, `truncate` in index/boxes-inl.h). From a box follow bounds of the logit of every key in it,
/// <q, centre> -+ <|q|, half-width> (box_bounds-inl.h): the upper one ranks pages (`Quest`), both together find the
/// largest logits without reading every key (`TopK{k, Source::kBoxes}.exact`), and 1 / sqrt(d) of the way up from their
/// middle is what the largest logit of a page is likely to be (`by=boxes`).
///
/// Page p is the positions [p P, (p + 1) P); it has a box once it is complete. So the boxes depend on the keys alone,
/// not on how they arrived; appending never changes what is there; and the up to P - 1 newest keys are always read.
/// Half-widths are rounded outwards: every key of the page lies in the box that is stored, exactly (of int8 the key as
/// floats). A page with a key that is not finite, or too large for bfloat16, has no box: its keys are always read too.
///
/// Boxes are small where neighbouring keys are alike. The wider a page, the wider its box; and one key unlike all others
/// widens that of its own page only.
///
/// Of the keys of each page a hash of 64 bits is kept, by which `verify` and `Options::strict` tell other keys: 1.6 % of
/// its box at d = 128.
///
/// Bytes a key, d = 128, P = 16: 33 (beside 512 of keys and values in bfloat16).
class PageBoxes {
 public:
  static constexpr Source kSource = Source::kBoxes;
  static constexpr const char* kName = "page boxes";

  /// page_size: positions a page holds, P. Nothing to do with the pages of a `PagedKv`. Throws std::invalid_argument
  /// below 16, where the boxes take as long to read as a good part of the keys, and above kMostInPiece.
  explicit PageBoxes(std::size_t page_size = 16) : page_size_(page_size) {
    check_between("skim::PageBoxes: page_size", page_size, std::size_t{16}, kMostInPiece);
  }
  PageBoxes(const PageBoxes&) = default;
  PageBoxes(PageBoxes&&) noexcept = default;
  PageBoxes& operator=(const PageBoxes& other) { return *this = PageBoxes(other); }  // whole or not at all
  PageBoxes& operator=(PageBoxes&&) noexcept = default;

  /// Positions covered.
  Position size() const { return size_; }
  /// Columns of the keys.
  std::size_t key_dim() const { return d_; }
  /// Bytes of all that is stored.
  std::size_t bytes() const {
    return boxes_.size() * sizeof(BF16) + reach_.size() * sizeof(float) + fingerprints_.size() * sizeof(std::uint64_t);
  }
  /// Positions a page holds.
  std::size_t page_size() const { return page_size_; }
  /// Complete pages.
  std::size_t pages() const { return reach_.size(); }
  /// Hashes of the keys of complete pages, one each, and the positions that one is of.
  const Buffer<std::uint64_t>& fingerprints() const { return fingerprints_; }
  std::size_t piece() const { return page_size_; }

 private:
  friend struct BoxAccess;

  std::size_t page_size_;
  std::size_t d_ = 0;
  Position size_ = 0;
  Buffer<BF16> boxes_;   // [pages, 2, d]: centres, then half-widths; zeros where there is no box
  Buffer<float> reach_;  // [pages]: an upper bound of |centre| + |half-width|; +infinity where there is no box
  Buffer<std::uint64_t> fingerprints_;  // [pages]
  Buffer<std::byte> scratch_;           // what `reserve` sets aside
};

/// For the kernels, whose loops may not live in a class of this kind.
struct BoxAccess {
  static auto& d(PageBoxes& b) { return b.d_; }
  static auto& size(PageBoxes& b) { return b.size_; }
  template <class Boxes>
  static auto& boxes(Boxes& b) { return b.boxes_; }
  template <class Boxes>
  static auto& reach(Boxes& b) { return b.reach_; }
  static auto& fingerprints(PageBoxes& b) { return b.fingerprints_; }
  static auto& scratch(PageBoxes& b) { return b.scratch_; }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_INDEX_BOXES_H_

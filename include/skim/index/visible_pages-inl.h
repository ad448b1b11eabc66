// SPDX-License-Identifier: Apache-2.0
// The pages that have boxes and that a query sees, and what earlier stages have left of them.
#if defined(SKIM_INDEX_VISIBLE_PAGES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_VISIBLE_PAGES_INL_H_
#undef SKIM_INDEX_VISIBLE_PAGES_INL_H_
#else
#define SKIM_INDEX_VISIBLE_PAGES_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "skim/core/position.h"
#include "skim/index/boxes.h"
#include "skim/kernel/select-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Every stride-th page of a run of pages. Their number in this set is called a rank.
struct PageSet {
  Position page_size = 16;
  std::size_t first = 0, stride = 1, count = 0;

  std::size_t page(std::size_t rank) const { return first + rank * stride; }
  Span span(std::size_t rank) const {
    const auto at = static_cast<Position>(page(rank)) * page_size;
    return {at, at + page_size};
  }
  PageSet every(std::size_t step) const { return {page_size, first, stride * step, (count + step - 1) / step}; }
};

/// All pages with a box, or a mark that they have none, which meet `within`. (The page it ends in may hold positions
/// beyond it.)
inline PageSet pages_of(const PageBoxes& boxes, Span within) {
  const auto size = static_cast<Position>(boxes.page_size());
  const auto first = static_cast<std::size_t>(within.first / size);
  const auto last = std::min(boxes.pages(), static_cast<std::size_t>((within.last + size - 1) / size));
  return {size, first, 1, last > first ? last - first : 0};
}

/// What is left of pages.
struct Left {
  std::size_t positions = 0;  // in all pages together
  std::size_t broken = 0;     // pages of which there is something left, but not all
};

/// Counts the unselected positions of each page: left[rank], [pages.count].
inline Left count_left(const PageSet& pages, const Selection& selection, Span within, Position* left) {
  std::fill(left, left + pages.count, Position{0});
  const auto stride = static_cast<Position>(pages.stride) * pages.page_size;
  const Position start = static_cast<Position>(pages.first) * pages.page_size;
  for_each_gap(selection, within, [&](Span gap) {
    // From the first page that ends behind the beginning of the gap.
    const Position ahead = gap.first - start - pages.page_size;
    std::size_t rank = ahead < 0 ? 0 : static_cast<std::size_t>(ahead / stride + 1);
    for (; rank < pages.count && pages.span(rank).first < gap.last; ++rank) {
      left[rank] += intersect(pages.span(rank), gap).size();
    }
  });
  Left all;
  for (std::size_t rank = 0; rank < pages.count; ++rank) {
    all.positions += static_cast<std::size_t>(left[rank]);
    all.broken += left[rank] > 0 && left[rank] < pages.page_size ? 1u : 0u;
  }
  return all;
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_VISIBLE_PAGES_INL_H_

// SPDX-License-Identifier: Apache-2.0
// Which pages does a query see, and what is left of them? Against a count position by position.
#include "skim/index/visible_pages-inl.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "skim/index/boxes-inl.h"
#include "support/problem.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

PageBoxes boxes_of(std::size_t n, std::size_t page_size) {
  const auto p = test::random_problem<float>({n, 1, 1, 1}, 1);
  PageBoxes boxes(page_size);
  append(boxes, p.kv());
  return boxes;
}

TEST(VisiblePages, MeetTheVisibleRange) {
  const PageBoxes boxes = boxes_of(100, 16);  // 6 pages and 4 positions
  const auto expect = [&](Span within, std::size_t first, std::size_t count) {
    const PageSet pages = pages_of(boxes, within);
    EXPECT_EQ(pages.first, first) << within.first << " to " << within.last;
    EXPECT_EQ(pages.count, count) << within.first << " to " << within.last;
    EXPECT_EQ(pages.stride, 1u);
  };
  expect({0, 100}, 0, 6);
  expect({0, 96}, 0, 6);
  expect({0, 81}, 0, 6);
  expect({0, 80}, 0, 5);
  expect({15, 17}, 0, 2);
  expect({16, 17}, 1, 1);
  expect({96, 100}, 6, 0);
  expect({0, 0}, 0, 0);
  const PageSet some = pages_of(boxes, {20, 100}).every(2);
  EXPECT_EQ(some.count, 3u);
  EXPECT_EQ(some.page(2), 5u);
  EXPECT_EQ(some.span(1), (Span{48, 64}));
}

TEST(VisiblePages, CountWhatIsLeft) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 300; ++i) {
    const std::size_t n = 1 + random() % 1000, page_size = 16 + random() % 30;
    const PageBoxes boxes = boxes_of(n, page_size);
    Selection selection;
    std::vector<bool> taken(n);
    // Spans and picks, disjoint and ascending.
    for (std::size_t at = random() % 50; at < n; at += 1 + random() % 120) {
      if (random() % 2) {
        selection.add(static_cast<Position>(at));
        taken[at] = true;
      } else {
        const std::size_t last = std::min(n, at + 1 + random() % 60);
        selection.add(Span{static_cast<Position>(at), static_cast<Position>(last)});
        for (; at < last; ++at) taken[at] = true;
      }
    }
    const std::size_t hidden = random() % std::min<std::size_t>(n, 40);
    const Span within{static_cast<Position>(random() % n), static_cast<Position>(n - hidden)};
    if (within.size() == 0) continue;
    const PageSet pages = pages_of(boxes, within).every(1 + random() % 5);
    std::vector<Position> left(pages.count + 1, -1);
    const Left all = count_left(pages, selection, within, left.data());
    EXPECT_EQ(left[pages.count], -1);
    std::size_t positions = 0, broken = 0;
    for (std::size_t rank = 0; rank < pages.count; ++rank) {
      Position count = 0;
      for (Position at = pages.span(rank).first; at < pages.span(rank).last; ++at) {
        count += within.contains(at) && !taken[static_cast<std::size_t>(at)] ? 1 : 0;
      }
      ASSERT_EQ(left[rank], count) << "rank " << rank << " in case " << i;
      positions += static_cast<std::size_t>(count);
      broken += count > 0 && count < static_cast<Position>(page_size) ? 1u : 0u;
    }
    EXPECT_EQ(all.positions, positions);
    EXPECT_EQ(all.broken, broken);
  }
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

// SPDX-License-Identifier: Apache-2.0
// Does quest take the page of the query, then whole pages by their bounds, and exactly its budget?
#include "skim/estimator/quest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "core/expect_error.h"
#include "skim/skim.h"
#include "support/layouts.h"
#include "support/problem.h"

namespace skim::test {
namespace {

template <class Kv>
PageBoxes boxes_of(const Kv& kv, std::size_t page_size = 16) {
  PageBoxes boxes(page_size);
  append(boxes, kv);
  return boxes;
}

/// What the paper says, plainly: page after page.
/// taken[i]: whether an earlier stage has selected i. Returns positions in ascending order.
std::vector<Position> by_hand(std::size_t budget, const Query& query, const ContiguousKv<BF16>& kv,
                              const PageBoxes& boxes, const std::vector<bool>& taken) {
  Workspace ws;
  const Query q = query.resolved(kv.size());
  const auto s = logits(q, kv, ws);
  const auto page_size = static_cast<Position>(boxes.page_size());

  struct Page {
    float score = -std::numeric_limits<float>::infinity();
    Position number = 0;
    std::vector<Position> left;  // newest first
  };
  std::vector<Page> pages;
  for (Position i = q.visible.first; i < q.visible.last; ++i) {
    const Position number = i / page_size;
    if (pages.empty() || pages.back().number != number) pages.push_back({.number = number, .left = {}});
    for (std::size_t h = 0; h < q.heads(); ++h) {
      pages.back().score = std::max(pages.back().score, s.of_head(h)[i - q.visible.first]);
    }
    if (!taken[static_cast<std::size_t>(i)]) pages.back().left.insert(pages.back().left.begin(), i);
  }
  const auto bounds = HWY_NAMESPACE::box_query<BF16>(q, ws);
  for (Page& page : pages) {
    HWY_NAMESPACE::box_bounds(bounds, boxes, page.number < static_cast<Position>(boxes.pages()) ? 1 : 0,
                              [&](std::size_t) { return static_cast<std::size_t>(page.number); }, ws,
                              [&](std::size_t, std::size_t, const float*, const float* high) {
                                float bound = high[0];
                                for (std::size_t h = 1; h < q.heads(); ++h) bound = std::max(bound, high[h * HWY_NAMESPACE::kBlock]);
                                if (bound < std::numeric_limits<float>::infinity()) page.score = bound;
                              });
  }
  if (!pages.empty() && (pages.back().number + 1) * page_size > q.visible.last) {
    pages.back().score = std::numeric_limits<float>::infinity();
    std::rotate(pages.begin(), pages.end() - 1, pages.end());  // also before others that are infinite
  }
  std::stable_sort(pages.begin(), pages.end(), [](const Page& a, const Page& b) { return a.score > b.score; });
  std::vector<Position> positions;
  for (const Page& page : pages) {
    for (const Position i : page.left) {
      if (positions.size() < budget) positions.push_back(i);
    }
  }
  std::sort(positions.begin(), positions.end());
  return positions;
}

TEST(Quest, IsWhatThePaperSays) {
  for (const std::size_t n : {1u, 15u, 16u, 17u, 100u, 320u, 2000u}) {
    for (const std::size_t page_size : {16u, 21u}) {
      for (const std::size_t group : {1u, 3u}) {
        const auto p = random_problem<BF16>({n, 24, 4, group}, n + group);
        const PageBoxes boxes = boxes_of(p.kv(), page_size);
        const std::vector<bool> none(n);
        for (const std::size_t budget : std::vector<std::size_t>{0, 1, 9, 16, 50, n / 3, n - 1, n, 2 * n}) {
          for (const Position position : {Position{0}, static_cast<Position>(n / 2), static_cast<Position>(n - 1)}) {
            Query q = p.query();
            q.position = position;
            const Selection selection = select(Quest{budget}, q, with_index(p.kv(), boxes));
            ASSERT_TRUE(selection.picks().empty());
            for (std::size_t j = 1; j < selection.spans().size(); ++j) {
              ASSERT_GT(selection.spans()[j].first, selection.spans()[j - 1].last) << "neighbours are one span";
            }
            const auto positions = unweighted_positions_of(selection);
            ASSERT_EQ(positions, by_hand(budget, q, p.kv(), boxes, none)) << n << " " << budget << " " << position;
            ASSERT_EQ(positions.size(), std::min(budget, static_cast<std::size_t>(position + 1)));
          }
        }
      }
    }
  }
}

TEST(Quest, OfWhatEarlierStagesHaveLeft) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 200; ++i) {
    const std::size_t n = 50 + random() % 1500, page_size = 16 + random() % 20, k = random() % (n / 2);
    const auto p = random_problem<BF16>({n, 16, 4, 1 + random() % 2}, static_cast<std::uint64_t>(i));
    const PageBoxes boxes = boxes_of(p.kv(), page_size);
    const auto kv = with_index(p.kv(), boxes);
    Query q = p.query();
    q.visible = {static_cast<Position>(random() % 40), static_cast<Position>(n - random() % 10)};
    const auto sinks = static_cast<Position>(random() % 20), window = static_cast<Position>(random() % 50);
    const auto before = stack(Sinks{sinks}, Window{window}, TopK{k});
    std::vector<bool> taken(n);
    const auto earlier = unweighted_positions_of(select(before, q, kv));
    for (const Position at : earlier) taken[static_cast<std::size_t>(at)] = true;
    const std::size_t budget = random() % n;
    auto expected = by_hand(budget, q, p.kv(), boxes, taken);
    EXPECT_EQ(expected.size(), std::min(budget, static_cast<std::size_t>(q.visible.size()) - earlier.size()));
    expected.insert(expected.end(), earlier.begin(), earlier.end());
    std::sort(expected.begin(), expected.end());
    ASSERT_EQ(unweighted_positions_of(select(stack(before, Quest{budget}), q, kv)), expected) << i;
    ASSERT_LE(expected.size(), stack(before, Quest{budget}).max_picks(static_cast<std::size_t>(q.visible.size())));
  }
}

// A page with a NaN is ranked by its other keys; one with an infinite key may come first.
TEST(Quest, PagesWithoutABound) {
  auto p = random_problem<BF16>({400, 16, 4, 2}, 3);
  for (const std::size_t bad : {20u, 170u}) fill_row(row_at(p.keys, bad, 16), 16, kNan);
  fill_row(row_at(p.keys, 300, 16), 16, kInf);
  for (std::size_t i = 64; i < 80; ++i) fill_row(row_at(p.keys, i, 16), 16, kNan);
  const PageBoxes boxes = boxes_of(p.kv());
  const std::vector<bool> none(400);
  for (std::size_t budget = 0; budget <= 400; budget += 13) {
    ASSERT_EQ(unweighted_positions_of(select(Quest{budget}, p.query(), with_index(p.kv(), boxes))),
              by_hand(budget, p.query(), p.kv(), boxes, none));
  }
  p.q[5] = std::numeric_limits<float>::quiet_NaN();
  ASSERT_EQ(unweighted_positions_of(select(Quest{99}, p.query(), with_index(p.kv(), boxes))).size(), 99u);
}

// Newer keys than the query sees change nothing: a prefill selects what decoding selected.
TEST(Quest, IsTheSameWithAndWithoutNewerKeys) {
  const auto p = random_problem<BF16>({500, 16, 4, 2}, 4);
  const PageBoxes boxes = boxes_of(p.kv());
  for (const std::size_t n : {10u, 31u, 32u, 33u, 300u, 499u}) {
    ContiguousKv<BF16> then = p.kv();
    then.keys.rows = then.values.rows = n;
    const PageBoxes boxes_then = boxes_of(then);
    Query q = p.query();
    q.position = static_cast<Position>(n) - 1;
    EXPECT_EQ(unweighted_positions_of(select(Quest{70}, q, with_index(p.kv(), boxes))),
              unweighted_positions_of(select(Quest{70}, q, with_index(then, boxes_then))));
  }
}

// The upper bound is one: the page of a key with an outstanding logit cannot be missed.
TEST(Quest, FindsANeedle) {
  auto p = random_problem<BF16>({4096, 64, 4, 1}, 5);
  for (std::size_t c = 0; c < 64; ++c) p.keys[1234 * 64 + c] = from_float<BF16>(4 * p.q[c]);
  const PageBoxes boxes = boxes_of(p.kv());
  const auto positions = unweighted_positions_of(select(Quest{16}, p.query(), with_index(p.kv(), boxes)));
  EXPECT_TRUE(std::binary_search(positions.begin(), positions.end(), 1234));
}

TEST(Quest, AttendsToWhatItSelects) {
  const auto p = random_problem<BF16>({700, 32, 16, 4}, 6);
  const InPages<BF16, BF16> pages(p, 10, Adjacency::kApart);
  const PageBoxes boxes = boxes_of(pages.kv());
  const auto kv = with_index(pages.kv(), boxes);
  for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
    Query q = p.query();
    q.grouping = grouping;
    BasicState<float> state = attend(stack(Sinks{4}, Quest{100}), q, kv);
    for (std::size_t h = 0; h < 4; ++h) {
      const Query one = grouping == Grouping::kPerHead ? q.head(h) : q;
      const auto list = list_of(select(stack(Sinks{4}, Quest{100}), one, kv));
      EXPECT_EQ(list.size(), 104u);
      if (grouping == Grouping::kPerHead) continue;
      EXPECT_TRUE(agrees(state.view(), p, q, list));
    }
    const BasicState<float> of_text = attend(parse("sinks(4)+quest(100)"), q, kv);
    for (std::size_t h = 0; h < 4; ++h) EXPECT_EQ(state.lse(h), of_text.lse(h));
    // All of it is dense attention.
    EXPECT_TRUE(agrees_with_dense(attend(Quest{700}, q, kv).view(), p, q));
  }
  // Nothing but what it selects is read, and the page of the query.
  Workspace ws;
  BasicState<float> state(4, 16);
  attend(Quest{100}, p.query(), kv, state.view(), ws);
  EXPECT_EQ(ws.reads.keys, 100u);
  EXPECT_EQ(ws.reads.values, 100u);
  EXPECT_EQ(ws.reads.index_bytes, boxes.bytes() - boxes.pages() * sizeof(std::uint64_t)) << "all but the hashes";
}

TEST(Quest, WantsBoxes) {
  const auto p = random_problem<BF16>({64, 8, 4, 1}, 7);
  expect_error([&] { select(Quest{16}, p.query(), p.kv()); }, {"boxes", "with_index"});
  expect_error([&] { select(parse("sinks(4)+quest(16)"), p.query(), p.kv()); }, {"boxes", "with_index"});
  expect_error([] { Quest{fraction(1.5)}.validate(); }, {"Quest", "1.5"});
  EXPECT_EQ(Quest{fraction(0.1)}.max_picks(1000), 100u);
}

}  // namespace
}  // namespace skim::test

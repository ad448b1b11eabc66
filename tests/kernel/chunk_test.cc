// SPDX-License-Identifier: Apache-2.0
// How a selection is cut into chunks and blocks.
#include "skim/kernel/chunk-inl.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "support/problem.h"
#include "support/selections.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

using test::every;
using test::selection_of;
using test::Spans;

// ---- chunks ----

std::vector<Chunk> chunks_of(const Selection& s) {
  std::vector<Chunk> chunks;
  for_each_chunk(s, [&](const Chunk& c) { chunks.push_back(c); });
  return chunks;
}

TEST(Chunks, OfNothing) { EXPECT_TRUE(chunks_of(Selection()).empty()); }

TEST(Chunks, SpansAreCutAtMultiplesOf4096) {
  const auto chunks = chunks_of(selection_of({{4000, 9000}}));
  ASSERT_EQ(chunks.size(), 3u);
  for (std::size_t c = 0; c < 3; ++c) {
    EXPECT_FALSE(chunks[c].picks);
    EXPECT_EQ(chunks[c].range,
              (Span{4096 * static_cast<Position>(c), 4096 * static_cast<Position>(c + 1)}));
    EXPECT_EQ(chunks[c].begin, 0u);
    EXPECT_EQ(chunks[c].end, 1u);
  }
}

TEST(Chunks, SpansOfOneRangeShareAChunk) {
  // Sinks, something in the middle and a window that crosses a boundary.
  const auto chunks = chunks_of(selection_of({{0, 4}, {100, 200}, {4000, 4100}, {4200, 4300}}));
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_EQ(chunks[0].begin, 0u);
  EXPECT_EQ(chunks[0].end, 3u);
  EXPECT_EQ(chunks[1].begin, 2u);
  EXPECT_EQ(chunks[1].end, 4u);
}

TEST(Chunks, SpansThatEndAtABoundary) {
  const auto chunks = chunks_of(selection_of({{0, 4096}, {8192, 12288}}));
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_EQ(chunks[0].range, (Span{0, 4096}));
  EXPECT_EQ(chunks[1].range, (Span{8192, 12288}));
}

TEST(Chunks, PicksAreCutByRank) {
  for (const Position count : {1, 4095, 4096, 4097, 10000}) {
    const auto chunks = chunks_of(selection_of({}, every(3, 100, 100 + 3 * count)));
    std::size_t next = 0;
    for (const Chunk& c : chunks) {
      EXPECT_TRUE(c.picks);
      EXPECT_EQ(c.begin, next);
      EXPECT_EQ(c.end, std::min(next + 4096, static_cast<std::size_t>(count)));
      next = c.end;
    }
    EXPECT_EQ(next, static_cast<std::size_t>(count));
  }
}

TEST(Chunks, SpansComeBeforePicks) {
  const auto chunks = chunks_of(selection_of({{50, 60}}, {{3, 0}}));
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_FALSE(chunks[0].picks);
  EXPECT_TRUE(chunks[1].picks);
}

// Chunks partition what is selected, and one more span at the end changes none of those before.
TEST(Chunks, BoundariesDependOnNothingElse) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 300; ++trial) {
    Spans spans;
    Position at = 0;
    for (int i = 0; i < 12; ++i) {
      at += static_cast<Position>(random() % 5000);
      const Position last = at + 1 + static_cast<Position>(random() % (trial % 2 == 0 ? 100 : 9000));
      spans.push_back({at, last});
      at = last;
    }
    const auto chunks = chunks_of(selection_of(spans));
    Spans covered;  // the pieces, in order
    for (const Chunk& c : chunks) {
      ASSERT_EQ(c.range.first % 4096, 0);
      ASSERT_EQ(c.range.size(), 4096);
      for (std::size_t s = c.begin; s < c.end; ++s) {
        const Span piece = intersect(spans[s], c.range);
        ASSERT_GT(piece.size(), 0);
        if (!covered.empty() && covered.back().last == piece.first && piece.first != spans[s].first) {
          covered.back().last = piece.last;
        } else {
          covered.push_back(piece);
        }
      }
    }
    ASSERT_EQ(covered, spans);
    for (std::size_t c = 1; c < chunks.size(); ++c)
      ASSERT_LT(chunks[c - 1].range.first, chunks[c].range.first);

    spans.pop_back();
    const auto fewer = chunks_of(selection_of(spans));
    for (std::size_t c = 0; c + 1 < fewer.size(); ++c) {
      ASSERT_EQ(fewer[c].range, chunks[c].range);
      ASSERT_EQ(fewer[c].begin, chunks[c].begin);
      ASSERT_EQ(fewer[c].end, chunks[c].end);
    }
  }
}

// ---- blocks ----

TEST(Blocks, OfSpansEndAtMultiplesOf16) {
  const auto p = test::random_problem<float>({5000, 1, 1, 1}, 1);
  const auto kv = p.kv();
  const Selection s = selection_of({{3, 5}, {10, 40}, {64, 80}, {4090, 4100}});
  std::vector<Position> seen;
  for (const Chunk& chunk : chunks_of(s)) {
    Blocks<ContiguousKv<float>> blocks(kv, s, chunk);
    Block<ContiguousKv<float>> block;
    while (blocks.next(block)) {
      ASSERT_GE(block.count, 1u);
      ASSERT_LE(block.count, kBlock);
      EXPECT_EQ(block.positions[0] / 16, block.positions[block.count - 1] / 16)
          << "one aligned stretch of 16";
      for (std::size_t t = 0; t < block.count; ++t) {
        EXPECT_EQ(block.keys[t], kv.key(block.positions[t]));
        EXPECT_EQ(block.values[t], kv.value(block.positions[t]));
        seen.push_back(block.positions[t]);
      }
    }
    EXPECT_FALSE(blocks.next(block)) << "done stays done";
  }
  std::vector<Position> expected;
  for (const Span span : s.spans()) {
    for (Position i = span.first; i < span.last; ++i) expected.push_back(i);
  }
  EXPECT_EQ(seen, expected);
}

TEST(Blocks, OfPicksAre16RanksWithTheirWeights) {
  const auto p = test::random_problem<float>({300, 1, 1, 1}, 1);
  const auto kv = p.kv();
  const auto picks = every(7, 2, 300);
  const Selection s = selection_of({}, picks);
  const Chunk chunk = chunks_of(s)[0];
  Blocks<ContiguousKv<float>> blocks(kv, s, chunk);
  Block<ContiguousKv<float>> block;
  std::size_t rank = 0;
  while (blocks.next(block)) {
    EXPECT_EQ(block.count, std::min(kBlock, picks.size() - rank));
    for (std::size_t t = 0; t < block.count; ++t, ++rank) {
      EXPECT_EQ(block.positions[t], picks[rank].position);
      EXPECT_EQ(block.keys[t], kv.key(picks[rank].position));
      EXPECT_EQ(block.values[t], kv.value(picks[rank].position));
      EXPECT_EQ(block.log_weights[t], picks[rank].log_weight);
    }
    for (std::size_t t = block.count; t < kBlock; ++t)
      EXPECT_EQ(block.keys[t], block.keys[block.count - 1]);
  }
  EXPECT_EQ(rank, picks.size());
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

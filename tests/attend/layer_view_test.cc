// SPDX-License-Identifier: Apache-2.0
// Is every row of a layer in one task, by the kernel that its own sequence is long enough for, and where the caller says?
#include "skim/attend/layer_view-inl.h"

#include <vector>

#include <gtest/gtest.h>

#include "support/layer_problem.h"

namespace skim::test {
namespace {

namespace kernel = HWY_NAMESPACE;
using View = kernel::Layer<float, ContiguousKv<float>>;

struct Cut {
  std::vector<kernel::RowRange> ranges;
  std::size_t many = 0;
};

Cut cut(const View& layer, kernel::ManyRows how) {
  Cut result;
  result.ranges.resize(layer.units());
  const kernel::Tasks tasks = layer.cut_rows(how, result.ranges.data());
  result.ranges.resize(tasks.count);
  result.many = tasks.many();
  return result;
}

TEST(LayerView, EveryUnitIsInOneTask) {
  const LayerProblem<float> p({6, 3, 8, 8}, {{1, 9}, {0, 4}, {3, 3}, {4, 20}, {300, 300}, {2, 7}}, 1);
  const LayerQuery query = p.query();
  const auto kv = p.kv();
  const LayerState state{};
  const View layer(query, kv, state);
  for (const auto how : {kernel::ManyRows::kNone, kernel::ManyRows::kDense, kernel::ManyRows::kLargest}) {
    const Cut tasks = cut(layer, how);
    std::vector<int> seen(layer.units());
    for (std::size_t i = 0; i < tasks.ranges.size(); ++i) {
      const kernel::RowRange& range = tasks.ranges[i];
      const std::size_t rows = p.sequences[range.sequence].rows;
      EXPECT_EQ(i < tasks.many, how != kernel::ManyRows::kNone && rows >= 4) << "a sequence of " << rows << " rows";
      if (i >= tasks.many) {
        EXPECT_EQ(range.end, range.begin + 1);
      }
      for (std::size_t r = range.begin; r < range.end; ++r) {
        EXPECT_EQ(layer.sequence_of(r), range.sequence);
        ++seen[r * 3 + range.kv_head];
      }
    }
    EXPECT_EQ(seen, std::vector<int>(layer.units(), 1));
  }
}

// What is cut of a sequence is the same whoever comes with it.
TEST(LayerView, ASequenceIsCutAsIfItWereAlone) {
  const LayerProblem<float> both({4, 2, 8, 8}, {{5, 9}, {300, 400}}, 1), alone({4, 2, 8, 8}, {{300, 400}}, 1);
  const LayerQuery query = both.query(), query_alone = alone.query();
  const auto kv = both.kv(), kv_alone = alone.kv();
  const LayerState state{};
  std::vector<std::size_t> lengths, lengths_alone;
  for (const auto& range : cut(View(query, kv, state), kernel::ManyRows::kDense).ranges) {
    if (range.sequence == 1) lengths.push_back(range.end - range.begin);
  }
  for (const auto& range : cut(View(query_alone, kv_alone, state), kernel::ManyRows::kDense).ranges) {
    lengths_alone.push_back(range.end - range.begin);
  }
  EXPECT_EQ(lengths, lengths_alone);
}

TEST(LayerView, HeadsAndPositionsOfAPartAreThoseOfTheWhole) {
  const LayerProblem<float> p({4, 2, 8, 8}, {{3, 9}}, 1);
  LayerQuery query = p.query();
  const auto kv = p.kv();
  const LayerState state{{nullptr, 3, 4, 8}};
  const View layer(query, kv, state);
  EXPECT_EQ(layer.unit(5, nullptr).query.position, 8);
  EXPECT_EQ(layer.unit(5, nullptr).query.stream.head, 1u);
  const Position first = 2;
  query.first_position = {&first, 1};
  query.first_head = 8;
  EXPECT_EQ(layer.unit(0, nullptr).query.position, 2);
  EXPECT_EQ(layer.unit(5, nullptr).query.position, 4);
  EXPECT_EQ(layer.unit(5, nullptr).query.stream.head, 5u);
  EXPECT_EQ(layer.unit(5, nullptr).query.head(1).stream.head, 11u);
}

}  // namespace
}  // namespace skim::test

// SPDX-License-Identifier: Apache-2.0
// Does every shape that does not fit throw, with both numbers, before anything is written?
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/layer_problem.h"
#include "support/layouts.h"

namespace skim::test {
namespace {

constexpr std::size_t kHuge = std::numeric_limits<std::size_t>::max() / 2;
constexpr std::ptrdiff_t kHugeStride = std::numeric_limits<std::ptrdiff_t>::max() / 2;

/// Whether `call` throws std::invalid_argument with a text that holds all of `parts`.
testing::AssertionResult throws_with(const std::function<void()>& call, std::initializer_list<const char*> parts) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    const std::string text = error.what();
    for (const char* part : parts) {
      if (text.find(part) == std::string::npos) {
        return testing::AssertionFailure() << "\"" << part << "\" is not in \"" << text << "\"";
      }
    }
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << "nothing was thrown";
}

/// One group, 2 heads: d 24, d_v 16, 10 positions.
struct OneHead : testing::Test {
  Problem<float> p = random_problem<float>({10, 24, 16, 2}, 1);
  Query q = p.query();
  ContiguousKv<float> kv = p.kv();
  Guarded<float> out{2 * 16}, lse{2};
  StateView state{{out.data(), 2, 16}, lse.data()};
  Workspace ws;

  void expect_fails(std::initializer_list<const char*> parts) {
    EXPECT_TRUE(throws_with([&] { attend(Dense{}, q, kv, state, ws); }, parts));
    EXPECT_TRUE(throws_with([&] { attend(Selection{}, q, kv, state, ws); }, parts));
    EXPECT_TRUE(out.untouched());
    EXPECT_TRUE(lse.untouched());
  }
};

TEST_F(OneHead, WithoutAFaultItWorks) {
  attend(Dense{}, q, kv, state, ws);
  EXPECT_TRUE(out.all_written() && lse.all_written());
}
TEST_F(OneHead, ColumnsOfQAndKeys) {
  q.rows.cols = 23;
  expect_fails({"skim::attend: q has 23 columns but keys have 24"});
  EXPECT_TRUE(throws_with([&] { select(Dense{}, q, kv); }, {"23", "24"}));
}
TEST_F(OneHead, NoColumns) {
  q.rows.cols = kv.keys.cols = 0;
  expect_fails({"0 columns"});
}
TEST_F(OneHead, NoColumnsOfValues) {
  kv.values.cols = 0;
  expect_fails({"values", "0 columns"});
}
TEST_F(OneHead, NoRowsOfQ) {
  q.rows.rows = 0;
  state.out.rows = 0;
  expect_fails({"q has 0 rows"});
  EXPECT_TRUE(throws_with([&] { select(TopK{3}, q, kv); }, {"q has 0 rows"}));
}
TEST_F(OneHead, NumbersOfKeysAndValues) {
  kv.values.rows = 9;
  expect_fails({"10 keys", "9 values"});
}
TEST_F(OneHead, RowsOfOutAndQ) {
  state.out.rows = 3;
  expect_fails({"out has 3 rows", "q has 2"});
}
TEST_F(OneHead, ColumnsOfOutAndValues) {
  state.out.cols = 15;
  expect_fails({"out has 15 columns", "values have 16"});
}
TEST_F(OneHead, OverlappingRowsOfOut) {
  state.out.stride = 15;
  expect_fails({"15", "16"});
  state.out.stride = 0;
  expect_fails({"0", "16"});
}
TEST_F(OneHead, OverlappingLse) {
  state.lse_stride = 0;
  expect_fails({"lse_stride is 0", "2 rows"});
}
TEST_F(OneHead, NullPointers) {
  state.lse = nullptr;
  expect_fails({"lse is null", "2"});
  state.lse = lse.data();
  state.out.data = nullptr;
  expect_fails({"out is null", "2"});
  state.out.data = out.data();
  q.rows.data = nullptr;
  expect_fails({"q is null", "2"});
  q.rows.data = p.q.data();
  kv.keys.data = nullptr;
  expect_fails({"keys is null", "10"});
  kv.keys.data = p.keys.data();
  kv.values.data = nullptr;
  expect_fails({"values is null", "10"});
}
TEST_F(OneHead, OutIsQ) {
  std::vector<float> shared(100);
  q.rows.data = shared.data();
  state.out.data = shared.data() + 30;
  EXPECT_TRUE(throws_with([&] { attend(Dense{}, q, kv, state, ws); }, {"out overlaps q"}));
}
TEST_F(OneHead, OutAndLseOnOtherMemory) {
  std::vector<float> shared(240);
  kv.keys.data = shared.data();
  state.out.data = shared.data() + 200;
  EXPECT_TRUE(throws_with([&] { attend(Dense{}, q, kv, state, ws); }, {"out overlaps keys"}));
  state = {{out.data(), 2, 16}, shared.data() + 30};
  expect_fails({"lse overlaps keys"});
  state.lse = out.data() + 20;
  expect_fails({"lse overlaps out"});
}
TEST_F(OneHead, ProductsThatOverflow) {
  kv.keys.stride = kHugeStride;
  expect_fails({"keys", "10 rows", "4611686018427387903"});
  kv.keys.stride = 24;
  kv.keys.rows = kv.values.rows = kHuge;
  expect_fails({"9223372036854775807 rows", "24"});
}
TEST_F(OneHead, Positions) {
  q.position = -2;
  expect_fails({"position is -2", "at least 0"});
}
TEST_F(OneHead, Rules) {
  q.logit.scale = NAN;
  expect_fails({"scale is nan"});
  q.logit.scale = INFINITY;
  expect_fails({"scale is inf"});
  q.logit.scale = 1;
  for (const double cap : {-1.0, static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    q.logit.soft_cap = cap;
    expect_fails({"soft_cap is"});
  }
}

/// The same in pages of 4: 3 of the 6 pages are used.
struct OnePagedHead : OneHead {
  InPages<float, float> pages{p, 4, Adjacency::kApart};
  PagedKv<float> paged = pages.kv();

  void expect_paged_fails(std::initializer_list<const char*> parts) {
    EXPECT_TRUE(throws_with([&] { attend(Dense{}, q, paged, state, ws); }, parts));
    EXPECT_TRUE(out.untouched());
  }
};

TEST_F(OnePagedHead, WithoutAFaultItWorks) {
  attend(Dense{}, q, paged, state, ws);
  EXPECT_TRUE(agrees_with_dense(state, p, q));
}
TEST_F(OnePagedHead, EntriesOfTheTable) {
  const std::int32_t right = pages.table()[1];
  pages.table()[1] = -1;
  expect_paged_fails({"entry 1", "-1", "6 pages"});
  pages.table()[1] = 6;
  expect_paged_fails({"entry 1", "is 6", "6 pages"});
  pages.table()[1] = std::numeric_limits<std::int32_t>::max();
  expect_paged_fails({"entry 1", "2147483647", "6 pages"});
  pages.table()[1] = pages.table()[0];
  expect_paged_fails({"entry 1", "repeats page"});
  pages.table()[1] = right;
}
TEST_F(OnePagedHead, PagesForAllPositions) {
  paged.n = 13;
  expect_paged_fails({"13 positions", "4 pages", "3"});
  paged.n = kHuge;
  expect_paged_fails({"9223372036854775807 positions"});
}
TEST_F(OnePagedHead, PageSize) {
  paged.page_size = 0;
  expect_paged_fails({"page_size is 0"});
}
TEST_F(OnePagedHead, Columns) {
  paged.keys.cols = 23;
  expect_paged_fails({"24 columns", "23"});
  paged.keys.cols = 0;
  expect_paged_fails({"0 columns"});
  paged.keys.cols = 24;
  paged.values.cols = 0;
  expect_paged_fails({"0 columns"});
}
TEST_F(OnePagedHead, Pools) {
  paged.values.data = nullptr;
  expect_paged_fails({"pool is null", "10"});
  paged.values.data = p.values.data();
  paged.keys.page_stride = kHugeStride;
  expect_paged_fails({"key pages", "4611686018427387903"});
  paged.keys.page_stride = 96;
  paged.values.row_stride = -kHugeStride;
  expect_paged_fails({"row", "-4611686018427387903"});
}
TEST_F(OnePagedHead, PagesThatAreNotUsedNeedNoRightEntry) {
  paged.n = 8;
  pages.table()[2] = -7;
  attend(Dense{}, q, paged, state, ws);
  EXPECT_TRUE(out.all_written());
}

/// 4 query heads, 2 KV heads; sequences of 3 rows against 20 positions and 2 against 5.
struct WholeLayer : testing::Test {
  LayerProblem<float> p{{4, 2, 24, 16}, {{3, 20}, {2, 5}}, 2};
  LayerQuery q = p.query();
  LayerKv<ContiguousKv<float>> kv = p.kv();
  LayerOutput output{p};
  LayerState state = output.state();
  Options options;

  void expect_fails(std::initializer_list<const char*> parts) {
    EXPECT_TRUE(throws_with([&] { attend(Dense{}, q, kv, state, options); }, parts));
    EXPECT_TRUE(output.out.untouched());
    EXPECT_TRUE(output.lse.untouched());
  }
};

TEST_F(WholeLayer, WithoutAFaultItWorks) {
  attend(Dense{}, q, kv, state, options);
  EXPECT_TRUE(output.all_written());
}
TEST_F(WholeLayer, HeadsThatDoNotDivide) {
  q.rows.heads = 3;
  expect_fails({"3 query heads", "2 KV heads"});
  q.rows.heads = 0;
  expect_fails({"0 query heads", "2 KV heads"});
}
TEST_F(WholeLayer, NoKvHeads) {
  kv.kv_heads = 0;
  expect_fails({"kv_heads is 0"});
}
TEST_F(WholeLayer, ViewsThatDoNotDivide) {
  kv.heads = kv.heads.first(3);
  expect_fails({"3", "2"});
}
TEST_F(WholeLayer, Sequences) {
  kv.heads = kv.heads.first(2);
  expect_fails({"2 sequences", "1 sequences"});
  q.row_begin = {};
  kv = p.kv();
  expect_fails({"5 rows", "2 sequences"});
}
TEST_F(WholeLayer, RowBegin) {
  std::size_t falling[] = {0, 6, 5};
  q.row_begin = falling;
  expect_fails({"row_begin[1]", "6", "5"});
  std::size_t late[] = {1, 3, 5};
  q.row_begin = late;
  expect_fails({"row_begin", "1", "5"});
  std::size_t early[] = {0, 3, 4};
  q.row_begin = early;
  expect_fails({"row_begin", "4", "5 rows"});
}
TEST_F(WholeLayer, Visible) {
  std::vector<skim::Span> visible(4, kEverything);
  q.visible = visible;
  expect_fails({"visible", "4", "5 rows"});
}
TEST_F(WholeLayer, SequenceIds) {
  std::vector<std::uint64_t> ids(3);
  q.sequence_ids = ids;
  expect_fails({"sequence_ids", "3", "2"});
}
TEST_F(WholeLayer, RowsAndHeadsOfOut) {
  state.out.rows = 4;
  expect_fails({"out has 4 rows", "q has 5"});
  state = output.state();
  state.out.heads = 2;
  expect_fails({"out has 2 heads", "q has 4"});
  state = output.state();
  state.out.cols = 12;
  expect_fails({"out has 12 columns", "values have 16"});
}
TEST_F(WholeLayer, OverlappingOut) {
  state.out.head_stride = 15;
  expect_fails({"head_stride is 15", "16 columns"});
  state = output.state();
  state.out.row_stride = -15;
  expect_fails({"row_stride is -15", "16 columns"});
}
// Heads side by side, rows half a row apart: two heads of neighbouring rows in one place.
TEST_F(WholeLayer, OutInWhichRowsAndHeadsCross) {
  state.out.row_stride = 32;
  expect_fails({"row_stride", "32", "64"});
}
TEST_F(WholeLayer, ColumnsOfQ) {
  q.rows.cols = 20;
  expect_fails({"q has 20 columns", "keys have 24"});
}
TEST_F(WholeLayer, NullPointers) {
  q.rows.data = nullptr;
  expect_fails({"q is null", "5 rows"});
  q = p.query();
  state.out.data = nullptr;
  expect_fails({"out is null", "5 rows"});
}
TEST_F(WholeLayer, OutIsQ) {
  std::vector<float> shared(5 * 4 * 24);
  q.rows.data = shared.data();
  state.out.data = shared.data();
  EXPECT_TRUE(throws_with([&] { attend(Dense{}, q, kv, state); }, {"out overlaps q"}));
}
TEST_F(WholeLayer, ProductsThatOverflow) {
  q.rows.row_stride = kHugeStride;
  expect_fails({"q", "5 rows", "4611686018427387903"});
}
TEST_F(WholeLayer, OneBadViewOfMany) {
  p.views[3].keys.cols = 23;
  expect_fails({"24", "23"});
}
TEST_F(WholeLayer, Workspaces) {
  std::vector<Workspace> one(1);
  options.workspaces = one;
  options.executor.threads = 2;
  expect_fails({"2 threads", "run is null"});
  options.executor.run = [](void*, std::size_t, Executor::Task, void*) {};
  expect_fails({"1 workspaces", "2 threads"});
  options.executor.threads = 0;
  expect_fails({"threads", "is 0", "at least 1"});
}
TEST_F(WholeLayer, MoreCausalRowsThanKeys) {
  for (auto& view : p.views) view.keys.rows = view.values.rows = 1;
  expect_fails({"sequence 0", "3 causal rows", "KV view 0", "1 keys"});
  q.causal = false;
  EXPECT_NO_THROW(attend(Dense{}, q, kv, state));
  q.causal = true;
  for (auto& view : p.views) view.keys.rows = view.values.rows = 0;
  attend(Dense{}, q, kv, state);
  for (std::size_t i = 0; i < output.out.size(); ++i) EXPECT_EQ(output.out.data()[i], 0.0f);
  for (std::size_t i = 0; i < output.lse.size(); ++i) EXPECT_EQ(output.lse.data()[i], -INFINITY);
}
TEST_F(WholeLayer, Numbers) {
  const float slopes[] = {1, 2, 3, INFINITY};
  q.logit.alibi_slopes = slopes;
  expect_fails({"ALiBi slope 3 of 4", "inf"});
  q.logit = {.scale = 0.0};
  expect_fails({"scale is 0"});
  q.logit = {.soft_cap = 1e39};
  expect_fails({"soft_cap is 1e+39"});
}
TEST_F(WholeLayer, OutOnLseOrKeys) {
  state.lse = state.out.data + 7;
  expect_fails({"lse overlaps out"});
  state = output.state();
  std::vector<float> shared(20 * 24);
  p.views[1].keys.data = shared.data();
  state.out.data = shared.data() + 20 * 24 - 1;
  EXPECT_TRUE(throws_with([&] { attend(Dense{}, q, kv, state); }, {"out overlaps keys"}));
  state = output.state();
  state.lse = shared.data() + 100;
  expect_fails({"lse overlaps keys"});
  p.views[1].keys.data = p.heads[1].keys.data();
  p.views[3].values.data = shared.data() + 60;
  expect_fails({"lse overlaps values"});
}
// Heads of out between those of q are no overlap.
TEST_F(WholeLayer, InterleavedHeadsAreAccepted) {
  std::vector<float> shared(5 * 4 * 40);  // [rows, heads, q 24 | out 16]
  for (std::size_t i = 0; i < 5 * 4 * 24; ++i) shared[i / 24 * 40 + i % 24] = p.q[i];
  q.rows = {shared.data(), 5, 4, 24, 4 * 40, 40};
  state.out = {shared.data() + 24, 5, 4, 16, 4 * 40, 40};
  attend(Dense{}, q, kv, state);
  LayerOutput apart(p);
  attend(Dense{}, p.query(), kv, apart.state());
  for (std::size_t i = 0; i < 5 * 4; ++i) {
    EXPECT_TRUE(same_bits(shared.data() + i * 40 + 24, apart.out.data() + i * 16, 16)) << i;
  }
  state.out.data -= 1;
  EXPECT_TRUE(throws_with([&] { attend(Dense{}, q, kv, state); }, {"out overlaps q"}));
}
TEST_F(WholeLayer, BadParametersOfTheEstimator) {
  EXPECT_TRUE(throws_with([&] { attend(Sinks{-1}, q, kv, state); }, {"Sinks", "-1", "at least 0"}));
  EXPECT_TRUE(throws_with([&] { attend(Window{-2}, q, kv, state); }, {"Window", "-2", "at least 0"}));
  EXPECT_TRUE(throws_with([&] { attend(TopK{-3}, q, kv, state); }, {"TopK", "-3", "at least 0"}));
  EXPECT_TRUE(throws_with([&] { attend(TopK{fraction(1.5)}, q, kv, state); }, {"TopK", "1.5", "1"}));
  EXPECT_TRUE(throws_with([&] { attend(stack(Sinks{1}, PriorityTail{-4}), q, kv, state); }, {"PriorityTail", "-4"}));
  EXPECT_TRUE(throws_with([&] { attend(UniformTail{power(-1, 0.5)}, q, kv, state); }, {"UniformTail", "-1"}));
  EXPECT_TRUE(output.out.untouched());
}

TEST(Merge, ShapesThatDoNotFit) {
  State a(2, 16), b(3, 16), c(2, 15);
  EXPECT_TRUE(throws_with([&] { merge(a.view(), b.view()); }, {"2 rows", "3"}));
  EXPECT_TRUE(throws_with([&] { merge(a.view(), c.view()); }, {"16 columns", "15"}));
}
TEST(Merge, StatesThatShareMemory) {
  std::vector<float> memory(200);
  const StateView a{{memory.data(), 2, 16}, memory.data() + 100};
  const auto expect_refused = [&a](const StateView& b, std::initializer_list<const char*> parts) {
    EXPECT_TRUE(throws_with([&] { merge(a, b); }, parts));
    EXPECT_TRUE(throws_with([&] { merge(b, a); }, {"overlaps"}));
  };
  expect_refused({{memory.data() + 31, 2, 16}, memory.data() + 110}, {"out of the one state overlaps out of the other"});
  expect_refused({{memory.data() + 40, 2, 16}, memory.data() + 101}, {"lse of the one state overlaps lse of the other"});
  expect_refused({{memory.data() + 40, 2, 16}, memory.data() + 20}, {"out of the one state overlaps lse of the other"});
  expect_refused({{memory.data() + 90, 2, 16}, memory.data() + 150}, {"lse of the one state overlaps out of the other"});
  EXPECT_TRUE(throws_with([&] { merge(a, a); }, {"out of the one state overlaps out of the other"}));
  // Rows of one state between those of another.
  const StateView even{{memory.data(), 2, 16, 40}, memory.data() + 16, 40};
  const StateView odd{{memory.data() + 20, 2, 16, 40}, memory.data() + 36, 40};
  EXPECT_NO_THROW(merge(even, odd));
}

}  // namespace
}  // namespace skim::test

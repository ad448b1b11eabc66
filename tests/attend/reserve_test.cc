// SPDX-License-Identifier: Apache-2.0
// Is what is set aside enough for every estimator, whatever the data?
#include "skim/attend/reserve-inl.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "support/any_index.h"
#include "support/layer_problem.h"
#include "support/layouts.h"
#include "support/threads.h"

namespace skim::test {
namespace {

constexpr const char* kEstimators[] = {
    "dense", "sinks(2)+window(9)", "topk(20)", "topk(fraction(0.5))", "topp(0.9)", "priority(40)",
    "systematic(fraction(0.3))", "multinomial(700)", "poisson(600)", "uniform(500)", "topk(7,by=sketch1)",
    "topk(7,by=sketch1,candidates=300)", "topk(50,by=sketch8,exact)", "topk(50,by=boxes,exact)", "quest(700)",
    "quest(64)+summaries", "priority(400,by=sketch4)", "systematic(9,by=means)", "lsh(3,3)", "lsh(3,3,collisions=1)",
    "sinks(2)+window(4)+topk(5,by=sketch4)+multinomial(fraction(1),by=sketch8)"};

/// Where everything lies that a workspace holds: memory that grows moves.
std::vector<const void*> places(Workspace& ws) {
  std::vector<const void*> all;
  for (int slot = 0; slot < Workspace::kSlots; ++slot) all.push_back(ws.get<char>(static_cast<Workspace::Slot>(slot), 0));
  using Access = SelectionAccess;
  for (auto* spans : {&Access::spans(ws.selection), &Access::spare_spans(ws.selection)}) all.push_back(spans->data());
  for (auto* picks : {&Access::picks(ws.selection), &Access::spare_picks(ws.selection), &Access::summaries(ws.selection)}) {
    all.push_back(picks->data());
  }
  all.push_back(ws.page_marks.data());
  return all;
}

/// Every index of a KV head.
struct Indexes {
  Sketches sketches;
  PageBoxes boxes;
  PageMeans means;
  LshTables tables;

  template <class Kv>
  explicit Indexes(const Kv& kv) : sketches(kv), tables(index_of_all<LshTables>(kv)) {
    append(boxes, kv);
    append(means, kv);
  }
  template <class Kv>
  auto beside(const Kv& kv) const {
    return with_index(kv, sketches.one, sketches.four, sketches.eight, boxes, means, tables);
  }
};

enum class Data { kNormal, kAllAlike, kNoSketches };

template <class K>
void fill(LayerProblem<K>& p, Data data) {
  for (auto& head : p.heads) {
    for (std::size_t i = 0; i < head.shape.n; ++i) {
      K* row = row_at(head.keys, i, head.shape.d);
      if (data == Data::kAllAlike) fill_row(row, head.shape.d, 0.5);
      if (data == Data::kNoSketches && i % 2 == 0) fill_row(row, head.shape.d, 1e30);
    }
  }
}

template <class K>
void expect_enough(const LayerShape& shape, const Sequence& sequence, std::size_t threads, Data data) {
  SCOPED_TRACE(testing::Message() << sequence.n << " keys, " << sequence.rows << " rows, " << threads << " threads, data "
                                  << static_cast<int>(data));
  LayerProblem<K> p(shape, {sequence}, 1);
  fill(p, data);
  std::vector<Indexes> indexes;
  for (const auto& view : p.views) indexes.emplace_back(view);
  using Kv = decltype(indexes[0].beside(p.views[0]));
  std::vector<Kv> views;
  for (std::size_t i = 0; i < p.views.size(); ++i) views.push_back(indexes[i].beside(p.views[i]));
  const CallSize size{.positions = static_cast<Position>(sequence.n), .q_heads = shape.q_heads, .kv_heads = shape.kv_heads,
                      .d = shape.d, .d_v = shape.d_v, .rows = sequence.rows, .lsh_tables = 3};
  std::vector<float> out(sequence.rows * shape.q_heads * shape.d_v);
  for (const char* text : kEstimators) {
    const StageList estimator = parse(text);
    std::vector<Workspace> workspaces(threads);
    reserve(workspaces, estimator, size);
    std::vector<std::vector<const void*>> before;
    for (Workspace& ws : workspaces) before.push_back(places(ws));
    LayerQuery query = p.query();
    const LayerState state{{out.data(), sequence.rows, shape.q_heads, shape.d_v}};
    for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
      query.grouping = grouping;
      query.stream.seed += 1;
      attend(estimator, query, LayerKv<Kv>{views, shape.kv_heads}, state,
             {.executor = threads == 1 ? Executor{} : backwards(threads), .workspaces = workspaces});
      for (std::size_t i = 0; i < threads; ++i) ASSERT_EQ(places(workspaces[i]), before[i]) << text << ", workspace " << i;
    }
  }
}

TEST(Reserve, IsEnoughForEveryEstimator) {
  for (const Data data : {Data::kNormal, Data::kAllAlike, Data::kNoSketches}) {
    expect_enough<float>({4, 2, 24, 16}, {1, 5000}, 1, data);
    expect_enough<float>({4, 2, 24, 16}, {1, 5000}, 5, data);
    expect_enough<float>({4, 2, 24, 40}, {40, 700}, 2, data);
    expect_enough<float>({3, 1, 130, 1}, {9, 300}, 1, data);
  }
}

TEST(Reserve, IsEnoughForOtherStorage) {
  expect_enough<I8>({8, 1, 24, 16}, {1, 3000}, 1, Data::kNormal);
  expect_enough<BF16>({1, 1, 7, 5}, {1, 20000}, 1, Data::kNormal);
}

TEST(Reserve, SmallForDense) {
  Workspace ws;
  reserve({&ws, 1}, Dense{}, {.positions = 131072, .q_heads = 32, .kv_heads = 8, .d = 128, .d_v = 128});
  // Chunks for several threads are the most of it, and nothing is by position.
  EXPECT_EQ(ws.get<char>(Workspace::kLogits, 0), nullptr);
  EXPECT_EQ(ws.selection.picks().capacity(), 1u);
}

TEST(Reserve, SizesOutOfRangeAreErrors) {
  std::vector<Workspace> ws(2);
  const auto expect_refused = [&](const CallSize& size, std::initializer_list<const char*> parts) {
    expect_error([&] { reserve(ws, TopK{5}, size); }, parts);
  };
  constexpr std::size_t kHuge = std::numeric_limits<std::size_t>::max();
  expect_refused({.positions = -1}, {"positions is -1", "0"});
  expect_refused({.positions = Position{1} << 62}, {"positions", "68719476736"});
  expect_refused({.q_heads = kHuge}, {"q_heads"});
  expect_refused({.q_heads = 3, .kv_heads = 2}, {"3", "2"});
  expect_refused({.kv_heads = 0}, {"kv_heads is 0"});
  expect_refused({.d = 0}, {"d is 0"});
  expect_refused({.d_v = kHuge}, {"d_v"});
  expect_refused({.rows = kHuge}, {"rows"});
  expect_refused({.pool_pages = kHuge}, {"pool_pages"});
  expect_refused({.lsh_tables = kHuge}, {"lsh_tables"});
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SKIM_TEST_ASAN
#endif
#endif

#if !defined(SKIM_TEST_ASAN) && !defined(__SANITIZE_ADDRESS__)  // which stops the program instead
TEST(Reserve, MoreThanThereIsIsNoMemory) {
  std::vector<Workspace> ws(2);
  EXPECT_THROW(reserve(ws, TopK{5}, {.positions = kMostPositions, .q_heads = kMostColumns}), std::bad_alloc);
}
#endif

}  // namespace
}  // namespace skim::test

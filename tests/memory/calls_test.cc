// SPDX-License-Identifier: Apache-2.0
// May every call be made again after memory ran out in it, with the same workspaces, for the same answer?
#include <string>
#include <vector>

#include "memory/allocator.h"
#include "support/any_index.h"
#include "support/layouts.h"
#include "support/threads.h"
#include "support/training_problem.h"

namespace skim::test {
namespace {

constexpr const char* kEstimators[] = {"dense", "sinks(2)+window(9)+topk(20)+priority(30)", "topp(0.6)", "lsh(3,3)",
                                       "quest(64)", "topk(9,by=sketch8,exact)", "multinomial(9,by=sketch1)"};

using Kv = IndexedKv<ContiguousKv<float>, Sketch1, Sketch8, PageBoxes, LshTables>;

struct Indexes {
  Sketch1 one;
  Sketch8 eight;
  PageBoxes boxes;
  LshTables tables;
  explicit Indexes(const ContiguousKv<float>& kv)
      : one(index_of_all<Sketch1>(kv)), eight(index_of_all<Sketch8>(kv)), boxes(index_of_all<PageBoxes>(kv)),
        tables(index_of_all<LshTables>(kv)) {}
};

/// A layer with gradients, whose KV heads carry indexes.
struct CallMemory : testing::TestWithParam<const char*> {
  static constexpr std::size_t kRows = 5, kN = 700;
  StageList estimator = parse(GetParam());
  TrainingProblem<float> p{{4, 2, 12, 8}, kRows, kN, 1};
  TrainingStep<float> step{p};
  std::vector<Indexes> indexes;
  std::vector<Kv> views;
  std::vector<Workspace> workspaces;

  CallMemory() {
    for (const auto& view : p.views()) indexes.emplace_back(view);
    for (std::size_t i = 0; i < indexes.size(); ++i) {
      views.push_back(with_index(p.views()[i], indexes[i].one, indexes[i].eight, indexes[i].boxes, indexes[i].tables));
    }
  }
  LayerKv<Kv> kv() const { return {views, 2}; }

  /// Some threads, whose workspaces are fresh each time but for what a failed call has left.
  Options options(std::size_t threads) {
    return {.executor = threads == 1 ? Executor{} : backwards(threads), .workspaces = workspaces, .strict = true};
  }
  /// call(options) fails at each allocation, and is then made again with the same workspaces: result() must be what it is
  /// with fresh ones.
  template <class Call, class Result>
  void expect_right_again(const Call& call, const Result& result) {
    for (const std::size_t threads : {1u, 3u, 21u}) {
      const auto fresh = [&] { workspaces = std::vector<Workspace>(threads); };
      fresh();
      call(options(threads));
      const auto right = result();
      for_each_failing_allocation(fresh, [&] { call(options(threads)); }, [&](std::size_t count) {
        call(options(threads));
        ASSERT_EQ(result(), right) << threads << " threads, allocation " << count;
      });
    }
  }
};

/// All that a record says.
std::vector<double> numbers_in(const SelectionRecord& record) {
  std::vector<double> all;
  for (std::size_t i = 0; i < record.size(); ++i) {
    const auto view = record[i];
    for (const skim::Span& span : view.spans) {
      all.insert(all.end(), {static_cast<double>(span.first), static_cast<double>(span.last)});
    }
    for (std::size_t j = 0; j < view.picks.size(); ++j) {
      all.push_back(view.picks[j]);
      if (view.log_weights != nullptr) all.push_back(view.log_weights[j]);
    }
  }
  return all;
}

TEST_P(CallMemory, Attend) {
  std::vector<float> out(kRows * 4 * 8);
  const LayerState state{{out.data(), kRows, 4, 8}};
  expect_right_again([&](const Options& options) { attend(estimator, p.query(), kv(), state, options); },
                     [&] { return out; });
}

TEST_P(CallMemory, AttendOfAGroupAndSelect) {
  Workspace ws;
  Query q;
  q.rows = {p.q.data(), 2, 12};
  State state(2, 8);
  attend(estimator, q, views[0], state.view(), ws);
  const float right = state.lse(1);
  for_each_failing_allocation([&] { ws = Workspace(); }, [&] { attend(estimator, q, views[0], state.view(), ws); },
                              [&](std::size_t) {
    attend(estimator, q, views[0], state.view(), ws);
    ASSERT_EQ(state.lse(1), right);
  });
  Selection selection;
  for_each_failing_allocation([] {}, [&] { selection = select(estimator, q, views[0]); }, [](std::size_t) {});
  EXPECT_EQ(attend(selection, q, views[0]).lse(1), right);
}

// A record that could not be written says less than was selected, or nothing; never what is not there.
TEST_P(CallMemory, SelectIntoARecord) {
  SelectionRecord record, empty;
  expect_right_again([&](Options options) {
    SelectionRecord of_call;
    try {
      select(estimator, p.query(), kv(), of_call, options);
    } catch (const std::bad_alloc&) {
      EXPECT_NO_THROW(numbers_in(of_call));
      select(estimator, p.query(), kv(), of_call, options);
      EXPECT_EQ(numbers_in(of_call), numbers_in(record));
      throw;
    }
    record = std::move(of_call);
  }, [&] { return numbers_in(record); });
}

TEST_P(CallMemory, Backward) {
  expect_right_again([&](Options options) {
    SelectionRecord record;
    options.record = &record;
    attend(estimator, p.query(), kv(), step.state(), options);
    backward(record, p.query(), kv(), step.gradients(), options);
    backward(estimator, p.query(), kv(), step.gradients(), options);
  }, [&] { return std::vector<float>(step.dq.data(), step.dq.data() + p.q.size()); });
}

INSTANTIATE_TEST_SUITE_P(Memory, CallMemory, testing::ValuesIn(kEstimators));

TEST(Memory, OfParse) {
  const char* text = "sinks(2)+window(9)+topk(fraction(0.1),by=sketch1,candidates=300)+priority(30)";
  std::string right = to_text(parse(text)), have;
  for_each_failing_allocation([] {}, [&] { have = to_text(parse(text)); }, [](std::size_t) {});
  EXPECT_EQ(have, right);
}

TEST(Memory, OfLightningScores) {
  const auto p = random_problem<float>({50, 8, 8, 3}, 1);
  const std::vector<float> weights(3, 1.0f);
  std::vector<float> scores(50, -7.0f);
  const std::vector<float> untouched = scores;
  Workspace ws;
  for_each_failing_allocation([&] { ws = Workspace(); }, [&] {
    lightning_scores(LightningQuery{p.query().rows, weights}, p.kv().keys, scores, ws);
  }, [&](std::size_t) { ASSERT_EQ(scores, untouched); });
  EXPECT_NE(scores, untouched);
}

TEST(Memory, OfReservedWorkspaces) {
  std::vector<Workspace> workspaces(2);
  const CallSize size{.positions = 1000, .q_heads = 4, .kv_heads = 2, .d = 8, .d_v = 8};
  for_each_failing_allocation([] {}, [&] { reserve(workspaces, parse("topk(9)"), size); }, [](std::size_t) {});
  const auto p = random_problem<float>({900, 8, 8, 2}, 1);
  State state(2, 8);
  const StageList estimator = parse("topk(9)");
  const std::size_t before = allocations();
  attend(estimator, p.query(), p.kv(), state.view(), workspaces[1]);
  EXPECT_EQ(allocations(), before);
}

}  // namespace
}  // namespace skim::test

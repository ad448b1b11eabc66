// SPDX-License-Identifier: Apache-2.0
#include "skim/openmp.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <string>
#include <vector>

#include "skim/skim.h"
#include "support/layer_problem.h"

namespace {

using namespace skim::test;

/// Three sequences; few units and many, short and of several chunks.
const std::vector<std::vector<Sequence>> kBatches = {
    {{1, 9000}}, {{1, 50}, {3, 700}, {1, 9000}}, {{4, 4200}}};

TEST(OpenMp, BitsAreThoseOfTheSerialCall) {
  for (const auto& batch : kBatches) {
    const LayerProblem<skim::BF16> p({.q_heads = 4, .kv_heads = 2, .d = 24, .d_v = 16}, batch, 1);
    for (const char* text : {"dense", "topk(64)", "sinks(4)+window(600)+topk(20)+priority(64)",
                             "uniform(fraction(0.5))"}) {
      const skim::StageList estimator = skim::parse(text);
      LayerOutput serial(p);
      skim::attend(estimator, p.query(), p.kv(), serial.state());
      for (const int threads : {1, 2, 3, 7}) {
        LayerOutput parallel(p);
        skim::attend(estimator, p.query(), p.kv(), parallel.state(),
                     {.executor = skim::openmp(threads)});
        EXPECT_TRUE(parallel.all_written()) << text << ", " << threads << " threads";
        EXPECT_TRUE(same_bits(parallel, serial)) << text << ", " << threads << " threads";
      }
    }
  }
}

TEST(OpenMp, EveryTaskOnceOnAWorkerOfItsOwn) {
  for (const int threads : {1, 2, 3, 7}) {
    const skim::Executor executor = skim::openmp(threads);
    ASSERT_EQ(executor.threads, static_cast<std::size_t>(threads));
    struct Notes {
      std::vector<std::atomic<int>> runs = std::vector<std::atomic<int>>(1000);
      std::vector<std::atomic<int>> busy = std::vector<std::atomic<int>>(7);
      std::atomic<int> clashes{0};
    } notes;
    executor.run(
        executor.pool, 1000,
        [](void* arg, std::size_t i, std::size_t worker) {
          auto& n = *static_cast<Notes*>(arg);
          ++n.runs[i];
          if (worker >= n.busy.size() || n.busy[worker]++ != 0) {
            ++n.clashes;
          } else {
            volatile int work = 0;
            for (int j = 0; j < 1000; ++j) work = work + j;
            --n.busy[worker];
          }
        },
        &notes);
    for (const auto& runs : notes.runs) EXPECT_EQ(runs.load(), 1);
    EXPECT_EQ(notes.clashes.load(), 0)
        << "two tasks on one worker, or a worker beyond the number of threads";
  }
}

TEST(OpenMp, AsManyThreadsAsOpenMpWouldUse) {
  EXPECT_EQ(skim::openmp().threads, static_cast<std::size_t>(omp_get_max_threads()));
  EXPECT_EQ(skim::openmp(0).threads, skim::openmp().threads);
}

TEST(OpenMp, NothingToDo) {
  const skim::Executor executor = skim::openmp(3);
  bool ran = false;
  executor.run(
      executor.pool, 0, [](void* arg, std::size_t, std::size_t) { *static_cast<bool*>(arg) = true; },
      &ran);
  EXPECT_FALSE(ran);
}

// Called by a thread of the caller's own parallel region: workers stay distinct, bits the same.
TEST(OpenMp, InsideAParallelRegion) {
  const LayerProblem<float> p({}, {{1, 300}, {1, 40}}, 2);
  LayerOutput serial(p);
  skim::attend(skim::TopK{20}, p.query(), p.kv(), serial.state());
  std::vector<LayerOutput> inner(4, LayerOutput(p));
#pragma omp parallel for num_threads(2)
  for (std::size_t i = 0; i < 4; ++i) {
    skim::attend(skim::TopK{20}, p.query(), p.kv(), inner[i].state(), {.executor = skim::openmp(2)});
  }
  for (const LayerOutput& output : inner) EXPECT_TRUE(same_bits(output, serial));
}

/// Throws in some tasks only.
struct SometimesFails {
  void validate() const {}
  std::size_t max_picks(std::size_t n) const { return n; }
  void select(const auto& q, const auto&, skim::Selection& selection, skim::Workspace&) const {
    if (q.visible.last == 40) throw std::runtime_error("from a task");
    selection.add(q.visible);
  }
};

TEST(OpenMp, ExceptionsOfTasksReachTheCaller) {
  const LayerProblem<float> p({}, {{1, 300}, {1, 40}}, 2);
  LayerOutput output(p);
  try {
    skim::attend(SometimesFails{}, p.query(), p.kv(), output.state(), {.executor = skim::openmp(2)});
    FAIL() << "nothing was thrown";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "from a task");
  }
}

}  // namespace

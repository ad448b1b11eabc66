// SPDX-License-Identifier: Apache-2.0
// What an executor may do, and that the library asks no more of it: tasks in any order, on any worker.
#include "skim/core/executor.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "skim/skim.h"

namespace {

/// Runs everything in this thread, but last task first and on workers in turn, and takes notes.
struct Contrary {
  std::size_t threads;
  std::size_t calls = 0;
  std::vector<int> runs{};

  skim::Executor executor() {
    return {threads,
            [](void* pool, std::size_t tasks, skim::Executor::Task task, void* arg) {
              auto& self = *static_cast<Contrary*>(pool);
              ++self.calls;
              self.runs.assign(tasks, 0);
              for (std::size_t i = tasks; i-- > 0;) {
                task(arg, i, (i * 7 + 3) % self.threads);
                ++self.runs[i];
              }
            },
            this};
  }
};

/// 4 query heads on 2 KV heads, `rows` sequences of 9000 keys: more than two chunks each.
struct Layer {
  static constexpr std::size_t kKeys = 9000, kDim = 8, kHeads = 4, kKvHeads = 2;

  explicit Layer(std::size_t rows) : q(rows * kHeads * kDim), kv(rows * kKvHeads * kKeys * kDim) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    for (float& x : q) x = normal(random);
    for (float& x : kv) x = normal(random);
    for (std::size_t i = 0; i < rows * kKvHeads; ++i) {
      const skim::Rows<const float> m{kv.data() + i * kKeys * kDim, kKeys, kDim};
      heads.push_back({m, m});
    }
    query.rows = {q.data(), rows, kHeads, kDim};
  }

  template <class E>
  std::vector<float> attend(const E& estimator, const skim::Executor& executor) const {
    const std::size_t rows = query.rows.rows;
    std::vector<float> result(rows * kHeads * (kDim + 1), -7.0f);
    const skim::LayerState state{{result.data(), rows, kHeads, kDim},
                                 result.data() + rows * kHeads * kDim};
    skim::attend(estimator, query, skim::LayerKv<skim::ContiguousKv<float>>{heads, kKvHeads}, state,
                 {executor});
    return result;
  }

  std::vector<float> q, kv;
  std::vector<skim::ContiguousKv<float>> heads{};
  skim::LayerQuery query{};
};

TEST(Executor, IsSerialByDefault) {
  const skim::Executor executor;
  EXPECT_EQ(executor.threads, 1u);
  EXPECT_EQ(executor.run, nullptr);
}

TEST(Executor, OrderAndWorkersDoNotChangeABit) {
  // 6 units are spread over few threads whole, 2 units over many threads in chunks.
  for (const std::size_t rows : {1u, 3u}) {
    const Layer layer(rows);
    const auto estimator = skim::stack(skim::Sinks{4}, skim::Window{5000}, skim::PriorityTail{100});
    const std::vector<float> serial = layer.attend(estimator, {});
    for (const std::size_t threads : {1u, 2u, 3u, 16u}) {
      Contrary contrary{threads};
      const std::vector<float> result = layer.attend(estimator, contrary.executor());
      EXPECT_EQ(std::memcmp(result.data(), serial.data(), serial.size() * sizeof(float)), 0)
          << rows << " rows, " << threads << " threads";
      EXPECT_GE(contrary.calls, 1u) << "the executor was not asked";
      ASSERT_FALSE(contrary.runs.empty());
      for (const int runs : contrary.runs) EXPECT_EQ(runs, 1);
    }
  }
}

/// Fails in every task: a task must not throw into the executor, the caller must see it.
struct Failing {
  void validate() const {}
  std::size_t max_picks(std::size_t n) const { return n; }
  void select(const auto&, const auto&, skim::Selection&, skim::Workspace&) const {
    throw std::runtime_error("from a task");
  }
};

TEST(Executor, ExceptionsOfTasksReachTheCaller) {
  Contrary contrary{2};
  const Layer layer(3);
  try {
    layer.attend(Failing{}, contrary.executor());
    FAIL() << "nothing was thrown";
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(std::string(error.what()), "from a task");
  }
  EXPECT_EQ(contrary.runs.size(), 6u) << "the executor ran to its end";
}

}  // namespace

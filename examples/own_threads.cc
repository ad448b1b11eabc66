// SPDX-License-Identifier: Apache-2.0
// The library starts no threads: it borrows yours. An executor over a pool of your own, and the same bits
// on any number of threads.
#include <skim/skim.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

/// The pool of your engine. This one starts its threads on the spot; yours would wake them.
struct MyPool {
  std::size_t threads;

  /// Calls job(i, worker) once for each i < jobs. No two threads are the same worker.
  template <class Job>
  void run(std::size_t jobs, const Job& job) {
    std::atomic<std::size_t> next{0};
    const auto work = [&](std::size_t worker) {
      for (std::size_t i = next++; i < jobs; i = next++) job(i, worker);
    };
    std::vector<std::thread> helpers;
    for (std::size_t worker = 1; worker < threads; ++worker) helpers.emplace_back(work, worker);
    work(0);  // this thread is one of them
    for (std::thread& helper : helpers) helper.join();
  }
};

/// All that skim needs to know of it.
skim::Executor executor_of(MyPool& pool) {
  return {.threads = pool.threads,
          .run =
              [](void* mine, std::size_t tasks, skim::Executor::Task task, void* arg) {
                static_cast<MyPool*>(mine)->run(
                    tasks, [&](std::size_t i, std::size_t worker) { task(arg, i, worker); });
              },
          .pool = &pool};
}

int main() {
  // 32 query heads share 8 KV heads of 6000 keys; one sequence decodes one token.
  const std::size_t q_heads = 32, kv_heads = 8, n = 6000, d = 64;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> q(q_heads * d), k(kv_heads * n * d), v(kv_heads * n * d);
  for (auto* numbers : {&q, &k, &v}) {
    for (float& x : *numbers) x = normal(random);
  }
  std::vector<skim::ContiguousKv<float>> heads;
  for (std::size_t h = 0; h < kv_heads; ++h)
    heads.push_back({{&k[h * n * d], n, d}, {&v[h * n * d], n, d}});

  skim::LayerQuery query;
  query.rows = {q.data(), 1, q_heads, d};
  const auto attend = [&](const skim::Executor& executor) {
    std::vector<float> out(q_heads * d);
    const auto estimator =
        skim::stack(skim::Sinks{4}, skim::Window{64}, skim::TopK{128}, skim::PriorityTail{128});
    skim::attend(estimator, query, skim::LayerKv<skim::ContiguousKv<float>>{heads, kv_heads},
                 skim::LayerState{{out.data(), 1, q_heads, d}}, {.executor = executor});
    return out;
  };

  const std::vector<float> serial = attend({});
  for (const std::size_t threads : {1u, 2u, 3u, 7u}) {
    MyPool pool{threads};
    const std::vector<float> out = attend(executor_of(pool));
    const bool same = std::memcmp(out.data(), serial.data(), out.size() * sizeof(float)) == 0;
    std::printf("%zu threads: %s\n", threads, same ? "the bits of the serial call" : "DIFFERENT BITS");
    if (!same) return 1;
  }
}

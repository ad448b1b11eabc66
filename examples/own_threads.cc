// SPDX-License-Identifier: Apache-2.0
// The library starts no threads: it borrows yours. An executor over std::thread, and the same bits on any
// number of them.
#include <skim/skim.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

/// Runs task(arg, i, worker) once for each i < tasks. An engine would wake its own pool here; `pool` is a
/// pointer for it to find that again, and needs none with threads that are started on the spot.
skim::Executor my_threads(std::size_t threads) {
  static constexpr auto run = [](void* pool, std::size_t tasks, skim::Executor::Task task, void* arg) {
    std::atomic<std::size_t> next{0};
    const auto work = [&](std::size_t worker) {  // no two threads have the same number
      for (std::size_t i = next++; i < tasks; i = next++) task(arg, i, worker);
    };
    std::vector<std::thread> helpers;
    for (std::size_t worker = 1; worker < *static_cast<std::size_t*>(pool); ++worker) {
      helpers.emplace_back(work, worker);
    }
    work(0);  // this thread is one of them
    for (std::thread& helper : helpers) helper.join();
  };
  static std::size_t counts[] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  return {threads, run, &counts[threads]};
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
  for (std::size_t h = 0; h < kv_heads; ++h) heads.push_back({{&k[h * n * d], n, d}, {&v[h * n * d], n, d}});

  skim::LayerQuery query;
  query.rows = {q.data(), 1, q_heads, d};
  const auto attend = [&](const skim::Executor& executor) {
    std::vector<float> out(q_heads * d);
    const auto estimator = skim::stack(skim::Sinks{4}, skim::Window{64}, skim::TopK{128}, skim::PriorityTail{128});
    skim::attend(estimator, query, skim::LayerKv<skim::ContiguousKv<float>>{heads, kv_heads},
                 skim::LayerState{{out.data(), 1, q_heads, d}}, {.executor = executor});
    return out;
  };

  const std::vector<float> serial = attend({});
  for (const std::size_t threads : {1u, 2u, 3u, 7u}) {
    const std::vector<float> out = attend(my_threads(threads));
    const bool same = std::memcmp(out.data(), serial.data(), out.size() * sizeof(float)) == 0;
    std::printf("%zu threads: %s\n", threads, same ? "the bits of the serial call" : "DIFFERENT BITS");
    if (!same) return 1;
  }
}

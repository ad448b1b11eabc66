// SPDX-License-Identifier: Apache-2.0
#include "measure.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "bench/rounds.h"
#include "bench/synthetic.h"
#include "generate/parallel.h"
#include "generate/progress.h"
#include "skim/arena.h"
#include "skim/skim.h"

namespace decode_step {
namespace {

using Rows = skim::ContiguousKv<skim::BF16>;

/// A KV head: its cache, and the indexes that grow beside it.
struct Head {
  skim::BF16* keys = nullptr;
  skim::BF16* values = nullptr;
  std::size_t n = 0;
  skim::Sketch1 one;
  skim::Sketch4 four;
  std::optional<skim::LshTables> tables;

  Rows cache() const { return {{keys, n, kDim}, {values, n, kDim}}; }
  auto kv() const { return skim::with_index(cache(), one, four, *tables); }
};
using Kv = decltype(std::declval<const Head&>().kv());

struct Layer {
  skim::Arena memory;
  std::vector<float> q = std::vector<float>(kQueryHeads * kDim);
  std::vector<std::unique_ptr<Head>> heads;
  std::vector<Kv> views;

  Layer(std::size_t n, const skim_bench::Workload& workload, std::size_t threads)
      : memory(kKvHeads * 2 * n * kDim * sizeof(skim::BF16) + (std::size_t{1} << 20)) {
    for (std::size_t h = 0; h < kKvHeads; ++h) {
      heads.push_back(std::make_unique<Head>());
      heads[h]->keys = memory.allocate<skim::BF16>(n * kDim).data();
      heads[h]->values = memory.allocate<skim::BF16>(n * kDim).data();
      heads[h]->n = n;
    }
    engine::Progress progress("making 8 KV heads and their indexes", kKvHeads);
    std::atomic<std::size_t> done{0};
    engine::for_each_parallel(kKvHeads, threads, [&](std::size_t h, std::size_t worker) {
      skim_bench::SyntheticHead made;
      skim_bench::make_head(workload, n, kDim, kGroup, skim_bench::row_key(1, 0, h), made);
      Head& head = *heads[h];
      skim::from_floats(made.keys.data(), n * kDim, head.keys);
      skim::from_floats(made.values.data(), n * kDim, head.values);
      std::copy(made.queries.begin(), made.queries.end(),
                q.begin() + static_cast<std::ptrdiff_t>(h * kGroup * kDim));
      skim::append(head.one, head.cache());
      skim::append(head.four, head.cache());
      ++done;
      if (worker == 0) progress.at(done);
    });
  }

  /// Hashes all keys by the planes of a seed.
  void hash(std::uint64_t seed, std::size_t threads) {
    const auto planes = std::make_shared<const skim::LshPlanes>(kDim, 10, 150, seed);
    engine::for_each_parallel(kKvHeads, threads, [&](std::size_t h, std::size_t) {
      heads[h]->tables.emplace(planes);
      skim::append(*heads[h]->tables, heads[h]->cache());
    });
    views.clear();
    for (const auto& head : heads) views.push_back(head->kv());
  }
};

class Decode {
 public:
  Decode(const Layer& layer, std::size_t threads) : layer_(layer), workspaces_(threads) {
    options_.executor = {.threads = threads, .run = run, .pool = this};
    options_.workspaces = workspaces_;
  }

  /// One step. Returns seconds.
  double step(const skim::StageList& estimator, std::uint64_t seed, std::vector<float>& out) {
    skim::LayerQuery query;
    query.rows = {layer_.q.data(), 1, kQueryHeads, kDim};
    query.stream.seed = seed;
    for (skim::Workspace& ws : workspaces_) ws.reads = {};
    const auto start = std::chrono::steady_clock::now();
    skim::attend(estimator, query, skim::LayerKv<Kv>{layer_.views, kKvHeads},
                 skim::LayerState{{out.data(), 1, kQueryHeads, kDim}}, options_);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  /// Bytes that the last step read.
  double bytes() const {
    double sum = 0;
    for (const skim::Workspace& ws : workspaces_) {
      sum += static_cast<double>((ws.reads.keys + ws.reads.values) * kDim * sizeof(skim::BF16) +
                                 ws.reads.index_bytes);
    }
    return sum;
  }

 private:
  static void run(void* self, std::size_t tasks, skim::Executor::Task task, void* arg) {
    const std::size_t threads = static_cast<Decode*>(self)->workspaces_.size();
    engine::for_each_parallel(tasks, threads,
                              [&](std::size_t i, std::size_t worker) { task(arg, i, worker); });
  }

  const Layer& layer_;
  std::vector<skim::Workspace> workspaces_;
  skim::Options options_;
};

double relative_l2(const std::vector<float>& x, const std::vector<float>& exact) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    difference += std::pow(double{x[i]} - double{exact[i]}, 2);
    size += std::pow(double{exact[i]}, 2);
  }
  return std::sqrt(difference / size);
}

}  // namespace

std::vector<Result> measure(const skim_bench::Workload& workload, std::size_t n,
                            const std::vector<std::string>& texts, std::size_t threads,
                            std::size_t rounds) {
  Layer layer(n, workload, threads);
  Decode decode(layer, threads);
  std::vector<float> exact(kQueryHeads * kDim), out(kQueryHeads * kDim);
  std::vector<Result> results;
  std::vector<skim::StageList> estimators;
  for (const std::string& text : texts) {
    estimators.push_back(skim::parse(text));
    results.push_back({.text = text});
  }
  std::vector<std::vector<double>> errors(texts.size());
  engine::Progress draws("drawing, seed", kSeeds);
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    draws.at(seed);
    layer.hash(seed, threads);
    for (std::size_t e = 0; e < texts.size(); ++e) {
      decode.step(estimators[e], seed, e == 0 ? exact : out);
      errors[e].push_back(e == 0 ? 0 : relative_l2(out, exact));
      results[e].bytes += decode.bytes() / kSeeds;
    }
  }
  draws.clear();
  for (std::size_t e = 0; e < texts.size(); ++e) {
    double squares = 0;
    for (const double x : errors[e]) results[e].error += x / kSeeds;
    for (const double x : errors[e]) squares += std::pow(x - results[e].error, 2);
    const double spread = std::sqrt(squares / (kSeeds - 1));
    results[e].spread = spread > 1e-9 * results[e].error ? spread : 0;  // else rounding of equal errors
  }
  std::vector<std::vector<double>> times(texts.size()), ratios(texts.size());
  engine::Progress progress("timing round", rounds);
  for (std::size_t round = 0; round < rounds; ++round) {
    progress.at(round);
    double dense = 0;
    for (std::size_t e = 0; e < texts.size(); ++e) {
      const double seconds = decode.step(estimators[e], round, out);
      if (e == 0) dense = seconds;
      times[e].push_back(seconds);
      ratios[e].push_back(dense / seconds);
    }
  }
  for (std::size_t e = 0; e < texts.size(); ++e) {
    results[e].milliseconds = 1e3 * skim_bench::median(times[e]);
    results[e].speed_up = skim_bench::median(ratios[e]);
  }
  return results;
}

}  // namespace decode_step

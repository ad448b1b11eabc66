// SPDX-License-Identifier: Apache-2.0
// One layer of a decoder: a batch of sequences of different lengths generates tokens on a paged cache in
// half precision, 32 query heads on 8 KV heads, with several estimators. Prints how many positions each
// reads and how far it is from dense attention on the same cache.
#include <skim/skim.h>
#ifdef _OPENMP
#include <skim/openmp.h>
#endif

#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

constexpr std::size_t kQueryHeads = 32, kKvHeads = 8, kDim = 64, kPageSize = 16;

/// Pages of one pool, handed out as sequences grow. Layout: [page][position in page][KV head][K, V][kDim].
class Cache {
 public:
  Cache(std::size_t pages, std::size_t sequences)
      : pool_(pages * kPageStride), tables_(sequences), lengths_(sequences) {
    for (std::size_t p = 0; p < pages; ++p) {
      free_.push_back(static_cast<std::int32_t>(p * 7 % pages));  // in no particular order
    }
  }

  /// Appends a token: k and v of all KV heads, [kKvHeads, kDim] each.
  void append(std::size_t sequence, const float* k, const float* v) {
    const std::size_t row = lengths_[sequence]++ % kPageSize;
    if (row == 0) {
      tables_[sequence].push_back(free_.back());
      free_.pop_back();
    }
    skim::F16* at =
        &pool_[static_cast<std::size_t>(tables_[sequence].back()) * kPageStride + row * kRowStride];
    for (std::size_t h = 0; h < kKvHeads; ++h) {
      for (std::size_t c = 0; c < kDim; ++c) *at++ = skim::from_float<skim::F16>(k[h * kDim + c]);
      for (std::size_t c = 0; c < kDim; ++c) *at++ = skim::from_float<skim::F16>(v[h * kDim + c]);
    }
  }

  std::size_t length(std::size_t sequence) const { return lengths_[sequence]; }

  /// What skim needs to know of a KV head: no copy, only where things are.
  skim::PagedKv<skim::F16> head(std::size_t sequence, std::size_t h) const {
    const skim::F16* keys = pool_.data() + 2 * h * kDim;
    return {.n = lengths_[sequence],
            .page_size = kPageSize,
            .table = tables_[sequence],
            .pool_pages = pool_.size() / kPageStride,
            .keys = {keys, kDim, kPageStride, kRowStride},
            .values = {keys + kDim, kDim, kPageStride, kRowStride}};
  }

 private:
  static constexpr std::ptrdiff_t kRowStride = kKvHeads * 2 * kDim,
                                  kPageStride = kPageSize * kRowStride;

  std::vector<skim::F16> pool_;
  std::vector<std::vector<std::int32_t>> tables_;
  std::vector<std::size_t> lengths_;
  std::vector<std::int32_t> free_;
};

int main() {
  const std::size_t prompts[] = {1000, 5000, 200, 2300};
  const std::size_t sequences = std::size(prompts), steps = 8;
  Cache cache(600, sequences);

  // In place of a model: random numbers. As in one, what a key says and what its value says go together.
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> k(kKvHeads * kDim), v(k.size()), q(sequences * kQueryHeads * kDim);
  const auto append = [&](std::size_t sequence) {
    for (float& x : k) x = normal(random);
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = k[i] + normal(random);
    cache.append(sequence, k.data(), v.data());
  };
  for (std::size_t s = 0; s < sequences; ++s) {
    for (std::size_t i = 0; i < prompts[s]; ++i) append(s);
  }

  // Workspaces are kept from call to call: once they have grown, nothing is allocated.
  skim::Options options;
#ifdef _OPENMP
  options.executor = skim::openmp();
#endif
  std::vector<skim::Workspace> workspaces(options.executor.threads);
  options.workspaces = workspaces;

  struct Method {
    const char* text;
    double read = 0, error = 0;
  };
  std::vector<Method> methods = {{"sinks(4)+window(124)"},
                                 {"topk(fraction(0.05))"},
                                 {"sinks(4)+window(60)+topk(power(2,0.5))"},
                                 {"sinks(4)+window(60)+topk(64)+priority(64)"}};
  std::vector<float> exact(q.size()), out(q.size());
  double visible = 0;

  for (std::size_t step = 0; step < steps; ++step) {
    for (std::size_t s = 0; s < sequences; ++s) append(s);
    for (float& x : q) x = 3 * normal(random);

    std::vector<skim::PagedKv<skim::F16>> heads;  // [sequences, kKvHeads]
    for (std::size_t s = 0; s < sequences; ++s) {
      for (std::size_t h = 0; h < kKvHeads; ++h) heads.push_back(cache.head(s, h));
    }
    const skim::LayerKv<skim::PagedKv<skim::F16>> kv{heads, kKvHeads};
    skim::LayerQuery query;
    query.rows = {q.data(), sequences, kQueryHeads, kDim};  // one new token each
    query.stream.seed = 42;
    const auto attend = [&](const auto& estimator, std::vector<float>& result) {
      skim::attend(estimator, query, kv,
                   skim::LayerState{{result.data(), sequences, kQueryHeads, kDim}}, options);
    };

    attend(skim::Dense{}, exact);
    for (std::size_t s = 0; s < sequences; ++s) visible += static_cast<double>(cache.length(s));
    for (Method& method : methods) {
      const skim::StageList estimator = skim::parse(method.text);
      attend(estimator, out);
      double difference = 0, size = 0;
      for (std::size_t i = 0; i < out.size(); ++i) {
        difference += (out[i] - exact[i]) * (out[i] - exact[i]);
        size += exact[i] * exact[i];
      }
      method.error += std::sqrt(difference / size) / static_cast<double>(steps);
      for (std::size_t s = 0; s < sequences; ++s)
        method.read += static_cast<double>(estimator.max_picks(cache.length(s)));
    }
  }

  std::printf("%zu sequences, %zu tokens each, %zu threads, target %s\n", sequences, steps,
              options.executor.threads, skim::active_target());
  for (const Method& method : methods) {
    std::printf("%-44s reads %4.1f %% of the values, error %.3f\n", method.text,
                100 * method.read / visible, method.error);
  }
}

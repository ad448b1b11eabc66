// SPDX-License-Identifier: Apache-2.0
// The k largest of n scores, against the standard library.
#include <algorithm>
#include <cmath>
#include <functional>

#include "bench/suite.h"
#include "skim/skim.h"

namespace skim_bench {
namespace {

constexpr std::size_t kArrays = 32;  // as many heads; time is that of one

struct Share {
  const char* what;
  double share;
};
constexpr Share kShares[] = {{"topk-1pct", 0.01}, {"topk-5pct", 0.05}, {"topk-10pct", 0.1}};
constexpr std::size_t kLengths[] = {4096, 32768, 131072};

/// What one would write without skim: nth_element on a copy of the values, then the ranks of those that reach
/// the threshold, ties at it to the lower rank.
void nth_element_ranks(const std::vector<float>& scores, std::size_t k, std::vector<float>& copy,
                       std::vector<std::size_t>& ranks) {
  copy = scores;
  const auto nth = copy.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(copy.begin(), nth, copy.end(), std::greater<>());
  const float least = *nth;
  std::size_t ties = k - static_cast<std::size_t>(
                             std::count_if(copy.begin(), nth, [&](float x) { return x > least; }));
  ranks.resize(scores.size());
  std::size_t count = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const bool tie = scores[i] == least;
    if (tie && ties == 0) continue;
    ties -= tie ? 1u : 0u;
    ranks[count] = i;
    count += scores[i] >= least ? 1u : 0u;
  }
  ranks.resize(count);
}

void run_select(benchmark::State& state, const Case& c, double share) {
  const std::size_t n = c.data.shape.n;
  const auto k = static_cast<std::size_t>(std::ceil(share * static_cast<double>(n)));
  std::vector<std::vector<float>> scores(kArrays, std::vector<float>(n));
  std::vector<float> noise(n);
  for (std::size_t a = 0; a < kArrays; ++a) {
    for (std::size_t part = 0; part < 8; ++part) {  // the sum of eight is Gaussian enough in its tail
      gaussian_row(row_key(1, a, part), n, noise.data());
      for (std::size_t i = 0; i < n; ++i) scores[a][i] += 0.53f * noise[i];
    }
  }

  skim::Workspace ws;
  std::vector<float> copy;
  std::vector<std::size_t> ranks;
  for (const auto& array : scores) {  // both must agree before they are timed
    const auto top = skim::HWY_NAMESPACE::largest(array.data(), n, k, ws);
    nth_element_ranks(array, k, copy, ranks);
    if (!std::equal(ranks.begin(), ranks.end(), top.ranks, top.ranks + top.count)) {
      throw std::logic_error("skim and nth_element select different ranks");
    }
  }
  for (auto _ : state) {
    const Rounds rounds = compete(
        c, {{"this",
             [&] {
               for (const auto& array : scores) {
                 benchmark::DoNotOptimize(skim::HWY_NAMESPACE::largest(array.data(), n, k, ws).ranks);
               }
             }},
            {"nth_element", [&] {
               for (const auto& array : scores) {
                 nth_element_ranks(array, k, copy, ranks);
                 benchmark::DoNotOptimize(ranks.data());
               }
             }}});
    state.SetIterationTime(rounds.seconds("this") / kArrays);
    state.counters["vs_nth_element"] = rounds.ratio("nth_element", "this");
    state.counters["rounds"] = static_cast<double>(rounds.count());
    state.counters["off_cpu"] = rounds.off_cpu();
  }
}

}  // namespace

void register_select() {
  for (const std::size_t n : kLengths) {
    for (const Share& s : kShares) {
      for (const bool warm : {false, true}) {
        Case c{"select", {s.what, ""}, Type::kF32, {{1, 1, n, 128}}, "iid", warm, false, 1};
        register_case(c, [share = s.share](benchmark::State& state, const Case& mine) {
          run_select(state, mine, share);
        });
      }
    }
  }
}

}  // namespace skim_bench

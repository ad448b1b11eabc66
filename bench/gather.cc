// SPDX-License-Identifier: Apache-2.0
// Attention over a random selection that is given: what reading rows here and there costs.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "bench/layer_call.h"
#include "bench/suite.h"

namespace skim_bench {
namespace {

struct Kind {
  const char* what;
  double share;     // of the positions
  std::size_t run;  // 1: picks; more: spans of so many positions, aligned
  Layout layout;
  bool huge_pages;
};

constexpr Kind kKinds[] = {
    {"tokens-2pct", 0.02, 1, Layout::kApart, true},
    {"tokens-5pct", 0.05, 1, Layout::kApart, true},
    {"tokens-10pct", 0.1, 1, Layout::kApart, true},
    {"spans16-10pct", 0.1, 16, Layout::kApart, true},
    {"tokens_adjacent-5pct", 0.05, 1, Layout::kAdjacent, true},
    {"pages16-10pct", 0.1, 16, Layout::kPages16, true},
    {"pages64-10pct", 0.1, 64, Layout::kPages64, true},
    {"tokens_4k-5pct", 0.05, 1, Layout::kApart, false},
};
constexpr Heads kHeads[] = {{32, 32}, {32, 8}};
constexpr std::size_t kLengths[] = {32768, 131072};
constexpr std::size_t kThreads[] = {1, 2};

/// A random `share` of n positions in runs of `run`, another set for each KV head.
skim::Selection random_selection(const Kind& kind, std::size_t n, std::size_t kv_head) {
  std::vector<std::size_t> runs(n / kind.run);
  std::iota(runs.begin(), runs.end(), std::size_t{0});
  const auto count = static_cast<std::size_t>(std::ceil(kind.share * static_cast<double>(runs.size())));
  for (std::size_t i = 0; i < count; ++i) {
    std::swap(runs[i], runs[i + static_cast<std::size_t>(draw_below(row_key(seed_of(kv_head), 3000, 0),
                                                                    i, runs.size() - i))]);
  }
  std::sort(runs.begin(), runs.begin() + static_cast<std::ptrdiff_t>(count));
  skim::Selection selection;
  for (std::size_t i = 0; i < count; ++i) {
    const auto first = static_cast<skim::Position>(runs[i] * kind.run);
    if (kind.run == 1) {
      selection.add(first);
    } else {
      selection.add(skim::Span{first, first + static_cast<skim::Position>(kind.run)});
    }
  }
  return selection;
}

std::vector<std::size_t> positions_of(const skim::Selection& selection) {
  std::vector<std::size_t> positions;
  for (const skim::Pick& pick : selection.picks())
    positions.push_back(static_cast<std::size_t>(pick.position));
  for (const skim::Span& span : selection.spans()) {
    for (skim::Position i = span.first; i < span.last; ++i)
      positions.push_back(static_cast<std::size_t>(i));
  }
  return positions;
}

/// Relative l2 errors of the first KV heads, at most four: their data is made once more.
template <class T>
std::vector<double> errors(const Dataset<T>& data, const std::vector<skim::Selection>& selections,
                           const float* out) {
  const Shape& s = data.shape();
  std::vector<double> all, exact(s.d);
  SyntheticHead head;
  for (std::size_t kv_head = 0; kv_head < std::min<std::size_t>(4, s.kv_heads); ++kv_head) {
    make_head(data.spec().workload, s.n, s.d, s.group(), seed_of(kv_head), head);
    const std::vector<std::size_t> chosen = positions_of(selections[kv_head]);
    for (std::size_t h = 0; h < s.group(); ++h) {
      exact_attention(
          head, head.query(h), chosen.size(), [&](std::size_t j) { return chosen[j]; }, exact.data());
      all.push_back(relative_l2(out + (kv_head * s.group() + h) * s.d, exact.data(), s.d));
    }
  }
  return all;
}

template <class T, class Kv>
void run_gather(benchmark::State& state, const Case& c, const Kind& kind, const Dataset<T>& data,
                std::span<const Kv> heads) {
  const Shape& s = data.shape();
  Pool& pool = Machine::pool(c.threads);
  std::vector<skim::Selection> selections;
  double positions = 0;
  for (std::size_t kv_head = 0; kv_head < s.kv_heads; ++kv_head) {
    selections.push_back(random_selection(kind, s.n, kv_head));
    positions += static_cast<double>(positions_of(selections.back()).size());
  }
  std::vector<float> out(s.q_heads * s.d), lse(s.q_heads);
  std::vector<skim::Workspace> workspaces(pool.threads());
  const auto attend_head = [&](std::size_t kv_head, std::size_t worker) {
    const std::size_t first = kv_head * s.group();
    skim::Query q;
    q.rows = {data.query(0, first), s.group(), s.d};
    const skim::StateView view{{out.data() + first * s.d, s.group(), s.d}, lse.data() + first, 1};
    skim::attend(selections[kv_head], q, heads[kv_head], view, workspaces[worker]);
  };
  const double bytes = positions * 2 * static_cast<double>(row_bytes<T>(s.d));
  LayerCall<skim::Dense, Kv> dense({}, data, heads, skim::Grouping::kPerGroup, pool);

  for (auto _ : state) {
    const Rounds rounds = compete(c, {{"this", [&] { pool.each(s.kv_heads, attend_head); }},
                                      read_loop(pool, bytes),
                                      {"dense", [&] { dense(); }}});
    report_rounds(state, rounds);
    report_read_fraction(state, rounds, bytes);
    state.counters["vs_dense"] = rounds.ratio("dense", "this");
  }
  report_errors(state, errors(data, selections, out.data()));
  state.counters["huge_pages"] = data.huge_share();
}

}  // namespace

void register_gather() {
  for (const std::size_t n : kLengths) {
    for (const Heads heads : kHeads) {
      for (const Type type : {Type::kF32, Type::kBF16}) {
        for (const Kind& kind : kKinds) {
          for (const std::size_t threads : kThreads) {
            const DataSpec data{{heads.q, heads.kv, n, 128}, {}, kind.layout, kind.huge_pages};
            register_case({"gather", {kind.what, ""}, type, data, "iid", false, true, threads},
                          [&kind](benchmark::State& state, const Case& mine) {
                            visit_type(mine.type, [&]<class T>(T) {
                              const Dataset<T>& made = dataset<T>(mine.data);
                              made.heads().empty()
                                  ? run_gather(state, mine, kind, made, made.paged_heads())
                                  : run_gather(state, mine, kind, made, made.heads());
                            });
                          });
          }
        }
      }
    }
  }
}

}  // namespace skim_bench

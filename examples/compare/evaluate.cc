// SPDX-License-Identifier: Apache-2.0
#include "evaluate.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <type_traits>

#include <skim/skim.h>

#include "bench/rounds.h"
#include "indexed_head.h"
#include "reference.h"

namespace compare {
namespace {

double median(std::vector<double> x) {
  if (x.empty()) return 0;
  std::sort(x.begin(), x.end());
  return (x[(x.size() - 1) / 2] + x[x.size() / 2]) / 2;
}

/// Sums over the queries of a run.
struct Sums {
  std::vector<double> squares;       // [query heads]
  std::vector<std::size_t> answers;  // [query heads]
  double variation = 0, keys = 0, values = 0, bytes = 0;
  std::size_t sets = 0, rows = 0;
  bool is_possible = true;
};

/// Attends with one estimator to one query position and adds up what comes out. `rows`: the keys and values of `kv`
/// as attention is given them.
template <class Rows>
void add_answer(const Problem& problem, const KvHead& kv, const Rows& rows, const Ask& ask,
                const std::vector<Reference>& exact, const skim::StageList& estimator,
                std::uint64_t seed, const Settings& settings, Sums& sums, skim::Workspace& ws) {
  const skim::Query query = kv.query(ask, seed, settings.grouping);
  const auto n = static_cast<double>(ask.position + 1);
  skim::State state(query.heads(), kv.d);
  ws.reads = {};
  skim::attend(estimator, query, rows, state.view(), ws);
  const auto keys = static_cast<double>(ws.reads.keys), values = static_cast<double>(ws.reads.values);
  const auto row_bytes = static_cast<double>(kv.d * sizeof(typename Rows::Key));
  // The same sets, bit for bit: of the group, or of each head.
  const bool per_head = query.grouping == skim::Grouping::kPerHead;
  for (std::size_t h = 0, row = 0; h < (per_head ? query.heads() : 1); ++h) {
    const skim::Query one = per_head ? query.head(h) : query;
    const skim::Selection selection = skim::select(estimator, one, rows);
    ++sums.sets;
    for (std::size_t i = 0; i < one.heads(); ++i) sums.variation += exact[row++].variation(selection);
    sums.rows += one.heads();
  }
  sums.keys += keys / n;
  sums.values += values / n;
  sums.bytes += ((keys + values) * row_bytes + static_cast<double>(ws.reads.index_bytes)) / (2 * n * row_bytes);
  for (std::size_t h = 0; h < query.heads(); ++h) {
    const double error = exact[h].error({state.out(h), kv.d});
    const std::size_t at = problem.query_head(kv, h);
    sums.squares[at] += error * error;
    ++sums.answers[at];
  }
}

Accuracy summary(const Sums& sums, std::size_t seeds) {
  Accuracy a;
  for (std::size_t h = 0; h < sums.squares.size(); ++h) {
    if (sums.answers[h] == 0) continue;
    a.head_errors.push_back(std::sqrt(sums.squares[h] / static_cast<double>(sums.answers[h])));
  }
  a.variation = sums.variation / static_cast<double>(sums.rows);
  a.keys_read = sums.keys / static_cast<double>(sums.sets);
  a.values_read = sums.values / static_cast<double>(sums.sets);
  a.bytes_read = sums.bytes / static_cast<double>(sums.sets);
  a.seeds = seeds;
  return a;
}

/// A pass over every query of the problem, ready to be timed. rows(head): its keys and values.
template <class RowsOf>
class Pass {
 public:
  using Rows = std::invoke_result_t<RowsOf, std::size_t>;

  Pass(const Problem& problem, const RowsOf& rows, const Run* run, const Settings& settings) {
    for (std::size_t head = 0; head < problem.heads.size(); ++head) {
      const KvHead& kv = problem.heads[head];
      for (const Ask& ask : kv.asks) {
        auto estimator = run ? run->method->at(run->share.value_or(0), ask.position + 1,
                                               static_cast<skim::Position>(problem.longest))
                             : skim::parse("dense");
        if (!estimator)
          is_possible_ = false;
        else
          calls_.push_back(
              {std::move(*estimator), kv.query(ask, settings.seed, settings.grouping), rows(head)});
      }
    }
  }

  bool is_possible() const { return is_possible_; }
  std::size_t calls() const { return calls_.size(); }
  /// Of visible keys and values.
  double megabytes() const {
    double bytes = 0;
    for (const Call& call : calls_) {
      const auto columns = static_cast<double>(call.kv.key_dim() + call.kv.value_dim());
      bytes += static_cast<double>(call.query.position + 1) * columns * sizeof(typename Rows::Key);
    }
    return 1e-6 * bytes;
  }

  void run(skim::Workspace& ws, std::vector<float>& out, std::vector<float>& lse) const {
    for (const Call& call : calls_) {
      const skim::StateView state{{out.data(), call.query.heads(), call.kv.value_dim()}, lse.data()};
      skim::attend(call.estimator, call.query, call.kv, state, ws);
    }
  }

 private:
  struct Call {
    skim::StageList estimator;
    skim::Query query;
    Rows kv;
  };
  std::vector<Call> calls_;
  bool is_possible_ = true;
};

template <class RowsOf>
std::vector<std::optional<Speed>> speeds_of(const Problem& problem, const RowsOf& rows, std::span<const Run> runs,
                                            const Settings& settings, std::size_t rounds,
                                            const OnProgress& progress) {
  std::vector<std::optional<Speed>> speeds(runs.size());
  const Pass dense(problem, rows, nullptr, settings);
  skim::Workspace ws;
  std::vector<float> out(problem.group * problem.heads.at(0).d), lse(problem.group);
  const auto nothing = [](const skim_bench::Contestant&) {};
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const Pass pass(problem, rows, &runs[r], settings);
    if (pass.is_possible()) {
      const skim_bench::Rounds timed(
          {{"this", [&] { pass.run(ws, out, lse); }}, {"dense", [&] { dense.run(ws, out, lse); }}},
          nothing, {.rounds = rounds});
      speeds[r] = {.microseconds = 1e6 * timed.seconds("this") / static_cast<double>(pass.calls()),
                   .vs_dense = timed.off_cpu() > kLoaded ? timed.cpu_ratio("dense", "this")
                                                         : timed.ratio("dense", "this"),
                   .rounds = rounds,
                   .off_cpu = timed.off_cpu(),
                   .megabytes = dense.megabytes()};
    }
    if (progress) progress(r + 1);
  }
  return speeds;
}

}  // namespace

std::vector<Run> plan(const std::vector<Method>& methods, const std::vector<double>& shares) {
  std::vector<Run> runs;
  for (const Method& method : methods) {
    if (!method.has_budget())
      runs.push_back({&method, {}});
    else
      for (const double share : shares) runs.push_back({&method, share});
  }
  return runs;
}

double Accuracy::median_error() const { return median(head_errors); }

double Accuracy::worst_error() const {
  return *std::max_element(head_errors.begin(), head_errors.end());
}

std::vector<std::optional<Accuracy>> measure_accuracy(const Problem& problem, std::span<const Run> runs,
                                                      const Settings& settings,
                                                      const OnProgress& progress) {
  std::vector<Sums> sums(runs.size());
  for (Sums& s : sums) {
    s.squares.resize(problem.query_heads());
    s.answers.resize(problem.query_heads());
  }
  const auto seeds_of = [&](const Run& run) { return run.method->is_random() ? settings.seeds : 1; };

  skim::Workspace ws;
  std::size_t done = 0;
  for (const KvHead& kv : problem.heads) {
    std::optional<IndexedHead> indexed;
    if (settings.indexed) indexed.emplace(kv, settings.segment);
    for (const Ask& ask : kv.asks) {
      if (indexed) indexed->resize(static_cast<std::size_t>(ask.position) + 1);
      // Once for all runs: in double precision it costs more than many of them.
      std::vector<Reference> exact;
      for (std::size_t row = 0; row < problem.group; ++row) exact.emplace_back(kv, ask, row);
      for (std::size_t r = 0; r < runs.size(); ++r) {
        const auto estimator = runs[r].method->at(runs[r].share.value_or(0), ask.position + 1,
                                                  static_cast<skim::Position>(problem.longest));
        if (!estimator) sums[r].is_possible = false;
        if (!sums[r].is_possible) continue;
        for (std::size_t s = 0; s < seeds_of(runs[r]); ++s) {
          const auto add = [&](const auto& rows) {
            add_answer(problem, kv, rows, ask, exact, *estimator, settings.seed + s, settings, sums[r], ws);
          };
          if (indexed) {
            add(indexed->kv());
          } else {
            add(kv.kv());
          }
        }
      }
      if (progress) progress(++done);
    }
  }

  std::vector<std::optional<Accuracy>> accuracies;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    accuracies.push_back(sums[r].is_possible ? std::optional(summary(sums[r], seeds_of(runs[r])))
                                             : std::nullopt);
  }
  return accuracies;
}

std::vector<std::optional<Speed>> measure_speed(const Problem& problem, std::span<const Run> runs,
                                                const Settings& settings, std::size_t rounds,
                                                const OnProgress& progress) {
  if (rounds == 0) return std::vector<std::optional<Speed>>(runs.size());
  if (!settings.indexed) {
    const auto rows = [&](std::size_t head) { return problem.heads[head].kv(); };
    return speeds_of(problem, rows, runs, settings, rounds, progress);
  }
  std::vector<IndexedHead> heads;
  for (const KvHead& kv : problem.heads) {
    for (const Ask& ask : kv.asks) {
      if (static_cast<std::size_t>(ask.position) + 1 != kv.size()) {
        throw std::invalid_argument("methods with indexes are timed only where the newest position asks");
      }
    }
    heads.emplace_back(kv, settings.segment);
    heads.back().resize(kv.size());
  }
  const auto rows = [&](std::size_t head) { return heads[head].kv(); };
  return speeds_of(problem, rows, runs, settings, rounds, progress);
}

std::string target_name() { return skim::active_target(); }

}  // namespace compare

// SPDX-License-Identifier: Apache-2.0
// Decode by LSH tables, beside other estimators that attend to as many keys.
#include <cmath>
#include <memory>

#include "bench/indexes.h"
#include "bench/layer_call.h"
#include "bench/suite.h"

namespace skim_bench {
namespace {

using Stored = skim::BF16;
using Kv = skim::IndexedKv<skim::ContiguousKv<Stored>, skim::LshTables, skim::Sketch4>;
using Call = LayerCall<skim::StageList, Kv>;

// Settings that the source publishes. A new one is a line: the last stage says which tables are built.
const std::vector<Method> kMethods = {
    {"lsh-K8_L75", "lsh(8,75)"},
    {"lsh-K9_L120", "lsh(9,120)"},
    {"lsh-K10_L150", "lsh(10,150)"},
    {"lsh-K11_L300", "lsh(11,300)"},
};
const std::vector<Method> kWithSinks = {
    {"lsh_sinks-K8_L75", "sinks(4)+window(64)+lsh(8,75)"},
    {"lsh_sinks-K10_L150", "sinks(4)+window(64)+lsh(10,150)"},
};
const std::vector<Method> kAppends = {{"append-lsh_K10_L150", "lsh(10,150)"}};

const std::vector<Sweep> kDecode = {
    {.methods = kMethods, .types = {Type::kBF16}, .heads = {{32, 8}}, .lengths = {32768, 131072}},
    {.methods = kMethods, .types = {Type::kBF16}, .heads = {{32, 32}}, .lengths = {32768}, .threads = {1}},
    {.methods = kWithSinks,
     .types = {Type::kBF16},
     .heads = {{32, 8}},
     .lengths = {131072},
     .workloads = {"mixed", "corr0", "corr1"},
     .threads = {1}},
};
const std::vector<Sweep> kIndex = {
    {.methods = kAppends, .types = {Type::kBF16}, .heads = {{32, 8}}, .lengths = {32768}},
};

skim::LshTail tables_of(const std::string& recipe) {
  return std::get<skim::LshTail>(skim::parse(recipe).stages.back());
}

/// LSH tables and a sketch of every KV head.
class LshDataset : public AnyDataset {
 public:
  LshDataset(const Dataset<Stored>& data, const skim::LshTail& of) : data_(data), of_(of), sketches_(data.heads().size()) {
    const auto planes = std::make_shared<const skim::LshPlanes>(data.shape().d, of.bits, of.tables, 1);
    tables_.assign(data.heads().size(), skim::LshTables(planes));
    Pool pool(std::max(1u, std::thread::hardware_concurrency()));
    pool.each(tables_.size(), [&](std::size_t h, std::size_t) {
      skim::append(tables_[h], data.heads()[h]);
      skim::append(sketches_[h], data.heads()[h]);
    });
    for (std::size_t h = 0; h < tables_.size(); ++h) {
      heads_.push_back(skim::with_index(data.heads()[h], tables_[h], sketches_[h]));
    }
  }

  bool is_of(const Dataset<Stored>& data, const skim::LshTail& of) const {
    return &data_ == &data && of_.bits == of.bits && of_.tables == of.tables;
  }
  std::span<const Kv> heads() const { return heads_; }

  /// Of the tables, per position of a KV head.
  double table_bytes() const {
    std::size_t sum = 0;
    for (const skim::LshTables& tables : tables_) sum += tables.bytes();
    return static_cast<double>(sum) / static_cast<double>(tables_.size() * data_.shape().n);
  }

 private:
  const Dataset<Stored>& data_;
  skim::LshTail of_;
  std::vector<skim::LshTables> tables_;
  std::vector<skim::Sketch4> sketches_;
  std::vector<Kv> heads_;
};

const LshDataset& hashed(const Dataset<Stored>& data, const skim::LshTail& of) {
  if (const auto* same = dynamic_cast<const LshDataset*>(current_indexes.get()); same && same->is_of(data, of)) return *same;
  current_indexes.reset();
  auto fresh = std::make_unique<LshDataset>(data, of);
  const LshDataset& result = *fresh;
  current_indexes = std::move(fresh);
  return result;
}

/// An estimator that attends to `count` positions of each KV head.
struct Rival {
  std::string name;
  std::string recipe;
};
std::vector<Rival> rivals(std::size_t count) {
  const std::string k = std::to_string(count);
  return {{"topk", "topk(" + k + ")"}, {"priority_sketch4", "priority(" + k + ",by=sketch4)"}, {"uniform", "uniform(" + k + ")"}};
}

void run_decode(benchmark::State& state, const Case& c) {
  const Dataset<Stored>& data = dataset<Stored>(c.data);
  const LshDataset& by = hashed(data, tables_of(c.method.recipe));
  const Shape& s = data.shape();
  Pool& pool = Machine::pool(c.threads);
  const auto call_of = [&](const std::string& recipe, skim::Grouping grouping) {
    return std::make_unique<Call>(skim::parse(recipe), data, by.heads(), grouping, pool);
  };
  constexpr auto kPerGroup = skim::Grouping::kPerGroup;
  const auto call = call_of(c.method.recipe, kPerGroup), dense = call_of("dense", kPerGroup);
  const auto by_head = call_of(c.method.recipe, skim::Grouping::kPerHead);
  const skim::Reads read = call->reads();
  const double attended = static_cast<double>(read.values) / static_cast<double>(s.kv_heads);

  std::vector<Contestant> field = {{"this", [&] { (*call)(); }}, {"dense", [&] { (*dense)(); }}};
  std::vector<std::unique_ptr<Call>> others;
  const std::vector<Rival> all = rivals(static_cast<std::size_t>(std::lround(attended)));
  for (const Rival& rival : all) {
    others.push_back(call_of(rival.recipe, kPerGroup));
    field.push_back({rival.name, [&other = *others.back()] { other(); }});
  }
  for (auto _ : state) {
    const Rounds rounds = compete(c, std::move(field));
    report_rounds(state, rounds);
    state.counters["vs_dense"] = rounds.ratio("dense", "this");
    for (const Rival& rival : all) state.counters["vs_" + rival.name] = rounds.ratio(rival.name, "this");
  }
  report_errors(state, data.errors(call->out()));
  for (std::size_t r = 0; r < all.size(); ++r) {
    (*others[r])();
    state.counters["rel_l2_" + all[r].name] = median(data.errors(others[r]->out()));
  }
  // Distinct keys of a KV head, and what a query head would retrieve if it asked for itself.
  state.counters["density"] = attended / static_cast<double>(s.n);
  state.counters["density_by_head"] =
      static_cast<double>(by_head->reads().values) / static_cast<double>(s.q_heads * s.n);
  state.counters["rel_l2_by_head"] = median(data.errors(by_head->out()));
  state.counters["table_bytes"] = by.table_bytes();
  state.counters["kv_bytes"] = static_cast<double>(2 * row_bytes<Stored>(s.d));
}

/// The newest tokens, one by one, each for all heads: as many as make the smallest part.
void run_append(benchmark::State& state, const Case& c) {
  const Dataset<Stored>& data = dataset<Stored>(c.data);
  const LshDataset& by = hashed(data, tables_of(c.method.recipe));
  const Shape& s = data.shape();
  Pool& pool = Machine::pool(c.threads);
  constexpr std::size_t kTokens = skim::LshTables::kLeastPart;
  std::vector<skim::LshTables> tables;
  for (const Kv& kv : by.heads()) tables.push_back(skim::index_of<skim::LshTables>(kv));
  const auto append = [&](std::size_t n) {
    pool.each(s.kv_heads, [&](std::size_t h, std::size_t) {
      skim::ContiguousKv<Stored> kv = data.heads()[h];
      kv.keys.rows = kv.values.rows = n;
      skim::append(tables[h], kv, std::min(static_cast<skim::Position>(n - 1), tables[h].size()));
    });
  };
  Call dense(skim::parse("dense"), data, by.heads(), skim::Grouping::kPerGroup, pool);
  for (auto _ : state) {
    const Rounds rounds = compete(c, {{"this",
                                       [&] {
                                         for (std::size_t n = s.n - kTokens + 1; n <= s.n; ++n) append(n);
                                       }},
                                      {"dense", [&] { dense(); }}});
    report_rounds(state, rounds);
    state.counters["dense_share"] = rounds.ratio("this", "dense") / kTokens;
    state.counters["ns_per_key"] = rounds.seconds("this") / static_cast<double>(kTokens * s.kv_heads) * 1e9;
  }
  state.counters["index_bytes"] = by.table_bytes();
}

void run(benchmark::State& state, const Case& c) { c.suite == "decode" ? run_decode(state, c) : run_append(state, c); }

}  // namespace

void register_lsh() {
  std::vector<Case> cases = expand("index", kIndex);
  for (const Case& c : expand("decode", kDecode)) cases.push_back(c);
  for (const Case& c : side_by_side(std::move(cases))) register_case(c, run);
}

}  // namespace skim_bench

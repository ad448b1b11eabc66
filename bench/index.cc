// SPDX-License-Identifier: Apache-2.0
// Indexes beside the keys: to scan one, to let one grow, and decode by one.
#include <cstring>

#include "bench/reads.h"
#include "bench/suite.h"

namespace skim_bench {
namespace {

using Stored = skim::BF16;  // one type of keys: each takes a minute to compile
using Kv = IndexedDataset<Stored>::Kv;
using Call = LayerCall<skim::StageList, Kv>;

// What scores by sketch: a new one is one line here. The recipe is skim's text form.
const std::vector<Method> kSketched = {
    {"topk_sketch1-1pct", "topk(fraction(0.01),by=sketch1)"},
    {"topk_sketch1-2pct", "topk(fraction(0.02),by=sketch1)"},
    {"topk_sketch1-5pct", "topk(fraction(0.05),by=sketch1)"},
    {"topk_sketch1_rescore-5pct_1pct", "topk(fraction(0.01),by=sketch1,candidates=fraction(0.05))"},
    {"topk_sketch4_rescore-5pct_1pct", "topk(fraction(0.01),by=sketch4,candidates=fraction(0.05))"},
    {"topk_sketch8_rescore-5pct_1pct", "topk(fraction(0.01),by=sketch8,candidates=fraction(0.05))"},
    {"priority_sketch4-1pct", "priority(fraction(0.01),by=sketch4)"},
    {"priority_sketch4-2pct", "priority(fraction(0.02),by=sketch4)"},
    {"priority_sketch4-5pct", "priority(fraction(0.05),by=sketch4)"},
    {"priority_sketch1-1pct", "priority(fraction(0.01),by=sketch1)"},
    {"priority_sketch1-2pct", "priority(fraction(0.02),by=sketch1)"},
    {"priority_sketch1-5pct", "priority(fraction(0.05),by=sketch1)"},
    {"systematic_sketch4-2pct", "systematic(fraction(0.02),by=sketch4)"},
};
// The same answer as plain top-k, by fewer keys.
const std::vector<Method> kExactBySketch = {
    {"topk_exact_int8-1pct", "topk(fraction(0.01),by=sketch8,exact)"},
    {"topk_exact_int8-5pct", "topk(fraction(0.05),by=sketch8,exact)"},
};
const std::vector<Method> kBoxed = {
    {"topk_exact_boxes-1pct", "topk(fraction(0.01),by=boxes,exact)"},
    {"quest-5pct", "quest(fraction(0.05))"},
};
// What is not read counts by the means of its pages.
const std::vector<Method> kSummed = {
    {"topk_sketch1_summaries-1pct", "topk(fraction(0.01),by=sketch1)+summaries"},
    {"topk_sketch1_summaries-5pct", "topk(fraction(0.05),by=sketch1)+summaries"},
};
// The same budget, on workloads of all kinds; those that go by no index are in decode.cc.
const std::vector<Method> kRivals = {
    {"topk_sketch1-5pct", "topk(fraction(0.05),by=sketch1)"},
    {"topk_sketch4-5pct", "topk(fraction(0.05),by=sketch4)"},
    {"topk_exact_int8-5pct", "topk(fraction(0.05),by=sketch8,exact)"},
    {"topk_exact_boxes-5pct", "topk(fraction(0.05),by=boxes,exact)"},
    {"topk_sketch1_summaries-5pct", "topk(fraction(0.05),by=sketch1)+summaries"},
    {"priority_sketch1-5pct", "priority(fraction(0.05),by=sketch1)"},
    {"priority_sketch4-5pct", "priority(fraction(0.05),by=sketch4)"},
    {"quest-5pct", "quest(fraction(0.05))"},
};
// For the index suite a recipe is a source.
const std::vector<Method> kScans = {
    {"scan-1bit", "sketch1"}, {"scan-4bit", "sketch4"}, {"scan-8bit", "sketch8"}};
const std::vector<Method> kAppends = {{"append-1bit", "sketch1"},
                                      {"append-4bit", "sketch4"},
                                      {"append-8bit", "sketch8"},
                                      {"append-boxes", "boxes"},
                                      {"append-means", "means"}};

constexpr Heads kMha{32, 32}, kGqa{32, 8};
const std::vector<Type> kTypes = {Type::kBF16};

std::vector<Method> joined(std::initializer_list<std::vector<Method>> lists) {
  std::vector<Method> all;
  for (const std::vector<Method>& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}
const std::vector<Method> kAll = joined({kSketched, kExactBySketch, kBoxed, kSummed});

const std::vector<Sweep> kDecode = {
    {.methods = kAll, .types = kTypes, .heads = {kMha}, .lengths = {131072}},
    {.methods = kAll, .types = kTypes, .heads = {kGqa}, .lengths = {32768, 131072}},
    // Real keys cluster, neighbours are alike, and some channels stand out.
    {.methods = kAll,
     .types = kTypes,
     .heads = {kGqa},
     .lengths = {131072},
     .workloads = {"clustered05", "clustered05_runs", "clustered30_runs", "outliers"},
     .threads = {1}},
    {.methods = joined({kExactBySketch, kBoxed}),
     .types = kTypes,
     .heads = {kMha},
     .lengths = {131072},
     .workloads = {"clustered05_runs"}},
    {.methods = kRivals,
     .types = kTypes,
     .heads = {kGqa},
     .lengths = {32768},
     .workloads = kWorkloads,
     .threads = {1}},
};
const std::vector<Sweep> kIndex = {
    {.methods = kScans, .types = kTypes, .heads = {kMha, kGqa}, .lengths = {131072}},
    {.methods = kAppends, .types = kTypes, .heads = {kGqa}, .lengths = {32768}},
};

skim::Source source_of(const std::string& name) {
  const auto at = std::find(std::begin(skim::kSourceNames), std::end(skim::kSourceNames), name);
  return static_cast<skim::Source>(at - std::begin(skim::kSourceNames));
}

double per_key(const Shape& s, double seconds) {
  return seconds / static_cast<double>(s.kv_heads * s.n) * 1e9;
}

/// The scores of all heads, as a layer computes them, and nothing else.
void run_scan(benchmark::State& state, const Case& c) {
  const Dataset<Stored>& data = dataset<Stored>(c.data);
  const IndexedDataset<Stored>& by = indexed(data);
  const Shape& s = data.shape();
  Pool& pool = Machine::pool(c.threads);
  const skim::Source source = source_of(c.method.recipe);
  const double bytes = by.bytes(skim::sources_bit(source));
  std::vector<skim::Query> queries(s.kv_heads);
  for (std::size_t h = 0; h < s.kv_heads; ++h) {
    queries[h].rows = {data.query(0, h * s.group()), s.group(), s.d};
    queries[h] = queries[h].resolved(static_cast<skim::Position>(s.n));
  }
  std::vector<skim::Workspace> workspaces(pool.threads());
  const auto scan = [&](std::size_t h, std::size_t worker) {
    skim::HWY_NAMESPACE::scores(source, queries[h], by.heads()[h], workspaces[worker]);
  };
  for (auto _ : state) {
    const Rounds rounds =
        compete(c, {{"this", [&] { pool.each(s.kv_heads, scan); }}, read_loop(pool, bytes)});
    report_rounds(state, rounds);
    report_read_fraction(state, rounds, bytes);
    state.counters["ns_per_key"] = per_key(s, rounds.seconds("this"));
  }
  state.counters["index_bytes"] = bytes / static_cast<double>(s.kv_heads * s.n);
}

/// The newest tokens, one by one, each for all heads: as many as make a segment. "one" is the token that does.
template <class I>
void run_append(benchmark::State& state, const Case& c) {
  const Dataset<Stored>& data = dataset<Stored>(c.data);
  const Shape& s = data.shape();
  Pool& pool = Machine::pool(c.threads);
  constexpr std::size_t kTokens = 256;  // a segment of a sketch, several pages of boxes
  std::vector<I> indexes(s.kv_heads);
  const auto append = [&](std::size_t n) {
    pool.each(s.kv_heads, [&](std::size_t h, std::size_t) {
      skim::ContiguousKv<Stored> kv = data.heads()[h];
      kv.keys.rows = kv.values.rows = n;
      skim::append(indexes[h], kv, std::min(static_cast<skim::Position>(n - 1), indexes[h].size()));
    });
  };
  for (std::size_t h = 0; h < s.kv_heads; ++h) skim::append(indexes[h], data.heads()[h]);
  Call dense(skim::parse("dense"), data, indexed(data).heads(), skim::Grouping::kPerGroup, pool);
  for (auto _ : state) {
    const Rounds rounds = compete(c, {{"this",
                                       [&] {
                                         for (std::size_t n = s.n - kTokens + 1; n <= s.n; ++n)
                                           append(n);
                                       }},
                                      {"one", [&] { append(s.n); }},
                                      {"dense", [&] { dense(); }}});
    report_rounds(state, rounds);
    state.counters["dense_share"] = rounds.ratio("this", "dense") / kTokens;
    state.counters["dense_share_worst"] = rounds.ratio("one", "dense");
    state.counters["ns_per_key"] =
        rounds.seconds("this") / static_cast<double>(kTokens * s.kv_heads) * 1e9;
  }
  std::size_t bytes = 0;
  for (const I& index : indexes) bytes += index.bytes();
  state.counters["index_bytes"] = static_cast<double>(bytes) / static_cast<double>(s.kv_heads * s.n);
}

void run_decode(benchmark::State& state, const Case& c) {
  const Dataset<Stored>& data = dataset<Stored>(c.data);
  const IndexedDataset<Stored>& by = indexed(data);
  const Shape& s = data.shape();
  Pool& pool = Machine::pool(c.threads);
  const skim::StageList estimator = skim::parse(c.method.recipe);
  const bool is_exact = c.method.what.find("exact") != std::string::npos;

  const Counted read = count_reads(estimator, data, by);
  const double of_keys = static_cast<double>(s.kv_heads * s.n * row_bytes<Stored>(s.d));

  constexpr auto kPerGroup = skim::Grouping::kPerGroup;
  Call call(estimator, data, by.heads(), kPerGroup, pool);
  const double bytes =
      static_cast<double>(call.reads().index_bytes) + of_keys * (read.rows.keys + read.rows.values);
  Call dense(skim::parse("dense"), data, by.heads(), kPerGroup, pool);
  Call topk(exact_topk(estimator), data, by.heads(), kPerGroup, pool);
  std::vector<Contestant> field = {
      {"this", [&] { call(); }}, read_loop(pool, bytes), {"dense", [&] { dense(); }}};
  if (is_exact) field.push_back({"topk", [&] { topk(); }});

  for (auto _ : state) {
    const Rounds rounds = compete(c, std::move(field));
    report_rounds(state, rounds);
    report_read_fraction(state, rounds, bytes);
    state.counters["vs_dense"] = rounds.ratio("dense", "this");
    if (is_exact) state.counters["vs_topk"] = rounds.ratio("topk", "this");
    state.counters["ns_per_key"] = per_key(s, rounds.seconds("this"));
  }
  if (is_exact && std::memcmp(call.out(), topk.out(), s.q_heads * s.d * sizeof(float)) != 0) {
    throw std::logic_error("not what plain top-k gives");
  }
  report_errors(state, data.errors(call.out()));
  if (read.recall >= 0) state.counters["recall"] = read.recall;
  state.counters["keys_read"] = read.rows.keys;
  state.counters["values_read"] = read.rows.values;
  state.counters["index_bytes"] =
      by.bytes(skim::sources(estimator)) / static_cast<double>(s.kv_heads * s.n);
  state.counters["bytes_fraction"] = bytes / (2 * of_keys);
  state.counters["huge_pages"] = data.huge_share();
}

void run(benchmark::State& state, const Case& c) {
  if (c.suite == "decode") return run_decode(state, c);
  if (c.method.what.starts_with("scan")) return run_scan(state, c);
  visit_index(source_of(c.method.recipe), [&]<class I>(const I&) { run_append<I>(state, c); });
}

}  // namespace

void register_index() {
  std::vector<Case> cases = expand("index", kIndex);
  for (const Case& c : expand("decode", kDecode)) cases.push_back(c);
  for (const Case& c : side_by_side(std::move(cases))) register_case(c, run);
}

}  // namespace skim_bench

// SPDX-License-Identifier: Apache-2.0
// One token: all heads of a layer, one query row.
#include <memory>

#include "bench/blas.h"
#include "bench/layer_call.h"
#include "bench/model_option.h"
#include "bench/suite.h"

namespace skim_bench {
namespace {

// A new estimator is one line here. The recipe is skim's text form.
const std::vector<Method> kDense = {{"dense", "dense"}};
const std::vector<Method> kEstimators = {
    {"sinks_window", "sinks(4)+window(1020)"},
    {"topk-1pct", "topk(fraction(0.01))"},
    {"topk-5pct", "topk(fraction(0.05))"},
    {"topk-10pct", "topk(fraction(0.1))"},
    {"power", "sinks(4)+window(64)+topk(power(2,0.5))"},
    {"sinks_window_topk", "sinks(4)+window(64)+topk(fraction(0.05))"},
    {"topp-90", "topp(0.9)"},
    {"uniform-5pct", "uniform(fraction(0.05))"},
    {"priority-5pct", "priority(fraction(0.05))"},
    {"multinomial-5pct", "multinomial(fraction(0.05))"},
    {"systematic-5pct", "systematic(fraction(0.05))"},
    {"poisson-5pct", "poisson(fraction(0.05))"},
};
const std::vector<Method> kInt8 = {{"dense", "dense"}, {"topk-5pct", "topk(fraction(0.05))"}};
// "_perhead": each query head of a group selects for itself.
const std::vector<Method> kPerHead = {
    {"topk_perhead-1pct", "topk(fraction(0.01))"},
    {"topk_perhead-5pct", "topk(fraction(0.05))"},
    {"uniform_perhead-5pct", "uniform(fraction(0.05))"},
    {"priority_perhead-5pct", "priority(fraction(0.05))"},
};
// The same budget, on workloads of all kinds.
const std::vector<Method> kRivals = {
    {"sinks_window", "sinks(4)+window(1020)"},
    {"topk-5pct", "topk(fraction(0.05))"},
    {"sinks_window_topk", "sinks(4)+window(64)+topk(fraction(0.05))"},
    {"uniform-5pct", "uniform(fraction(0.05))"},
    {"priority-5pct", "priority(fraction(0.05))"},
};
const std::vector<Method> kGroups = {{"dense", "dense"}, {"topk-5pct", "topk(fraction(0.05))"}};
const std::vector<Method> kRagged = {{"dense_ragged8", "dense"}};
const std::vector<Method> kBesidePrompt = {{"dense_beside_prompt", "dense"}};
const std::vector<Method> k4kPages = {{"dense_4k", "dense"}, {"topk_4k-5pct", "topk(fraction(0.05))"}};
// What families of models ask for, with the values of one that does; but the cap of Gemma 2, 50, hardly
// changes logits as small as this data's.
const std::vector<ModelOption> kOptions = {
    {.what = "dense_softcap", .soft_cap = 10},         // Gemma 2
    {.what = "dense_alibi", .alibi = true},            // BLOOM
    {.what = "dense_window", .window = 4096},          // Mistral
    {.what = "dense_sinklogit", .sink_logits = true},  // gpt-oss
    {.what = "dense_scale", .scale = 1.0 / 128},       // Granite
};

constexpr Heads kMha{32, 32}, kGqa{32, 8};
const std::vector<Type> kAllTypes = {Type::kF32, Type::kF16, Type::kBF16};
const std::vector<Type> kMainTypes = {Type::kF32, Type::kBF16};

const std::vector<Sweep> kSweeps = {
    {.methods = kDense,
     .types = kAllTypes,
     .heads = {kGqa, kMha},
     .lengths = {1024, 4096, 32768, 131072}},
    {.methods = kInt8, .types = {Type::kI8}, .heads = {kGqa, kMha}, .lengths = {32768, 131072}},
    {.methods = kEstimators,
     .types = kMainTypes,
     .heads = {kGqa, kMha},
     .lengths = {4096, 32768, 131072}},
    {.methods = kPerHead, .types = kMainTypes, .heads = {kGqa}, .lengths = {4096, 32768, 131072}},
    {.methods = kDense,
     .types = kMainTypes,
     .heads = {kGqa},
     .lengths = {32768},
     .dims = {64, 96, 192, 256}},
    // Groups of 2 and 8, and one KV head alone, whose keys all threads share.
    {.methods = kGroups, .types = kMainTypes, .heads = {{16, 8}, {64, 8}, {4, 1}}, .lengths = {131072}},
    {.methods = methods_of(kOptions), .types = kMainTypes, .heads = {kGqa}, .lengths = {32768}},
    {.methods = kRagged, .types = kMainTypes, .heads = {kGqa}, .lengths = {32768}},
    {.methods = kBesidePrompt, .types = {Type::kF32}, .heads = {{1, 1}}, .lengths = {32768}},
    {.methods = k4kPages,
     .types = kMainTypes,
     .heads = {kGqa, kMha},
     .lengths = {131072},
     .huge_pages = false},
    {.methods = kDense, .types = kAllTypes, .heads = {kGqa}, .lengths = {1024}, .warm = true},
    {.methods = kRivals,
     .types = kMainTypes,
     .heads = {kGqa},
     .lengths = {32768},
     .workloads = kWorkloads,
     .threads = {1}},
};

bool has_tag(const std::string& what, const char* tag) { return what.find(tag) != std::string::npos; }

/// Sequences of a batch, the newest `rows` rows of each: prefixes of n positions of the same memory. Of n of a hundred
/// megabytes and more, far more than a cache holds lies between two reads of a row.
struct Prefix {
  std::size_t rows = 1;
  std::size_t n = 0;
};

/// Dense attention of such a batch; all rows ask the same.
template <class T>
class BatchCall {
 public:
  BatchCall(const Dataset<T>& data, Pool& pool, const std::vector<Prefix>& sequences)
      : kv_heads_(data.shape().kv_heads), row_begin_{0}, workspaces_(pool.threads()) {
    const Shape& s = data.shape();
    for (const Prefix& sequence : sequences) {
      for (skim::ContiguousKv<T> kv : data.heads()) {
        kv.keys.rows = kv.values.rows = sequence.n;
        heads_.push_back(kv);
        positions_ += static_cast<double>(sequence.n);
      }
      row_begin_.push_back(row_begin_.back() + sequence.rows);
    }
    const std::size_t rows = row_begin_.back();
    query_.rows = {data.queries(), rows, s.q_heads, s.d, 0};
    query_.row_begin = row_begin_;
    out_.resize(rows * s.q_heads * s.d);
    state_.out = {out_.data(), rows, s.q_heads, s.d};
    options_.executor = pool.executor();
  }
  BatchCall(const BatchCall&) = delete;  // it points into itself

  void operator()() {
    options_.workspaces = workspaces_;
    skim::attend(skim::StageList{{skim::Dense{}}}, query_,
                 skim::LayerKv<skim::ContiguousKv<T>>{heads_, kv_heads_}, state_, options_);
  }

  /// Of all KV heads of all sequences.
  double positions() const { return positions_; }
  /// Of the first row of a sequence.
  const float* out(std::size_t sequence) const {
    return state_.out.group(row_begin_[sequence], 0, 1).data;
  }

 private:
  std::vector<skim::ContiguousKv<T>> heads_;
  std::size_t kv_heads_ = 0;
  double positions_ = 0;
  std::vector<std::size_t> row_begin_;
  skim::LayerQuery query_;
  std::vector<float> out_;
  skim::LayerState state_;
  std::vector<skim::Workspace> workspaces_;
  skim::Options options_;
};

/// Eight sequences of n/8, 2n/8 ... n positions that ask one row each.
template <class T>
void run_ragged(benchmark::State& state, const Case& c) {
  const Dataset<T>& data = dataset<T>(c.data);
  Pool& pool = Machine::pool(c.threads);
  std::vector<Prefix> sequences(8);
  for (std::size_t i = 0; i < 8; ++i) sequences[i].n = data.shape().n * (i + 1) / 8;
  BatchCall<T> call(data, pool, sequences);
  const double bytes = call.positions() * 2 * static_cast<double>(row_bytes<T>(data.shape().d));
  for (auto _ : state) {
    const Rounds rounds = compete(c, {{"this", [&] { call(); }}, read_loop(pool, bytes)});
    report_rounds(state, rounds);
    report_read_fraction(state, rounds, bytes);
  }
  report_errors(state, data.errors(call.out(7)));
}

/// One row of n positions beside a prompt of 4 rows of 64. slowdown: what the row costs there over what it costs alone,
/// the prompt's own time taken off.
template <class T>
void run_beside_prompt(benchmark::State& state, const Case& c) {
  const Dataset<T>& data = dataset<T>(c.data);
  Pool& pool = Machine::pool(c.threads);
  const Prefix row{1, data.shape().n}, prompt{4, 64};
  BatchCall<T> both(data, pool, {row, prompt}), only_prompt(data, pool, {prompt}), alone(data, pool, {row});
  for (auto _ : state) {
    const Rounds rounds = compete(
        c, {{"this", [&] { both(); }}, {"prompt", [&] { only_prompt(); }}, {"alone", [&] { alone(); }}});
    report_rounds(state, rounds);
    state.counters["slowdown"] = rounds.ratio_without("this", "prompt", "alone");
  }
  report_errors(state, data.errors(both.out(0)));
}

template <class T>
void run_option(benchmark::State& state, const Case& c, const ModelOption& option) {
  const Dataset<T>& data = dataset<T>(c.data);
  const Shape& s = data.shape();
  Pool& pool = Machine::pool(c.threads);
  const AskedOption asked(option, c.data);
  using Call = LayerCall<skim::StageList, skim::ContiguousKv<T>>;
  Call call(skim::parse("dense"), data, data.heads(), skim::Grouping::kPerGroup, pool);
  Call dense(skim::parse("dense"), data, data.heads(), skim::Grouping::kPerGroup, pool);
  asked.ask(call.query());
  const double bytes =
      static_cast<double>(s.kv_heads) * asked.pairs() * 2 * static_cast<double>(row_bytes<T>(s.d));
  for (auto _ : state) {
    const Rounds rounds =
        compete(c, {{"this", [&] { call(); }}, read_loop(pool, bytes), {"dense", [&] { dense(); }}});
    report_rounds(state, rounds);
    report_read_fraction(state, rounds, bytes);
    state.counters["vs_dense"] = rounds.ratio("dense", "this");
  }
  report_errors(state, asked.errors(data, call.out()));
  state.counters["huge_pages"] = data.huge_share();
}

template <class T>
void run_decode(benchmark::State& state, const Case& c) {
  using Kv = skim::ContiguousKv<T>;
  using Call = LayerCall<skim::StageList, Kv>;
  const Dataset<T>& data = dataset<T>(c.data);
  const Shape& s = data.shape();
  Pool& pool = Machine::pool(c.threads);
  const skim::StageList estimator = skim::parse(c.method.recipe);
  const auto grouping =
      has_tag(c.method.what, "_perhead") ? skim::Grouping::kPerHead : skim::Grouping::kPerGroup;
  const bool is_dense = c.method.recipe == "dense";

  const Coverage read = coverage(estimator, data, data.heads(), grouping);
  const double bytes =
      static_cast<double>(s.kv_heads * s.n * row_bytes<T>(s.d)) * (read.keys + read.values);

  Call call(estimator, data, data.heads(), grouping, pool);
  Call dense(skim::parse("dense"), data, data.heads(), skim::Grouping::kPerGroup, pool);
  std::vector<Contestant> field = {{"this", [&] { call(); }}};
  if (!c.warm) field.push_back(read_loop(pool, bytes));
  if (!is_dense) field.push_back({"dense", [&] { dense(); }});
  std::unique_ptr<NaiveDecode> naive;
  if constexpr (std::is_same_v<T, float>) {
    if (is_dense && kHaveBlas) {
      naive = std::make_unique<NaiveDecode>(data, pool);
      (*naive)();
      if (median(data.errors(naive->out())) > 1e-3)
        throw std::logic_error("the naive version is wrong");
      field.push_back({"naive", [&] { (*naive)(); }});
    }
  }

  for (auto _ : state) {
    const Rounds rounds = compete(c, std::move(field));
    report_rounds(state, rounds);
    report_read_fraction(state, rounds, bytes);
    if (rounds.has("dense")) state.counters["vs_dense"] = rounds.ratio("dense", "this");
    if (rounds.has("naive")) state.counters["vs_naive"] = rounds.ratio("naive", "this");
  }
  report_errors(state, data.errors(call.out()));
  state.counters["keys_read"] = read.keys;
  state.counters["values_read"] = read.values;
  state.counters["bytes_fraction"] = (read.keys + read.values) / 2;
  state.counters["huge_pages"] = data.huge_share();
}

}  // namespace

void register_decode() {
  for (const Case& c : expand("decode", kSweeps)) {
    register_case(c, [](benchmark::State& state, const Case& mine) {
      visit_type(mine.type, [&]<class T>(T) {
        if (has_tag(mine.method.what, "_ragged")) return run_ragged<T>(state, mine);
        if (has_tag(mine.method.what, "_beside_prompt")) return run_beside_prompt<T>(state, mine);
        const ModelOption option = option_of(kOptions, mine);
        option.is_plain() ? run_decode<T>(state, mine) : run_option<T>(state, mine, option);
      });
    });
  }
}

}  // namespace skim_bench

// SPDX-License-Identifier: Apache-2.0
// A whole prompt or a chunk of one: many positions ask.
#include <memory>

#include "bench/blas.h"
#include "bench/layer_call.h"
#include "bench/model_option.h"
#include "bench/suite.h"

namespace skim_bench {
namespace {

const std::vector<Method> kDense = {{"dense", "dense"}};
const std::vector<Method> kSparse = {
    {"topk-1pct", "topk(fraction(0.01))"},
    {"priority-1pct", "priority(fraction(0.01))"},
};
const std::vector<ModelOption> kOptions = {
    {.what = "dense_window", .window = 1024},
    {.what = "dense_softcap", .soft_cap = 10},
    {.what = "dense_noncausal", .causal = false},
};
const std::vector<Method> kChunk = {{"dense_chunk", "dense"}};

const std::vector<Type> kMainTypes = {Type::kF32, Type::kBF16};

const std::vector<Sweep> kSweeps = {
    {.methods = kDense,
     .types = kMainTypes,
     .heads = {{8, 2}},
     .lengths = {1024, 4096},
     .prefill = true},
    {.methods = methods_of(kOptions),
     .types = kMainTypes,
     .heads = {{8, 2}},
     .lengths = {4096},
     .prefill = true},
    {.methods = kChunk,
     .types = kMainTypes,
     .heads = {{8, 2}},
     .lengths = {8192},
     .prefill = true,
     .chunk = 512},
    {.methods = kSparse, .types = kMainTypes, .heads = {{8, 2}}, .lengths = {4096}, .prefill = true},
    {.methods = kSparse, .types = {Type::kF32}, .heads = {{8, 2}}, .lengths = {16384}, .prefill = true},
    {.methods = kDense,
     .types = {Type::kF32},
     .heads = {{8, 2}},
     .lengths = {4096},
     .dims = {64, 96, 192, 256},
     .prefill = true},
};

template <class T>
void run_prefill(benchmark::State& state, const Case& c) {
  using Call = LayerCall<skim::StageList, skim::ContiguousKv<T>>;
  const Dataset<T>& data = dataset<T>(c.data);
  const Shape& s = data.shape();
  Pool& pool = Machine::pool(c.threads);
  const bool is_dense = c.method.recipe == "dense";
  const ModelOption option = option_of(kOptions, c);
  const AskedOption asked(option, c.data);

  Call call(skim::parse(c.method.recipe), data, data.heads(), skim::Grouping::kPerGroup, pool);
  Call dense(skim::parse("dense"), data, data.heads(), skim::Grouping::kPerGroup, pool);
  asked.ask(call.query());
  std::vector<Contestant> field = {{"this", [&] { call(); }}};
  if (!is_dense || (!option.is_plain() && option.causal)) field.push_back({"dense", [&] { dense(); }});
  std::unique_ptr<SquareProduct> product;
  if (is_dense && kHaveBlas) {
    product = std::make_unique<SquareProduct>(c.threads);
    // OpenBLAS's threads spin for a while after a call: let them fall asleep.
    field.push_back({"sgemm", [&] { (*product)(); }, c.threads > 1 ? 0.1 : 0.0});
  }

  const double operations = 4 * static_cast<double>(s.d * s.q_heads) * asked.pairs();
  for (auto _ : state) {
    const Rounds rounds = compete(c, std::move(field));
    report_rounds(state, rounds);
    if (rounds.has("dense")) state.counters["vs_dense"] = rounds.ratio("dense", "this");
    if (rounds.has("sgemm")) {
      state.counters["sgemm_fraction"] =
          operations / SquareProduct::operations() * rounds.ratio("sgemm", "this");
    }
    if (is_dense) state.counters["GFLOP/s"] = operations / rounds.seconds("this") * 1e-9;
  }
  report_errors(state, asked.errors(data, call.out()));
}

}  // namespace

void register_prefill() {
  for (const Case& c : expand("prefill", kSweeps)) {
    register_case(c, [](benchmark::State& state, const Case& mine) {
      visit_type(mine.type, [&]<class T>(T) { run_prefill<T>(state, mine); });
    });
  }
}

}  // namespace skim_bench

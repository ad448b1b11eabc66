// SPDX-License-Identifier: Apache-2.0
// The gradients of a layer in training: as many rows as positions, and the loss sum <dout, out>.
#include <cmath>
#include <memory>

#include "bench/blas.h"
#include "bench/gaussian.h"
#include "bench/layer_call.h"
#include "bench/suite.h"

namespace skim_bench {
namespace {

const std::vector<Method> kDense = {{"dense", "dense"}};
const std::vector<Method> kSparse = {
    {"topk-5pct", "topk(fraction(0.05))"},
    {"topk_replayed-5pct", "topk(fraction(0.05))"},  // without what the forward pass has written down
    {"priority-5pct", "priority(fraction(0.05))"},
    {"sinks_window", "sinks(4)+window(1024)"},
};

const std::vector<Sweep> kSweeps = {
    {.methods = kDense, .types = {Type::kF32}, .heads = {{8, 2}}, .lengths = {2048, 4096}, .prefill = true},
    {.methods = kSparse, .types = {Type::kF32}, .heads = {{8, 2}}, .lengths = {4096}, .prefill = true},
    {.methods = kDense, .types = {Type::kF32}, .heads = {{8, 2}}, .lengths = {4096}, .dims = {64, 96}, .prefill = true},
    {.methods = kDense, .types = {Type::kF32}, .heads = {{8, 8}}, .lengths = {4096}, .prefill = true},
};

/// One layer with everything that a training step of it reads and writes.
class TrainingCall {
 public:
  TrainingCall(const std::string& recipe, const Dataset<float>& data, Pool& pool)
      : estimator_(skim::parse(recipe)),
        data_(data),
        kv_{data.heads(), data.shape().kv_heads},
        workspaces_(pool.threads()) {
    const Shape& s = data.shape();
    query_.rows = {data.queries(), s.n, s.q_heads, s.d};
    query_.stream.seed = 1;
    const std::size_t values = s.n * s.q_heads * s.d;
    for (std::vector<float>* x : {&out_, &dout_, &dq_}) x->resize(values);
    lse_.resize(s.n * s.q_heads);
    for (std::size_t r = 0; r < s.n * s.q_heads; ++r) gaussian_row(row_key(7, 0, r), s.d, dout_.data() + r * s.d);
    dkv_.resize(2 * s.kv_heads * s.n * s.d);
    for (std::size_t h = 0; h < s.kv_heads; ++h) {
      float* dk = dkv_.data() + 2 * h * s.n * s.d;
      gradients_of_heads_.push_back({{dk, s.n, s.d}, {dk + s.n * s.d, s.n, s.d}});
    }
    gradients_.state = {{out_.data(), s.n, s.q_heads, s.d}, lse_.data()};
    gradients_.dout = {dout_.data(), s.n, s.q_heads, s.d};
    gradients_.dq = {dq_.data(), s.n, s.q_heads, s.d};
    gradients_.kv = gradients_of_heads_;
    options_.executor = pool.executor();
    options_.workspaces = workspaces_;
    options_.record = &record_;
    forward();
  }
  TrainingCall(const TrainingCall&) = delete;  // it points into itself
  TrainingCall& operator=(const TrainingCall&) = delete;

  void forward() { skim::attend(estimator_, query_, kv_, gradients_.state, options_); }
  void backward() { skim::backward(record_, query_, kv_, gradients_, options_); }
  void backward_replayed() { skim::backward(estimator_, query_, kv_, gradients_, options_); }

  double record_bytes() const { return static_cast<double>(bytes_of(record_)); }

  /// Relative l2 errors of dq against that of dense attention in double: of each head of eight rows.
  std::vector<double> errors() const {
    const Shape& s = data_.shape();
    std::vector<double> all;
    for (std::size_t i = 1; i <= 8; ++i) {
      const std::size_t row = i * s.n / 8 - 1;
      for (std::size_t h = 0; h < s.q_heads; ++h) {
        const std::vector<double> exact = exact_dq(row, h);
        all.push_back(relative_l2(dq_.data() + (row * s.q_heads + h) * s.d, exact.data(), s.d));
      }
    }
    return all;
  }

 private:
  std::vector<double> exact_dq(std::size_t row, std::size_t head) const {
    using reference_detail::wide_dot;
    const Shape& s = data_.shape();
    const auto& kv = data_.heads()[head / s.group()];
    const float* q = data_.query(row, head);
    const float* dout = dout_.data() + (row * s.q_heads + head) * s.d;
    std::vector<double> p(row + 1), inner(row + 1), dq(s.d, 0.0);
    const double scale = 1 / std::sqrt(static_cast<double>(s.d));
    for (std::size_t i = 0; i <= row; ++i) p[i] = scale * wide_dot(q, kv.keys.row(i), s.d);
    const double most = *std::max_element(p.begin(), p.end());
    double sum = 0, delta = 0;
    for (std::size_t i = 0; i <= row; ++i) {
      sum += p[i] = std::exp(p[i] - most);
      inner[i] = wide_dot(dout, kv.values.row(i), s.d);
    }
    for (std::size_t i = 0; i <= row; ++i) delta += (p[i] /= sum) * inner[i];
    for (std::size_t i = 0; i <= row; ++i) {
      for (std::size_t c = 0; c < s.d; ++c) {
        dq[c] += scale * p[i] * (inner[i] - delta) * static_cast<double>(kv.keys.row(i)[c]);
      }
    }
    return dq;
  }

  skim::StageList estimator_;
  const Dataset<float>& data_;
  skim::LayerQuery query_;
  skim::LayerKv<skim::ContiguousKv<float>> kv_;
  std::vector<float> out_, lse_, dout_, dq_, dkv_;
  std::vector<skim::KvGradient> gradients_of_heads_;
  skim::LayerGradients gradients_;
  skim::SelectionRecord record_;
  std::vector<skim::Workspace> workspaces_;
  skim::Options options_;
};

void run_backward(benchmark::State& state, const Case& c) {
  const Dataset<float>& data = dataset<float>(c.data);
  const Shape& s = data.shape();
  Pool& pool = Machine::pool(c.threads);
  const bool is_dense = c.method.recipe == "dense";
  const bool replayed = c.method.what.rfind("topk_replayed", 0) == 0;

  TrainingCall call(c.method.recipe, data, pool);
  std::unique_ptr<TrainingCall> dense;
  std::unique_ptr<SquareProduct> product;
  std::vector<Contestant> field = {{"this", [&] { replayed ? call.backward_replayed() : call.backward(); }}};
  field.push_back({"forward", [&] { call.forward(); }});
  if (!is_dense) {
    dense = std::make_unique<TrainingCall>("dense", data, pool);
    field.push_back({"dense", [&] { dense->backward(); }});
    field.push_back({"dense_forward", [&] { dense->forward(); }});
  } else if (kHaveBlas) {
    product = std::make_unique<SquareProduct>(c.threads);
    // OpenBLAS's threads spin for a while after a call: let them fall asleep.
    field.push_back({"sgemm", [&] { (*product)(); }, c.threads > 1 ? 0.1 : 0.0});
  }

  // Five products; as in a triangle that holds its diagonal.
  const auto n = static_cast<double>(s.n);
  const double operations = 10 * static_cast<double>(s.d * s.q_heads) * n * (n + 1) / 2;
  for (auto _ : state) {
    const Rounds rounds = compete(c, std::move(field));
    report_rounds(state, rounds);
    state.counters["vs_forward"] = rounds.ratio("this", "forward");
    if (!is_dense) {
      state.counters["vs_dense"] = rounds.ratio("dense", "this");
      // A whole step: what training gains.
      state.counters["step_vs_dense"] = (rounds.seconds("dense") + rounds.seconds("dense_forward")) /
                                        (rounds.seconds("this") + rounds.seconds("forward"));
    }
    if (rounds.has("sgemm")) {
      state.counters["sgemm_fraction"] = operations / SquareProduct::operations() * rounds.ratio("sgemm", "this");
    }
    if (is_dense) state.counters["GFLOP/s"] = operations / rounds.seconds("this") * 1e-9;
  }
  state.counters["record_MB"] = call.record_bytes() * 1e-6;
  report_errors(state, call.errors());
}

}  // namespace

void register_backward() {
  for (const Case& c : expand("backward", kSweeps)) register_case(c, run_backward);
}

}  // namespace skim_bench

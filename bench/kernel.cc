// SPDX-License-Identifier: Apache-2.0
// What the parts of attention cost when all they read is in the second-level cache: where the time goes once memory is
// out of the way. Each figure is that of one thread, per key and KV head.
#include <algorithm>
#include <span>
#include <vector>

#include "bench/gaussian.h"
#include "bench/suite.h"
#include "skim/skim.h"

namespace skim_bench {
namespace {

namespace k = skim::HWY_NAMESPACE;

constexpr std::size_t kDim = 128;
constexpr std::size_t kKeys = 512;  // 256 KiB each of f32 keys and values
constexpr std::size_t kRepeats = 32;

/// One KV head in the cache, and what the parts hand to each other.
template <class T>
class Stage {
 public:
  using Kv = skim::ContiguousKv<T>;

  explicit Stage(std::size_t heads) : heads_(heads), q_(heads * kDim), out_(heads * kDim), lse_(heads) {
    rows_.resize(2 * kKeys * kDim);
    std::vector<float> row(kDim);
    for (std::size_t i = 0; i < 2 * kKeys; ++i) {
      gaussian_row(row_key(1, 0, i), kDim, row.data());
      store_row(row.data(), kDim, rows_.data() + i * kDim);
    }
    for (std::size_t h = 0; h < heads; ++h) gaussian_row(row_key(2, 0, h), kDim, q_.data() + h * kDim);
    kv_ = {{rows_.data(), kKeys, kDim}, {rows_.data() + kKeys * kDim, kKeys, kDim}};
    query_.rows = {q_.data(), heads, kDim};
    query_ = query_.resolved(kKeys);
    logits_.resize(heads * kKeys);
    std::copy_n(k::logits(query_, kv_, ws_).data, heads * kKeys, logits_.data());
    weights_.resize(heads * kKeys);
    soften();
    everything_.add(skim::Span{0, kKeys});
    numerator_.resize(heads * kDim);
  }

  void attend() {
    k::accumulate(query_, kv_, everything_,
                  skim::StateView{{out_.data(), heads_, kDim}, lse_.data(), 1}, ws_);
  }
  void score() { k::logits(query_, kv_, ws_); }  // nothing is known of a query that no call asks
  /// Blocks of [g, kBlock] logits become weights.
  void soften() {
    rescale_.assign(heads_, 1);
    for (std::size_t h = 0; h < heads_; ++h) {
      float max = -1e30f, sum = 0;
      for (std::size_t i = 0; i < kKeys; i += k::kBlock) {
        float* block = weights_.data() + i * heads_ + h * k::kBlock;
        std::copy_n(logits_.data() + h * kKeys + i, k::kBlock, block);
        rescale_[h] = k::soften(block, max, sum);
      }
    }
  }
  void weigh() {
    k::Block<Kv> block;
    for (std::size_t i = 0; i < kKeys; i += k::kBlock) {
      k::fill_run(kv_, static_cast<skim::Position>(i), k::kBlock, block);
      k::weigh(weights_.data() + i * heads_, rescale_.data(), heads_, block.values, block.count, kDim,
               static_cast<const T* const*>(nullptr), numerator_.data(), kDim);
    }
  }

 private:
  std::size_t heads_;
  skim::Buffer<T> rows_;
  std::vector<float> q_, out_, lse_;
  Kv kv_{};
  skim::Query query_{};
  skim::Workspace ws_;
  skim::Selection everything_;
  skim::Buffer<float> logits_, weights_, numerator_;  // aligned
  std::vector<float> rescale_;
};

template <class T>
struct Part {
  const char* what;
  void (Stage<T>::*run)();
  double rows;  // of a key and its value: read
};

template <class T>
void run_part(benchmark::State& state, const Case& c, const Part<T>& part) {
  Stage<T> stage(c.data.shape.group());
  const double bytes = part.rows * kKeys * kDim * sizeof(T);
  for (auto _ : state) {
    // The yardstick reads from memory as many bytes as the part reads from the cache.
    const Rounds rounds = compete(c, {{"this",
                                       [&] {
                                         for (std::size_t i = 0; i < kRepeats; ++i) (stage.*part.run)();
                                       }},
                                      {"all", [&] {
                                         for (std::size_t i = 0; i < kRepeats; ++i) stage.attend();
                                       }}});
    report_rounds(state, rounds);
    state.counters["ns_per_key"] = rounds.seconds("this") / (kRepeats * kKeys) * 1e9;
    state.counters["share"] = rounds.ratio("this", "all");
    if (part.rows > 0) state.counters["GB/s"] = bytes * kRepeats / rounds.seconds("this") * 1e-9;
  }
}

/// Products of a panel with a block of keys, as prefill makes them twice: without a softmax between.
void run_panel(benchmark::State& state, const Case& c) {
  constexpr std::size_t kP = k::kPanel<float>;
  skim::Buffer<float> keys, panel, out;
  keys.resize(k::kPanelKeys * kDim);
  panel.resize(kDim * kP);
  out.resize(k::kPanelKeys * kP);
  gaussian_row(row_key(1, 0, 0), keys.size(), keys.data());
  gaussian_row(row_key(1, 0, 1), panel.size(), panel.data());
  const auto product = [&] {
    k::panel_product(keys.data(), k::kPanelKeys, kDim, 1, panel.data(), kDim,
                     [&](std::size_t key, k::Vec<float> low, k::Vec<float> high) {
                       hwy::HWY_NAMESPACE::Store(low, k::Tag<float>(), out.data() + key * kP);
                       hwy::HWY_NAMESPACE::Store(high, k::Tag<float>(),
                                                 out.data() + key * kP + k::kLanes<float>);
                     });
    benchmark::DoNotOptimize(out.data());
  };
  constexpr std::size_t kProducts = 2048;
  for (auto _ : state) {
    const Rounds rounds = compete(c, {{"this", [&] {
                                         for (std::size_t i = 0; i < kProducts; ++i) product();
                                       }}});
    report_rounds(state, rounds);
    state.counters["GFLOP/s"] = 2.0 * static_cast<double>(kProducts * k::kPanelKeys * kDim * kP) /
                                rounds.seconds("this") * 1e-9;
  }
}

}  // namespace

void register_kernel() {
  for (const Type type : {Type::kF32, Type::kBF16}) {
    visit_type(type, [&]<class T>(T) {
      static constexpr Part<T> kParts[] = {{"attend", &Stage<T>::attend, 2},
                                           {"score", &Stage<T>::score, 1},
                                           {"soften", &Stage<T>::soften, 0},
                                           {"weigh", &Stage<T>::weigh, 1}};
      for (const std::size_t heads : {1u, 4u}) {
        for (const Part<T>& part : kParts) {
          register_case(
              {"kernel", {part.what, ""}, type, {{heads, 1, kKeys, kDim}}, "iid", true, true, 1},
              [&part](benchmark::State& state, const Case& mine) { run_part<T>(state, mine, part); });
        }
      }
    });
  }
  register_case(
      {"kernel", {"panel", ""}, Type::kF32, {{1, 1, k::kPanelKeys, kDim}}, "iid", true, false, 1},
      run_panel);
}

}  // namespace skim_bench

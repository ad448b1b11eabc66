// SPDX-License-Identifier: Apache-2.0
// Do we have the bugs that users of neighbouring projects have met? One test for each row of the table of needs; the
// number is the row, the project the one whose users met it.
//
// Rows without a test here:
//   8  -ffast-math deletes the guards on infinity (PyTorch)   an #error: tests/consumer, refuses_fast_math
//  25  int8 storage of keys and values (llama.cpp)            skim stores f32, f16 and bf16 only
//  26  hostile model files (llama.cpp)                        tests/examples/gguf_test.cc
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "estimator/given_logits.h"
#include "skim/skim.h"
#include "support/layer_problem.h"
#include "support/layouts.h"
#include "support/threads.h"

namespace skim::test {
namespace {

/// A state of one row with the given numbers.
struct Row {
  std::vector<float> out;
  float lse;

  StateView view() { return {{out.data(), 1, out.size()}, &lse}; }
};

// FlashInfer: exp(-inf - -inf).
TEST(Needs, B01_MergeOfTwoEmptyStates) {
  for (const std::size_t cols : {1u, 7u, 16u, 33u}) {
    Row a{std::vector<float>(cols, 0.0f), -kInfF}, b = a;
    const std::vector<float> zeros(cols, 0.0f);
    merge(a.view(), b.view());
    EXPECT_EQ(std::memcmp(a.out.data(), zeros.data(), cols * sizeof(float)), 0);
    EXPECT_EQ(a.lse, -kInfF);
    // Strided, several heads.
    std::vector<float> wide(3 * (cols + 5), 0.0f), other(3 * (cols + 2), 0.0f);
    std::vector<float> lse(6, -kInfF), other_lse(3, -kInfF);
    merge(StateView{{wide.data(), 3, cols, static_cast<std::ptrdiff_t>(cols + 5)}, lse.data(), 2},
          StateView{{other.data(), 3, cols, static_cast<std::ptrdiff_t>(cols + 2)}, other_lse.data()});
    for (const float x : wide) EXPECT_EQ(x, 0.0f);
    for (const float x : lse) EXPECT_EQ(x, -kInfF);
  }
}

// FlashInfer: lse of a masked row was -49993.98.
TEST(Needs, B02_EmptySetIsZeroAndMinusInfinity) {
  const auto p = random_problem<float>({50, 24, 20, 2}, 1);
  State empty = attend(Selection{}, p.query(), p.kv());
  State full = attend(Dense{}, p.query(), p.kv());
  const State before = attend(Dense{}, p.query(), p.kv());
  for (std::size_t h = 0; h < 2; ++h) {
    EXPECT_EQ(empty.lse(h), -kInfF);
    for (std::size_t c = 0; c < 20; ++c) EXPECT_EQ(empty.out(h)[c], 0.0f);
  }
  merge(full.view(), empty.view());  // the neutral element
  EXPECT_TRUE(same_bits(full.out(), before.out(), 40));
  EXPECT_EQ(full.lse(0), before.lse(0));
}

// FlashInfer: a sentinel of -5e4 for -inf.
TEST(Needs, B03_LogitsFarBelowAnySentinel) {
  std::vector<float> near(100), far(100);
  for (std::size_t i = 0; i < 100; ++i) {
    near[i] = static_cast<float>(i * 37 % 50) / 8;
    far[i] = near[i] - 0x1p20f;  // about -1e6, without rounding
  }
  auto p = random_problem<float>({100, 1, 20, 1}, 2);
  p.q[0] = 1;
  p.keys = near;
  Query q = p.query();
  q.logit.scale = 1;
  const State expected = attend(Dense{}, q, p.kv());
  auto shifted = p;
  shifted.keys = far;
  Query far_q = shifted.query();
  far_q.logit.scale = 1;
  const State state = attend(Dense{}, far_q, shifted.kv());
  EXPECT_TRUE(same_bits(state.out(), expected.out(), 20));
  EXPECT_NEAR(state.lse() + 0x1p20f, expected.lse(), 0.0625);  // one ulp of 1e6
  shifted.keys.assign(100, -1e30f);
  const State all_equal = attend(Dense{}, far_q, shifted.kv());
  EXPECT_EQ(all_equal.lse(), -1e30f);
  p.keys.assign(100, 0.0f);
  const State mean = attend(Dense{}, q, p.kv());
  EXPECT_TRUE(same_bits(all_equal.out(), mean.out(), 20));
}

// llama.cpp: cap * tanh(-inf) is finite, so padded keys came alive.
TEST(Needs, B04_SoftCapAtTheEdgeOfATile) {
  for (const std::size_t n : {1u, 15u, 16u, 17u, 31u, 32u, 33u, 4095u, 4096u, 4097u}) {
    const auto p = random_problem<float>({n, 24, 20, 3}, n, 4);
    Query q = p.query();
    q.logit.soft_cap = 2;
    State state = attend(Dense{}, q, p.kv());
    EXPECT_TRUE(agrees_with_dense(state.view(), p, q)) << n << " keys";
  }
}

/// Soft-capped attention without a mask, against n keys whose logits are all near -cap: a key that is not
/// there and came alive would count as much as one that is.
void expect_no_padding(std::size_t rows, std::size_t n) {
  LayerProblem<float> p({4, 2, 24, 20}, {{rows, n}}, n + rows);
  std::fill(p.q.begin(), p.q.end(), 1.0f);
  for (auto& head : p.heads) {
    for (std::size_t i = 0; i < head.keys.size(); ++i)
      head.keys[i] = -1 - static_cast<float>(i % 7) / 8;
  }
  LayerQuery query = p.query();
  query.causal = false;
  query.logit.scale = 1;
  query.logit.soft_cap = 2;
  LayerOutput output(p);
  attend(Dense{}, query, p.kv(), output.state());
  EXPECT_TRUE(output.all_written());
  EXPECT_TRUE(agrees_with_dense(output, p, query)) << rows << " rows, " << n << " keys";
}
TEST(Needs, B04_SoftCapAtTheEdgeOfATileOneRow) {
  for (const std::size_t tile : {4u, 8u, 16u, 32u, 64u, 128u, 4096u}) {
    for (const std::size_t n : {tile - 1, tile, tile + 1, 2 * tile + 1}) expect_no_padding(1, n);
  }
}
// Many rows take another kernel; its tiles are of keys and of rows.
TEST(Needs, B04_SoftCapAtTheEdgeOfATileManyRows) {
  for (const std::size_t tile : {4u, 8u, 16u, 32u, 48u, 64u, 128u, 256u}) {
    for (const std::size_t n : {tile - 1, tile, tile + 1, 2 * tile + 1}) {
      expect_no_padding(5, n);  // a chunk against more keys, or fewer
      expect_no_padding(33, n);
      if (n <= 129) expect_no_padding(n, n);  // a whole prompt
    }
  }
}

// ik_llama.cpp: a masked row was NaN. cubecl: the harness passed whenever the reference was NaN.
TEST(Needs, B05_MaskedRowsAreZeroAndTheComparatorSeesNan) {
  const auto p = random_problem<float>({40, 24, 16, 2}, 3);
  Query q = p.query();
  q.visible = {7, 7};
  const State state = attend(stack(Sinks{4}, TopK{3}, PriorityTail{4}), q, p.kv());
  for (std::size_t c = 0; c < 32; ++c) EXPECT_EQ(state.out()[c], 0.0f);
  EXPECT_FALSE(is_close(kNan, 1, 1e9));
  EXPECT_FALSE(is_close(1, kNan, 1e9));
  EXPECT_FALSE(is_close(kInf, 1, 1e9));
  EXPECT_FALSE(is_close(kInf, -kInf, 1e9));
}

// PyTorch, vLLM: 0 * NaN of a value that was not selected. tests/attend/poison_test.cc has all storages and pages.
TEST(Needs, B06_UnselectedNanHasNoEffect) {
  auto p = random_problem<float>({200, 24, 16, 2}, 4);
  const auto e = stack(Sinks{4}, Window{8}, TopK{16});
  const State expected = attend(e, p.query(), p.kv());
  const std::vector<Weighted> list = list_of(select(e, p.query(), p.kv()));
  for (std::int64_t i = 0; i < 200; ++i) {
    if (std::any_of(list.begin(), list.end(), [i](const Weighted& w) { return w.position == i; }))
      continue;
    std::fill_n(p.values.begin() + i * 16, 16, NAN);
    std::fill_n(p.keys.begin() + i * 24, 24, NAN);
  }
  const State state = attend(e, p.query(), p.kv());
  EXPECT_TRUE(same_bits(state.out(), expected.out(), 32));
}

// PyTorch: after that was cured, NaN queries gave zeros.
TEST(Needs, B07_NanQueryReachesTheOutput) {
  auto p = random_problem<float>({50, 24, 16, 2}, 5);
  p.q[24 + 3] = NAN;
  for (const auto& e : {parse("dense"), parse("sinks(4)+window(8)+uniform(6)")}) {
    const State state = attend(e, p.query(), p.kv());
    for (std::size_t c = 0; c < 16; ++c) {
      EXPECT_TRUE(std::isfinite(state.out(0)[c]));
      EXPECT_TRUE(std::isnan(state.out(1)[c]));
    }
    EXPECT_TRUE(std::isnan(state.lse(1)));
  }
}

// llama.cpp: f16 accumulators overflow at long context.
TEST(Needs, B09_HalfPrecisionIsStorageOnly) {
  constexpr std::size_t kN = 65536;
  auto p = random_problem<F16>({kN, 8, 8, 1}, 6);
  for (std::size_t i = 0; i < kN * 8; ++i) p.values[i] = stored<F16>(i % 16 < 8 ? 60000 : 59000);
  State state = attend(Dense{}, p.query(), p.kv());
  for (std::size_t c = 0; c < 8; ++c) {
    EXPECT_GT(state.out()[c], 58999.0f);
    EXPECT_LT(state.out()[c], 60001.0f);
  }
  // A logit beyond 65504: 8 * 200 * 60000 is no half.
  for (std::size_t i = 0; i < 8; ++i) p.keys[17 * 8 + i] = stored<F16>(60000);
  std::fill(p.q.begin(), p.q.end(), 200.0f);
  Query q = p.query();
  q.logit.scale = 1;
  state = attend(Dense{}, q, p.kv());
  EXPECT_EQ(state.lse(), 8 * 200 * 60000.0f);
  EXPECT_TRUE(same_bits(state.out(), std::vector<float>(8, to_float(p.values[17 * 8])).data(), 8));
}

// ONNXim, HipKittens, jax-js: query heads read the wrong KV head unless the numbers were friendly.
TEST(Needs, B10_QueryHeadReadsItsKvHead) {
  struct Heads {
    std::size_t q, kv;
  };
  for (const auto& [q_heads, kv_heads] :
       {Heads{28, 4}, Heads{32, 8}, Heads{9, 3}, Heads{8, 4}, Heads{8, 1}, Heads{5, 5}}) {
    LayerProblem<float> p({q_heads, kv_heads, 8, 4}, {{1, 12}}, 7);
    for (std::size_t h = 0; h < kv_heads; ++h)
      std::fill(p.heads[h].values.begin(), p.heads[h].values.end(), float(h + 1));
    LayerOutput output(p);
    attend(Dense{}, p.query(), p.kv(), output.state());
    for (std::size_t h = 0; h < q_heads; ++h) {
      EXPECT_NEAR(output.row(0, h).out.row(0)[0], static_cast<float>(h / (q_heads / kv_heads) + 1),
                  1e-5)
          << "query head " << h << " of " << q_heads << " on " << kv_heads;
    }
  }
  LayerProblem<float> uneven({6, 4, 8, 4}, {{1, 12}}, 7);
  LayerOutput output(uneven);
  EXPECT_THROW(attend(Dense{}, uneven.query(), uneven.kv(), output.state()), std::invalid_argument);
}

// vLLM, SGLang, FlashInfer: lse to base 2 in one place, to base e in another.
TEST(Needs, B11_LseIsTheNaturalLogarithm) {
  const GivenLogits<float> p({{std::log(2.0f), std::log(3.0f), std::log(5.0f)}});
  const float lse = attend(Dense{}, p.query(), p.kv()).lse();
  EXPECT_NEAR(lse, 2.302585f, 2e-6f);  // ln 10; log2 10 is 3.32
  // Parts whose lse were to base 2 would not merge into the whole.
  State left = attend(Sinks{1}, p.query(), p.kv());
  Query rest = p.query();
  rest.visible = {1, 3};
  State right = attend(Dense{}, rest, p.kv());
  merge(left.view(), right.view());
  EXPECT_NEAR(left.lse(), lse, 1e-6f);
}

// vLLM, NATTEN, xformers: 32-bit and 16-bit indices. tests/attend/far_offsets_test.cc has offsets beyond 2^32.
TEST(Needs, B12_MoreThan32768Keys) {
  constexpr std::size_t kN = 70001;
  auto p = random_problem<F16>({kN, 2, 1, 1}, 8);
  std::fill(p.q.begin(), p.q.end(), 1.0f);
  for (std::size_t i = 0; i < kN; ++i) p.values[i] = stored<F16>(i == kN - 1 ? 3 : 1);
  p.keys[2 * (kN - 1)] = p.keys[2 * (kN - 1) + 1] = stored<F16>(100);
  const Selection top = select(TopK{1}, p.query(), p.kv());
  ASSERT_EQ(top.picks().size(), 1u);
  EXPECT_EQ(top.picks()[0].position, static_cast<Position>(kN - 1));
  EXPECT_NEAR(attend(Dense{}, p.query(), p.kv()).out()[0], 3, 1e-5);
}

// vLLM, 1Cat: ties made top-k non-deterministic or dropped candidates.
TEST(Needs, B13_TiesGoToTheLowerPosition) {
  constexpr std::size_t kN = 20000, kK = 1000;
  std::vector<float> s(kN);
  for (std::size_t i = 0; i < kN; ++i) s[i] = static_cast<float>(i * 7919 % 50);  // 400 of each
  s[5] = -0.0f;
  s[9] = NAN;
  const GivenLogits<float> p({s});
  std::vector<Position> order;
  for (std::size_t i = 0; i < kN; ++i) order.push_back(static_cast<Position>(i));
  const auto key = [&](Position i) {
    const float x = s[static_cast<std::size_t>(i)];
    return std::isnan(x) ? -kInfF : x;
  };
  std::stable_sort(order.begin(), order.end(), [&](Position a, Position b) { return key(a) > key(b); });
  std::sort(order.begin(), order.begin() + kK);
  const Selection top = select(TopK{kK}, p.query(), p.kv());
  ASSERT_EQ(top.picks().size(), kK);
  for (std::size_t j = 0; j < kK; ++j) ASSERT_EQ(top.picks()[j].position, order[j]);
  const GivenLogits<float> equal({std::vector<float>(kN, 0.25f)});
  const Selection first = select(TopK{kK}, equal.query(), equal.kv());
  for (std::size_t j = 0; j < kK; ++j) ASSERT_EQ(first.picks()[j].position, static_cast<Position>(j));
  const GivenLogits<float> zeros({{-0.0f, 0.0f, -0.0f, 0.0f}});
  const Selection two = select(TopK{2}, zeros.query(), zeros.kv());
  EXPECT_EQ(two.picks()[0].position, 0);
  EXPECT_EQ(two.picks()[1].position, 1);
}

// mlx-lm: top-k without sinks collapses at the budget cliff. Up to the budget every composition is dense ...
TEST(Needs, B14_DenseUpToTheBudget) {
  for (const char* text :
       {"topk(64)", "sinks(4)+topk(60)", "window(16)+topk(48)", "sinks(4)+window(16)+topk(44)"}) {
    for (const std::size_t n : {1u, 5u, 63u, 64u}) {
      const auto p = random_problem<float>({n, 24, 16, 2}, n);
      for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
        Query q = p.query();
        q.grouping = grouping;
        State sparse = attend(parse(text), q, p.kv());
        EXPECT_TRUE(agrees_with_dense(sparse.view(), p, q)) << text << " of " << n << " keys";
      }
    }
    const auto past = random_problem<float>({65, 24, 16, 2}, 9);
    EXPECT_EQ(list_of(select(parse(text), past.query(), past.kv())).size(), 64u) << text;
  }
}
// ... and past it a composition holds what it names and nothing else: top-k alone has no hidden sinks or window.
TEST(Needs, B14_CompositionIsExplicit) {
  for (const std::size_t n : {73u, 74u, 300u}) {
    std::vector<float> s(n);
    for (std::size_t i = 0; i < n; ++i) s[i] = static_cast<float>(i * 7919 % n) / 16;
    for (std::size_t i = 0; i < 4; ++i)
      s[i] = s[n - 1 - i] = -8 - static_cast<float>(i);  // both ends are least
    const GivenLogits<float> p({s});
    const auto has = [&](const char* text, std::size_t position) {
      const std::vector<Weighted> list = list_of(select(parse(text), p.query(), p.kv()));
      EXPECT_EQ(list.size(), 64u) << text;
      return std::any_of(list.begin(), list.end(), [&](const Weighted& w) {
        return w.position == static_cast<std::int64_t>(position);
      });
    };
    EXPECT_FALSE(has("topk(64)", 3)) << n << " keys, a sink";
    EXPECT_FALSE(has("window(4)+topk(60)", 3));
    EXPECT_TRUE(has("sinks(4)+topk(60)", 3));
    EXPECT_FALSE(has("sinks(4)+topk(60)", n - 4)) << n << " keys, the newest";
    EXPECT_TRUE(has("sinks(4)+window(4)+topk(56)", n - 4));
    EXPECT_TRUE(has("sinks(4)+window(4)+topk(56)", 3));
  }
}
// What exact top-k drops at the cliff itself is its least logit, so the error there is that of one key.
TEST(Needs, B14_TheFirstKeyPastTheBudgetIsTheLeast) {
  const auto p = random_problem<float>({65, 24, 16, 1}, 9);
  const Selection top = select(TopK{64}, p.query(), p.kv());
  const State sparse = attend(top, p.query(), p.kv()), dense = attend(Dense{}, p.query(), p.kv());
  double dropped = 1;  // its share of the softmax
  for (const Weighted& w : list_of(top)) {
    Query one = p.query();
    one.visible = {w.position, w.position + 1};
    dropped -= std::exp(static_cast<double>(attend(Dense{}, one, p.kv()).lse() - dense.lse()));
  }
  EXPECT_LT(dropped, 1.0 / 65);
  EXPECT_NEAR(dense.lse() - sparse.lse(), -std::log1p(-dropped), 1e-5);
}

// native-sparse-attention: k > n crashed.
TEST(Needs, B15_MoreThanThereAreIsAll) {
  const auto p = random_problem<float>({10, 24, 16, 2}, 10);
  for (const char* text : {"topk(11)", "topk(1000000000000)", "window(11)", "sinks(11)", "uniform(11)",
                           "priority(11)", "multinomial(11)", "systematic(11)", "poisson(11)"}) {
    EXPECT_EQ(list_of(select(parse(text), p.query(), p.kv())).size(), 10u) << text;
  }
}

// PyTorch, FlagAttention: K and V strides swapped, seen only when they differ. Rows have an inner stride of 1 by type.
TEST(Needs, B16_EveryTensorHasItsOwnStride) {
  const auto p = random_problem<float>({60, 24, 16, 3}, 11);
  const State expected = attend(Dense{}, p.query(), p.kv());
  const Strided<float, float> strided(p, 3, 11);
  std::vector<float> out(3 * 29, NAN), lse(3 * 2, NAN);
  std::vector<float> q(3 * 31, NAN);
  for (std::size_t h = 0; h < 3; ++h)
    std::copy_n(p.q.begin() + static_cast<std::ptrdiff_t>(h * 24), 24,
                q.begin() + static_cast<std::ptrdiff_t>(h * 31));
  Query query = p.query();
  query.rows = {q.data(), 3, 24, 31};
  Workspace ws;
  attend(Dense{}, query, strided.kv(), {{out.data(), 3, 16, 29}, lse.data(), 2}, ws);
  for (std::size_t h = 0; h < 3; ++h) {
    EXPECT_TRUE(same_bits(out.data() + h * 29, expected.out(h), 16));
    EXPECT_EQ(lse[2 * h], expected.lse(h));
  }
  // Stride 0 repeats one row.
  const ContiguousKv<float> repeated{{p.keys.data(), 60, 24, 0}, {p.values.data(), 60, 16, 0}};
  const State one = attend(Dense{}, p.query(), repeated);
  for (std::size_t c = 0; c < 16; ++c) EXPECT_NEAR(one.out(0)[c], p.values[c], 1e-6);
}

// vLLM: a head size of 46; sparkinfer: 128 and no other. Exact-size buffers: meant for AddressSanitizer.
TEST(Needs, B17_AnyHeadSize) {
  for (const std::size_t d : {1u, 3u, 7u, 8u, 46u, 64u, 72u, 80u, 96u, 128u, 192u, 256u}) {
    const auto p = random_problem<BF16>({33, d, d + 3, 2}, d);
    State state = attend(Dense{}, p.query(), p.kv());
    EXPECT_TRUE(agrees_with_dense(state.view(), p, p.query())) << "d " << d;
  }
}

// vLLM, SGLang: rows of empty sequences were skipped and kept stale NaN.
TEST(Needs, B18_EveryRowIsWritten) {
  LayerProblem<float> p({}, {{1, 0}, {2, 2}, {1, 0}, {3, 20}}, 12);
  LayerOutput output(p);
  attend(stack(Sinks{1}, TopK{2}), p.query(), p.kv(), output.state());
  EXPECT_TRUE(output.all_written());
  for (std::size_t h = 0; h < 4; ++h) {
    EXPECT_EQ(output.row(0, h).lse_of(0), -kInfF);
    EXPECT_EQ(output.row(0, h).out.row(0)[0], 0.0f);
  }
}

// MagicPIG: an illegal instruction on a machine without AVX-512. All targets in one program: tests/packaging.
TEST(Needs, B19_TheTargetIsKnown) {
  const std::string target = active_target();
  EXPECT_FALSE(target.empty());
  RecordProperty("target", target);
}

// llama.cpp: decoding on one thread only. One head, three chunks, three threads.
TEST(Needs, B20_OneHeadIsSplitOverThreads) {
  const LayerProblem<float> p({1, 1, 16, 16}, {{1, 10000}}, 13);
  LayerOutput serial(p), split(p);
  attend(Dense{}, p.query(), p.kv(), serial.state());
  std::size_t tasks_run = 0;
  static std::size_t* counter = nullptr;
  counter = &tasks_run;
  Options options;
  options.executor.threads = 3;
  options.executor.run = [](void*, std::size_t tasks, Executor::Task task, void* arg) {
    *counter += tasks;
    for (std::size_t i = 0; i < tasks; ++i) task(arg, i, i % 3);
  };
  attend(Dense{}, p.query(), p.kv(), split.state(), options);
  EXPECT_TRUE(same_bits(serial, split));
  EXPECT_GE(tasks_run, 3u) << "nothing to do for the other threads";
}

// FlashAttention, vLLM: results depended on the number of splits, unseen because prompts fitted into one.
TEST(Needs, B21_BitsDoNotDependOnThreadsOrBatch) {
  const LayerProblem<float> p({}, {{2, 9000}, {1, 700}}, 14);
  const auto e = parse("sinks(4)+window(64)+topk(5000)+priority(3000)");
  LayerQuery query = p.query();
  const std::uint64_t ids[] = {7, 8};
  query.sequence_ids = ids;
  LayerOutput serial(p);
  attend(e, query, p.kv(), serial.state());
  for (const std::size_t threads : {2u, 3u, 16u}) {
    for (const Executor& executor : {backwards(threads), real_threads(threads)}) {
      LayerOutput other(p);
      Options options;
      options.executor = executor;
      attend(e, query, p.kv(), other.state(), options);
      EXPECT_TRUE(same_bits(serial, other)) << threads << " threads";
    }
  }
  // The second sequence alone.
  LayerQuery alone = query;
  alone.rows.data += 2 * 4 * 24;
  alone.rows.rows = 1;
  alone.row_begin = {};
  alone.sequence_ids = std::span(ids).subspan(1);
  std::vector<float> out(4 * 16), lse(4);
  attend(e, alone, LayerKv<ContiguousKv<float>>{std::span(p.views).subspan(2), 2},
         LayerState{{out.data(), 1, 4, 16}, lse.data()});
  EXPECT_TRUE(same_bits(out.data(), serial.row(2, 0).out.data, 64));
}

/// Counts the rows that are asked for.
struct CountingKv {
  using Key = float;
  using Value = float;
  ContiguousKv<float> kv;
  std::size_t* keys;
  std::size_t* values;

  Position size() const { return kv.size(); }
  std::size_t key_dim() const { return kv.key_dim(); }
  std::size_t value_dim() const { return kv.value_dim(); }
  const float* key(Position i) const { return ++*keys, kv.key(i); }
  const float* value(Position i) const { return ++*values, kv.value(i); }
};

// llama.cpp: top-k became a mask as long as the context, so sparse was no faster.
TEST(Needs, B22_OnlySelectedRowsAreRead) {
  const auto p = random_problem<float>({5000, 24, 16, 1}, 15);
  std::size_t keys = 0, values = 0;
  const CountingKv kv{p.kv(), &keys, &values};
  const Selection list = select(TopK{50}, p.query(), p.kv());
  attend(list, p.query(), kv);
  EXPECT_EQ(keys, 50u);
  EXPECT_EQ(values, 50u);
  keys = values = 0;
  attend(UniformTail{64}, p.query(), kv);
  EXPECT_EQ(keys, 64u) << "uniform sampling reads no other key";
  EXPECT_EQ(values, 64u);
}

// SGLang, vLLM: a framework for policies that no kernel called. The verbs apart are the fused call, flat and in pages.
TEST(Needs, B23_SelectAttendMergeApartAndTogether) {
  const auto p = random_problem<float>({300, 24, 16, 4}, 16);
  const auto e = stack(Sinks{4}, Window{16}, TopK{20}, PriorityTail{30});
  const InPages<float, float> pages(p, 16, Adjacency::kAdjacent);
  const State fused = attend(e, p.query(), p.kv());
  const State apart = attend(select(e, p.query(), p.kv()), p.query(), p.kv());
  const State paged = attend(select(e, p.query(), pages.kv()), p.query(), pages.kv());
  EXPECT_TRUE(same_bits(apart.out(), fused.out(), 64));
  EXPECT_TRUE(same_bits(paged.out(), fused.out(), 64));
  Query first = p.query(), second = p.query();
  first.visible = {0, 100};
  second.visible = {100, 300};
  State left = attend(Dense{}, first, p.kv()), right = attend(Dense{}, second, p.kv());
  merge(left.view(), right.view());
  EXPECT_TRUE(agrees_with_dense(left.view(), p, p.query()));
}

// skylight-research: pi for 1 / pi, collisions that lost budget. Proofs: tests/estimator, tests/statistics.
TEST(Needs, B24_SamplersSayHowManyTheyTook) {
  const auto p = normal_logits<float>(1, 1000, 1.5, 17);
  const auto count = [&](const char* text) {
    return select(parse(text), p.query(), p.kv()).picks().size();
  };
  EXPECT_EQ(count("uniform(100)"), 100u) << "without replacement";
  EXPECT_EQ(count("priority(100)"), 100u);
  EXPECT_EQ(count("systematic(100)"), 100u);
  const std::size_t distinct = count("multinomial(100)");  // with replacement: a pick a distinct key
  EXPECT_LE(distinct, 100u);
  double weights = 0;
  const Selection drawn = select(MultinomialTail{100}, p.query(), p.kv());
  const std::vector<double> share = reference_shares(p.logits[0], middle_of(1000, 0, 0));
  for (const Pick& pick : drawn.picks()) {
    const double c = std::exp(pick.log_weight) * 100 * share[static_cast<std::size_t>(pick.position)];
    EXPECT_NEAR(c, std::round(c), 1e-4) << "a multiplicity";
    weights += c;
  }
  EXPECT_NEAR(weights, 100, 1e-3) << "no draw is lost";
}

// SGLang: scratch shared by two requests. Meant for ThreadSanitizer as well.
TEST(Needs, B27_TwoThreadsTwoWorkspaces) {
  const auto p = random_problem<float>({3000, 24, 16, 4}, 18);
  const auto e = stack(Sinks{4}, Window{16}, TopK{20}, PriorityTail{30});
  const State expected = attend(e, p.query(), p.kv());
  std::vector<State> states(2, State(4, 16));
  std::vector<std::thread> threads;
  for (State& state : states) {
    threads.emplace_back([&] {
      Workspace ws;
      for (int repeat = 0; repeat < 20; ++repeat) attend(e, p.query(), p.kv(), state.view(), ws);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (State& state : states) EXPECT_TRUE(same_bits(state.out(), expected.out(), 64));
}

// modular, transformers: learned sink logits dropped, or of the wrong head. One row and many, whole prompts and chunks.
TEST(Needs, B28_SinkLogitsEnlargeTheDenominator) {
  const float sinks[] = {-1, 0, 1, 3};
  for (const std::size_t rows : {1u, 3u, 4u, 33u, 140u}) {
    for (const std::size_t before : {0u, 7u, 130u}) {
      const std::size_t n = before + rows;
      LayerProblem<float> p({4, 2, 8, 4}, {{rows, n}}, 19);
      std::fill(p.q.begin(), p.q.end(), 0.0f);  // every logit is 0
      for (auto& head : p.heads) std::fill(head.values.begin(), head.values.end(), 1.0f);
      for (const bool causal : {true, false}) {
        LayerQuery query = p.query();
        query.sink_logits = sinks;
        query.causal = causal;
        LayerOutput output(p);
        attend(Dense{}, query, p.kv(), output.state());
        for (std::size_t r = 0; r < rows; ++r) {
          const auto seen = static_cast<float>(causal ? before + r + 1 : n);
          for (std::size_t h = 0; h < 4; ++h) {
            ASSERT_NEAR(output.row(r, h).out.row(0)[0], seen / (seen + std::exp(sinks[h])), 1e-6)
                << "row " << r << " of " << rows << ", " << n << " keys, head " << h;
            ASSERT_NEAR(output.row(r, h).lse_of(0), std::log(seen + std::exp(sinks[h])), 1e-5);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace skim::test

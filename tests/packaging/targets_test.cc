// SPDX-License-Identifier: Apache-2.0
// A user's translation unit that picks the best SIMD target at run time. It is compiled without -march;
// Highway compiles it once for each target, and every target this machine has must give the same answers.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "packaging/targets_test.cc"

#include "skim/core/config.h"  // what Highway must know, before its first include

#include <hwy/foreach_target.h>  // names this file again for each target; before skim's kernels

#include "skim/attend/layer-inl.h"
#include "skim/estimator/text.h"
#include "skim/train/backward-inl.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

HWY_BEFORE_NAMESPACE();
namespace targets::HWY_NAMESPACE {
namespace {

/// Attention of four query heads over one KV head in storage T. Returns the outputs and lse of all heads.
template <class T>
std::vector<float> attend(const auto& estimator, std::size_t n, std::size_t d) {
  std::uint32_t seed = 1;
  const auto number = [&seed] {
    seed = seed * 1664525u + 1013904223u;
    return static_cast<float>(seed >> 8) / 8388608.0f - 1.0f;  // in [-1, 1)
  };
  const std::size_t row = skim::row_values<T>(d);
  std::vector<float> q(4 * d), numbers(d);
  std::vector<T> k(n * row), v(n * row);
  for (float& x : q) x = 3 * number();
  for (auto* rows : {&k, &v}) {
    for (std::size_t i = 0; i < n; ++i) {
      for (float& x : numbers) x = number();
      skim::from_floats(numbers.data(), d, rows->data() + i * row);
    }
  }

  skim::Query query;
  query.rows = {q.data(), 4, d};
  const skim::ContiguousKv<T> kv{{k.data(), n, d}, {v.data(), n, d}};
  std::vector<float> result(4 * d + 4);
  skim::Workspace ws;
  skim::HWY_NAMESPACE::attend(estimator, query, kv, skim::StateView{{result.data(), 4, d}, result.data() + 4 * d}, ws);
  return result;
}

/// Every estimator in float, and one in the other storage types: they share all that follows a logit.
std::vector<float> attend_all(std::string_view estimator, std::size_t n, std::size_t d) {
  std::vector<float> all = attend<float>(skim::parse(estimator), n, d);
  for (const auto& more : {attend<skim::F16>(skim::TopK{30}, n, d), attend<skim::BF16>(skim::TopK{30}, n, d),
                           attend<skim::I8>(skim::TopK{30}, n, d), attend<skim::I8>(skim::Dense{}, n, d)}) {
    all.insert(all.end(), more.begin(), more.end());
  }
  return all;
}

/// Sums of a scan, key by key and component by component, of a sketch of 512 keys: how many are not those of a plain loop.
template <int kBits>
std::size_t wrong_sums(std::size_t d, std::size_t heads) {
  namespace kernel = skim::HWY_NAMESPACE;
  constexpr std::size_t kKeys = kernel::kCodeBlock<kBits>;
  std::uint32_t seed = 3;
  const auto numbers = [&seed](std::size_t count) {
    std::vector<float> all(count);
    for (float& x : all) {
      seed = seed * 1664525u + 1013904223u;
      x = static_cast<float>(seed >> 8) / 8388608.0f - 1.0f;
    }
    return all;
  };
  const auto keys = numbers(512 * d), q = numbers(heads * d);
  const skim::ContiguousKv<float> kv{{keys.data(), 512, d}, {keys.data(), 512, d}};
  skim::Sketch<kBits> sketch;
  kernel::append(sketch, kv);
  skim::Query query;
  query.rows = {q.data(), heads, d};
  skim::Workspace ws;
  const auto queries = kernel::sketch_queries(query.resolved(512), sketch, ws);
  const std::size_t size = skim::Sketch<kBits>::code_dim(d);
  std::vector<float> sums(heads * kKeys);
  std::size_t wrong = 0;
  for (std::size_t first = 0; first < 512; first += kKeys) {
    const std::uint8_t* codes = skim::SketchAccess::codes(sketch).data() + first * size * kBits / 8;
    kernel::block_sums<kBits>(codes, size, queries.heads, heads, sums.data());
    for (std::size_t h = 0; h < heads; ++h) {
      for (std::size_t t = 0; t < kKeys; ++t) {
        std::int64_t sum = 0;
        for (std::size_t c = 0; c < size; c += kBits == 1 ? 4 : 1) {
          const auto place = kernel::code_place<kBits>(t, c);
          const int code = codes[place.byte] >> place.shift;
          if constexpr (kBits == 1) sum += queries.heads[h].table[c * 4 + static_cast<std::size_t>(code & 15)];
          if constexpr (kBits == 4) sum += ((code & 15) - 8) * queries.heads[h].row[c];
          if constexpr (kBits == 8) sum += static_cast<std::int8_t>(code) * queries.heads[h].row[c];
        }
        wrong += sums[h * kKeys + t] == static_cast<float>(sum) ? 0u : 1u;
      }
    }
  }
  return wrong;
}

std::size_t all_wrong_sums(std::size_t d, std::size_t heads) {
  return wrong_sums<1>(d, heads) + wrong_sums<4>(d, heads) + wrong_sums<8>(d, heads);
}

/// Top-k by an index that must find what the keys say: by bounds, and among more candidates than its error can hide.
/// Returns how many numbers of the results are not those by the keys.
template <class T>
std::size_t wrong_by_index(std::size_t n, std::size_t d) {
  std::vector<float> numbers(d), q(2 * d);
  std::vector<T> k(n * skim::row_values<T>(d));
  std::uint32_t seed = 5;
  const auto number = [&seed] {
    seed = seed * 1664525u + 1013904223u;
    return static_cast<float>(seed >> 8) / 8388608.0f - 1.0f;
  };
  for (float& x : q) x = 3 * number();
  for (std::size_t i = 0; i < n; ++i) {
    for (float& x : numbers) x = number();
    skim::from_floats(numbers.data(), d, k.data() + i * skim::row_values<T>(d));
  }
  const skim::ContiguousKv<T> kv{{k.data(), n, d}, {k.data(), n, d}};
  skim::Sketch1 one;
  skim::Sketch4 four;
  skim::Sketch8 eight;
  skim::HWY_NAMESPACE::append(one, kv);
  skim::HWY_NAMESPACE::append(four, kv);
  skim::HWY_NAMESPACE::append(eight, kv);
  const auto indexed = skim::with_index(kv, one, four, eight);
  skim::Query query;
  query.rows = {q.data(), 2, d};
  skim::Workspace ws;
  const auto result = [&](std::string_view text) {
    std::vector<float> out(2 * d + 2);
    skim::HWY_NAMESPACE::attend(skim::parse(text), query, indexed, skim::StateView{{out.data(), 2, d}, out.data() + 2 * d}, ws);
    return out;
  };
  const std::vector<float> expected = result("sinks(1)+topk(10)");
  std::size_t wrong = 0;
  for (const char* text : {"sinks(1)+topk(10,by=sketch8,exact)", "sinks(1)+topk(10,by=sketch8,candidates=100)",
                           "sinks(1)+topk(10,by=sketch4,candidates=300)", "sinks(1)+topk(10,by=sketch1,candidates=850)"}) {
    const std::vector<float> got = result(text);
    for (std::size_t i = 0; i < got.size(); ++i) wrong += got[i] == expected[i] ? 0u : 1u;
  }
  return wrong;
}

std::size_t all_wrong_by_index(std::size_t n, std::size_t d) {
  return wrong_by_index<float>(n, d) + wrong_by_index<skim::BF16>(n, d) + wrong_by_index<skim::I8>(n, d);
}

/// Fingerprints of the pages of boxes of 64 keys of d columns.
std::vector<std::uint64_t> fingerprints(std::size_t d) {
  std::vector<float> keys(64 * d);
  for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<float>(i * i % 1009) / 7.0f - 60.0f;
  skim::PageBoxes boxes;
  skim::HWY_NAMESPACE::append(boxes, skim::ContiguousKv<float>{{keys.data(), 64, d}, {keys.data(), 64, d}});
  const auto& all = boxes.fingerprints();
  return {all.data(), all.data() + all.size()};
}

/// Gradients of 200 rows of four query heads on one KV head: dq, dk, dv and dsink.
std::vector<float> gradients(std::string_view estimator, std::size_t d) {
  constexpr std::size_t kRows = 200, kHeads = 4;
  std::uint32_t seed = 7;
  const auto numbers = [&seed](std::size_t count) {
    std::vector<float> all(count);
    for (float& x : all) {
      seed = seed * 1664525u + 1013904223u;
      x = static_cast<float>(seed >> 8) / 8388608.0f - 1.0f;
    }
    return all;
  };
  const auto q = numbers(kRows * kHeads * d), k = numbers(kRows * d), v = numbers(kRows * d), sinks = numbers(kHeads);
  const auto dout = numbers(kRows * kHeads * d);
  const std::vector<skim::ContiguousKv<float>> views{{{k.data(), kRows, d}, {v.data(), kRows, d}}};
  const skim::LayerKv<skim::ContiguousKv<float>> kv{views, 1};
  skim::LayerQuery query;
  query.rows = {q.data(), kRows, kHeads, d};
  query.sink_logits = sinks.data();
  std::vector<float> out(kRows * kHeads * d), lse(kRows * kHeads), all((kHeads + 2) * kRows * d + kHeads);
  float* dk = all.data() + kHeads * kRows * d;
  const std::vector<skim::KvGradient> dkv{{{dk, kRows, d}, {dk + kRows * d, kRows, d}}};
  const skim::LayerState state{{out.data(), kRows, kHeads, d}, lse.data()};
  skim::SelectionRecord record;
  skim::Options options;
  options.record = &record;
  skim::HWY_NAMESPACE::attend(skim::parse(estimator), query, kv, state, options);
  skim::HWY_NAMESPACE::backward(record, query, kv,
                                skim::LayerGradients{state, {dout.data(), kRows, kHeads, d}, {all.data(), kRows, kHeads, d},
                                                     dkv, all.data() + (kHeads + 2) * kRows * d});
  return all;
}

std::int64_t this_target() { return HWY_TARGET; }

}  // namespace
}  // namespace targets::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <gtest/gtest.h>

#include <cstdio>

namespace targets {
namespace {

HWY_EXPORT(attend_all);
HWY_EXPORT(this_target);
HWY_EXPORT(gradients);
HWY_EXPORT(all_wrong_sums);
HWY_EXPORT(all_wrong_by_index);
HWY_EXPORT(fingerprints);

TEST(Targets, AllGiveTheSameAnswers) {
  const std::vector<std::int64_t> targets = hwy::SupportedAndGeneratedTargets();
  for (const std::int64_t target : targets) std::printf("%s ", hwy::TargetName(target));
  std::printf("are compared\n");
  ASSERT_GE(targets.size(), 2u) << "one target proves nothing";

  const char* const estimators[] = {"dense",
                                    "topk(30)",
                                    "topp(0.9)",
                                    "sinks(4)+window(20)+topk(power(2,0.5))",
                                    "uniform(40)",
                                    "multinomial(40)",
                                    "systematic(40)",
                                    "poisson(40)",
                                    "sinks(4)+window(20)+priority(40)"};
  for (const char* estimator : estimators) {
    for (const std::size_t d : {1u, 7u, 64u, 65u}) {
      const std::size_t n = 1000;
      std::vector<float> expected;
      for (const std::int64_t target : targets) {
        hwy::SetSupportedTargetsForTest(target);
        ASSERT_EQ(HWY_DYNAMIC_DISPATCH(this_target)(), target);
        const std::vector<float> got = HWY_DYNAMIC_DISPATCH(attend_all)(estimator, n, d);
        hwy::SetSupportedTargetsForTest(0);
        if (expected.empty()) {
          expected = got;
          continue;
        }
        for (std::size_t i = 0; i < got.size(); ++i) {
          ASSERT_NEAR(got[i], expected[i], 2e-5)
              << estimator << ", d = " << d << ", value " << i << ": " << hwy::TargetName(target) << " against "
              << hwy::TargetName(targets.front());
        }
      }
    }
  }
}

/// Calls visit() once for each target of this machine.
template <class Visit>
void on_each_target(const Visit& visit) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    visit();
    hwy::SetSupportedTargetsForTest(0);
  }
}

TEST(Targets, AllHaveTheSameGradients) {
  for (const char* estimator : {"dense", "sinks(4)+window(20)+topk(9)", "topk(9)+priority(20)"}) {
    for (const std::size_t d : {1u, 7u, 64u, 65u}) {
      std::vector<float> expected;
      on_each_target([&] {
        const std::vector<float> got = HWY_DYNAMIC_DISPATCH(gradients)(estimator, d);
        if (expected.empty()) expected = got;
        for (std::size_t i = 0; i < got.size(); ++i) {
          ASSERT_NEAR(got[i], expected[i], 2e-5 * (1 + std::abs(expected[i]))) << estimator << ", d = " << d << ", " << i;
        }
      });
    }
  }
}

TEST(Targets, SumsOfSketchesAreThoseOfAPlainLoop) {
  on_each_target([] {
    for (const std::size_t d : {1u, 7u, 8u, 46u, 64u, 80u, 128u, 512u}) {
      for (std::size_t heads = 1; heads <= 8; ++heads) {
        EXPECT_EQ(HWY_DYNAMIC_DISPATCH(all_wrong_sums)(d, heads), 0u) << "d " << d << ", " << heads << " heads";
      }
    }
  });
}

TEST(Targets, IndexesFindWhatTheKeysSay) {
  on_each_target([] {
    for (const std::size_t d : {3u, 64u, 65u}) EXPECT_EQ(HWY_DYNAMIC_DISPATCH(all_wrong_by_index)(1000, d), 0u) << d;
  });
}

TEST(Targets, AllHaveTheSameFingerprints) {
  for (const std::size_t d : {1u, 7u, 16u, 65u}) {
    std::vector<std::uint64_t> expected;
    on_each_target([&] {
      const std::vector<std::uint64_t> got = HWY_DYNAMIC_DISPATCH(fingerprints)(d);
      EXPECT_EQ(got.size(), 4u);
      if (expected.empty()) expected = got;
      EXPECT_EQ(got, expected) << "d = " << d;
    });
  }
}

}  // namespace
}  // namespace targets

#endif  // HWY_ONCE

// SPDX-License-Identifier: Apache-2.0
// A user's translation unit that picks the best SIMD target at run time. It is compiled without -march;
// Highway compiles it once for each target, and every target this machine has must give the same answers.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "packaging/targets_test.cc"

#include "skim/core/config.h"  // what Highway must know, before its first include

#include <hwy/foreach_target.h>  // names this file again for each target; before skim's kernels

#include "skim/attend/layer-inl.h"

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

}  // namespace
}  // namespace targets

#endif  // HWY_ONCE

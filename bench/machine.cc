// SPDX-License-Identifier: Apache-2.0
#include "bench/machine.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "skim/kernel/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim_bench::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

float sum_of(const float* p, std::size_t count) {
  const hn::ScalableTag<float> tag;
  const std::size_t lanes = hn::Lanes(tag);
  auto s0 = hn::Zero(tag), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  for (std::size_t i = 0; i + 8 * lanes <= count; i += 8 * lanes) {
    s0 = hn::Add(s0, hn::Load(tag, p + i));
    s1 = hn::Add(s1, hn::Load(tag, p + i + lanes));
    s2 = hn::Add(s2, hn::Load(tag, p + i + 2 * lanes));
    s3 = hn::Add(s3, hn::Load(tag, p + i + 3 * lanes));
    s4 = hn::Add(s4, hn::Load(tag, p + i + 4 * lanes));
    s5 = hn::Add(s5, hn::Load(tag, p + i + 5 * lanes));
    s6 = hn::Add(s6, hn::Load(tag, p + i + 6 * lanes));
    s7 = hn::Add(s7, hn::Load(tag, p + i + 7 * lanes));
  }
  const auto sum =
      hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), hn::Add(hn::Add(s4, s5), hn::Add(s6, s7)));
  return hn::GetLane(hn::SumOfLanes(tag, sum));
}

}  // namespace
}  // namespace skim_bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

namespace skim_bench {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "g++ " __VERSION__;
#endif
}

// The exact flags when the build hands them over, otherwise what can be seen from here.
std::string flags() {
#if defined(SKIM_BENCH_FLAGS)
  return SKIM_BENCH_FLAGS;
#else
  std::string seen;
#if defined(__OPTIMIZE__)
  seen += "optimised";
#else
  seen += "NOT OPTIMISED";
#endif
#if defined(NDEBUG)
  seen += ", NDEBUG";
#endif
#if defined(__AVX2__)
  seen += ", avx2";
#endif
#if defined(__FMA__)
  seen += ", fma";
#endif
#if defined(__F16C__)
  seen += ", f16c";
#endif
#if defined(__AVX512F__)
  seen += ", avx512f";
#endif
#if defined(__AVX512VNNI__)
  seen += ", avx512vnni";
#endif
#if defined(__AVX512BF16__)
  seen += ", avx512bf16";
#endif
  return seen;
#endif
}

}  // namespace

std::size_t last_level_cache() {
  const std::string size = first_line("/sys/devices/system/cpu/cpu0/cache/index3/size");  // "32768K"
  return size.empty() ? 32 * kMiB : std::stoull(size) * 1024;
}

void ReadLoop::run(Pool& pool, std::size_t bytes) {
  constexpr std::size_t kStep = 4096;  // of each thread's part, in floats
  const std::size_t step = kStep * pool.threads() * sizeof(float);
  bytes = std::min(bytes, memory_.size()) / step * step;
  if (next_ + bytes > memory_.size()) next_ = 0;
  const auto* data = reinterpret_cast<const float*>(memory_.data() + next_);
  const std::size_t each = bytes / sizeof(float) / pool.threads();
  std::atomic<float> sum{0};
  pool.each(pool.threads(), [&](std::size_t i, std::size_t) {
    sum.store(HWY_NAMESPACE::sum_of(data + i * each, each), std::memory_order_relaxed);
  });
  benchmark::DoNotOptimize(sum_ = sum.load());
  next_ += bytes;
}

ReadLoop& Machine::read_loop() {
  static ReadLoop loop(std::max(512 * kMiB, 4 * last_level_cache()));
  return loop;
}

void Machine::flush(Pool& pool) {
  static ReadLoop other(std::max(128 * kMiB, 2 * last_level_cache()));
  other.run(pool, other.bytes());
}

Pool& Machine::pool(std::size_t threads) {
  static std::map<std::size_t, std::unique_ptr<Pool>> pools;
  auto& pool = pools[threads];
  if (!pool) pool = std::make_unique<Pool>(threads);
  return *pool;
}

std::string reason_to_refuse() {
  const std::string target = hwy::TargetName(HWY_TARGET);
#if HWY_ARCH_X86
  if (HWY_TARGET > HWY_AVX2) {
    return "built for " + target + ", slower than AVX2: rebuild with -march=native (or x86-64-v3)";
  }
#if defined(__AVX512F__)
  const bool runs = __builtin_cpu_supports("avx512f") != 0;
#else
  const bool runs = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
#endif
  if (!runs) return "built for " + target + ", which this machine does not have";
#endif
#if !defined(__OPTIMIZE__)
  return "built without optimisation: use the release preset";
#endif
  return "";
}

void add_machine_context() {
  benchmark::AddCustomContext("SIMD target", hwy::TargetName(HWY_TARGET));
  benchmark::AddCustomContext("compiler", compiler());
  benchmark::AddCustomContext("flags", flags());
  benchmark::AddCustomContext("last-level cache", std::to_string(last_level_cache() / kMiB) + " MiB");
  benchmark::AddCustomContext("transparent huge pages",
                              first_line("/sys/kernel/mm/transparent_hugepage/enabled"));
}

}  // namespace skim_bench

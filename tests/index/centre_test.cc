// SPDX-License-Identifier: Apache-2.0
// Of which rows is the centre of a segment the mean?
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "bench/synthetic.h"
#include "skim/index/centre-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// The rows of a segment that are not in its centre.
std::vector<std::size_t> outliers(const std::vector<float>& rows, std::size_t d, std::vector<BF16>* centre = nullptr) {
  const std::size_t count = rows.size() / d;
  Buffer<bool> in;
  in.resize(count);
  std::fill_n(in.data(), count, true);
  std::vector<BF16> mean(d);
  std::vector<float> scratch(centre_scratch(count, d));
  centre_of(rows.data(), in.data(), count, d, mean.data(), scratch.data());
  if (centre) *centre = mean;
  std::vector<std::size_t> result;
  for (std::size_t t = 0; t < count; ++t) {
    if (!in[t]) result.push_back(t);
  }
  return result;
}

std::vector<float> gaussian(std::size_t count, std::size_t d, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> rows(count * d);
  for (float& x : rows) x = normal(generator);
  return rows;
}

// Ordinary keys have no outliers, so that their centre has the bits of a plain mean.
TEST(Centre, OfOrdinaryKeysIsTheirMean) {
  for (const std::size_t d : {1u, 2u, 8u, 33u, 128u}) {
    for (const std::size_t count : {64u, 256u, 2048u}) {
      for (unsigned seed = 0; seed < 10; ++seed) {
        const auto rows = gaussian(count, d, seed);
        std::vector<BF16> centre, mean(d);
        EXPECT_EQ(outliers(rows, d, &centre).size(), 0u) << d << " channels";
        Buffer<bool> in;
        in.resize(count);
        std::fill_n(in.data(), count, true);
        mean_of(rows.data(), in.data(), count, d, mean.data());
        for (std::size_t c = 0; c < d; ++c) EXPECT_EQ(centre[c].bits, mean[c].bits);
      }
    }
  }
  // Channels of another size, sinks and needles, heavy hitters, clusters.
  for (const auto& preset : skim_bench::workload_detail::kPresets) {
    skim_bench::SyntheticHead head;
    skim_bench::make_head(skim_bench::parse_workload(preset.name), 4096, 64, 1, 1, head);
    for (const std::size_t count : {64u, 256u}) {
      for (std::size_t first = 0; first < 4096; first += count) {
        const auto at = head.keys.begin() + static_cast<std::ptrdiff_t>(first * 64);
        EXPECT_EQ(outliers({at, at + static_cast<std::ptrdiff_t>(count * 64)}, 64).size(), 0u) << preset.name;
      }
    }
  }
  EXPECT_EQ(outliers(std::vector<float>(256 * 4, 0.1f), 4).size(), 0u) << "all alike";
}

// Of whatever size, whichever hides which, beside an offset that all share.
TEST(Centre, LeavesOutOutliers) {
  for (const float offset : {0.0f, 50.0f}) {
    auto rows = gaussian(256, 16, 1);
    for (float& x : rows) x += offset;
    const float sizes[] = {1e30f, -1e15f, 65504, 1e4f, -700};
    for (std::size_t j = 0; j < 5; ++j) rows[(j * 50 + 3) * 16 + j] = sizes[j];
    std::vector<BF16> centre;
    EXPECT_EQ(outliers(rows, 16, &centre), (std::vector<std::size_t>{3, 53, 103, 153, 203}));
    for (const BF16 x : centre) EXPECT_NEAR(to_float(x), offset, 0.5);
  }
  auto rows = gaussian(256, 16, 2);
  for (std::size_t t = 0; t < 15; ++t) std::fill_n(rows.begin() + static_cast<std::ptrdiff_t>(t * 16), 16, 1e4f);
  EXPECT_EQ(outliers(rows, 16).size(), 15u) << "all on one side";
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

// SPDX-License-Identifier: Apache-2.0
// Are buckets in order, whether codes or smaller parts made them?
#include "skim/index/lsh_parts-inl.h"

#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "support/indexes.h"

namespace skim::test {
namespace {

using HWY_NAMESPACE::kLshSlack;
using HWY_NAMESPACE::LshPart;
using HWY_NAMESPACE::LshRun;

/// Positions by bucket, and where each bucket begins.
struct Sorted {
  std::vector<std::uint16_t> starts, positions;
};

Sorted sorted_by_hand(const std::vector<std::uint16_t>& codes, std::size_t buckets) {
  Sorted sorted;
  for (std::size_t b = 0; b < buckets; ++b) {
    sorted.starts.push_back(static_cast<std::uint16_t>(sorted.positions.size()));
    for (std::size_t i = 0; i < codes.size(); ++i) {
      if (codes[i] == b) sorted.positions.push_back(static_cast<std::uint16_t>(i));
    }
  }
  return sorted;
}

/// Codes of which half are of one bucket; `all_in_one`: all.
std::vector<std::uint16_t> random_codes(std::size_t size, std::size_t buckets, bool all_in_one, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::uint16_t> codes(size);
  for (auto& code : codes)
    code = static_cast<std::uint16_t>(all_in_one || random() % 2 == 0 ? buckets - 1 : random() % buckets);
  return codes;
}

TEST(LshParts, OfCodesAndBack) {
  for (const std::size_t buckets : {2u, 8u, 256u}) {
    for (const bool all_in_one : {false, true}) {
      const auto codes = random_codes(32768, buckets, all_in_one, buckets);
      const Sorted expected = sorted_by_hand(codes, buckets);
      Sorted sorted{std::vector<std::uint16_t>(buckets), std::vector<std::uint16_t>(codes.size())};
      HWY_NAMESPACE::sort_by_code(codes.data(), codes.size(), buckets, sorted.starts.data(), sorted.positions.data());
      EXPECT_EQ(sorted.starts, expected.starts);
      EXPECT_EQ(sorted.positions, expected.positions);
      std::vector<std::uint16_t> again(codes.size());
      HWY_NAMESPACE::read_codes(LshPart{0, codes.size(), sorted.starts.data(), sorted.positions.data()}, 0, buckets,
                                again.data());
      EXPECT_EQ(again, codes);
    }
  }
}

TEST(LshParts, OfRunsOneBehindTheOther) {
  for (const std::size_t buckets : {2u, 64u, 1024u}) {
    for (const bool all_in_one : {false, true}) {
      const std::vector<std::size_t> sizes = {16384, 8192, 2048, 1024, 1024, 64};
      std::vector<std::uint16_t> codes;
      std::vector<Sorted> parts;
      std::vector<LshRun> runs;
      for (std::size_t r = 0; r < sizes.size(); ++r) {
        const auto part = random_codes(sizes[r], buckets, all_in_one, r);
        parts.push_back(sorted_by_hand(part, buckets));
        parts.back().positions.resize(sizes[r] + kLshSlack, 0xFFFF);
        runs.push_back({parts.back().starts.data(), parts.back().positions.data(), sizes[r], codes.size()});
        codes.insert(codes.end(), part.begin(), part.end());
      }
      Sorted merged{std::vector<std::uint16_t>(buckets), std::vector<std::uint16_t>(codes.size() + kLshSlack)};
      HWY_NAMESPACE::merge_runs(runs.data(), runs.size(), buckets, merged.starts.data(), merged.positions.data());
      merged.positions.resize(codes.size());
      const Sorted expected = sorted_by_hand(codes, buckets);
      EXPECT_EQ(merged.starts, expected.starts);
      EXPECT_EQ(merged.positions, expected.positions);
    }
  }
}

// Buckets of thousands and buckets of nothing, in parts of every size: grown as made at once.
TEST(LshParts, GrowBucketByBucket) {
  for (const std::size_t bits : {1u, 6u, 16u}) {
    const std::size_t number = bits == 16 ? 1 : 3;
    const auto p = random_problem<float>({16384, 5, 1, 1}, bits);
    const auto first_of = [&](std::size_t n) {
      auto kv = p.kv();
      kv.keys.rows = kv.values.rows = n;
      return kv;
    };
    LshTables grown(std::make_shared<const LshPlanes>(5, bits, number, 1));
    for (std::size_t n = 64; n <= 16384; n += 64) {
      append(grown, first_of(n));
      if (n % 1024 != 0) continue;
      ASSERT_TRUE(same_tables(grown, lsh_tables_of(first_of(n), bits, number, 1, 16384))) << bits << " bits, " << n;
    }
  }
}

}  // namespace
}  // namespace skim::test

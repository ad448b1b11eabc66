// SPDX-License-Identifier: Apache-2.0
// Does a fingerprint tell rows apart by what is stored, and by nothing else?
#include "skim/index/fingerprint-inl.h"

#include <cstdint>
#include <cstring>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "support/any_index.h"
#include "support/layouts.h"

namespace skim::test {
namespace {

using HWY_NAMESPACE::fingerprint;

template <class K>
struct Fingerprint : testing::Test {};
using Storages = testing::Types<float, F16, BF16, I8>;
TYPED_TEST_SUITE(Fingerprint, Storages);

/// RowHash in plain words.
template <class K>
std::uint64_t plain_hash(const Problem<K>& p) {
  constexpr std::uint64_t kKeys[8] = {0x243F6A8885A308D3u, 0x13198A2E03707344u, 0xA4093822299F31D0u, 0x082EFA98EC4E6C89u,
                                      0x452821E638D01377u, 0xBE5466CF34E90C6Cu, 0xC0AC29B7C97C50DDu, 0x3F84D5B5B5470917u};
  std::uint64_t lanes[8] = {}, step = 0;
  for (std::size_t i = 0; i < p.shape.n; ++i) {
    const std::size_t size = row_values<K>(p.shape.d) * sizeof(K), stripes = (size + 63) / 64;
    std::uint8_t bytes[1024] = {};
    const auto* row = reinterpret_cast<const std::uint8_t*>(row_at(p.keys, i, p.shape.d));
    for (std::size_t b = 0; b < size; ++b) bytes[b] = row[b];
    for (std::size_t s = 0; s < stripes; ++s, ++step) {
      for (std::size_t lane = 0; lane < 8; ++lane) {
        std::uint64_t x;
        std::memcpy(&x, bytes + s * 64 + lane * 8, 8);
        const std::uint64_t keyed = x ^ (kKeys[lane] + step * 0x9E3779B97F4A7C15u);
        lanes[lane] += x + (keyed & 0xFFFFFFFFu) * (keyed >> 32);
      }
    }
  }
  std::uint64_t h = step;
  for (const std::uint64_t lane : lanes) {
    h ^= lane;
    h = (h ^ h >> 33) * 0xFF51AFD7ED558CCDu;
    h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53u;
    h ^= h >> 33;
  }
  return h;
}

// The width of vectors changes nothing.
TYPED_TEST(Fingerprint, IsTheHashInPlainWords) {
  for (const std::size_t d : {1u, 3u, 12u, 16u, 32u, 60u, 64u, 100u, 128u}) {
    for (const std::size_t n : {1u, 15u, 16u, 33u}) {
      const auto p = random_problem<TypeParam>({n, d, 1, 1}, d + n);
      EXPECT_EQ(fingerprint<Sketch4>(p.kv(), {0, static_cast<Position>(n)}), plain_hash(p)) << n << " keys of " << d;
    }
  }
}

TYPED_TEST(Fingerprint, DoesNotDependOnWhereRowsLie) {
  for (const std::size_t d : {1u, 20u, 64u}) {
    const auto p = random_problem<TypeParam>({100, d, 5, 1}, d);
    const skim::Span run{17, 81};
    const Strided<TypeParam, TypeParam> strided(p, 3, 2);
    EXPECT_EQ(fingerprint<PageMeans>(p.kv(), run), fingerprint<PageMeans>(strided.kv(), run));
    for (const std::size_t page : {1u, 7u, 16u}) {
      const InPages<TypeParam, TypeParam> pages(p, page, Adjacency::kAdjacent);
      EXPECT_EQ(fingerprint<PageMeans>(p.kv(), run), fingerprint<PageMeans>(pages.kv(), run)) << page;
    }
  }
}

// Every byte of a row, the scale of int8 with it; and the order of rows.
TYPED_TEST(Fingerprint, TellsEveryBitOfEveryRow) {
  for (const std::size_t d : {1u, 7u, 24u, 33u}) {
    auto p = random_problem<TypeParam>({32, d, 1, 1}, d);
    const skim::Span all{0, 32};
    std::set<std::uint64_t> seen = {fingerprint<Sketch4>(p.kv(), all)};
    std::size_t asked = 1;
    const auto expect_new = [&] {
      EXPECT_TRUE(seen.insert(fingerprint<Sketch4>(p.kv(), all)).second) << "number " << asked;
      ++asked;
    };
    const std::size_t size = row_values<TypeParam>(d) * sizeof(TypeParam);
    for (const std::size_t row : {0u, 15u, 16u, 31u}) {
      auto* bytes = reinterpret_cast<std::uint8_t*>(row_at(p.keys, row, d));
      for (std::size_t b = 0; b < size; ++b) {
        for (const int bit : {0, 7}) {
          bytes[b] = static_cast<std::uint8_t>(bytes[b] ^ (1 << bit));
          expect_new();
          bytes[b] = static_cast<std::uint8_t>(bytes[b] ^ (1 << bit));
        }
      }
    }
    for (const std::size_t row : {1u, 30u}) {
      std::swap_ranges(row_at(p.keys, 0, d), row_at(p.keys, 1, d), row_at(p.keys, row, d));
      expect_new();
      std::swap_ranges(row_at(p.keys, 0, d), row_at(p.keys, 1, d), row_at(p.keys, row, d));
    }
    // All signs at once: nothing cancels.
    for (auto& x : p.keys) reinterpret_cast<std::uint8_t*>(&x)[sizeof(x) - 1] ^= 0x80;
    expect_new();
  }
}

TEST(Fingerprint, ValuesCountWhereAnIndexIsOfThem) {
  auto p = random_problem<float>({64, 8, 8, 1}, 1);
  const std::uint64_t keys = fingerprint<PageBoxes>(p.kv(), {0, 64}), both = fingerprint<PageMeans>(p.kv(), {0, 64});
  p.values[100] += 1;
  EXPECT_EQ(fingerprint<PageBoxes>(p.kv(), {0, 64}), keys);
  EXPECT_NE(fingerprint<PageMeans>(p.kv(), {0, 64}), both);
}

}  // namespace
}  // namespace skim::test

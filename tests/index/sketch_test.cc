// SPDX-License-Identifier: Apache-2.0
// Does a sketch depend on the keys alone, however they came; does it hold what it says, in as many bytes?
#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <type_traits>

#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "support/indexes.h"
#include "support/layouts.h"

namespace skim::test {
namespace {

constexpr std::size_t kWidths[] = {1, 3, 7, 8, 46, 64, 80, 96, 128, 192, 256, 1024};

/// The first n positions of a problem.
/// Calls visit(K{}) for each type that keys are stored in.
template <class Visit>
void for_each_storage(const Visit& visit) {
  visit(float{});
  visit(F16{});
  visit(BF16{});
  visit(I8{});
}

template <class S>
struct SketchOf : testing::Test {};
using AllSketches = testing::Types<Sketch1, Sketch4, Sketch8>;
TYPED_TEST_SUITE(SketchOf, AllSketches);

// ---- equal keys, equal bits -------------------------------------------------------------------------------------

TYPED_TEST(SketchOf, OneByOneIsInBulkIsAfterATruncate) {
  for (const std::size_t d : kWidths) {
    for_each_storage([&](auto storage) {
      using K = decltype(storage);
      SCOPED_TRACE(testing::Message() << "d " << d << ", " << sizeof(K) << " bytes a value");
      const std::size_t n = 540;
      auto p = random_problem<K>({n, d, 1, 1}, d);
      for (const std::size_t i : {255u, 256u, 511u}) {  // noted, where segments begin and end
        store_row(std::vector<double>(d, kNan).data(), d, row_at(p.keys, i, d));
      }
      const TypeParam bulk = sketch_of<TypeParam>(p.kv());
      EXPECT_EQ(bulk.size(), 540);
      EXPECT_EQ(bulk.key_dim(), d);
      EXPECT_EQ(bulk.segments(), 2u);
      TypeParam grown;
      for (std::size_t i = 1; i <= n; ++i) append(grown, first_of(p, i));
      EXPECT_TRUE(same_sketch(grown, bulk)) << "one by one";
      for (const Position cut : {539, 513, 512, 511, 257, 256, 255, 1, 0}) {
        truncate(grown, p.kv(), cut);
        EXPECT_TRUE(same_sketch(grown, sketch_of<TypeParam>(first_of(p, static_cast<std::size_t>(cut))))) << cut;
        append(grown, p.kv());
        EXPECT_TRUE(same_sketch(grown, bulk)) << "cut to " << cut;
      }
    });
  }
}

TYPED_TEST(SketchOf, PagesAndStridesChangeNoBit) {
  for (const std::size_t d : {1u, 46u, 128u}) {
    for_each_storage([&](auto storage) {
      using K = decltype(storage);
      const auto p = random_problem<K>({600, d, 2, 1}, d);
      const TypeParam flat = sketch_of<TypeParam>(p.kv());
      for (const std::size_t page_size : {1u, 3u, 16u, 256u}) {
        for (const Adjacency adjacency : {Adjacency::kApart, Adjacency::kAdjacent}) {
          const InPages<K, K> pages(p, page_size, adjacency);
          EXPECT_TRUE(same_sketch(sketch_of<TypeParam>(pages.kv()), flat)) << "pages of " << page_size;
        }
      }
      const Strided<K, K> strided(p, 5, 3);
      EXPECT_TRUE(same_sketch(sketch_of<TypeParam>(strided.kv()), flat));
    });
  }
}

/// A cache that grows, is cut and is written over at random, with keys that are not finite now and then; after each
/// step its sketch must be that of a fresh start.
template <class S, class K>
void expect_fresh_after_every_step(std::size_t d, unsigned seed, bool paged) {
  constexpr std::size_t kRoom = 1400;
  auto p = random_problem<K>({kRoom, d, 1, 1}, seed);
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal;
  std::size_t n = 0;
  S sketch;
  std::vector<double> row(d);
  for (int step = 0; step < 120; ++step) {
    std::size_t from = n;
    switch (generator() % 5) {
      case 0: n = std::min(kRoom, n + 1); break;
      case 1: n = std::min(kRoom, n + generator() % 40); break;
      case 2: n = std::min(kRoom, n + generator() % 700); break;
      case 3:
        n = from = n == 0 ? 0 : generator() % (n + 1);
        truncate(sketch, first_of(p, n), static_cast<Position>(n));
        break;
      default:  // written over from somewhere, to somewhere
        from = n == 0 ? 0 : generator() % (n + 1);
        n = std::min(kRoom, from + generator() % 300);
        for (std::size_t i = from; i < n; ++i) {
          for (double& x : row) x = 3 + normal(generator);
          if (generator() % 50 == 0) row[generator() % d] = generator() % 2 == 0 ? kNan : kInf;
          store_row(row.data(), d, row_at(p.keys, i, d));
        }
    }
    if (paged) {
      const InPages<K, K> pages(part_of(p, n), 7, Adjacency::kApart, seed + static_cast<unsigned>(step));
      append(sketch, pages.kv(), static_cast<Position>(from));
    } else {
      append(sketch, first_of(p, n), static_cast<Position>(from));
    }
    ASSERT_TRUE(same_sketch(sketch, sketch_of<S>(first_of(p, n)))) << "step " << step << ": " << from << " to " << n;
  }
}

TYPED_TEST(SketchOf, IsFreshAfterALongHistory) {
  for_each_storage([](auto storage) {
    using K = decltype(storage);
    for (const std::size_t d : {3u, 40u}) {
      expect_fresh_after_every_step<TypeParam, K>(d, 1, false);
      expect_fresh_after_every_step<TypeParam, K>(d, 2, true);
    }
  });
}

// ---- what it holds ----------------------------------------------------------------------------------------------

TYPED_TEST(SketchOf, BytesAreCountedExactly) {
  constexpr std::size_t kBits = TypeParam::kSource == Source::kSketch1 ? 1 : TypeParam::kSource == Source::kSketch4 ? 4 : 8;
  for (const std::size_t d : kWidths) {
    auto p = random_problem<float>({800, d, 1, 1}, d);
    p.keys[70 * d] = NAN;
    p.keys[600 * d] = INFINITY;
    p.keys[790 * d] = NAN;  // in no segment
    for (const std::size_t n : {0u, 1u, 255u, 256u, 512u, 800u}) {
      const TypeParam sketch = sketch_of<TypeParam>(first_of(p, n));
      const std::size_t segments = n / 256, unsketched = (n >= 256 ? 1u : 0u) + (n >= 768 ? 1u : 0u);
      const std::size_t group = kBits == 1 ? std::max<std::size_t>(8, std::bit_ceil(d)) : 32 / kBits;
      const std::size_t columns = (d + group - 1) / group * group;
      const std::size_t numbers = kBits == 8 ? 2 : 1;  // of 16 bits a key
      EXPECT_EQ(sketch.bytes(), segments * (256 * (columns * kBits / 8 + 2 * numbers) + 2 * d + (kBits == 8 ? 4 : 0) + 8) +
                                    unsketched * 8)
          << d << " columns, " << n << " keys";
    }
  }
}

// The figures of the documentation.
TYPED_TEST(SketchOf, BytesOfAKeyOf128Columns) {
  const auto p = random_problem<BF16>({1024, 128, 1, 1}, 1);
  const double each = static_cast<double>(sketch_of<TypeParam>(p.kv()).bytes()) / 1024;
  // 8 of 256 keys are their hash.
  const double codes = TypeParam::kSource == Source::kSketch1 ? 19 : TypeParam::kSource == Source::kSketch4 ? 67 : 133;
  EXPECT_NEAR(each, codes + 8.0 / 256, 0.02);
}

TYPED_TEST(SketchOf, CentresAreTheMeansOfTheFiniteKeys) {
  for (const std::size_t d : {1u, 7u, 128u}) {
    auto p = random_problem<float>({512, d, 1, 1}, d);
    for (float& x : p.keys) x += 5;
    for (const std::size_t i : {3u, 255u, 256u}) p.keys[i * d + d / 2] = i == 3 ? NAN : INFINITY;
    const TypeParam sketch = sketch_of<TypeParam>(p.kv());
    for (std::size_t segment = 0; segment < 2; ++segment) {
      for (std::size_t c = 0; c < d; ++c) {
        double sum = 0, count = 0;
        for (std::size_t i = segment * 256; i < segment * 256 + 256; ++i) {
          if (i == 3 || i == 255 || i == 256) continue;
          sum += double{p.keys[i * d + c]};
          ++count;
        }
        // Rounded to 8 bits, and 256 times to 24.
        EXPECT_NEAR(centre_of(sketch, segment * 256, c), sum / count, 8 * (0x1p-9 + 256 * 0x1p-24)) << segment;
      }
    }
  }
}

TYPED_TEST(SketchOf, NotesKeysThatAreNotFinite) {
  for_each_storage([](auto storage) {
    using K = decltype(storage);
    constexpr std::size_t d = 20;
    auto p = random_problem<K>({900, d, 1, 1}, 1), zeros = p;
    const std::vector<Position> wrong = {0, 17, 100, 255, 256, 300, 511, 767};
    for (const Position i : wrong) {
      std::vector<double> row(d, 0.5);
      row[static_cast<std::size_t>(i) % d] = i % 3 == 0 ? kNan : i % 3 == 1 ? kInf : -kInf;
      store_row(row.data(), d, row_at(p.keys, static_cast<std::size_t>(i), d));
    }
    store_row(std::vector<double>(d, kNan).data(), d, row_at(p.keys, 800, d));  // no segment holds it yet
    const TypeParam sketch = sketch_of<TypeParam>(p.kv());
    const auto& noted = SketchAccess::unsketched(sketch);
    EXPECT_EQ(std::vector<Position>(noted.begin(), noted.end()), wrong);
    for (std::size_t i = 0; i < 768; ++i) {
      const bool none = std::find(wrong.begin(), wrong.end(), static_cast<Position>(i)) != wrong.end();
      EXPECT_EQ(to_float(SketchAccess::scales(sketch)[i]) == 0, none) << i;
      EXPECT_TRUE(std::isfinite(to_float(SketchAccess::scales(sketch)[i]))) << i;
    }
    for (const BF16 x : SketchAccess::centres(sketch)) EXPECT_TRUE(std::isfinite(to_float(x)));
  });
}

TYPED_TEST(SketchOf, NotesKeysTooLargeToSayAndNothingElse) {
  constexpr std::size_t d = 8;
  auto p = random_problem<float>({256, d, 1, 1}, 1);
  for (const std::size_t i : {5u, 77u}) {
    for (std::size_t c = 0; c < d; ++c) p.keys[i * d + c] = c % 2 == 0 ? 1e20f : -1e20f;
  }
  p.keys[9 * d] = 1e15f;
  const TypeParam sketch = sketch_of<TypeParam>(p.kv());
  const auto& noted = SketchAccess::unsketched(sketch);
  EXPECT_EQ(std::vector<Position>(noted.begin(), noted.end()), (std::vector<Position>{5, 77}));
}

// Sums that overflow, to infinities of either sign and to NaN: what is left in the sketch is finite.
TYPED_TEST(SketchOf, HoldsFiniteNumbersWhateverTheKeys) {
  for (const float large : {1e18f, 1e19f, 1e25f, 3.3e38f}) {
    for (const std::size_t d : {1u, 8u, 100u}) {
      auto p = random_problem<float>({256, d, 1, 1}, d);
      for (const std::size_t i : {5u, 77u, 78u}) {
        for (std::size_t c = 0; c < d; ++c) p.keys[i * d + c] = (i + c * (i % 3)) % 2 == 0 ? large : -large;
      }
      const TypeParam sketch = sketch_of<TypeParam>(p.kv());
      for (std::size_t i = 0; i < 256; ++i) {
        ASSERT_TRUE(std::isfinite(to_float(SketchAccess::scales(sketch)[i]))) << i;
      }
      for (const std::size_t i : {5u, 77u, 78u}) {
        EXPECT_TRUE(large < 2e19f || is_unsketched(sketch, i)) << large << ", " << i;
      }
      for (const BF16 x : SketchAccess::rests(sketch)) ASSERT_TRUE(std::isfinite(to_float(x)));
      for (const BF16 x : SketchAccess::centres(sketch)) ASSERT_TRUE(std::isfinite(to_float(x)));
    }
  }
}

TYPED_TEST(SketchOf, NothingButNan) {
  auto p = random_problem<float>({300, 5, 1, 1}, 1);
  std::fill(p.keys.begin(), p.keys.end(), NAN);
  const TypeParam sketch = sketch_of<TypeParam>(p.kv());
  EXPECT_EQ(SketchAccess::unsketched(sketch).size(), 256u);
  for (const BF16 x : SketchAccess::centres(sketch)) EXPECT_EQ(to_float(x), 0.0f);
}

// key = centre + scale * integer + rest: nothing is off by more than half a scale, and |rest| is no less than it is.
template <int kBits>
void expect_near_the_keys(const Matrix& keys, const Sketch<kBits>& sketch) {
  const int most = kBits == 8 ? 127 : 7;
  for (std::size_t i = 0; i < sketch.segments() * 256; ++i) {
    const double scale = to_float(SketchAccess::scales(sketch)[i]);
    double rest = 0, length = 0;
    for (std::size_t c = 0; c < keys.cols; ++c) {
      const double off = keys(i, c) - decoded(sketch, i, c), from_centre = keys(i, c) - centre_of(sketch, i, c);
      ASSERT_LE(std::abs(code_of(sketch, i, c)), most);
      // A float's difference of key and centre is what is rounded.
      ASSERT_LE(std::abs(off), scale * (0.5 + 1e-6) + 0x1p-24 * std::abs(from_centre)) << "key " << i << ", " << c;
      rest += off * off;
      length += from_centre * from_centre;
    }
    if constexpr (kBits == 8) {
      const double said = to_float(SketchAccess::rests(sketch)[i]);
      ASSERT_GE(said, std::sqrt(rest)) << "key " << i;
      ASSERT_LE(said, std::sqrt(rest) * (1 + 0x1p-7 + 1e-3) + 0x1p-21 * std::sqrt(length) + 1.1e-17) << "key " << i;
    }
  }
}

TEST(SketchOfIntegers, IsNearTheKeys) {
  for (const std::size_t d : kWidths) {
    for_each_storage([&](auto storage) {
      using K = decltype(storage);
      SCOPED_TRACE(testing::Message() << "d " << d << ", " << sizeof(K) << " bytes a value");
      auto p = random_problem<K>({512, d, 1, 1}, d);
      std::vector<double> row(d);
      for (std::size_t i = 256; i < 512; ++i) {  // with outlier channels, and of every length
        for (std::size_t c = 0; c < d; ++c) row[c] = (c % 31 == 3 ? 12 : 0) + std::sin(static_cast<double>(i * d + c));
        for (double& x : row) x *= std::pow(2.0, static_cast<double>(i % 12) - 6);
        store_row(row.data(), d, row_at(p.keys, i, d));
      }
      const Matrix keys = numbers_of(p.keys, 512, d);
      expect_near_the_keys(keys, sketch_of<Sketch8>(p.kv()));
      expect_near_the_keys(keys, sketch_of<Sketch4>(p.kv()));
    });
  }
}

// Reach is no less than |key| + |centre| + |rest|, and not much more.
TEST(SketchOfIntegers, ReachIsFarEnough) {
  for (const std::size_t d : kWidths) {
    const auto p = random_problem<BF16>({512, d, 1, 1}, d + 1);
    const Matrix keys = numbers_of(p.keys, 512, d);
    const Sketch8 sketch = sketch_of<Sketch8>(p.kv());
    for (std::size_t segment = 0; segment < 2; ++segment) {
      double most = 0, centre = 0;
      for (std::size_t c = 0; c < d; ++c) centre += std::pow(centre_of(sketch, segment * 256, c), 2);
      for (std::size_t i = segment * 256; i < segment * 256 + 256; ++i) {
        double squares = 0, rest = 0;
        for (std::size_t c = 0; c < d; ++c) {
          squares += keys(i, c) * keys(i, c);
          rest += std::pow(keys(i, c) - decoded(sketch, i, c), 2);
        }
        most = std::max(most, std::sqrt(squares) + std::sqrt(rest) + std::sqrt(centre));
      }
      EXPECT_GE(double{SketchAccess::reach(sketch)[segment]}, most);
      EXPECT_LE(double{SketchAccess::reach(sketch)[segment]}, most * (1 + 0x1p-6));
    }
  }
}

// 1 bit: the signs of the rotated key, and |key|^2 / sum |rotated|.
TEST(SketchOfSigns, IsSignsAndAFactor) {
  constexpr std::size_t kN = HWY_NAMESPACE::kLanes<float>;
  for (const std::size_t d : kWidths) {
    const auto p = random_problem<float>({256, d, 1, 1}, d);
    const Sketch1 sketch = sketch_of<Sketch1>(p.kv());
    const std::size_t size = Sketch1::code_dim(d);
    Buffer<float> x;
    x.resize(size * kN);
    for (std::size_t i = 0; i < 256; i += 5) {
      std::fill(x.begin(), x.end(), 0.0f);
      for (std::size_t c = 0; c < d; ++c) x[c * kN] = p.keys[i * d + c] - static_cast<float>(centre_of(sketch, i, c));
      HWY_NAMESPACE::rotate(x.data(), size);
      double squares = 0, magnitudes = 0;
      for (std::size_t c = 0; c < size; ++c) {
        squares += double{x[c * kN]} * double{x[c * kN]};
        magnitudes += std::abs(double{x[c * kN]});
        ASSERT_EQ(code_of(sketch, i, c), std::signbit(x[c * kN]) ? -1 : 1) << "d " << d << ", key " << i;
      }
      const double factor = to_float(SketchAccess::scales(sketch)[i]);
      EXPECT_NEAR(factor, magnitudes > 0 ? squares / magnitudes : 0, 0x1p-8 * factor) << "d " << d << ", key " << i;
    }
  }
}

// ---- errors -----------------------------------------------------------------------------------------------------

TYPED_TEST(SketchOf, ErrorsNameBothNumbersAndChangeNothing) {
  const auto p = random_problem<float>({300, 16, 1, 1}, 1), wide = random_problem<float>({400, 24, 1, 1}, 2);
  TypeParam sketch = sketch_of<TypeParam>(p.kv());
  const TypeParam before = sketch;
  expect_error([&] { append(sketch, p.kv(), 301); }, {"skim::append", TypeParam::kName, "300", "301"});
  expect_error([&] { append(sketch, p.kv(), -1); }, {"skim::append", "300", "-1"});
  expect_error([&] { append(sketch, first_of(p, 200), 250); }, {"skim::append", "250", "200"});
  expect_error([&] { append(sketch, first_of(p, 200)); }, {"skim::append", "300", "200"});
  expect_error([&] { append(sketch, wide.kv(), 300); }, {"skim::append", "24", "16"});
  expect_error([&] { truncate(sketch, p.kv(), 301); }, {"skim::truncate", TypeParam::kName, "300", "301"});
  expect_error([&] { truncate(sketch, p.kv(), -5); }, {"skim::truncate", "300", "-5"});
  EXPECT_TRUE(same_sketch(sketch, before));
}

TYPED_TEST(SketchOf, TakesKeysOfOneTo1024Columns) {
  const auto p = random_problem<float>({3, 1025, 1, 1}, 1);
  TypeParam sketch;
  expect_error([&] { append(sketch, p.kv()); }, {"skim::append", "1025", "1024"});
  auto none = p.kv();
  none.keys.cols = 0;
  expect_error([&] { append(sketch, none); }, {"skim::append", "0 columns"});
  EXPECT_EQ(sketch.size(), 0);
  // Empty, it may be of other keys than before.
  const auto narrow = random_problem<float>({300, 3, 1, 1}, 1), wide = random_problem<float>({300, 70, 1, 1}, 1);
  append(sketch, narrow.kv());
  truncate(sketch, narrow.kv(), 0);
  append(sketch, wide.kv());
  EXPECT_TRUE(same_sketch(sketch, sketch_of<TypeParam>(wide.kv())));
}

TYPED_TEST(SketchOf, OfNoKeys) {
  const auto p = random_problem<float>({0, 16, 1, 1}, 1);
  TypeParam sketch;
  append(sketch, p.kv());
  EXPECT_EQ(sketch.size(), 0);
  EXPECT_EQ(sketch.bytes(), 0u);
  truncate(sketch, p.kv(), 0);
}

}  // namespace
}  // namespace skim::test

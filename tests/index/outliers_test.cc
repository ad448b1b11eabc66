// SPDX-License-Identifier: Apache-2.0
// What does one key that is unlike all others, 1e2 to 1e30 times as large, cost those that share its segment?
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/indexes.h"
#include "support/problem.h"

namespace skim::test {
namespace {

constexpr std::size_t kLength = 1024, kAsked = 24, kWanted = 48;

/// Keys of which some are outliers: `size` in all channels, or in one.
struct Spoilt {
  Problem<float> p;
  std::vector<std::size_t> outliers;

  /// at: in each segment of `segment`.
  Spoilt(std::size_t d, std::size_t segment, const std::vector<std::size_t>& at, float size, bool row)
      : p(random_problem<float>({kLength, d, 4, kAsked}, d)) {
    for (std::size_t first = 0; first < kLength; first += segment) {
      for (const std::size_t t : at) {
        const std::size_t i = first + t;
        outliers.push_back(i);
        for (std::size_t c = 0; c < d && size != 0; ++c) {
          if (row || c == 3) p.keys[i * d + c] = c % 3 == 0 ? size : -size;
        }
      }
    }
  }

  bool is_outlier(Position i) const {
    return std::find(outliers.begin(), outliers.end(), static_cast<std::size_t>(i)) != outliers.end();
  }

  /// The share of the largest logits, but for outliers, that `by` has among its first, over all queries.
  template <class Kv>
  double recall(Source by, const Kv& kv) const {
    std::size_t found = 0, all = 0;
    for (std::size_t r = 0; r < kAsked; ++r) {
      const Query q = p.query().head(r);
      std::vector<bool> chosen(kLength);
      const auto count = static_cast<int>(kWanted + outliers.size());
      const Selection ranked = select(TopK{count, by}, q, kv), exact = select(TopK{count}, q, kv);
      for (const Pick& pick : ranked.picks()) chosen[static_cast<std::size_t>(pick.position)] = true;
      for (const Pick& pick : exact.picks()) {
        if (is_outlier(pick.position)) continue;
        ++all;
        found += chosen[static_cast<std::size_t>(pick.position)] ? 1u : 0u;
      }
    }
    return static_cast<double>(found) / static_cast<double>(all);
  }
};

template <class S>
S sketched(const Spoilt& x, std::size_t segment) {
  S sketch(segment);
  append(sketch, x.p.kv());
  return sketch;
}

template <class S>
double recall(const Spoilt& x, std::size_t segment) {
  const S sketch = sketched<S>(x, segment);
  return x.recall(S::kSource, with_index(x.p.kv(), sketch));
}

// Within .05 of the recall without it, wherever it is and however many there are.
TEST(Outliers, CostTheOthersNoRecall) {
  const std::vector<std::size_t> some[] = {{0}, {255}, {17, 100, 180}, {3, 40, 77, 110, 150, 200, 220, 254}};
  for (const std::size_t d : {32u, 80u}) {
    for (const auto& at : some) {
      const Spoilt without(d, 256, at, 0, true);
      const double one = recall<Sketch1>(without, 256), four = recall<Sketch4>(without, 256);
      for (const float size : {1e2f, 65504.0f, 1e10f, 1e30f}) {
        for (const bool row : {true, false}) {
          const Spoilt with(d, 256, at, size, row);
          const std::string what = std::to_string(at.size()) + " of " + std::to_string(size) + (row ? " in all of " : " in one of ") + std::to_string(d);
          EXPECT_GE(recall<Sketch1>(with, 256), one - 0.05) << what;
          EXPECT_GE(recall<Sketch4>(with, 256), four - 0.05) << what;
        }
      }
    }
  }
}

// Also in the shortest segments, and where one hides the other.
TEST(Outliers, InShortSegmentsAndOfManySizes) {
  const Spoilt without(32, 64, {5, 33}, 0, true);
  Spoilt with(32, 64, {5}, 1e30f, true);
  for (std::size_t i = 33; i < kLength; i += 64) {
    with.outliers.push_back(i);
    for (std::size_t c = 0; c < 32; ++c) with.p.keys[i * 32 + c] = 1e3f;
  }
  EXPECT_GE(recall<Sketch1>(with, 64), recall<Sketch1>(without, 64) - 0.05);
  EXPECT_GE(recall<Sketch4>(with, 64), recall<Sketch4>(without, 64) - 0.05);
}

// Bounds are bounds beside an outlier too.
TEST(Outliers, LeaveBoundsBounds) {
  for (const float size : {1e2f, 1e4f, 1e10f, 1e30f}) {
    const Spoilt with(32, 256, {9, 200}, size, true);
    const Sketch8 sketch = sketched<Sketch8>(with, 256);
    const auto kv = with_index(with.p.kv(), sketch);
    for (std::size_t r = 0; r < kAsked; ++r) {
      const Query q = with.p.query().head(r);
      const Selection by_bounds = select(TopK{.budget = 20, .by = Source::kSketch8, .exact = true}, q, kv);
      const Selection exact = select(TopK{20}, q, kv);
      ASSERT_EQ(by_bounds.picks().size(), exact.picks().size());
      for (std::size_t j = 0; j < 20; ++j) EXPECT_EQ(by_bounds.picks()[j].position, exact.picks()[j].position);
    }
  }
}

// The same bits however the keys arrive.
TEST(Outliers, ASketchDependsOnTheKeysAlone) {
  const Spoilt with(32, 256, {9, 200}, 1e4f, true);
  const auto grown = [&]<class S>(S sketch) {
    auto kv = with.p.kv();
    for (std::size_t n = 0; n <= kLength; n += 37) {
      kv.keys.rows = kv.values.rows = n;
      append(sketch, kv);
      if (n == 37 * 20) truncate(sketch, kv, 300);
    }
    append(sketch, with.p.kv());
    return sketch;
  };
  EXPECT_TRUE(same_sketch(grown(Sketch1()), sketched<Sketch1>(with, 256)));
  EXPECT_TRUE(same_sketch(grown(Sketch4()), sketched<Sketch4>(with, 256)));
  EXPECT_TRUE(same_sketch(grown(Sketch8()), sketched<Sketch8>(with, 256)));
}

// The mean of a page is that of the others; the outlier is read. The centre of LSH tables likewise.
TEST(Outliers, AreLeftOutOfMeans) {
  for (const float size : {1e3f, 1e30f}) {
    const Spoilt without(32, 64, {}, 0, true), with(32, 64, {20}, size, true);
    PageMeans means, clean;
    append(means, with.p.kv());
    append(clean, without.p.kv());
    ASSERT_EQ(means.left_out().size(), kLength / 64);
    EXPECT_EQ(clean.left_out().size(), 0u);
    for (std::size_t j = 0; j < kLength / 64; ++j) {
      EXPECT_EQ(means.left_out()[j], static_cast<Position>(j * 64 + 20));
      for (std::size_t c = 0; c < 32; ++c) {
        EXPECT_NEAR(to_float(means.rows().keys.row(j)[c]), to_float(clean.rows().keys.row(j)[c]), 0.1);
      }
    }
    const LshTables tables = lsh_tables_of(with.p.kv(), 4, 4);
    for (std::size_t c = 0; c < 32; ++c) EXPECT_NEAR(to_float(LshAccess::centres(tables)[c]), 0, 0.3);
  }
}

}  // namespace
}  // namespace skim::test

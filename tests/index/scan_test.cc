// SPDX-License-Identifier: Apache-2.0
// Are the sums of a scan those of a plain loop; and is what it makes of them as near to <q, key> as is said?
#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "support/indexes.h"

namespace skim::test {
namespace {

namespace kernel = HWY_NAMESPACE;

constexpr std::size_t kDims[] = {1, 3, 7, 8, 46, 64, 80, 96, 128, 192, 256, 512, 513, 1024};

template <class S>
constexpr int kBitsOf = S::kSource == Source::kSketch1 ? 1 : S::kSource == Source::kSketch4 ? 4 : 8;

/// A query group and its sketch, and what the scan reads of the two.
template <class S>
struct Asked {
  Problem<float> p;
  Query q;
  S sketch;
  Workspace ws;
  kernel::SketchQueries queries;

  Asked(Problem<float> problem, std::size_t first, std::size_t heads) : p(std::move(problem)), q(p.query()) {
    q.rows.data += first * p.shape.d;
    q.rows.rows = heads;
    q = q.resolved(static_cast<Position>(p.shape.n));
    append(sketch, p.kv());
    queries = kernel::sketch_queries(q, sketch, ws);
  }
  Asked(const Asked&) = delete;

  /// Estimates of <q, key>, [heads, n]; NaN where no block was visited.
  std::vector<float> estimates(skim::Span within) {
    constexpr std::size_t kKeys = kernel::kCodeBlock<kBitsOf<S>>;
    const std::size_t n = p.shape.n;
    std::vector<float> all(q.heads() * n, NAN);
    float* s = ws.get<float>(Workspace::kBlockLogits, q.heads() * (kKeys + kernel::kBlock));
    kernel::scan(queries, q.heads(), sketch, within, s, [&](Position first, float* dots, std::size_t rank) {
      EXPECT_EQ(first, static_cast<Position>(rank));
      EXPECT_EQ(first % 16, 0);
      for (std::size_t h = 0; h < q.heads(); ++h) {
        for (std::size_t t = 0; t < 16; ++t) {
          float& at = all[h * n + static_cast<std::size_t>(first) + t];
          EXPECT_TRUE(std::isnan(at)) << "visited twice";
          at = dots[h * 16 + t];
        }
      }
    });
    return all;
  }
};

/// The same sum key by key and component by component.
template <class S>
float plain_sum(const Asked<S>& a, std::size_t h, std::size_t i) {
  const kernel::SketchQuery& query = a.queries.heads[h];
  const std::size_t d = a.p.shape.d, size = S::code_dim(d);
  if constexpr (kBitsOf<S> == 1) {
    std::uint32_t sum = 0;
    for (std::size_t c = 0; c < size; c += 4) {
      std::size_t code = 0;
      for (std::size_t j = 0; j < 4; ++j) code |= code_of(a.sketch, i, c + j) > 0 ? std::size_t{1} << j : 0;
      sum += query.table[c / 4 * 16 + code];
    }
    return static_cast<float>(sum);
  } else {
    float total = 0;  // of sums that are exact, 512 components each at 8 bits
    const std::size_t step = kBitsOf<S> == 8 ? 512 : 4096;
    for (std::size_t first = 0; first < d; first += step) {
      std::int64_t sum = 0;
      for (std::size_t c = first; c < std::min(d, first + step); ++c) sum += code_of(a.sketch, i, c) * query.row[c];
      EXPECT_LE(std::abs(sum), std::int64_t{0x7FFFFFFF});
      total += static_cast<float>(sum);
    }
    return total;
  }
}

template <class S>
void expect_plain_sums(Asked<S>& a) {
  constexpr std::size_t kKeys = kernel::kCodeBlock<kBitsOf<S>>;
  const std::size_t size = S::code_dim(a.p.shape.d), heads = a.q.heads();
  Buffer<float> out;
  out.resize(heads * kKeys);
  for (std::size_t first = 0; first < a.sketch.segments() * 256; first += kKeys) {
    const std::uint8_t* codes = SketchAccess::codes(a.sketch).data() + first * size * kBitsOf<S> / 8;
    kernel::block_sums<kBitsOf<S>>(codes, size, a.queries.heads, heads, out.data());
    for (std::size_t h = 0; h < heads; ++h) {
      for (std::size_t t = 0; t < kKeys; ++t) {
        ASSERT_EQ(out[h * kKeys + t], plain_sum(a, h, first + t)) << "head " << h << ", key " << first + t;
      }
    }
  }
}

template <class S>
struct ScanOf : testing::Test {};
using AllSketches = testing::Types<Sketch1, Sketch4, Sketch8>;
TYPED_TEST_SUITE(ScanOf, AllSketches);

TYPED_TEST(ScanOf, SumsAreThoseOfAPlainLoop) {
  for (const std::size_t d : kDims) {
    for (std::size_t heads = 1; heads <= 8; ++heads) {
      SCOPED_TRACE(testing::Message() << "d " << d << ", " << heads << " heads");
      Asked<TypeParam> a(random_problem<float>({256, d, 1, heads}, d + heads), 0, heads);
      expect_plain_sums(a);
    }
  }
}

// Keys and queries of the largest codes, all of one sign: sums as far from 0 as there are.
TYPED_TEST(ScanOf, TheLargestSumsDoNotOverflow) {
  for (const std::size_t d : {64u, 512u, 1024u}) {
    auto p = random_problem<float>({256, d, 1, 4}, d);
    for (std::size_t i = 0; i < 256; ++i) {
      for (std::size_t c = 0; c < d; ++c) p.keys[i * d + c] = i % 2 == 0 ? 127.0f : -127.0f;  // a scale of 1
    }
    for (std::size_t h = 0; h < 4; ++h) {
      for (std::size_t c = 0; c < d; ++c) p.q[h * d + c] = h % 2 == 0 ? 3.0f : -3.0f;
    }
    Asked<TypeParam> a(p, 0, 4);
    expect_plain_sums(a);
    if constexpr (kBitsOf<TypeParam> != 1) {
      EXPECT_EQ(std::abs(code_of(a.sketch, 0, 0)), kBitsOf<TypeParam> == 8 ? 127 : 7);
      EXPECT_EQ(a.queries.heads[0].row[0], 32767);
    }
  }
}

// A table's entries are sums of four signs times the query, to half a unit: within half a unit of each four, the sum
// is the real one.
TEST(ScanOfSigns, TablesAreTheQueryInUnits) {
  for (const std::size_t d : kDims) {
    Asked<Sketch1> a(random_problem<float>({256, d, 1, 3}, d), 0, 3);
    const std::size_t size = Sketch1::code_dim(d);
    constexpr std::size_t kN = kernel::kLanes<float>;
    Buffer<float> x;
    x.resize(size * kN);
    for (std::size_t h = 0; h < 3; ++h) {
      std::fill(x.begin(), x.end(), 0.0f);
      for (std::size_t c = 0; c < d; ++c) x[c * kN] = a.p.q[h * d + c];
      kernel::rotate(x.data(), size);
      const kernel::SketchQuery& query = a.queries.heads[h];
      double offset = 0;
      for (std::size_t c = 0; c < size; c += 4) {
        double least = 0;
        for (std::size_t j = 0; j < 4; ++j) least -= std::abs(double{x[(c + j) * kN]});
        offset += least;
        for (std::size_t code = 0; code < 16; ++code) {
          double sum = 0;
          for (std::size_t j = 0; j < 4; ++j) sum += (code >> j & 1) != 0 ? double{x[(c + j) * kN]} : -double{x[(c + j) * kN]};
          EXPECT_NEAR(query.step * query.table[c / 4 * 16 + code], sum - least, 0.501 * query.step) << d;
          EXPECT_LE(query.table[c / 4 * 16 + code], 127);
        }
      }
      EXPECT_NEAR(query.offset, offset, 1e-5 * std::abs(offset));
    }
  }
}

// A head's estimates have the same bits in every group, a key's wherever the range begins and ends.
TYPED_TEST(ScanOf, AGroupChangesNoBit) {
  const auto p = random_problem<float>({600, 46, 1, 8}, 1);
  std::vector<std::vector<float>> alone;
  for (std::size_t h = 0; h < 8; ++h) alone.push_back(Asked<TypeParam>(p, h, 1).estimates({0, 600}));
  for (std::size_t heads = 2; heads <= 8; ++heads) {
    for (std::size_t first = 0; first + heads <= 8; ++first) {
      const auto all = Asked<TypeParam>(p, first, heads).estimates({0, 600});
      for (std::size_t h = 0; h < heads; ++h) {
        EXPECT_TRUE(same_bits(all.data() + h * 600, alone[first + h].data(), 600)) << first << ", " << heads;
      }
    }
  }
}

TYPED_TEST(ScanOf, VisitsTheBlocksThatMeetTheRange) {
  Asked<TypeParam> a(random_problem<float>({1100, 20, 1, 3}, 2), 0, 3);
  const auto all = a.estimates({0, 1100});
  for (std::size_t i = 0; i < 1100; ++i) EXPECT_EQ(std::isnan(all[i]), i >= 1024) << i;
  const Position edges[] = {0, 1, 15, 16, 17, 63, 64, 65, 80, 255, 256, 257, 300, 511, 512, 1000, 1023, 1024, 1025, 1100};
  for (const Position first : edges) {
    for (const Position last : edges) {
      if (last <= first) continue;
      const auto part = a.estimates({first, last});
      for (Position i = 0; i < 1100; ++i) {
        const bool meets = i / 16 * 16 < std::min<Position>(last, 1024) && i / 16 * 16 + 16 > first;
        for (std::size_t h = 0; h < 3; ++h) {
          const auto at = h * 1100 + static_cast<std::size_t>(i);
          if (meets) {
            ASSERT_TRUE(same_bits(&part[at], &all[at], 1)) << first << " to " << last << ", key " << i;
          } else {
            ASSERT_TRUE(std::isnan(part[at])) << first << " to " << last << ", key " << i;
          }
        }
      }
    }
  }
}

// An estimate is the centre's part and the scale of the key times its sum, each of its own key and segment.
TYPED_TEST(ScanOf, AnEstimateIsCentreAndScaleTimesSum) {
  for (const std::size_t d : {20u, 64u}) {
    auto p = random_problem<float>({768, d, 1, 2}, d);
    for (std::size_t i = 0; i < 768; ++i) {  // scales and centres of their own
      for (std::size_t c = 0; c < d; ++c) {
        float& x = p.keys[i * d + c];
        x = x * static_cast<float>(1 + i % 23) + static_cast<float>(i / 256);
      }
    }
    Asked<TypeParam> a(p, 0, 2);
    const auto all = a.estimates({0, 768});
    for (std::size_t h = 0; h < 2; ++h) {
      const kernel::SketchQuery& query = a.queries.heads[h];
      for (std::size_t i = 0; i < 768; ++i) {
        const double scale = to_float(SketchAccess::scales(a.sketch)[i]), sum = plain_sum(a, h, i);
        double expected = scale * (double{query.step} * sum + double{query.offset}), largest = std::abs(expected);
        for (std::size_t c = 0; c < d; ++c) {
          const double part = double{a.q.rows.row(h)[c]} * centre_of(a.sketch, i, c);
          expected += part;
          largest += std::abs(part);
        }
        largest += scale * std::abs(double{query.offset});
        ASSERT_NEAR(all[h * 768 + i], expected, 1e-5 * largest) << "head " << h << ", key " << i;
      }
    }
  }
}

// ---- how near ---------------------------------------------------------------------------------------------------

/// |estimate - <q, key>| <= |q| |rest| + |q - row| |scale * code| + rounding, with the rest that the codes leave.
template <class S>
void expect_near(Asked<S>& a) {
  const auto all = a.estimates({0, static_cast<Position>(a.p.shape.n)});
  const std::size_t d = a.p.shape.d;
  double largest_share = 0;
  for (std::size_t h = 0; h < a.q.heads(); ++h) {
    const kernel::SketchQuery& query = a.queries.heads[h];
    double q_squares = 0, off_squares = 0;
    for (std::size_t c = 0; c < d; ++c) {
      const double x = a.q.rows.row(h)[c];
      q_squares += x * x;
      off_squares += std::pow(x - double{query.step} * query.row[c], 2);
    }
    const double norm = std::sqrt(q_squares), off = std::sqrt(off_squares);
    for (std::size_t i = 0; i < a.sketch.segments() * 256; ++i) {
      double dot = 0, rest = 0, code = 0, centre = 0;
      for (std::size_t c = 0; c < d; ++c) {
        dot += double{a.q.rows.row(h)[c]} * double{a.p.keys[i * d + c]};
        rest += std::pow(double{a.p.keys[i * d + c]} - decoded(a.sketch, i, c), 2);
        code += std::pow(decoded(a.sketch, i, c) - centre_of(a.sketch, i, c), 2);
        centre += std::pow(centre_of(a.sketch, i, c), 2);
      }
      const double reach = std::sqrt(code) + std::sqrt(centre);
      const double bound =
          norm * std::sqrt(rest) + off * std::sqrt(code) + static_cast<double>(d + 8) * 0x1p-24 * norm * reach;
      const double error = std::abs(double{all[h * a.p.shape.n + i]} - dot);
      ASSERT_LE(error, bound) << "head " << h << ", key " << i;
      largest_share = std::max(largest_share, error / bound);
    }
  }
  EXPECT_GT(largest_share, 1 / std::sqrt(static_cast<double>(d))) << "the bound has nothing to do with the error";
}

TEST(ScanOfIntegers, IsAsNearAsItsRestsSay) {
  for (const std::size_t d : {3u, 46u, 64u, 128u, 256u, 1024u}) {
    auto p = random_problem<float>({512, d, 1, 4}, d);
    for (std::size_t i = 256; i < 512; ++i) {
      for (std::size_t c = 0; c < d; c += 29) p.keys[i * d + c] += 12;  // outlier channels
    }
    Asked<Sketch8> eight(p, 0, 4);
    expect_near(eight);
    Asked<Sketch4> four(p, 0, 4);
    expect_near(four);
  }
}

/// Errors of 1-bit estimates of one query and n keys, each over factor |q|.
std::vector<double> errors_of_signs(std::size_t n, std::size_t d, std::size_t outliers, std::uint64_t seed) {
  auto p = random_problem<float>({n, d, 1, 1}, seed);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t c = 0; c < outliers; ++c) p.keys[i * d + c * 5 + 1] += 12;
  }
  Asked<Sketch1> a(p, 0, 1);
  const auto all = a.estimates({0, static_cast<Position>(n)});
  double squares = 0;
  for (const float x : a.p.q) squares += double{x} * double{x};
  std::vector<double> errors;
  for (std::size_t i = 0; i < n; ++i) {
    double dot = 0;
    for (std::size_t c = 0; c < d; ++c) dot += double{a.p.q[c]} * double{a.p.keys[i * d + c]};
    errors.push_back((double{all[i]} - dot) / (double{to_float(SketchAccess::scales(a.sketch)[i])} * std::sqrt(squares)));
  }
  return errors;
}

// Over 64 queries with 2048 keys each: the mean error of a query is a number of its own (its tables are rounded once),
// so the standard error of their mean is what they differ by: .0016. The mean is within 5 of these.
TEST(ScanOfSigns, IsUnbiasedWithTheErrorThatIsSaid) {
  for (const std::size_t d : {64u, 80u, 128u, 256u}) {
    for (const std::size_t outliers : {0u, 4u}) {
      constexpr int kQueries = 64;
      double sum = 0, squares = 0, deviation = 0;
      for (int query = 0; query < kQueries; ++query) {
        const auto errors = errors_of_signs(2048, d, outliers, static_cast<std::uint64_t>(query) + 1000 * d);
        double mean = 0, variance = 0;
        for (const double e : errors) mean += e / 2048;
        for (const double e : errors) variance += (e - mean) * (e - mean) / 2048;
        sum += mean;
        squares += mean * mean;
        deviation += std::sqrt(variance) / kQueries;
      }
      const double mean = sum / kQueries, error = std::sqrt((squares / kQueries - mean * mean) / kQueries);
      EXPECT_LT(std::abs(mean), 5 * error) << "d " << d << ", " << outliers << " outlier channels";
      EXPECT_LT(error, 0.0025) << "a bias of a fiftieth of the deviation is seen";
      // Components of a turned key are nearly normal, and |x| of a normal x has a deviation of sqrt(1 - 2 / pi) = .603.
      EXPECT_NEAR(deviation, 0.603, 0.01) << "d " << d << ", " << outliers << " outlier channels";
    }
  }
}

}  // namespace
}  // namespace skim::test

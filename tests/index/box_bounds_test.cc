// SPDX-License-Identifier: Apache-2.0
// Does every canonical logit lie between the bounds of its page, whatever is rounded on the way?
#include "skim/index/box_bounds-inl.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "support/problem.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

using test::Problem;

/// Bounds of all pages: [g, pages].
struct AllBounds {
  std::size_t pages = 0;
  std::vector<float> low, high;
};

template <class K>
AllBounds bounds_of(const Query& q, const PageBoxes& boxes, std::size_t stride = 1) {
  Workspace ws;
  AllBounds all;
  all.pages = (boxes.pages() + stride - 1) / stride;
  all.low.resize(q.heads() * all.pages);
  all.high.resize(q.heads() * all.pages);
  const BoxQuery of_boxes = box_query<K>(q, ws);
  box_bounds(of_boxes, boxes, all.pages, [&](std::size_t j) { return j * stride; }, ws,
             [&](std::size_t j, std::size_t count, const float* low, const float* high) {
               for (std::size_t h = 0; h < q.heads(); ++h) {
                 for (std::size_t t = 0; t < count; ++t) {
                   all.low[h * all.pages + j + t] = low[h * kBlock + t];
                   all.high[h * all.pages + j + t] = high[h * kBlock + t];
                 }
               }
             });
  EXPECT_EQ(ws.reads.index_bytes, all.pages * (4 * boxes.key_dim() + 4));
  return all;
}

/// Counts what the bounds of a problem are like.
struct Seen {
  std::size_t logits = 0, unbounded = 0, beyond_exact = 0;
};

/// Every logit of a query against the bounds of its page. A logit of NaN counts as -infinity.
template <class K>
void check(const Query& query, const Problem<K>& p, const PageBoxes& boxes, Seen& seen) {
  Workspace ws;
  const Query q = query.resolved(static_cast<Position>(p.shape.n));
  const auto s = logits(q, p.kv(), ws);
  const AllBounds all = bounds_of<K>(q, boxes);
  const auto page_size = boxes.page_size();
  for (std::size_t h = 0; h < q.heads(); ++h) {
    for (std::size_t page = 0; page < boxes.pages(); ++page) {
      const float low = all.low[h * all.pages + page], high = all.high[h * all.pages + page];
      ASSERT_LE(low, high);
      seen.unbounded += high == kInfinity<float> ? 1u : 0u;
      for (std::size_t i = page * page_size; i < (page + 1) * page_size; ++i, ++seen.logits) {
        const float x = s.of_head(h)[static_cast<Position>(i) - s.first];
        const float counted = std::isnan(x) ? -kInfinity<float> : x;
        ASSERT_GE(counted, low) << "head " << h << " page " << page << " key " << i;
        ASSERT_LE(counted, high) << "head " << h << " page " << page << " key " << i;
      }
    }
  }
}

/// Keys like their neighbours: `spread` about a centre that a page shares, of few digits, so that bfloat16 can hold it.
template <class K>
Problem<K> neighbours(std::size_t n, std::size_t d, std::size_t group, std::size_t page, double spread, double size,
                      std::uint64_t seed) {
  Problem<K> p = test::random_problem<K>({n, d, 1, group}, seed);
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> centre(d), row(d);
  for (std::size_t i = 0; i < n; ++i) {
    if (i % page == 0) {
      for (double& x : centre) x = std::round(32 * normal(random)) / 32;
    }
    for (std::size_t c = 0; c < d; ++c) row[c] = size * (centre[c] + spread * normal(random));
    test::store_row(row.data(), d, test::row_at(p.keys, i, d));
  }
  return p;
}

template <class K>
PageBoxes boxes_of(const Problem<K>& p, std::size_t page_size = 16) {
  PageBoxes boxes(page_size);
  append(boxes, p.kv());
  return boxes;
}

void renew(std::vector<float>& q, std::mt19937_64& random, double size) {
  std::normal_distribution<double> normal;
  for (float& x : q) x = static_cast<float>(size * normal(random));
}

constexpr float kSlopes[] = {0.5f, -0.1f, 0.0f, 3.0f, 1e-3f};

std::vector<LogitRule> rules() {
  return {{}, {.scale = 1.0}, {.scale = -0.7}, {.scale = 0.0}, {.soft_cap = 30.0}, {.soft_cap = 0.5},
          {.scale = -2.0, .soft_cap = 4.0}, {.alibi_slopes = kSlopes},
          {.scale = -1.0, .soft_cap = 2.0, .alibi_slopes = kSlopes}};
}

template <class K>
class BoxBoundsOf : public testing::Test {};
using StorageTypes = testing::Types<float, F16, BF16, I8>;
TYPED_TEST_SUITE(BoxBoundsOf, StorageTypes);

TYPED_TEST(BoxBoundsOf, HoldEveryLogit) {
  Seen seen;
  std::mt19937_64 random(1);
  for (const std::size_t d : {1u, 5u, 33u, 128u}) {
    for (const double spread : {0.0, 0.01, 1.0}) {
      for (const std::size_t group : {1u, 2u, 5u}) {
        const std::size_t page = d == 5 ? 23 : 16;
        auto p = neighbours<TypeParam>(40 * page + 7, d, group, page, spread, 1.0, d + group);
        const PageBoxes boxes = boxes_of(p, page);
        for (const LogitRule& rule : rules()) {
          for (int i = 0; i < 4; ++i) {
            renew(p.q, random, 3);
            Query q = p.query();
            q.logit = rule;
            if (i == 1) q.position = 300;
            if (i == 1) q.causal = false;
            check(q, p, boxes, seen);
            if (this->HasFatalFailure()) return;
          }
        }
      }
    }
  }
  EXPECT_GT(seen.logits, 1000000u);
  EXPECT_EQ(seen.unbounded, 0u);
}

// From where products underflow to where sums overflow: nothing may be said then that is not so.
TYPED_TEST(BoxBoundsOf, HoldAtEveryMagnitude) {
  Seen seen;
  std::mt19937_64 random(2);
  for (const double of_keys : {1e-45, 1e-38, 1e-30, 1e-5, 1e4, 1e18, 1e30, 1e38}) {
    for (const double of_q : {1e-45, 1e-38, 1e-20, 1.0, 1e10, 1e20, 1e36}) {
      for (const std::size_t d : {3u, 64u}) {
        auto p = neighbours<TypeParam>(16 * 12, d, 3, 16, 0.3, of_keys, d);
        const PageBoxes boxes = boxes_of(p);
        for (const LogitRule& rule : rules()) {
          renew(p.q, random, of_q);
          Query q = p.query();
          q.logit = rule;
          check(q, p, boxes, seen);
          for (const double scale : {1e-30, 1e30, -1e300}) {
            q.logit.scale = scale;
            check(q, p, boxes, seen);
          }
          if (this->HasFatalFailure()) return;
        }
      }
    }
  }
  EXPECT_GT(seen.unbounded, 0u);
}

// What is not a number makes the bounds infinite, also behind a soft cap, and only where it is.
TYPED_TEST(BoxBoundsOf, KeysAndQueriesThatAreNotFinite) {
  Seen seen;
  const std::size_t d = 20;
  auto p = neighbours<TypeParam>(16 * 20, d, 3, 16, 0.3, 1.0, 5);
  test::fill_row(test::row_at(p.keys, 37, d), d, test::kNan);
  test::fill_row(test::row_at(p.keys, 90, d), d, test::kInf);
  const PageBoxes boxes = boxes_of(p);
  for (const LogitRule& rule : rules()) {
    Query q = p.query();
    q.logit = rule;
    seen = {};
    check(q, p, boxes, seen);
    EXPECT_EQ(seen.unbounded, 3u * 2u);
  }
  const auto whole = p.q;
  for (const float bad : {kInfinity<float>, -kInfinity<float>, std::numeric_limits<float>::quiet_NaN()}) {
    p.q = whole;
    p.q[d + 3] = bad;  // the second head
    for (const LogitRule& rule : rules()) {
      Query q = p.query();
      q.logit = rule;
      seen = {};
      check(q, p, boxes, seen);
      EXPECT_EQ(seen.unbounded, 20u + 2u * 2u);
    }
  }
  for (const float bad : {kInfinity<float>, -kInfinity<float>, std::numeric_limits<float>::quiet_NaN()}) {
    p.q = whole;
    const float slopes[] = {bad, 1.0f, bad};
    Query q = p.query();
    q.position = 100;
    q.causal = false;
    q.logit.alibi_slopes = slopes;
    check(q, p, boxes, seen);
  }
}

// As wide as the box and rounding say, not wider. Without what is added for rounding they would be wrong: a page of
// equal keys is a point, and of two sums in float one is larger.
TYPED_TEST(BoxBoundsOf, AreTight) {
  std::mt19937_64 random(3);
  std::size_t violated = 0;
  for (const std::size_t d : {7u, 128u}) {
    for (const double spread : {0.0, 0.05}) {
      auto p = neighbours<TypeParam>(16 * 50, d, 2, 16, spread, 1.0, d);
      const PageBoxes boxes = boxes_of(p);
      for (int i = 0; i < 20; ++i) {
        renew(p.q, random, 3);
        const Query q = p.query().resolved(static_cast<Position>(p.shape.n));
        const AllBounds all = bounds_of<TypeParam>(q, boxes);
        Workspace ws;
        const auto s = logits(q, p.kv(), ws);
        for (std::size_t h = 0; h < 2; ++h) {
          double norm = 0;
          for (std::size_t c = 0; c < d; ++c) norm += std::pow(static_cast<double>(q.rows.row(h)[c]), 2);
          for (std::size_t page = 0; page < all.pages; ++page) {
            double centre = 0, width = 0;
            for (std::size_t c = 0; c < d; ++c) {
              const BF16* box = BoxAccess::boxes(boxes).data() + page * 2 * d;
              const double x = static_cast<double>(q.rows.row(h)[c]);
              centre += x * static_cast<double>(to_float(box[c]));
              width += std::abs(x) * static_cast<double>(to_float(box[d + c]));
            }
            const double scale = *q.logit.scale;
            const double reach = static_cast<double>(BoxAccess::reach(boxes)[page]);
            const double slack = (static_cast<double>(d) + 200) * 0x1p-23 * std::sqrt(norm) * reach * scale * 4;
            const double low = scale * (centre - width), high = scale * (centre + width);
            EXPECT_NEAR(static_cast<double>(all.low[h * all.pages + page]), low, slack);
            EXPECT_NEAR(static_cast<double>(all.high[h * all.pages + page]), high, slack);
            for (std::size_t t = 0; t < 16; ++t) {
              const auto x = static_cast<double>(s.of_head(h)[page * 16 + t]);
              violated += x > high || x < low ? 1u : 0u;
            }
          }
        }
      }
    }
  }
  EXPECT_GT(violated, 100u) << "sums are exact: this test shows nothing";
}

// Which pages are asked for, and in what company, changes no bit.
TEST(BoxBounds, OfSomePages) {
  const auto p = neighbours<BF16>(16 * 100, 40, 3, 16, 0.2, 1.0, 1);
  const PageBoxes boxes = boxes_of(p);
  Query q = p.query().resolved(1600);
  q.logit.alibi_slopes = kSlopes;
  const AllBounds all = bounds_of<BF16>(q, boxes);
  for (const std::size_t stride : {3u, 16u, 99u, 100u}) {
    const AllBounds some = bounds_of<BF16>(q, boxes, stride);
    for (std::size_t h = 0; h < 3; ++h) {
      const AllBounds one = bounds_of<BF16>(q.head(h), boxes);
      for (std::size_t j = 0; j < some.pages; ++j) {
        EXPECT_EQ(some.low[h * some.pages + j], all.low[h * all.pages + j * stride]);
        EXPECT_EQ(some.high[h * some.pages + j], all.high[h * all.pages + j * stride]);
        EXPECT_EQ(one.high[j * stride], all.high[h * all.pages + j * stride]);
      }
    }
  }
}

TEST(BoxBounds, ArePooledByTheLargest) {
  const float kInf = kInfinity<float>;
  alignas(64) float low[2 * kBlock], high[2 * kBlock], out_low[kBlock], out_high[kBlock];
  for (std::size_t t = 0; t < kBlock; ++t) {
    low[t] = static_cast<float>(t);
    high[t] = static_cast<float>(t) + 1;
    low[kBlock + t] = t % 2 == 0 ? -kInf : 8;
    high[kBlock + t] = t % 3 == 0 ? kInf : 9;
  }
  pool_bounds(2, low, high, out_low, out_high);
  for (std::size_t t = 0; t < kBlock; ++t) {
    EXPECT_EQ(out_low[t], t % 2 == 0 ? static_cast<float>(t) : std::max(static_cast<float>(t), 8.0f));
    EXPECT_EQ(out_high[t], t % 3 == 0 ? kInf : std::max(static_cast<float>(t) + 1, 9.0f));
  }
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

// SPDX-License-Identifier: Apache-2.0
// How much of what the bounds of an index allow for rounding can rounding use up? Queries and keys of which each step of a
// canonical dot product loses half a unit in the last place, always in the same direction.
//
// A search like that of preselect_test.cc is not needed: the worst can be said. Both coordinates that a lane takes of a step
// are alike, so it does not matter in which order a storage type deals them out. The first steps bring the sum of a lane to
// a power of two, with query and key parallel, so that |q| |key| is hardly more than the sum; each coordinate after them is
// worth half a unit in the last place of it. A sum of d products in L lanes can lose d / L halves of a unit, so the bounds,
// which allow for d, are near the truth for one lane; with more, all that can be used up is an L-th.
#ifndef SKIM_TESTS_SUPPORT_ROUNDING_H_
#define SKIM_TESTS_SUPPORT_ROUNDING_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "skim/index/box_bounds-inl.h"
#include "skim/index/candidates-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// A query, its negative, and keys of d columns.
template <class K>
struct RoundedAway {
  std::size_t d, n;
  std::vector<float> query;  // [2, d]
  std::vector<K> keys;       // [n, d]

  RoundedAway(std::size_t columns, std::size_t count) : d(columns), n(count), query(2 * d), keys(n * d) {}

  ContiguousKv<K> kv() const { return {{keys.data(), n, d}, {keys.data(), n, d}}; }
  BasicQuery<float> asked() const {
    BasicQuery<float> q;
    q.rows = {query.data(), 2, d};
    q.position = static_cast<Position>(n) - 1;
    q.logit.scale = 1;
    return q.resolved(static_cast<Position>(n));
  }
};

/// How far logits are from the middle of their bounds, as shares of what the bounds allow: the least and the largest,
/// above the middle. Beyond -1 or 1 the bounds are wrong.
struct Shares {
  double least = std::numeric_limits<double>::infinity(), most = -least;

  void add(float logit, float low, float high) {
    const double middle = (static_cast<double>(low) + static_cast<double>(high)) / 2;
    const double share = (static_cast<double>(logit) - middle) / (static_cast<double>(high) - middle);
    least = std::min(least, share);
    most = std::max(most, share);
  }
};

/// 8-bit sketches: values are whole numbers that codes hold exactly, so that all that differs is how the canonical logit is
/// rounded. In each lane two times 32767 (127 + 97 + 96 + 96 + 96) + 512 are 2^25; every 2 after them is half a unit in its
/// last place, a tie that goes to the even sum there was.
template <class K>
Shares shares_of_sketch(std::size_t d) {
  constexpr float kCodes[] = {127, 97, 96, 96, 96};
  constexpr std::size_t n = 256;
  RoundedAway<K> x(d, n);
  for (std::size_t c = 0; c < d; ++c) {
    const std::size_t step = c / kStep<float>;
    x.query[c] = step < 5 ? 32767.0f : step == 5 ? 512.0f : 2.0f;
    x.query[d + c] = -x.query[c];
    for (std::size_t i = 0; i < n; ++i) {  // their mean is 0
      const float code = step < 5 ? kCodes[step] : 1.0f;
      x.keys[i * d + c] = from_float<K>(i % 2 == 0 ? code : -code);
    }
  }
  Sketch<8> sketch;
  append(sketch, x.kv());
  Shares shares;
  for (std::size_t h = 0; h < 2; ++h) {
    const BasicQuery<float> q = x.asked().head(h);
    Workspace for_logits, ws;
    const Logits<float> s = logits(q, x.kv(), for_logits);
    std::vector<float> low(n), high(n);
    sketch_bounds(q, sketch, sketch_queries(q, sketch, ws), {0, n}, {low.data(), high.data()}, ws);
    for (std::size_t i = 0; i < n; ++i) shares.add(s.data[i], low[i], high[i]);
  }
  return shares;
}

/// Boxes: a product of the centre is a little more than half a unit in the last place, and so rounded up; one of the key
/// a little less, and so rounded off. Two thirds of the box lie above the key, as the centre has to be a bfloat16.
template <class K>
Shares shares_of_boxes(std::size_t d) {
  constexpr std::size_t n = 16;
  RoundedAway<K> x(d, n);
  for (std::size_t c = 0; c < d; ++c) {
    const bool large = c < kStep<float>;
    x.query[c] = large ? 1.0f : 0x1p-11f;
    x.query[d + c] = -x.query[c];
    for (std::size_t i = 0; i < n; ++i) {
      const float key = 0x1p-12f * (1 + (i % 2 == 0 ? -1 : 3) * 0x1p-7f);
      x.keys[i * d + c] = from_float<K>(large ? 1.0f : key);
    }
  }
  PageBoxes boxes(n);
  append(boxes, x.kv());
  const BasicQuery<float> q = x.asked();
  Workspace for_logits, ws;
  const Logits<float> s = logits(q, x.kv(), for_logits);
  Shares shares;
  box_bounds(box_query<K>(q, ws), boxes, 1, [](std::size_t page) { return page; }, ws,
             [&](std::size_t, std::size_t, const float* low, const float* high) {
               for (std::size_t h = 0; h < 2; ++h) {
                 for (std::size_t i = 0; i < n; ++i) shares.add(s.of_head(h)[i], low[h * kBlock], high[h * kBlock]);
               }
             });
  return shares;
}

/// The bounds hold, and rounding uses up so much of what they allow, in both directions.
inline void expect_shares(const Shares& shares, double at_least) {
  EXPECT_GE(shares.least, -1.0) << "a logit lies below its bounds";
  EXPECT_LE(shares.most, 1.0) << "a logit lies above its bounds";
  EXPECT_LE(shares.least, -at_least) << "the bounds are not put to the test";
  EXPECT_GE(shares.most, at_least) << "the bounds are not put to the test";
}

/// What is reached is at least 0.95 of what half a unit for each step of a lane comes to, where the bounds allow for a
/// whole one for each of d + 64 columns. Of a sketch one of two sums has steps; of a box both can be off, either way.
template <class K>
void expect_sketch_holds(std::size_t d) {
  SCOPED_TRACE(testing::Message() << "sketch, d " << d);
  const double steps = static_cast<double>(d) / static_cast<double>(kLanes<float>) - 12;
  expect_shares(shares_of_sketch<K>(d), 0.95 * steps / (2 * static_cast<double>(d + 64)));
}
template <class K>
void expect_boxes_hold(std::size_t d) {
  SCOPED_TRACE(testing::Message() << "boxes, d " << d);
  const double steps = static_cast<double>(d) / static_cast<double>(kLanes<float>) - 2;
  expect_shares(shares_of_boxes<K>(d), 0.95 * steps / static_cast<double>(d + 64));
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_TESTS_SUPPORT_ROUNDING_H_

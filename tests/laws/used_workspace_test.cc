// SPDX-License-Identifier: Apache-2.0
// What is known of a query dies with it: every public verb that takes a workspace, in random order, on one that others have
// used, gives the bits that a fresh one gives. Rows, keys and objects change in place, so that addresses tell nothing.
#include <random>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/indexes.h"
#include "support/problem.h"

namespace skim::test {
namespace {

using Kv = ContiguousKv<float>;

/// All that is left with a logit of at least the mean of some: reads the logits of the query, of a part of it, and of a
/// query of its own in between.
struct Curious {
  void validate() const {}
  std::size_t max_picks(std::size_t n) const { return n; }
  template <class OfKv>
  void select(const Query& q, const OfKv& kv, Selection& selection, Workspace& ws) const {
    Query other = q;
    other.logit.scale = *q.logit.scale / 2;
    const float half = logits(other, kv, ws).of_head(0)[0];
    const auto head = q.head(q.heads() - 1);
    const float last = logits(head, kv, ws).of_head(0)[0];
    const auto s = logits(q, kv, ws);
    for_each_gap(selection, q.visible, [&](skim::Span gap) {
      for (Position i = gap.first; i < gap.last; ++i) {
        if (s.of_head(0)[i - s.first] >= std::max(half, last)) selection.add(i);
      }
    });
  }
};

/// Reads the logits, and fails.
struct Throws {
  void validate() const {}
  std::size_t max_picks(std::size_t n) const { return n; }
  void select(const Query& q, const auto& kv, Selection&, Workspace& ws) const {
    logits(q, kv, ws);
    throw std::runtime_error("on purpose");
  }
};

/// One problem whose rows are written anew, at the same addresses, for every call.
class Changing {
 public:
  Changing() { renew(1, 300); }

  void renew(std::uint64_t seed, std::size_t n) {
    const auto fresh = random_problem<float>({n, 16, 8, 3}, seed);
    n_ = n;
    std::copy(fresh.q.begin(), fresh.q.end(), q_.begin());
    std::copy(fresh.keys.begin(), fresh.keys.end(), keys_.begin());
    std::copy(fresh.values.begin(), fresh.values.end(), values_.begin());
    kv_ = {{keys_.data(), n, 16}, {values_.data(), n, 8}};
    four_ = Sketch<4>();
    boxes_ = PageBoxes{};
    append(four_, kv_);
    append(boxes_, kv_);
  }

  const float* q() const { return q_.data(); }
  const Kv& kv() const { return kv_; }
  auto indexed() const { return with_index(kv_, four_, boxes_); }
  std::size_t n() const { return n_; }

 private:
  static constexpr std::size_t kMost = 700;
  std::size_t n_ = 0;
  std::vector<float> q_ = std::vector<float>(3 * 16), keys_ = std::vector<float>(kMost * 16),
                     values_ = std::vector<float>(kMost * 8);
  Kv kv_;
  Sketch<4> four_;
  PageBoxes boxes_;
};

const char* const kEstimators[] = {"dense", "topk(9)", "sinks(2)+window(4)+topk(7)+priority(11)", "topp(0.5)+systematic(9)",
                              "topk(9,by=sketch4)", "topk(5,by=sketch4,candidates=20)+priority(9,by=sketch4)",
                              "sinks(1)+topk(5,by=boxes)+poisson(12)", "quest(40)", "topk(9,by=boxes,exact)"};

/// A call of one verb, chosen by `seed`, with one workspace: everything that comes out of it.
std::vector<float> outcome(const Changing& at, std::uint64_t seed, Workspace& ws) {
  std::mt19937_64 random(seed);
  Query q;
  q.rows = {at.q(), 1 + random() % 3, 16};
  q.grouping = random() % 2 == 0 ? Grouping::kPerGroup : Grouping::kPerHead;
  q.stream.seed = random() % 3;
  if (random() % 2 == 0) q.logit.scale = 0.5;
  if (random() % 3 == 0) q.visible = {static_cast<Position>(random() % 40), static_cast<Position>(at.n() - random() % 40)};
  const auto indexed = at.indexed();
  const std::size_t heads = q.heads();
  std::vector<float> result(heads * 8 + heads);
  const StateView state{{result.data(), heads, 8}, result.data() + heads * 8};
  const StageList e = parse(kEstimators[random() % std::size(kEstimators)]);
  switch (random() % 6) {
    case 0: {  // the public logits
      const auto s = logits(q.resolved(at.kv().size()), at.kv(), ws);
      const Query resolved = q.resolved(at.kv().size());
      result.clear();
      for (std::size_t h = 0; h < heads; ++h) {
        result.insert(result.end(), s.of_head(h), s.of_head(h) + resolved.visible.size());
      }
      return result;
    }
    case 1: attend(e, q, indexed, state, ws); return result;
    case 2: attend(stack(TopK{4}, Curious{}), q, at.kv(), state, ws); return result;
    case 3: attend(select(e, q, indexed), q, at.kv(), state, ws); return result;
    case 4: {  // a chunk of rows
      LayerQuery layer;
      layer.rows = {at.q(), 3, 1, 16};
      layer.stream.seed = random() % 3;
      std::vector<float> out(3 * 8 + 3);
      const LayerKv<std::remove_const_t<decltype(indexed)>> views{{&indexed, 1}, 1};
      Options options;
      options.workspaces = {&ws, 1};
      attend(e, layer, views, LayerState{{out.data(), 3, 1, 8}, out.data() + 24}, options);
      return out;
    }
    default: {  // fails half-way, after something may have been remembered
      EXPECT_THROW(attend(stack(TopK{4}, Throws{}), q, at.kv(), state, ws), std::runtime_error);
      return {};
    }
  }
}

TEST(UsedWorkspace, GivesTheBitsOfAFreshOne) {
  Changing at;
  Workspace used;
  std::mt19937_64 random(3);
  for (int i = 0; i < 1500; ++i) {
    if (random() % 2 == 0) at.renew(random(), 50 + random() % 650);
    const std::uint64_t seed = random();
    Workspace fresh;
    const std::vector<float> expected = outcome(at, seed, fresh), got = outcome(at, seed, used);
    ASSERT_EQ(got.size(), expected.size());
    ASSERT_TRUE(same_bits(got.data(), expected.data(), got.size())) << "call " << i;
  }
}

/// An estimator that attends to something itself, with the workspace that it was lent.
struct Nested {
  void validate() const {}
  std::size_t max_picks(std::size_t n) const { return n; }
  void select(const Query& q, const auto& kv, Selection& selection, Workspace& ws) const {
    State state(q.heads(), kv.value_dim());
    attend(TopK{3}, q, kv, state.view(), ws);
    selection.add(q.visible);
  }
};

TEST(UsedWorkspace, IsNotLentTwice) {
  const Changing at;
  Query q;
  q.rows = {at.q(), 2, 16};
  Workspace ws;
  State state(2, 8), after(2, 8);
  try {
    attend(Nested{}, q, at.kv(), state.view(), ws);
    ADD_FAILURE() << "accepted";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("another workspace"), std::string::npos) << error.what();
  }
  attend(Dense{}, q, at.kv(), after.view(), ws);  // and is free again
  const State dense = attend(Dense{}, q, at.kv());
  EXPECT_TRUE(same_bits(after.out(), dense.out(), 16));
}

}  // namespace
}  // namespace skim::test

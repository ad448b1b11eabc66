// SPDX-License-Identifier: Apache-2.0
// Does a user's own estimator, list or KV type work like ours, and is what it does wrong found out?
#include <limits>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/layer_problem.h"

namespace skim::test {
namespace {

/// Every step-th position that is left, counting as `step` positions each.
struct EveryStep {
  Position step = 3;

  void validate() const {
    if (step < 1) throw std::invalid_argument("EveryStep: step is " + std::to_string(step));
  }
  std::size_t max_picks(std::size_t n) const { return n; }

  template <class Kv>
  void select(const Query& q, const Kv&, Selection& selection, Workspace&) const {
    for_each_gap(selection, q.visible, [&](skim::Span gap) {
      for (Position i = gap.first; i < gap.last; i += step) selection.add(i, std::log(static_cast<double>(step)));
    });
  }
};

/// All that is left with a logit of at least `least` in any head: reads the scores that other stages share.
struct AtLeast {
  float least = 0;

  void validate() const {}
  std::size_t max_picks(std::size_t n) const { return n; }

  template <class Kv>
  void select(const Query& q, const Kv& kv, Selection& selection, Workspace& ws) const {
    const auto s = logits(q, kv, ws);
    for_each_gap(selection, q.visible, [&](skim::Span gap) {
      for (Position i = gap.first; i < gap.last; ++i) {
        bool reached = false;
        for (std::size_t h = 0; h < q.heads(); ++h) reached |= s.of_head(h)[i - s.first] >= least;
        if (reached) selection.add(i);
      }
    });
  }
};

TEST(OwnEstimator, AloneAndInAStack) {
  const auto p = random_problem<float>({100, 24, 16, 3}, 1);
  const auto expect_right = [&](const auto& estimator) {
    const Selection set = select(estimator, p.query(), p.kv());
    EXPECT_FALSE(set.picks().empty());
    State state = attend(estimator, p.query(), p.kv());
    EXPECT_TRUE(agrees(state.view(), p, p.query(), list_of(set)));
  };
  expect_right(EveryStep{3});
  expect_right(AtLeast{1});
  expect_right(stack(Sinks{4}, EveryStep{5}, Window{10}, AtLeast{0.5f}, TopK{7}, PriorityTail{6}));
}

TEST(OwnEstimator, AtLeastTheLeastOfTheTopIsTheTop) {
  const auto p = random_problem<float>({100, 24, 16, 1}, 2);
  const Selection top = select(TopK{9}, p.query(), p.kv());
  Workspace ws;
  const Query q = p.query().resolved(100);
  const auto s = logits(q, p.kv(), ws);
  float least = INFINITY;
  for (const Pick& pick : top.picks()) least = std::min(least, s.of_head(0)[pick.position]);
  const Selection own = select(AtLeast{least}, p.query(), p.kv());
  ASSERT_EQ(own.picks().size(), 9u);
  for (std::size_t i = 0; i < 9; ++i) EXPECT_EQ(own.picks()[i].position, top.picks()[i].position);
}

TEST(OwnEstimator, InALayer) {
  const LayerProblem<float> p({}, {{3, 40}, {2, 9}}, 3);
  LayerOutput output(p);
  attend(stack(EveryStep{1}, TopK{1}), p.query(), p.kv(), output.state());
  EXPECT_TRUE(agrees_with_dense(output, p, p.query()));
}

TEST(OwnEstimator, ItsParametersAreValidated) {
  const auto p = random_problem<float>({100, 24, 16, 3}, 4);
  EXPECT_THROW(attend(EveryStep{0}, p.query(), p.kv()), std::invalid_argument);
  EXPECT_THROW(attend(stack(Sinks{1}, EveryStep{0}), p.query(), p.kv()), std::invalid_argument);
}

/// Adds what it is told to, right or wrong.
struct Scripted {
  std::vector<skim::Span> spans;
  std::vector<Pick> picks;

  void validate() const {}
  std::size_t max_picks(std::size_t n) const { return n; }
  template <class Kv>
  void select(const Query&, const Kv&, Selection& selection, Workspace&) const {
    for (const skim::Span span : spans) selection.add(span);
    for (const Pick pick : picks) selection.add(pick.position, pick.log_weight);
  }
};

/// A list that must be refused, alone and after other stages, by select, attend and the layer, with a text
/// that holds `parts`.
void expect_refused(const Scripted& wrong, std::initializer_list<const char*> parts) {
  const auto p = random_problem<float>({100, 24, 16, 2}, 5);
  const auto expect_throw = [&](const auto& call) {
    try {
      call();
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::invalid_argument& error) {
      for (const char* part : parts) {
        EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << part << " is not in " << error.what();
      }
    }
  };
  Guarded<float> out(32), lse(2);
  const StateView state{{out.data(), 2, 16}, lse.data()};
  Workspace ws;
  expect_throw([&] { select(wrong, p.query(), p.kv()); });
  expect_throw([&] { attend(wrong, p.query(), p.kv(), state, ws); });
  expect_throw([&] { attend(stack(wrong, TopK{0}), p.query(), p.kv(), state, ws); });
  // Stages that follow walk the wrong list, and the numbers of its entries change.
  EXPECT_THROW(attend(stack(wrong, TopK{5}, PriorityTail{5}), p.query(), p.kv(), state, ws), std::invalid_argument);
  const ContiguousKv<float> kv = p.kv();
  expect_throw([&] {
    attend(wrong, LayerQuery{{p.q.data(), 1, 2, 24}}, LayerKv<ContiguousKv<float>>{{&kv, 1}, 1},
           LayerState{{out.data(), 1, 2, 16}, lse.data()});
  });
  // The same as a list of the caller's own.
  Selection list;
  for (const skim::Span span : wrong.spans) list.add(span);
  for (const Pick pick : wrong.picks) list.add(pick.position, pick.log_weight);
  expect_throw([&] { attend(list, p.query(), p.kv(), state, ws); });
  EXPECT_TRUE(out.untouched() && lse.untouched());
}

constexpr Position kMost = std::numeric_limits<Position>::max();

TEST(OwnEstimator, WrongPicksAreRefused) {
  expect_refused({{}, {{5}, {3}}}, {"pick 1", "position 3"});
  expect_refused({{}, {{5}, {5}}}, {"pick 1", "position 5"});
  expect_refused({{}, {{100}}}, {"pick 0", "position 100", "100"});
  expect_refused({{}, {{4}, {kMost}}}, {"pick 1", "9223372036854775807"});
  expect_refused({{}, {{-1}}}, {"pick 0", "position -1"});
  expect_refused({{}, {{-kMost}, {4}}}, {"pick 0", "-9223372036854775807"});
}
TEST(OwnEstimator, WrongSpansAreRefused) {
  expect_refused({{{5, 9}, {8, 12}}, {}}, {"span 1", "[8, 12)"});
  expect_refused({{{5, 9}, {1, 3}}, {}}, {"span 1", "[1, 3)"});
  expect_refused({{{90, 101}}, {}}, {"span 0", "[90, 101)", "100"});
  expect_refused({{{-1, 3}}, {}}, {"span 0", "[-1, 3)"});
  expect_refused({{{0, kMost}}, {}}, {"span 0", "9223372036854775807"});
}
TEST(OwnEstimator, PicksInSpansAreRefused) {
  expect_refused({{{5, 9}}, {{5}}}, {"pick 0", "position 5", "[5, 9)"});
  expect_refused({{{5, 9}, {20, 30}}, {{4}, {9}, {29}}}, {"pick 2", "position 29", "[20, 30)"});
}
TEST(OwnEstimator, LogWeightsThatAreNotFiniteAreRefused) {
  for (const double bad : {static_cast<double>(NAN), static_cast<double>(INFINITY), -static_cast<double>(INFINITY)}) {
    expect_refused({{}, {{3}, {5, bad}}}, {"pick 1", "position 5", "log weight"});
  }
}
TEST(OwnEstimator, WhatAnEarlierStageHasSelectedIsRefused) {
  const auto p = random_problem<float>({100, 24, 16, 2}, 6);
  const auto expect_throw = [&](const auto& estimator) {
    EXPECT_THROW(attend(estimator, p.query(), p.kv()), std::invalid_argument);
  };
  expect_throw(stack(Sinks{4}, Scripted{{}, {{3}}}));
  expect_throw(stack(Sinks{4}, Scripted{{{3, 5}}, {}}));
  expect_throw(stack(Scripted{{}, {{50}}}, Scripted{{}, {{50}}}));
  expect_throw(stack(Window{4}, Scripted{{}, {{99}}}));
}

// What is not visible is not there to be selected.
TEST(OwnEstimator, InvisiblePositionsAreRefused) {
  const auto p = random_problem<float>({100, 24, 16, 2}, 7);
  Query q = p.query();
  q.position = 49;
  EXPECT_THROW(attend(Scripted{{}, {{50}}}, q, p.kv()), std::invalid_argument);
  q.visible.first = 10;
  EXPECT_THROW(attend(Scripted{{{9, 12}}, {}}, q, p.kv()), std::invalid_argument);
  EXPECT_NO_THROW(attend(Scripted{{{10, 12}}, {{49}}}, q, p.kv()));
}

// Unchecked, what is right stays right.
TEST(OwnEstimator, WithoutChecksTheResultIsTheSame) {
  const LayerProblem<float> p({}, {{3, 40}, {2, 9}}, 8);
  LayerOutput checked(p), unchecked(p);
  const auto e = stack(EveryStep{2}, PriorityTail{3});
  attend(e, p.query(), p.kv(), checked.state());
  Options options;
  options.check = false;
  attend(e, p.query(), p.kv(), unchecked.state(), options);
  EXPECT_TRUE(same_bits(checked, unchecked));
}

/// A ring buffer: position i lies in row (start + i) mod rows.
struct RingKv {
  using Key = float;
  using Value = float;
  const float* data;
  std::size_t rows, start, n;

  Position size() const { return static_cast<Position>(n); }
  std::size_t key_dim() const { return 24; }
  std::size_t value_dim() const { return 16; }
  const float* row(Position i) const { return data + (start + static_cast<std::size_t>(i)) % rows * 40; }
  const float* key(Position i) const { return row(i); }
  const float* value(Position i) const { return row(i) + 24; }
};

TEST(OwnKv, ARingBufferIsAsGoodAsRows) {
  const auto p = random_problem<float>({100, 24, 16, 3}, 9);
  std::vector<float> ring(120 * 40, NAN);
  const RingKv kv{ring.data(), 120, 90, 100};
  for (std::size_t i = 0; i < 100; ++i) {
    std::copy_n(p.keys.data() + i * 24, 24, ring.data() + (90 + i) % 120 * 40);
    std::copy_n(p.values.data() + i * 16, 16, ring.data() + (90 + i) % 120 * 40 + 24);
  }
  const auto e = stack(Sinks{4}, EveryStep{7}, TopK{9}, PriorityTail{8});
  State own = attend(e, p.query(), kv), flat = attend(e, p.query(), p.kv());
  EXPECT_TRUE(same_bits(own.out(), flat.out(), 3 * 16));
  EXPECT_TRUE(same_bits(own.view().lse, flat.view().lse, 3));
}

}  // namespace
}  // namespace skim::test

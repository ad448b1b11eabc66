// SPDX-License-Identifier: Apache-2.0
// Law 3, of every form of composition: what stands for every position left can only be last. Compositions are drawn at
// random: lists of stages, stacks of lists, stacks of stacks, and a user's own estimator among them.
#include <cmath>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/layer_problem.h"
#include "support/selections.h"

namespace skim::test {
namespace {

/// A user's estimator that is a tail or not, by its parameters: a uniform sample, or the newest position left.
struct Own {
  bool tail = false;

  bool stands_for_rest() const { return tail; }
  void validate() const {}
  std::size_t max_picks(std::size_t n) const { return n; }
  template <class Real, class Kv>
  void select(const BasicQuery<Real>& q, const Kv&, Selection& selection, Workspace&) const {
    std::vector<Position> left;
    for_each_gap(selection, q.visible, [&](skim::Span gap) {
      for (Position i = gap.first; i < gap.last; ++i) left.push_back(i);
    });
    if (left.empty()) return;
    if (!tail) return selection.add(left.back());
    const Draws draws(q.stream, q.position);
    selection.add(left[draws.below(0, left.size())], std::log(static_cast<double>(left.size())));
  }
};

/// A list of one to three stages, each a tail or not. Samplers have a quarter of the positions, so they do sample.
StageList random_list(std::mt19937& random) {
  const Stage others[] = {Sinks{2}, Window{3}, TopK{4}, TopP{0.3}};
  const Stage tails[] = {Dense{}, UniformTail{12}, PriorityTail{12}, MultinomialTail{12}, SystematicTail{12}, PoissonTail{12}};
  StageList list;
  for (std::size_t left = 1 + random() % 3; left > 0; --left) {
    list.stages.push_back(random() % 4 == 0 ? tails[random() % 6] : others[random() % 4]);
  }
  return list;
}

/// Which stages of a composition stand for the rest, in the order in which they are asked.
void flatten(const StageList& list, std::vector<bool>& tails) {
  for (const Stage& stage : list.stages) {
    tails.push_back(std::visit(
        [](const auto& s) { return stands_for_rest<std::decay_t<decltype(s)>>(); }, stage));
  }
}
void flatten(const Own& own, std::vector<bool>& tails) { tails.push_back(own.tail); }
void flatten(const Sinks&, std::vector<bool>& tails) { tails.push_back(false); }
template <class... Stages>
void flatten(const Stack<Stages...>& e, std::vector<bool>& tails) {
  std::apply([&](const auto&... stage) { (flatten(stage, tails), ...); }, e.stages);
}

struct Composition : testing::Test {
  Problem<float> p = random_problem<float>({48, 8, 4, 2}, 1);
  ContiguousKv<float> kv = p.kv();
  State dense = attend(Dense{}, p.query(), kv);
  std::size_t accepted = 0, refused = 0;

  /// Accepted where no tail is followed by a stage, refused elsewhere by every verb. What is accepted and ends in a tail
  /// has the right denominator.
  template <class E>
  void expect_law(const E& e) {
    std::vector<bool> tails;
    flatten(e, tails);
    bool right = true;
    for (std::size_t i = 0; i + 1 < tails.size(); ++i) right = right && !tails[i];
    Workspace ws;
    State state(2, 4);
    if (!right) {
      ++refused;
      EXPECT_THROW(e.validate(), std::invalid_argument);
      EXPECT_THROW(select(e, p.query(), kv), std::invalid_argument);
      EXPECT_THROW(attend(e, p.query(), kv, state.view(), ws), std::invalid_argument);
      SelectionRecord record;
      LayerQuery query;
      query.rows = {p.q.data(), 1, 2, 8};
      EXPECT_THROW(select(e, query, LayerKv<ContiguousKv<float>>{{&kv, 1}, 1}, record), std::invalid_argument);
      EXPECT_THROW(attend(e, query, LayerKv<ContiguousKv<float>>{{&kv, 1}, 1}, LayerState{{state.out(), 1, 2, 4}}),
                   std::invalid_argument);
      return;
    }
    try {
      e.validate();
    } catch (const std::invalid_argument& error) {
      ADD_FAILURE() << error.what();
      return;
    }
    ++accepted;
    if (tails.empty() || !tails.back()) return;
    // The mean of Z / Z_dense; 200 draws, the deviation of their mean estimated from them, six of these allowed.
    constexpr int kDraws = 200;
    double sum = 0, squares = 0;
    for (int seed = 0; seed < kDraws; ++seed) {
      Query q = p.query();
      q.stream.seed = static_cast<std::uint64_t>(seed);
      attend(e, q, kv, state.view(), ws);
      const double ratio = std::exp(static_cast<double>(state.lse()) - static_cast<double>(dense.lse()));
      sum += ratio;
      squares += ratio * ratio;
    }
    const double mean = sum / kDraws, variance = std::max(0.0, squares / kDraws - mean * mean);
    EXPECT_NEAR(mean, 1, 6 * std::sqrt(variance / kDraws) + 1e-5);
  }
};

TEST_F(Composition, OfRandomForms) {
  std::mt19937 random(7);
  for (int i = 0; i < 60; ++i) {
    SCOPED_TRACE(i);
    const StageList a = random_list(random), b = random_list(random), c = random_list(random);
    const Own own{random() % 4 == 0};
    expect_law(a);
    expect_law(stack(a));
    expect_law(stack(a, b));
    expect_law(stack(a, own));
    expect_law(stack(own, b));
    expect_law(stack(stack(a), b));
    expect_law(stack(Sinks{1}, stack(a, own), c));
    expect_law(stack(stack(stack(a, b)), c));
  }
  EXPECT_GT(accepted, 100u);
  EXPECT_GT(refused, 100u);
}

TEST_F(Composition, TheErrorSaysWhichStage) {
  try {
    attend(stack(Sinks{1}, parse("topk(2)+priority(4)"), Dense{}), p.query(), kv);
    ADD_FAILURE() << "accepted";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("stage 1 of 3"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace skim::test

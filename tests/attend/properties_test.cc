// SPDX-License-Identifier: Apache-2.0
// What is true of attention without a reference?
#include <algorithm>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

TEST(Properties, TheOutputIsBetweenTheValues) {
  for (const double spread : {0.1, 1.5, 20.0}) {
    const auto p = random_problem<float>({300, 16, 8, 4}, 1, spread);
    const State state = attend(stack(Sinks{4}, TopK{20}, PriorityTail{30}), p.query(), p.kv());
    for (std::size_t c = 0; c < 8; ++c) {
      float least = INFINITY, most = -INFINITY;
      for (std::size_t i = 0; i < 300; ++i) {
        least = std::min(least, p.values[i * 8 + c]);
        most = std::max(most, p.values[i * 8 + c]);
      }
      for (std::size_t h = 0; h < 4; ++h) {
        EXPECT_GE(state.out(h)[c], least - 1e-5f);
        EXPECT_LE(state.out(h)[c], most + 1e-5f);
      }
    }
  }
}

TEST(Properties, EqualValuesAreTheOutput) {
  auto p = random_problem<float>({300, 16, 8, 4}, 2);
  std::fill(p.values.begin(), p.values.end(), -3.25f);
  const State state = attend(stack(Sinks{4}, TopK{20}, PriorityTail{30}), p.query(), p.kv());
  for (std::size_t i = 0; i < 32; ++i) EXPECT_NEAR(state.out()[i], -3.25f, 3e-6);
}

// Another order of the keys: the same keys are selected, and the output is the same but for rounding.
TEST(Properties, TheOrderOfKeysDoesNotMatter) {
  const auto p = random_problem<float>({300, 16, 8, 3}, 3);
  std::vector<std::size_t> order(300);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::shuffle(order.begin(), order.end(), std::mt19937(4));
  auto shuffled = p;
  for (std::size_t i = 0; i < 300; ++i) {
    std::copy_n(p.keys.data() + order[i] * 16, 16, shuffled.keys.data() + i * 16);
    std::copy_n(p.values.data() + order[i] * 8, 8, shuffled.values.data() + i * 8);
  }
  const Selection set = select(TopK{25}, p.query(), p.kv()), other = select(TopK{25}, p.query(), shuffled.kv());
  std::vector<Position> positions, mapped;
  for (const Pick& pick : set.picks()) positions.push_back(pick.position);
  for (const Pick& pick : other.picks()) {
    mapped.push_back(static_cast<Position>(order[static_cast<std::size_t>(pick.position)]));
  }
  std::sort(mapped.begin(), mapped.end());
  EXPECT_EQ(mapped, positions);
  State state = attend(TopK{25}, p.query(), shuffled.kv());
  EXPECT_TRUE(agrees(state.view(), p, p.query(), list_of(set)));
}

// More keys hold more of the mass, and the error is at most twice what is missing.
TEST(Properties, TopKGetsBetterByItsBound) {
  const auto p = random_problem<float>({500, 16, 8, 1}, 5);
  const State exact = attend(Dense{}, p.query(), p.kv());
  double longest = 0;
  for (std::size_t i = 0; i < 500; ++i) {
    double sum = 0;
    for (std::size_t c = 0; c < 8; ++c) sum += static_cast<double>(p.values[i * 8 + c]) * static_cast<double>(p.values[i * 8 + c]);
    longest = std::max(longest, std::sqrt(sum));
  }
  double mass_before = 0;
  for (std::size_t k = 1; k <= 500; k += 1 + k / 4) {
    const State state = attend(TopK{k}, p.query(), p.kv());
    const double mass = std::exp(static_cast<double>(state.lse()) - static_cast<double>(exact.lse()));
    double error = 0;
    for (std::size_t c = 0; c < 8; ++c) {
      const double off = static_cast<double>(state.out()[c]) - static_cast<double>(exact.out()[c]);
      error += off * off;
    }
    EXPECT_GT(mass, mass_before - 1e-6) << k;
    EXPECT_LE(std::sqrt(error), 2 * (1 - mass) * longest + 1e-5) << k;
    mass_before = mass;
  }
}

// A cache cut in two sequences, each attended to alone, merges into the whole.
TEST(Properties, SequencesJoinedAreStatesMerged) {
  const auto p = random_problem<float>({300, 16, 8, 3}, 6);
  for (const std::size_t cut : {1u, 16u, 100u, 299u}) {
    const ContiguousKv<float> head{{p.keys.data(), cut, 16}, {p.values.data(), cut, 8}};
    const ContiguousKv<float> tail{{p.keys.data() + cut * 16, 300 - cut, 16}, {p.values.data() + cut * 8, 300 - cut, 8}};
    State state = attend(Dense{}, p.query(), head), other = attend(Dense{}, p.query(), tail);
    merge(state.view(), other.view());
    EXPECT_TRUE(agrees_with_dense(state.view(), p, p.query())) << "cut at " << cut;
  }
}

}  // namespace
}  // namespace skim::test

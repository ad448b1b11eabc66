// SPDX-License-Identifier: Apache-2.0
// Is top-k exactly the k largest, ties to the lower position, whatever the scores are like?
#include <algorithm>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

constexpr std::size_t kThreshold = 8192;  // from here on a sample of the scores guesses where the cut is

/// What top-k is: the first k of a stable sort, NaN last, in ascending order of position.
std::vector<Position> by_sorting(std::vector<float> scores, std::size_t k) {
  for (float& s : scores) {
    if (std::isnan(s)) s = -INFINITY;
  }
  std::vector<Position> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](Position a, Position b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
  order.resize(std::min(k, order.size()));
  std::sort(order.begin(), order.end());
  return order;
}

/// What the library selects when the logits of the only head are `scores`.
std::vector<Position> selected(const std::vector<float>& scores, const Budget& budget) {
  const float one = 1;
  Query q;
  q.rows = {&one, 1, 1};
  q.logit.scale = 1;
  const ContiguousKv<float> kv{{scores.data(), scores.size(), 1}, {scores.data(), scores.size(), 1}};
  std::vector<Position> positions;
  for (const Weighted& w : list_of(select(TopK{budget}, q, kv))) {
    EXPECT_EQ(w.weight, 1.0);
    positions.push_back(w.position);
  }
  return positions;
}

void expect_exact(const std::vector<float>& scores) {
  const std::size_t n = scores.size();
  for (const std::size_t k : {std::size_t{1}, std::size_t{2}, std::size_t{15}, std::size_t{16}, n / 100, n / 20, n / 3,
                              n / 2, n - n / 10, n - 1, n, n + 1, 2 * n}) {
    ASSERT_EQ(selected(scores, k), by_sorting(scores, k)) << k << " of " << n;
  }
}

std::vector<float> random_scores(std::size_t n, unsigned seed, double step = 0) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<float> scores(n);
  for (float& s : scores) {
    const double x = normal(generator);
    s = static_cast<float>(step == 0 ? x : step * std::round(x / step));
  }
  return scores;
}

constexpr std::size_t kCounts[] = {1, 2, 7, 16, 63, 64, 65, 1000, kThreshold - 1, kThreshold, kThreshold + 1, 20011};

TEST(TopK, RandomScores) {
  for (const std::size_t n : kCounts) expect_exact(random_scores(n, 1));
}

TEST(TopK, ManyTiesAtTheCut) {
  for (const std::size_t n : kCounts) {
    for (const double step : {0.01, 0.5, 3.0}) expect_exact(random_scores(n, 2, step));
  }
}

TEST(TopK, AllEqual) {
  for (const std::size_t n : kCounts) {
    for (const float all : {0.0f, -0.0f, 1e30f, -1e30f, -INFINITY, static_cast<float>(NAN)}) {
      expect_exact(std::vector<float>(n, all));
    }
  }
}

TEST(TopK, BothZerosAreEqual) {
  for (const std::size_t n : {10u, 100u, 20011u}) {
    std::vector<float> scores(n);
    for (std::size_t i = 0; i < n; ++i) scores[i] = i % 3 == 0 ? 0.0f : -0.0f;
    expect_exact(scores);
  }
}

// A sample taken in regular steps would be fooled by these.
TEST(TopK, SortedAndPeriodicScores) {
  for (const std::size_t n : {kThreshold - 1, kThreshold, std::size_t{10000}, std::size_t{3 * 8192 + 5}}) {
    std::vector<float> rising(n), falling(n);
    for (std::size_t i = 0; i < n; ++i) {
      rising[i] = static_cast<float>(i);
      falling[i] = -rising[i];
    }
    expect_exact(rising);
    expect_exact(falling);
    for (const std::size_t period : {2u, 3u, 4u, 5u, 7u, 8u, 16u, 64u, 2048u, 4096u}) {
      std::vector<float> high(n), low(n), saw(n);
      for (std::size_t i = 0; i < n; ++i) {
        high[i] = i % period == 0 ? 1.0f : 0.0f;
        low[i] = i % period == 0 ? 0.0f : 1.0f;
        saw[i] = static_cast<float>(i % period);
      }
      expect_exact(high);
      expect_exact(low);
      expect_exact(saw);
    }
  }
}

// The sample sees nothing but the low ones, or hardly anything else.
TEST(TopK, FewHighScoresInOnePlace) {
  for (const std::size_t n : {kThreshold, std::size_t{30000}}) {
    for (const std::size_t count : {1u, 17u, 300u}) {
      for (const std::size_t at : {std::size_t{0}, n / 2, n - count}) {
        auto scores = random_scores(n, 3, 0.5);
        std::fill_n(scores.begin() + static_cast<std::ptrdiff_t>(at), count, 100.0f);
        expect_exact(scores);
      }
    }
  }
}

TEST(TopK, NanAndInfinities) {
  for (const std::size_t n : {20u, 1000u, 20011u}) {
    auto scores = random_scores(n, 4, 0.25);
    for (std::size_t i = 0; i < n; i += 3) scores[i] = NAN;
    for (std::size_t i = 1; i < n; i += 5) scores[i] = -INFINITY;
    for (std::size_t i = 2; i < n; i += 50) scores[i] = INFINITY;
    expect_exact(scores);
    for (float& s : scores) s = std::isnan(s) ? s : -INFINITY;
    expect_exact(scores);
  }
}

TEST(TopK, OfNothingAndNothingOfSomething) {
  EXPECT_TRUE(selected({}, 5).empty());
  EXPECT_TRUE(selected(random_scores(100, 5), 0).empty());
  EXPECT_TRUE(selected(random_scores(100, 5), fraction(0)).empty());
}

// Budgets count visible positions.
TEST(TopK, Budgets) {
  const auto scores = random_scores(1000, 6);
  EXPECT_EQ(selected(scores, fraction(0.07)), by_sorting(scores, 70));
  EXPECT_EQ(selected(scores, fraction(0.0701)), by_sorting(scores, 71)) << "rounded up";
  EXPECT_EQ(selected(scores, fraction(0.001, 40)), by_sorting(scores, 40));
  EXPECT_EQ(selected(scores, fraction(1)).size(), 1000u);
  EXPECT_EQ(selected(scores, power(2, 0.5)), by_sorting(scores, 64)) << "2 sqrt(1000) is 63.2";
  EXPECT_EQ(selected(scores, power(0.001, 0.5)), by_sorting(scores, 1)) << "at least one";
  EXPECT_EQ(selected(scores, power(0.001, 0.5, 33)), by_sorting(scores, 33));
  EXPECT_EQ(selected(scores, power(17, 0)), by_sorting(scores, 17));
  EXPECT_EQ(selected(scores, power_matching_decode(100, 1000, 0.5)), by_sorting(scores, 100));
}

TEST(TopK, BudgetsFollowWhatIsVisible) {
  const auto p = random_problem<float>({400, 8, 8, 2}, 7);
  for (const Position last : {1, 10, 99, 400}) {
    Query q = p.query();
    q.position = last - 1;
    const auto count = [&](const auto& estimator) { return list_of(select(estimator, q, p.kv())).size(); };
    const auto n = static_cast<double>(last);
    EXPECT_EQ(count(TopK{fraction(0.1)}), static_cast<std::size_t>(std::ceil(0.1 * n)));
    EXPECT_EQ(count(TopK{power(3, 0.4)}), std::min(static_cast<std::size_t>(last), static_cast<std::size_t>(std::ceil(3 * std::pow(n, 0.4)))));
    // New positions, of what others have left: the budget is not shared.
    EXPECT_EQ(count(stack(Sinks{4}, TopK{fraction(0.1)})),
              std::min<std::size_t>(static_cast<std::size_t>(last), 4 + static_cast<std::size_t>(std::ceil(0.1 * n))));
  }
}

// A group takes a position for its largest logit in any head.
TEST(TopK, AGroupPoolsByTheLargest) {
  for (const std::size_t group : {1u, 2u, 3u, 8u}) {
    for (const std::size_t n : {50u, 20011u}) {
      const auto p = random_problem<float>({n, 8, 1, group}, group);
      Workspace ws;
      const Query q = p.query().resolved(static_cast<Position>(n));
      const auto s = logits(q, p.kv(), ws);
      std::vector<float> largest(n, -INFINITY);
      for (std::size_t h = 0; h < group; ++h) {
        for (std::size_t i = 0; i < n; ++i) largest[i] = std::max(largest[i], s.of_head(h)[i]);
      }
      std::vector<Position> positions;
      const Selection selection = select(TopK{20}, p.query(), p.kv());
      for (const Pick& pick : selection.picks()) positions.push_back(pick.position);
      EXPECT_EQ(positions, by_sorting(largest, 20)) << "group of " << group;
    }
  }
}

// ---- who knows the logits -----------------------------------------------------------------------------------------

TEST(TopK, ParametersThatContradictEachOther) {
  EXPECT_NO_THROW((TopK{5, Source::kSketch1, 40}.validate()));
  EXPECT_NO_THROW((TopK{.budget = 5, .by = Source::kSketch8, .exact = true}.validate()));
  EXPECT_NO_THROW((TopK{.budget = 5, .by = Source::kBoxes, .exact = true}.validate()));
  EXPECT_NO_THROW((TopK{.budget = 5, .exact = true}.validate())) << "by keys top-k is exact";
  expect_error([] { TopK{5, Source::kKeys, 40}.validate(); }, {"TopK", "candidates", "by is keys"});
  for (const Source by : {Source::kSketch1, Source::kSketch4, Source::kExternal}) {
    expect_error([&] { TopK{.budget = 5, .by = by, .exact = true}.validate(); },
                 {"TopK", "exact needs bounds", std::string(name_of(by)).c_str()});
  }
  expect_error([] { TopK{5, Source::kSketch8, 40, true}.validate(); }, {"TopK", "exact finds its own candidates"});
  expect_error([] { TopK{5, Source::kSketch8, fraction(2)}.validate(); }, {"TopK: candidates", "2"});
}

TEST(TopK, ExactByKeysIsTopK) {
  const auto p = random_problem<float>({500, 16, 4, 1}, 9);
  const State plain = attend(TopK{40}, p.query(), p.kv());
  const State exact = attend(TopK{.budget = 40, .exact = true}, p.query(), p.kv());
  EXPECT_TRUE(same_bits(plain.out(), exact.out(), 4));
}

TEST(TopK, CandidatesDoNotCountAsPicks) {
  EXPECT_EQ((TopK{5, Source::kSketch1, 400}.max_picks(1000)), 5u);
  EXPECT_EQ((TopK{fraction(0.01), Source::kSketch1, 400}.max_picks(1000)), 10u);
}

// What is dropped is a bias that is known: o - o_k = tau (mean dropped value - mean kept value).
TEST(TopK, ErrorIsWhatTheTheoremSays) {
  const auto p = random_problem<double>({500, 16, 4, 1}, 8);
  const auto all = attend(Dense{}, p.query(), p.kv()), kept = attend(TopK{40}, p.query(), p.kv());
  Selection rest;
  const Selection top = select(TopK{40}, p.query(), p.kv());
  Position next = 0;
  for (const Pick& pick : top.picks()) {
    rest.add(skim::Span{next, pick.position});
    next = pick.position + 1;
  }
  rest.add(skim::Span{next, 500});
  const auto dropped = attend(rest, p.query(), p.kv());
  const double tau = 1 - std::exp(kept.lse() - all.lse());
  EXPECT_GT(tau, 0.1);
  for (std::size_t c = 0; c < 4; ++c) {
    EXPECT_NEAR(all.out()[c] - kept.out()[c], tau * (dropped.out()[c] - kept.out()[c]), 1e-12);
  }
}

}  // namespace
}  // namespace skim::test

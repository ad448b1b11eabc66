// SPDX-License-Identifier: Apache-2.0
// The law of one scale (support/one_scale.h), where the newest positions matter and there are as many of them as there
// can be: n has every remainder modulo 16 and 256.
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/one_scale.h"
#include "support/problem.h"
#include "support/selections.h"

namespace skim::test {
namespace {

/// Keys that drift, each a little unlike the one before; queries that look for what is like key n - 1 (and a little at
/// random). `runs`: how alike neighbours are.
Problem<float> drifting(std::size_t n, std::size_t group, double alike, std::uint64_t seed) {
  auto p = random_problem<float>({n, 32, 8, group}, seed);
  const auto rest = static_cast<float>(std::sqrt(1 - alike * alike));
  for (std::size_t i = 32; i < n * 32; ++i) {
    p.keys[i] = static_cast<float>(alike) * p.keys[i - 32] + rest * p.keys[i];
  }
  return p;
}

/// The query of position n - 1.
Query newest_of(const Problem<float>& p, std::size_t n, std::vector<float>& rows) {
  rows = p.q;
  for (std::size_t h = 0; h < p.shape.group; ++h) {
    for (std::size_t c = 0; c < 32; ++c) rows[h * 32 + c] = 0.5f * rows[h * 32 + c] + p.keys[(n - 1) * 32 + c];
  }
  Query q;
  q.rows = {rows.data(), p.shape.group, 32};
  q.position = static_cast<Position>(n) - 1;
  return q;
}

TEST(OneScale, AtEveryRemainder) {
  for (const std::size_t group : {1u, 3u}) {
    for (const double alike : {0.9, 0.0}) {
      const auto p = drifting(768, group, alike, group);
      OneScale law{fraction(0.1)};
      for (std::size_t n = 513; n <= 768; ++n) {
        std::vector<float> rows;
        Query q = newest_of(p, n, rows);
        q.grouping = n % 2 == 0 ? Grouping::kPerGroup : Grouping::kPerHead;
        law.ask(ScaledHead(p.kv(), n), q);
      }
      law.expect("group of " + std::to_string(group) + ", neighbours alike by " + std::to_string(alike),
                 {0, 0, 0, 2e-4, 2e-4});
    }
  }
}

/// The weight of each position, 0 if it is not selected.
std::vector<double> weights_of(const Selection& selection, std::size_t n) {
  std::vector<double> weights(n, 0.0);
  for (const Weighted& w : list_of(selection)) weights[static_cast<std::size_t>(w.position)] = w.weight;
  return weights;
}

// What pages do not cover is selected with weight 1 whatever is drawn, on top of the budget: the newest positions, a page
// with a key that is not finite, for means the page that is seen in part. Alone, in stacks, per group and per head.
TEST(OneScale, WhatPagesDoNotCoverHasWeightOne) {
  constexpr std::size_t kN = 600;
  auto p = drifting(kN, 3, 0.5, 7);
  p.keys[100 * 32 + 5] = std::numeric_limits<float>::quiet_NaN();
  const ScaledHead head(p.kv(), kN);
  for (const std::string by : {"boxes", "means"}) {
    for (const std::string method : {"topk", "priority", "systematic", "multinomial", "poisson"}) {
      for (const std::string before : {"", "sinks(1)+window(4)+", "topk(5,by=keys)+"}) {
        const std::string text = before + method + "(20,by=" + by + ")";
        const StageList estimator = parse(text), ahead = parse(before + "sinks(0)");
        for (const Position first : {0, 35}) {
          for (std::uint64_t seed = 0; seed < 10; ++seed) {
            std::vector<float> rows;
            Query q = newest_of(p, kN, rows);
            q.visible.first = first;
            q.stream.seed = seed;
            if (seed % 2 == 1) q = q.head(seed % 3);
            const Selection selection = select(estimator, q, head.kv());
            const std::vector<double> weights = weights_of(selection, kN), taken = weights_of(select(ahead, q, head.kv()), kN);
            std::size_t on_budget = 0;
            for (std::size_t i = static_cast<std::size_t>(first); i < kN; ++i) {
              const bool is_out = by == "boxes" ? i / 16 == 6 : i == 100 || i / 16 * 16 < static_cast<std::size_t>(first);
              const bool covered = i < 592 && !is_out;
              EXPECT_TRUE(covered || weights[i] == 1) << text << ", position " << i;
              if (covered && taken[i] == 0 && weights[i] > 0) ++on_budget;
            }
            if (method == "poisson") continue;
            EXPECT_LE(on_budget, 20u) << text;
            EXPECT_TRUE(on_budget == 20 || method == "multinomial") << text << ": " << on_budget;
          }
        }
      }
    }
  }
}

// Of a page that does not fit in the newest positions are taken, as by Quest.
TEST(OneScale, APageIsCutToItsNewestPositions) {
  const auto p = drifting(256, 1, 0.5, 8);
  const ScaledHead head(p.kv(), 256);
  std::vector<float> rows;
  const Query q = newest_of(p, 256, rows);
  for (const Source by : {Source::kBoxes, Source::kMeans}) {
    const auto weights = weights_of(select(TopK{20, by}, q, head.kv()), 256);
    std::size_t whole = 0, cut = 0;
    for (std::size_t page = 0; page < 16; ++page) {
      const double in_page = std::accumulate(weights.begin() + static_cast<std::ptrdiff_t>(page * 16),
                                             weights.begin() + static_cast<std::ptrdiff_t>(page * 16 + 16), 0.0);
      whole += in_page == 16 ? 1u : 0u;
      if (in_page != 4) continue;
      ++cut;
      for (std::size_t i = page * 16 + 12; i < page * 16 + 16; ++i) EXPECT_EQ(weights[i], 1.0);
    }
    EXPECT_EQ(whole, 1u);
    EXPECT_EQ(cut, 1u);
  }
}

// Where keys decide among candidates, the budget is the budget.
TEST(OneScale, CandidatesAreOnTopAndTheBudgetIsKept) {
  const auto p = drifting(600, 2, 0.5, 9);
  const ScaledHead head(p.kv(), 600);
  std::vector<float> rows;
  const Query q = newest_of(p, 600, rows);
  for (const Source by : {Source::kBoxes, Source::kMeans}) {
    const TopK among_few{20, by, 20}, among_all{20, by, 592};
    EXPECT_EQ(among_few.max_picks(600), 20u);
    EXPECT_EQ((TopK{20, by}.max_picks(600)), 600u);
    const Selection few = select(among_few, q, head.kv()), all = select(among_all, q, head.kv());
    ASSERT_EQ(few.picks().size(), 20u);
    const Selection exact = select(TopK{20}, q, head.kv());
    ASSERT_EQ(all.picks().size(), 20u);
    std::vector<bool> chosen(600);
    for (const Pick& pick : few.picks()) chosen[static_cast<std::size_t>(pick.position)] = true;
    for (std::size_t j = 0; j < 20; ++j) {
      EXPECT_EQ(all.picks()[j].position, exact.picks()[j].position);
      const Position at = exact.picks()[j].position;
      EXPECT_TRUE(at < 592 || chosen[static_cast<std::size_t>(at)]) << at << " is a candidate in any case";
    }
  }
}

}  // namespace
}  // namespace skim::test

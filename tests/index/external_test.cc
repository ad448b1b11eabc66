// SPDX-License-Identifier: Apache-2.0
// What the caller's own scores make of top-k and of samplers, good scores and bad ones.
#include "skim/index/external.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "laws/unbiased.h"
#include "skim/skim.h"
#include "support/layer_problem.h"
#include "support/problem.h"

namespace skim::test {
namespace {

constexpr float kInfinite = std::numeric_limits<float>::infinity();
constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();

/// Scores for the queries at the last `rows` of n positions; few different ones, so that many are equal.
struct Table {
  std::vector<float> scores;
  std::size_t rows, n;

  Table(std::size_t rows_, std::size_t n_, std::uint64_t seed) : scores(rows_ * n_), rows(rows_), n(n_) {
    std::mt19937_64 generator(seed);
    for (float& x : scores) x = static_cast<float>(generator() % 23) - 11;
  }
  ExternalScores view() const { return {{scores.data(), rows, n}, static_cast<Position>(n - rows)}; }
  const float* row(std::size_t r) const { return scores.data() + r * n; }
};

/// The k best of those in [first, last) that are not in `taken`, ascending; of equal ones the lower position. NaN is last,
/// and -inf is never.
std::vector<Position> best(const float* scores, Position first, Position last, std::size_t k,
                           const std::vector<Position>& taken = {}) {
  std::vector<Position> order;
  for (Position i = first; i < last; ++i) {
    if (scores[i] == -kInfinite) continue;
    if (std::find(taken.begin(), taken.end(), i) == taken.end()) order.push_back(i);
  }
  const auto score = [&](Position i) { return std::isnan(scores[i]) ? -kInfinite : scores[i]; };
  std::stable_sort(order.begin(), order.end(), [&](Position a, Position b) { return score(a) > score(b); });
  order.resize(std::min(k, order.size()));
  std::sort(order.begin(), order.end());
  return order;
}

TEST(ExternalScores, KnowTheirSize) {
  const Table table(3, 10, 1);
  EXPECT_EQ(table.view().size(), 10);
  EXPECT_EQ(table.view().bytes(), 3 * 10 * sizeof(float));
  EXPECT_EQ(ExternalScores{}.size(), 0);
  EXPECT_EQ(ExternalScores::kSource, Source::kExternal);
}

// ---- top-k ------------------------------------------------------------------------------------------------

TEST(ExternalScores, TheKLargestTiesToTheLowerPosition) {
  for (const std::size_t group : {1u, 2u, 3u, 8u}) {
    for (const std::size_t n : {1u, 7u, 16u, 100u, 301u}) {
      const auto p = random_problem<BF16>({n, 16, 4, group}, n + group);
      Table table(1, n, n);
      if (n > 16) {
        table.scores[3] = kNotANumber;
        table.scores[9] = kInfinite;
        table.scores[11] = -kInfinite;
      }
      const ExternalScores external = table.view();
      const auto kv = with_index(p.kv(), external);
      for (const std::size_t k : {1u, 2u, 15u, 99u, 400u}) {
        const auto expected = best(table.row(0), 0, static_cast<Position>(n), k);
        const TopK by_scores{k, Source::kExternal};
        EXPECT_EQ(positions_of(select(by_scores, p.query(), kv)), expected) << k << " of " << n;
        // Whoever selects: the group, or a head of it.
        for (std::size_t h = 0; h < group; ++h) {
          EXPECT_EQ(positions_of(select(by_scores, p.query().head(h), kv)), expected) << "head " << h;
        }
        Query q = p.query();
        for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
          q.grouping = grouping;
          std::vector<Weighted> list;
          for (const Position i : expected) list.push_back({i, 1});
          State state = attend(by_scores, q, kv);
          EXPECT_TRUE(agrees(state.view(), p, q, list)) << k << " of " << n;
        }
      }
    }
  }
}

TEST(ExternalScores, OfWhatIsVisibleAndLeft) {
  constexpr std::size_t n = 120;
  const auto p = random_problem<float>({n, 8, 4, 2}, 3);
  const Table table(1, n, 3);
  const ExternalScores external{{table.scores.data(), 1, n}, 90};
  const auto kv = with_index(p.kv(), external);
  Query q = p.query();
  q.position = 90;
  q.visible.first = 7;
  EXPECT_EQ(positions_of(select(TopK{20, Source::kExternal}, q, kv)), best(table.row(0), 7, 91, 20));
  const auto all = positions_of(select(stack(Sinks{10}, Window{4}, TopK{20, Source::kExternal}), q, kv));
  std::vector<Position> taken = {7, 8, 9, 87, 88, 89, 90};
  std::vector<Position> expected = best(table.row(0), 7, 91, 20, taken);
  expected.insert(expected.end(), taken.begin(), taken.end());
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(all, expected);
}

// Scores name candidates, and the keys decide among them.
TEST(ExternalScores, AsCandidates) {
  constexpr std::size_t n = 150;
  const auto p = random_problem<float>({n, 8, 4, 2}, 4);
  const Table table(1, n, 4);
  const ExternalScores external = table.view();
  const auto named = best(table.row(0), 0, n, 40);
  Workspace ws;
  const Query q = p.query().resolved(n);
  const auto s = logits(q, p.kv(), ws);
  std::vector<float> pooled(n, -kInfinite);
  for (const Position i : named) pooled[static_cast<std::size_t>(i)] = std::max(s.of_head(0)[i], s.of_head(1)[i]);
  EXPECT_EQ(positions_of(select(TopK{12, Source::kExternal, 40}, p.query(), with_index(p.kv(), external))),
            best(pooled.data(), 0, n, 12));
}

// Each row of a layer goes by its own row of scores, on any number of threads.
TEST(ExternalScores, EachQueryHasItsRow) {
  constexpr std::size_t n = 80, rows = 6;
  const LayerProblem<float> p({2, 1, 8, 4}, {{rows, n}}, 5);
  const Table table(rows, n, 5);
  const ExternalScores external = table.view();
  const std::vector<IndexedKv<ContiguousKv<float>, ExternalScores>> views = {with_index(p.views[0], external)};
  LayerOutput all(p);
  attend(TopK{9, Source::kExternal}, p.query(), LayerKv<IndexedKv<ContiguousKv<float>, ExternalScores>>{views, 1},
         all.state());
  for (std::size_t r = 0; r < rows; ++r) {
    Query q;
    q.rows = p.query().rows.group(r, 0, 2);
    q.position = static_cast<Position>(n - rows + r);
    Selection by_hand;
    for (const Position i : best(table.row(r), 0, q.position + 1, 9)) by_hand.add(i);
    State state = attend(by_hand, q, p.views[0]);
    EXPECT_TRUE(same_bits(state.out(), all.row(r, 0).out.data, 2 * 4)) << "row " << r;
  }
}

TEST(ExternalScores, OfAnotherQueryAreAnError) {
  const auto p = random_problem<float>({20, 8, 4, 1}, 6);
  const Table table(3, 20, 6);
  const ExternalScores external = table.view();
  const auto kv = with_index(p.kv(), external);
  Query q = p.query();
  for (const Position at : {16, 20}) {
    q.position = at;
    const std::string text = "this one is at " + std::to_string(at);
    expect_error([&] { attend(TopK{3, Source::kExternal}, q, kv); }, {"[17, 20)", text.c_str()});
  }
  const ExternalScores none{};
  expect_error([&] { attend(TopK{3, Source::kExternal}, p.query(), with_index(p.kv(), none)); },
               {"covers 0 positions", "20 keys"});
  expect_error([&] { attend(TopK{3, Source::kExternal}, p.query(), p.kv()); }, {"external", "with_index"});
}

// The last sequence has no row for its query: nothing of the first is written.
TEST(ExternalScores, AreCheckedBeforeALayerIsWritten) {
  constexpr std::size_t n = 40;
  const LayerProblem<float> p({2, 1, 8, 4}, {{1, n}, {1, n}}, 7);
  const Table table(1, n, 7);
  const ExternalScores right{{table.row(0), 1, n}, n - 1}, wrong{{table.row(0), 1, n}, n - 2};
  const std::vector<IndexedKv<ContiguousKv<float>, ExternalScores>> views = {with_index(p.views[0], right),
                                                                             with_index(p.views[1], wrong)};
  std::vector<float> out(2 * 2 * 4, 7.0f);
  expect_error(
      [&] {
        attend(TopK{3, Source::kExternal}, p.query(), LayerKv<IndexedKv<ContiguousKv<float>, ExternalScores>>{views, 1},
               LayerState{{out.data(), 2, 2, 4}});
      },
      {"[38, 39)", "this one is at 39"});
  EXPECT_EQ(out, std::vector<float>(out.size(), 7.0f));
}

// ---- samplers ---------------------------------------------------------------------------------------------

/// A sampler's proposal by this row of scores, as the library makes it, after `earlier` stages.
std::vector<float> proposal_of(const std::vector<float>& row, std::size_t group, const Selection& earlier = {}) {
  const std::size_t n = row.size();
  const auto p = random_problem<float>({n, 8, 1, group}, n);
  const ExternalScores external{{row.data(), 1, n}, static_cast<Position>(n) - 1};
  Selection selection = earlier;
  Workspace ws;
  const auto tail = HWY_NAMESPACE::tail_of(Budget(1), Source::kExternal, p.query().resolved(static_cast<Position>(n)),
                                           with_index(p.kv(), external), selection, ws);
  return {tail.log_proposal, tail.log_proposal + tail.n};
}

/// PriorityTail's sampler on a proposal.
struct Priority {
  std::vector<float> log_proposal;
  std::size_t budget;

  std::vector<Drawn> operator()(std::vector<float> u) const {
    Workspace ws;
    const auto sample = HWY_NAMESPACE::priority_sample(log_proposal.data(), u.data(), u.size(), budget, ws);
    std::vector<Drawn> chosen;
    for (std::size_t j = 0; j < sample.count; ++j) {
      chosen.push_back({sample.ranks[j], std::exp(sample.log_weight(log_proposal[sample.ranks[j]]))});
    }
    return chosen;
  }
};

/// Rows of scores that say little or nothing of the logits.
std::vector<std::vector<float>> bad_rows() {
  const float most = std::numeric_limits<float>::max();
  return {
      {0, 0, 0, 0, 0, 0, 0, 0},
      {-kInfinite, 1, kNotANumber, 0, kInfinite, -3, 2, 0.5f},
      {kInfinite, kInfinite, 0, -kInfinite, kNotANumber, 4, 1, 1},
      {-kInfinite, -kInfinite, -kInfinite, -kInfinite, -kInfinite, -kInfinite},
      {kNotANumber, kNotANumber, kNotANumber, kNotANumber, kNotANumber},
      {kInfinite, -kInfinite, kInfinite, kNotANumber, kInfinite, -kInfinite},
      {most, -most, 0, 1, most, -1},
      {1e9f, 1e9f + 64, 1e9f + 128, 3, -1e9f, 0},
      {-1e30f, -2e30f, -3e30f, -1e30f, -5e30f},
      {300, 0, -300, 150, 299, 1},
  };
}

// Law 6, exactly: whatever the scores are, every position that they do not rule out can be chosen, and its expected
// weight is 1.
TEST(ExternalScores, BadScoresBiasNothing) {
  for (const auto& row : bad_rows()) {
    SCOPED_TRACE(testing::PrintToString(row));
    for (const std::size_t group : {1u, 3u}) {
      const std::vector<float> proposal = proposal_of(row, group);
      const auto allowed = static_cast<std::size_t>(std::count_if(row.begin(), row.end(), [](float x) { return x != -kInfinite; }));
      ASSERT_EQ(proposal.size(), allowed == 0 ? 0 : row.size());
      for (std::size_t i = 0; i < proposal.size(); ++i) EXPECT_EQ(std::isfinite(proposal[i]), row[i] != -kInfinite);
      std::mt19937_64 generator(1);
      std::uniform_real_distribution<float> uniform(0x1p-20f, 1);
      for (std::size_t budget = 1; budget < allowed; ++budget) {
        for (int draw = 0; draw < 6; ++draw) {
          std::vector<float> u(row.size());
          for (float& x : u) x = uniform(generator);
          if (draw == 5) std::fill(u.begin(), u.end(), 0.5f);
          for (const Drawn& c : Priority{proposal, budget}(u)) EXPECT_NE(row[c.rank], -kInfinite);
          for (std::size_t i = 0; i < u.size(); ++i) {
            if (row[i] == -kInfinite) continue;
            EXPECT_TRUE(is_unbiased_at(u, i, 1e-6 + 8 * 0x1p-24 * 16, Priority{proposal, budget})) << budget;
          }
        }
      }
    }
  }
}

// Among what earlier stages have left: what they took has no say in the floor.
TEST(ExternalScores, TheFloorIsOfWhatIsLeft) {
  Selection earlier;
  earlier.add(2);
  HWY_NAMESPACE::commit(earlier);
  const auto left = proposal_of({1, -40, 1000, 0, kNotANumber}, 1, earlier);
  ASSERT_EQ(left.size(), 4u);
  EXPECT_EQ(left[0] - left[2], 1);
  EXPECT_EQ(left[0] - left[1], 16);
  EXPECT_EQ(left[0] - left[3], 16);
}

// -inf is "never this position": not selected by any stage that goes by the scores, also when there is room for it, and the
// answer is that of a cache without such positions.
TEST(ExternalScores, RuleOutPositions) {
  constexpr std::size_t n = 90;
  for (const std::size_t group : {1u, 3u}) {
    const auto p = random_problem<float>({n, 8, 4, group}, 10);
    for (const std::size_t every : {1u, 2u, 3u, 40u}) {
      Table table(1, n, 10);
      for (std::size_t i = 0; i < n; i += every) table.scores[i] = -kInfinite;
      table.scores[5] = kNotANumber;
      std::vector<Weighted> allowed;
      for (std::size_t i = 0; i < n; ++i) {
        if (table.scores[i] != -kInfinite) allowed.push_back({static_cast<Position>(i), 1});
      }
      const ExternalScores external = table.view();
      const auto kv = with_index(p.kv(), external);
      for (const char* text :
           {"topk(7,by=external)", "topk(7,by=external,candidates=80)", "priority(7,by=external)", "systematic(7,by=external)",
            "multinomial(7,by=external)", "poisson(7,by=external)", "topk(3,by=external)+priority(5,by=external)",
            "topk(2,by=external,candidates=80)+topk(2,by=external)+systematic(5,by=external)"}) {
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
          Query q = p.query();
          q.stream.seed = seed;
          const Selection some = select(parse(text), q, kv);
          for (const Weighted& w : list_of(some)) {
            EXPECT_NE(table.scores[static_cast<std::size_t>(w.position)], -kInfinite) << text << ", " << w.position;
          }
          EXPECT_EQ(list_of(some).empty(), allowed.empty()) << text;
        }
      }
      // Room for all: what may be selected is, with weight 1.
      for (const char* text :
           {"topk(1000,by=external)", "topk(89,by=external)", "topk(89,by=external,candidates=90)",
            "priority(89,by=external)", "systematic(89,by=external)", "multinomial(89,by=external)",
            "poisson(1000,by=external)", "topk(3,by=external)+priority(89,by=external)"}) {
        State state = attend(parse(text), p.query(), kv);
        EXPECT_TRUE(agrees(state.view(), p, p.query(), allowed)) << text << ", every " << every;
        EXPECT_EQ(positions_of(select(parse(text), p.query(), kv)).size(), allowed.size()) << text;
      }
      // What does not go by the scores is not ruled out.
      EXPECT_EQ(positions_of(select(parse("sinks(1)+topk(1000,by=external)"), p.query(), kv)).size(), allowed.size() + 1);
    }
  }
}

// Through the whole path: the weight of what is chosen comes from the scores alone, the logit from the key.
TEST(ExternalScores, ASampleIsWeighedByItsScores) {
  constexpr std::size_t n = 60, budget = 9;
  const auto p = random_problem<float>({n, 8, 4, 2}, 8);
  Table table(1, n, 8);
  table.scores[5] = -kInfinite;
  table.scores[6] = kNotANumber;
  table.scores[7] = kInfinite;
  const ExternalScores external = table.view();
  const auto proposal = proposal_of(table.scores, 2);
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Query q = p.query();
    q.stream = {seed, 1, 2, 3};
    const Query resolved = q.resolved(n);
    const Draws draws(resolved.stream, resolved.position);
    std::vector<std::pair<double, Position>> priorities;
    for (std::size_t i = 0; i < n; ++i) {
      priorities.push_back({double{proposal[i]} - std::log(draws.uniform(i)), static_cast<Position>(i)});
    }
    std::sort(priorities.rbegin(), priorities.rend());
    const auto kv = with_index(p.kv(), external);
    const Selection sample = select(PriorityTail{budget, Source::kExternal}, q, kv);
    ASSERT_EQ(sample.picks().size(), budget);
    std::sort(priorities.begin(), priorities.begin() + budget, [](auto& a, auto& b) { return a.second < b.second; });
    for (std::size_t j = 0; j < budget; ++j) {
      const Pick& pick = sample.picks()[j];
      EXPECT_EQ(pick.position, priorities[j].second);
      const double log_tau = priorities[budget].first;
      EXPECT_NEAR(pick.log_weight, std::max(0.0, log_tau - double{proposal[static_cast<std::size_t>(pick.position)]}), 1e-5);
    }
    State fused = attend(PriorityTail{budget, Source::kExternal}, q, kv);
    EXPECT_TRUE(agrees(fused.view(), p, q, list_of(sample)));
  }
}

// The other samplers go by the same proposal.
TEST(ExternalScores, EverySamplerTakesThem) {
  constexpr std::size_t n = 60;
  const auto p = random_problem<float>({n, 8, 4, 2}, 9);
  const Table table(1, n, 9);
  const ExternalScores external = table.view();
  const auto kv = with_index(p.kv(), external);
  for (const char* text : {"priority(9,by=external)", "systematic(9,by=external)", "multinomial(9,by=external)",
                           "poisson(9,by=external)", "sinks(2)+topk(3,by=external)+priority(5,by=external)"}) {
    State state = attend(parse(text), p.query(), kv);
    EXPECT_TRUE(agrees(state.view(), p, p.query(), list_of(select(parse(text), p.query(), kv)))) << text;
  }
}

}  // namespace
}  // namespace skim::test

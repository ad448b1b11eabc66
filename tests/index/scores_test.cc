// SPDX-License-Identifier: Apache-2.0
// Are the scores of an index logits: canonical where the index has nothing, near where it has, once for each query?
#include <cmath>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "support/indexes.h"
#include "support/layer_problem.h"
#include "support/layouts.h"

namespace skim::test {
namespace {

namespace kernel = HWY_NAMESPACE;

constexpr float kSlopesOfRules[] = {0.05f, 0.025f, 0.03f, 0.0125f, 0.07f, 0.001f, 0.002f, 0.09f};

struct ScoreRule {
  const char* name;
  LogitRule rule;
};
const ScoreRule kScoreRules[] = {
    {"plain", {}},
    {"soft-cap", {.soft_cap = 3}},
    {"ALiBi", {.alibi_slopes = kSlopesOfRules}},
    {"all three", {.scale = -0.3, .soft_cap = 5, .alibi_slopes = kSlopesOfRules}},
};

/// Scores of a resolved query, [heads, visible].
template <class Kv>
std::vector<float> scores_of(Source by, const Query& q, const Kv& kv) {
  Workspace ws;
  const auto s = kernel::scores(by, q, kv, ws);
  EXPECT_EQ(s.heads, q.heads());
  EXPECT_EQ(s.of.first, q.visible.first);
  std::vector<float> all;
  for (std::size_t h = 0; h < q.heads(); ++h) {
    all.insert(all.end(), s.of.of_head(h), s.of.of_head(h) + q.visible.size());
  }
  return all;
}

template <class K>
struct ScoresOf : testing::Test {};
using Storages = testing::Types<float, F16, BF16, I8>;
TYPED_TEST_SUITE(ScoresOf, Storages);

// Positions 768 and on are in no complete segment; 5, 300 and 767 hold what has no sketch.
TYPED_TEST(ScoresOf, WhatHasNoSketchHasItsCanonicalLogit) {
  constexpr std::size_t n = 900, d = 46;
  auto p = random_problem<TypeParam>({n, d, 2, 8}, 1);
  const std::vector<Position> unsketched = {5, 300, 767};
  for (const Position i : unsketched) {
    std::vector<double> row(d, 0.1);
    row[static_cast<std::size_t>(i) % d] = i == 5 ? kNan : kInf;
    store_row(row.data(), d, row_at(p.keys, static_cast<std::size_t>(i), d));
  }
  const InPages<TypeParam, TypeParam> pages(p, 7, Adjacency::kAdjacent);
  const Sketches sketches(p.kv());
  for (const ScoreRule& rule : kScoreRules) {
    for (const std::size_t heads : {1u, 2u, 3u, 8u}) {
      Query q = p.query();
      q.rows.rows = heads;
      q.logit = rule.rule;
      q = q.resolved(n);
      Workspace ws;
      const auto exact = logits(q, p.kv(), ws);
      for (const Source by : kSketched) {
        SCOPED_TRACE(testing::Message() << rule.name << ", " << heads << " heads, by " << name_of(by));
        const auto flat = scores_of(by, q, sketches.beside(p.kv()));
        const auto paged = scores_of(by, q, sketches.beside(pages.kv()));
        EXPECT_TRUE(same_bits(flat.data(), paged.data(), flat.size()));
        std::size_t sketched_alike = 0;
        for (std::size_t h = 0; h < heads; ++h) {
          for (std::size_t i = 0; i < n; ++i) {
            const bool canonical = i >= 768 || i == 5 || i == 300 || i == 767;
            const auto same = same_bits(&flat[h * n + i], exact.of_head(h) + i, 1);
            if (canonical) {
              ASSERT_TRUE(same) << "head " << h << ", position " << i;
            } else {
              sketched_alike += same ? 1u : 0u;
            }
          }
        }
        EXPECT_LT(sketched_alike, heads * n / 10) << "the sketch was not asked";
      }
    }
  }
}

// The rule is applied to what the sketch says: with 8 bits a score is near the logit, whatever the rule.
TYPED_TEST(ScoresOf, TheRuleIsApplied) {
  constexpr std::size_t n = 512, d = 64;
  const auto p = random_problem<TypeParam>({n, d, 2, 8}, 2);
  const Sketches sketches(p.kv());
  for (const ScoreRule& rule : kScoreRules) {
    Query q = p.query();
    q.logit = rule.rule;
    q.position = 511;
    const Query resolved = q.resolved(n);
    const Matrix keys = numbers_of(p.keys, n, d);
    const auto eight = scores_of(Source::kSketch8, resolved, sketches.beside(p.kv()));
    const auto four = scores_of(Source::kSketch4, resolved, sketches.beside(p.kv()));
    for (std::size_t h = 0; h < 8; ++h) {
      const auto exact = reference_logits(reference_query(q, h, n), keys);
      for (std::size_t i = 0; i < n; ++i) {
        // Logits have a deviation of 1.5; the error is some 1.5 / 127 and 1.5 / 7 of it, tanh and cap make it smaller.
        EXPECT_NEAR(eight[h * n + i], exact[i], 0.12) << rule.name << ", head " << h << ", position " << i;
        EXPECT_NEAR(four[h * n + i], exact[i], 1.8) << rule.name << ", head " << h << ", position " << i;
      }
    }
  }
}

TYPED_TEST(ScoresOf, WhateverIsVisible) {
  constexpr std::size_t n = 700, d = 20;
  const auto p = random_problem<TypeParam>({n, d, 2, 3}, 3);
  const Sketches sketches(p.kv());
  for (const Source by : kSketched) {
    Query q = p.query();
    q.logit.alibi_slopes = kSlopesOfRules;
    q.causal = false;
    q.position = 699;
    const auto all = scores_of(by, q.resolved(n), sketches.beside(p.kv()));
    const Position edges[] = {0, 1, 15, 16, 17, 63, 65, 255, 256, 257, 511, 512, 513, 600, 699, 700};
    for (const Position first : edges) {
      for (const Position last : edges) {
        if (last <= first) continue;
        q.visible = {first, last};
        const auto part = scores_of(by, q.resolved(n), sketches.beside(p.kv()));
        const auto count = static_cast<std::size_t>(last - first);
        for (std::size_t h = 0; h < 3; ++h) {
          ASSERT_TRUE(same_bits(part.data() + h * count, all.data() + h * n + first, count))
              << name_of(by) << ", " << first << " to " << last << ", head " << h;
        }
      }
    }
  }
}

TEST(Scores, OfTheKeysAreTheLogits) {
  const auto p = random_problem<float>({300, 20, 2, 3}, 4);
  Workspace ws, other;
  const Query q = p.query().resolved(300);
  const auto s = kernel::scores(Source::kKeys, q, p.kv(), ws);
  const auto exact = logits(q, p.kv(), other);
  EXPECT_EQ(s.heads, 3u);
  for (std::size_t h = 0; h < 3; ++h) EXPECT_TRUE(same_bits(s.of.of_head(h), exact.of_head(h), 300));
}

// Stages that go by one index share its scores; another query, or another index, does not get them.
TEST(Scores, AreComputedOnceForAQuery) {
  const auto p = random_problem<float>({600, 20, 2, 1}, 5);
  const Sketches sketches(p.kv());
  const auto kv = sketches.beside(p.kv());
  Workspace ws;
  const Query q = p.query().resolved(600);
  {
    const kernel::Asking asking(q, kv, ws);
    const auto first = kernel::scores(Source::kSketch4, q, kv, ws);
    const float four = first.of.data[10];
    const_cast<float*>(first.of.data)[10] = 77;
    EXPECT_EQ(kernel::scores(Source::kSketch4, q, kv, ws).of.data[10], 77) << "computed again";
    const float eight = kernel::scores(Source::kSketch8, q, kv, ws).of.data[10];
    EXPECT_NE(eight, 77);
    EXPECT_NE(eight, four);
    EXPECT_EQ(kernel::scores(Source::kSketch4, q, kv, ws).of.data[10], four);
    const_cast<float*>(kernel::scores(Source::kSketch4, q, kv, ws).of.data)[10] = 1e6f;
  }
  const kernel::Asking asking(q, kv, ws);
  Selection selection;
  kernel::select_resolved(TopK{1, Source::kSketch4}, q, kv, selection, ws);
  ASSERT_EQ(selection.picks().size(), 1u);
  EXPECT_NE(selection.picks()[0].position, 10) << "scores of an earlier query";
}

// Scores of an index leave the logits that are known alone, and the reverse: stages of both kinds in any order.
TEST(Scores, StagesByKeysAndByIndexesDoNotDisturbEachOther) {
  const auto p = random_problem<float>({900, 24, 4, 4}, 6);
  const Sketches sketches(p.kv());
  const auto kv = sketches.beside(p.kv());
  const auto expect_consistent = [&](const auto& estimator) {
    for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
      Query q = p.query();
      q.grouping = grouping;
      SCOPED_TRACE(to_text(estimator));
      State fused = attend(estimator, q, kv);
      for (std::size_t h = 0; h < (grouping == Grouping::kPerHead ? 4 : 1); ++h) {
        const Query one = grouping == Grouping::kPerHead ? q.head(h) : q;
        const Selection selection = select(estimator, one, kv);
        StateView state = fused.view();
        if (grouping == Grouping::kPerHead) state = state.head(h);
        EXPECT_TRUE(agrees(state, p, one, list_of(selection)));
      }
    }
  };
  for (const Source by : kSketched) {
    expect_consistent(stack(TopK{30}, TopK{40, by, 100}));
    expect_consistent(stack(TopK{40, by, 100}, TopK{30}));
    expect_consistent(stack(TopK{30}, TopK{40, by}, PriorityTail{20}));
    expect_consistent(stack(TopP{0.3}, TopK{40, by, 100}, PriorityTail{50, by}));
    expect_consistent(stack(TopK{5, by}, TopK{40, Source::kSketch1, 100}, SystematicTail{50, by}));
  }
  expect_consistent(stack(TopK{30}, TopK{.budget = 40, .by = Source::kSketch8, .exact = true}));
  expect_consistent(stack(TopP{0.3}, TopK{.budget = 40, .by = Source::kSketch8, .exact = true}, PriorityTail{20}));
}

TEST(Scores, AMissingSourceIsNamed) {
  const auto p = random_problem<float>({300, 20, 2, 1}, 7);
  const Sketch4 four = sketch_of<Sketch4>(p.kv());
  const auto bare = p.kv();
  const auto other = with_index(bare, four);
  const auto expect_missing = [&](const auto& estimator, const char* name) {
    expect_error([&] { attend(estimator, p.query(), bare); }, {name, "does not carry", "with_index"});
    expect_error([&] { select(estimator, p.query(), bare); }, {name, "does not carry"});
    expect_error([&] { attend(estimator, p.query(), other); }, {name, "does not carry"});
  };
  expect_missing(TopK{5, Source::kSketch1}, "sketch1");
  expect_missing(TopK{.budget = 5, .by = Source::kSketch8, .exact = true}, "sketch8");
  expect_missing(stack(Sinks{1}, PriorityTail{5, Source::kExternal}), "external");
  expect_missing(parse("sinks(4)+systematic(3,by=sketch8)"), "sketch8");
  expect_missing(TopK{5, Source::kBoxes}, "boxes");
  // Whatever is visible: an error does not wait for the first query that asks.
  Query none = p.query();
  none.visible = {0, 0};
  expect_error([&] { attend(TopK{5, Source::kSketch1}, none, bare); }, {"sketch1", "does not carry"});
}

TEST(Scores, AMissingSourceIsNamedInALayer) {
  const LayerProblem<float> p({4, 2, 8, 8}, {{1, 50}}, 8);
  LayerOutput out(p);
  expect_error([&] { attend(TopK{5, Source::kSketch1}, p.query(), p.kv(), out.state()); }, {"sketch1", "does not carry"});
  EXPECT_TRUE(out.out.untouched() && out.lse.untouched());
}

}  // namespace
}  // namespace skim::test

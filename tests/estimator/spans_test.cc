// SPDX-License-Identifier: Apache-2.0
// Are dense, sinks and window the spans that they say, cut to what is visible and to what is left?
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

using SpanList = std::vector<skim::Span>;

/// What an estimator selects, and that it selects nothing but spans.
template <class E>
SpanList spans_of(const E& estimator, const Query& q, const Problem<float>& p) {
  const Selection selection = select(estimator, q, p.kv());
  EXPECT_TRUE(selection.picks().empty());
  return {selection.spans().begin(), selection.spans().end()};
}

struct SpanStages : testing::Test {
  Problem<float> p = random_problem<float>({100, 8, 8, 2}, 1);
  Query q = p.query();
};

TEST_F(SpanStages, Dense) {
  EXPECT_EQ(spans_of(Dense{}, q, p), (SpanList{{0, 100}}));
  q.position = 41;
  EXPECT_EQ(spans_of(Dense{}, q, p), (SpanList{{0, 42}}));
  q.visible = {7, 30};
  EXPECT_EQ(spans_of(Dense{}, q, p), (SpanList{{7, 30}}));
  q.visible = {50, 90};
  EXPECT_EQ(spans_of(Dense{}, q, p), SpanList{});
}

TEST_F(SpanStages, Sinks) {
  EXPECT_EQ(skim::Sinks{}.count, 4);
  EXPECT_EQ(spans_of(Sinks{}, q, p), (SpanList{{0, 4}}));
  EXPECT_EQ(spans_of(Sinks{0}, q, p), SpanList{});
  EXPECT_EQ(spans_of(Sinks{1}, q, p), (SpanList{{0, 1}}));
  EXPECT_EQ(spans_of(Sinks{1000}, q, p), (SpanList{{0, 100}}));
  q.position = 2;
  EXPECT_EQ(spans_of(Sinks{5}, q, p), (SpanList{{0, 3}}));
}

// The first positions of the KV head, not the first visible ones: those are nothing special.
TEST_F(SpanStages, SinksThatAreNotVisible) {
  q.visible = {3, 50};
  EXPECT_EQ(spans_of(Sinks{5}, q, p), (SpanList{{3, 5}}));
  EXPECT_EQ(spans_of(Sinks{3}, q, p), SpanList{});
}

TEST_F(SpanStages, Window) {
  EXPECT_EQ(spans_of(Window{}, q, p), (SpanList{{36, 100}}));
  EXPECT_EQ(spans_of(Window{0}, q, p), SpanList{});
  EXPECT_EQ(spans_of(Window{1}, q, p), (SpanList{{99, 100}}));
  EXPECT_EQ(spans_of(Window{100}, q, p), (SpanList{{0, 100}}));
  EXPECT_EQ(spans_of(Window{101}, q, p), (SpanList{{0, 100}}));
  q.position = 41;
  EXPECT_EQ(spans_of(Window{10}, q, p), (SpanList{{32, 42}})) << "the query's own token is the newest";
  q.visible = {35, 40};
  EXPECT_EQ(spans_of(Window{10}, q, p), (SpanList{{35, 40}}));
  EXPECT_EQ(spans_of(Window{2}, q, p), (SpanList{{38, 40}}));
}

TEST_F(SpanStages, EachTakesWhatTheOthersHaveLeft) {
  EXPECT_EQ(spans_of(stack(Sinks{4}, Window{5}), q, p), (SpanList{{0, 4}, {95, 100}}));
  EXPECT_EQ(spans_of(stack(Window{5}, Sinks{4}), q, p), (SpanList{{0, 4}, {95, 100}}));
  EXPECT_EQ(spans_of(stack(Sinks{4}, Sinks{4}), q, p), (SpanList{{0, 4}}));
  EXPECT_EQ(spans_of(stack(Sinks{4}, Sinks{6}), q, p), (SpanList{{0, 4}, {4, 6}}));
  EXPECT_EQ(spans_of(stack(Window{3}, Window{5}, Window{4}), q, p), (SpanList{{95, 97}, {97, 100}}));
  EXPECT_EQ(spans_of(stack(Sinks{60}, Window{60}), q, p), (SpanList{{0, 60}, {60, 100}}));
  EXPECT_EQ(spans_of(stack(Sinks{2}, Window{3}, Dense{}), q, p), (SpanList{{0, 2}, {2, 97}, {97, 100}}));
  EXPECT_EQ(spans_of(stack(Sinks{100}, Dense{}), q, p), (SpanList{{0, 100}}));
}

TEST_F(SpanStages, AroundPicks) {
  const Selection top = select(TopK{3}, q, p.kv());
  const Selection all = select(stack(TopK{3}, Dense{}), q, p.kv());
  ASSERT_EQ(all.picks().size(), 3u);
  EXPECT_EQ(list_of(all).size(), 100u);
  for (std::size_t i = 0; i < 3; ++i) {
    const Position at = top.picks()[i].position;
    EXPECT_EQ(all.picks()[i].position, at);
    for (const skim::Span& span : all.spans()) EXPECT_FALSE(span.contains(at));
  }
}

// They read no key: the set is the same whatever the keys are.
TEST_F(SpanStages, DoNotLookAtKeys) {
  const auto expected = spans_of(stack(Sinks{4}, Window{5}), q, p);
  std::fill(p.keys.begin(), p.keys.end(), NAN);
  EXPECT_EQ(spans_of(stack(Sinks{4}, Window{5}), q, p), expected);
}

}  // namespace
}  // namespace skim::test

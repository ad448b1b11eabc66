// SPDX-License-Identifier: Apache-2.0
// Does every query head read its own KV head?
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/layer_problem.h"

namespace skim::test {
namespace {

struct Heads {
  std::size_t q, kv;
};
constexpr Heads kModels[] = {{28, 4}, {32, 8}, {9, 3}, {8, 4}, {8, 1}, {5, 5}};

// The values of each KV head are a constant that names it, so the answer does too.
TEST(Gqa, QueryHeadReadsKvHeadOfItsGroup) {
  for (const Heads model : kModels) {
    SCOPED_TRACE(testing::Message() << model.q << " query heads, " << model.kv << " KV heads");
    LayerProblem<float> p({model.q, model.kv, 24, 16}, {{2, 40}, {1, 3}}, model.q);
    for (std::size_t i = 0; i < p.heads.size(); ++i) {
      for (float& v : p.heads[i].values) v = static_cast<float>(i + 1);
    }
    for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
      LayerQuery query = p.query();
      query.grouping = grouping;
      LayerOutput output(p);
      attend(stack(Sinks{1}, TopK{5}, PriorityTail{4}), query, p.kv(), output.state());
      EXPECT_TRUE(output.all_written());
      for (std::size_t r = 0; r < 3; ++r) {
        for (std::size_t h = 0; h < model.q; ++h) {
          const std::size_t kv_head = (r < 2 ? 0 : model.kv) + h / (model.q / model.kv);
          for (std::size_t c = 0; c < 16; ++c) {
            EXPECT_NEAR(output.row(r, h).out.row(0)[c], static_cast<float>(kv_head + 1), 1e-4)
                << "row " << r << ", query head " << h;
          }
        }
      }
    }
  }
}

// Every KV head given once for each query head of its group: the same sets per head, the same output.
TEST(Gqa, IsRepeatingTheKvHeads) {
  for (const Heads model : kModels) {
    SCOPED_TRACE(testing::Message() << model.q << " query heads, " << model.kv << " KV heads");
    const LayerProblem<float> p({model.q, model.kv, 24, 16}, {{3, 60}, {1, 9}}, model.q + 1);
    std::vector<ContiguousKv<float>> repeated;
    for (const auto& view : p.views) repeated.insert(repeated.end(), model.q / model.kv, view);
    LayerQuery query = p.query();
    query.grouping = Grouping::kPerHead;
    query.stream = {11, 3, 0, 0};
    const auto expect_same = [&](const auto& estimator) {
      LayerOutput shared(p), apart(p);
      attend(estimator, query, p.kv(), shared.state());
      attend(estimator, query, LayerKv<ContiguousKv<float>>{repeated, model.q}, apart.state());
      for (std::size_t i = 0; i < shared.out.size(); ++i) {
        EXPECT_NEAR(shared.out.data()[i], apart.out.data()[i], 1e-5);
      }
      for (std::size_t i = 0; i < shared.lse.size(); ++i) {
        EXPECT_NEAR(shared.lse.data()[i], apart.lse.data()[i], 1e-5);
      }
    };
    expect_same(Dense{});
    expect_same(TopK{7});
    expect_same(UniformTail{7});
    expect_same(PriorityTail{7});
  }
}

// The sets themselves, which the layer does not show: those of head h alone.
TEST(Gqa, PerHeadSetsAreThoseOfTheHeadAlone) {
  const auto p = random_problem<float>({200, 24, 16, 4}, 3);
  Query q = p.query();
  q.grouping = Grouping::kPerHead;
  State fused = attend(TopK{9}, q, p.kv());
  for (std::size_t h = 0; h < 4; ++h) {
    const Selection alone = select(TopK{9}, q.head(h), p.kv());
    EXPECT_TRUE(agrees(fused.view().head(h), p, q.head(h), list_of(alone)));
    const State state = attend(alone, q.head(h), p.kv());
    EXPECT_TRUE(same_bits(state.out(), fused.out(h), 16)) << "head " << h;
  }
}

// Heads that draw the same numbers would make the same error.
TEST(Gqa, PerHeadSamplesAreIndependent) {
  auto p = random_problem<float>({200, 24, 16, 2}, 4);
  std::copy_n(p.q.begin(), 24, p.q.begin() + 24);  // two heads that ask the same
  Query q = p.query();
  q.grouping = Grouping::kPerHead;
  for (const bool priority : {false, true}) {
    const State state = priority ? attend(PriorityTail{9}, q, p.kv()) : attend(UniformTail{9}, q, p.kv());
    EXPECT_FALSE(same_bits(state.out(0), state.out(1), 16));
  }
}

// One set for the group: right for every head, so a head far from the others still finds its best key.
TEST(Gqa, PerGroupServesEveryHead) {
  auto p = random_problem<float>({200, 8, 16, 4}, 5);
  for (float& k : p.keys) k *= 0.1f;
  for (std::size_t h = 0; h < 4; ++h) {
    for (std::size_t c = 0; c < 8; ++c) p.q[h * 8 + c] = c == h ? 10.0f : 0.0f;
    p.keys[(20 + 40 * h) * 8 + h] = 20;
  }
  const Selection set = select(TopK{4}, p.query(), p.kv());
  ASSERT_EQ(set.picks().size(), 4u);
  for (std::size_t h = 0; h < 4; ++h) EXPECT_EQ(set.picks()[h].position, static_cast<Position>(20 + 40 * h));
}

}  // namespace
}  // namespace skim::test

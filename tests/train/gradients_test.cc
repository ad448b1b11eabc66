// SPDX-License-Identifier: Apache-2.0
// Do gradients go where the caller says, whatever the strides, the batch and the pages?
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/layouts.h"
#include "support/training_problem.h"

namespace skim::test {
namespace {

constexpr float kPoison = Guarded<float>::kPoison;

TEST(Gradients, AnyStrides) {
  TrainingProblem<float> p({4, 2, 20, 12}, 40, 60, 1);
  p.with_sinks = true;
  for (const char* text : {"dense", "topk(9)", "sinks(2)+window(3)+priority(6)"}) {
    TrainingStep<float> expected(p);
    expected.run(parse(text));
    // dq: [heads, rows, 23]. dk and dv: rows of one buffer of [n, kv_heads, 35], one behind the other.
    Guarded<float> dq(4 * 40 * 23), dkv(60 * 2 * 35), dout(40 * 4 * 13);
    for (std::size_t i = 0; i < 160; ++i) std::copy_n(p.dout.data() + i * 12, 12, dout.data() + i * 13);
    std::vector<KvGradient> heads;
    for (std::size_t h = 0; h < 2; ++h)
      heads.push_back({{dkv.data() + h * 35, 60, 20, 70}, {dkv.data() + h * 35 + 20, 60, 12, 70}});
    LayerGradients gradients = expected.gradients();
    gradients.dout = {dout.data(), 40, 4, 12, 4 * 13, 13};
    gradients.dq = {dq.data(), 40, 4, 20, 23, 40 * 23};
    gradients.kv = heads;
    backward(expected.record, p.query(), expected.kv(), gradients);
    EXPECT_TRUE(dq.fences_stand() && dkv.fences_stand());
    for (std::size_t r = 0; r < 40; ++r) {
      for (std::size_t h = 0; h < 4; ++h) {
        const float* at = dq.data() + (h * 40 + r) * 23;
        EXPECT_TRUE(same_bits(at, expected.dq.data() + (r * 4 + h) * 20, 20));
        for (std::size_t c = 20; c < 23; ++c) EXPECT_EQ(at[c], kPoison);
      }
    }
    for (std::size_t i = 0; i < 120; ++i) {
      EXPECT_TRUE(same_bits(dkv.data() + i * 35, expected.dk.data() + i * 20, 20));
      EXPECT_TRUE(same_bits(dkv.data() + i * 35 + 20, expected.dv.data() + i * 12, 12));
      for (std::size_t c = 32; c < 35; ++c) EXPECT_EQ(dkv.data()[i * 35 + c], kPoison);
    }
  }
}

// Sequences of a batch, of any lengths, do not know of each other.
TEST(Gradients, ABatchIsItsSequences) {
  const LayerProblem<float> p({4, 2, 20, 12}, {{70, 300}, {5, 5}, {0, 9}, {600, 610}, {1, 40}}, 4);
  const std::vector<float> dout = random_problem<float>({0, 12, 1, p.rows() * 4}, 9).q;
  const std::vector<float> sinks{0.5f, -1, 2, 1};
  const std::vector<std::uint64_t> ids{7, 3, 5, 1, 8};
  for (const char* text : {"dense", "topk(9)+priority(6)"}) {
    LayerQuery query = p.query();
    query.sequence_ids = ids;
    query.sink_logits = sinks.data();
    LayerOutput output(p);
    SelectionRecord record;
    attend(parse(text), query, p.kv(), output.state(), {.record = &record});
    const auto step = [&](const LayerQuery& asked, const LayerKv<ContiguousKv<float>>& kv, const LayerState& state,
                          const SelectionRecord& selected, std::size_t first_row, std::vector<float>& dq,
                          std::vector<std::vector<float>>& dkv, std::vector<float>& dsink) {
      dq.assign(asked.rows.rows * 4 * 20, kPoison);
      dsink.assign(4, kPoison);
      dkv.clear();
      for (const auto& view : kv.heads) dkv.emplace_back(view.keys.rows * 32, kPoison);
      std::vector<KvGradient> heads;
      for (std::size_t h = 0; h < kv.heads.size(); ++h) {
        const std::size_t n = kv.heads[h].keys.rows;
        heads.push_back({{dkv[h].data(), n, 20}, {dkv[h].data() + n * 20, n, 12}});
      }
      backward(selected, asked, kv,
               LayerGradients{state,
                              {dout.data() + first_row * 48, asked.rows.rows, 4, 12},
                              {dq.data(), asked.rows.rows, 4, 20},
                              heads,
                              dsink.data()});
    };
    std::vector<float> dq, dsink, of_one, of_sink;
    std::vector<std::vector<float>> dkv, of_heads;
    step(query, p.kv(), output.state(), record, 0, dq, dkv, dsink);
    std::vector<double> sum(4, 0.0);
    for (std::size_t s = 0; s < 5; ++s) {
      const std::size_t first = p.row_begin[s], rows = p.sequences[s].rows;
      LayerQuery one = query;
      one.row_begin = {};
      one.rows.data += first * 80;
      one.rows.rows = rows;
      one.sequence_ids = std::span(ids).subspan(s, 1);
      const LayerKv<ContiguousKv<float>> kv{std::span(p.views).subspan(2 * s, 2), 2};
      const LayerState state{{output.out.data() + first * 48, rows, 4, 12}, output.lse.data() + first * 4};
      SelectionRecord selected;
      select(parse(text), one, kv, selected);
      step(one, kv, state, selected, first, of_one, of_heads, of_sink);
      EXPECT_TRUE(same_bits(dq.data() + first * 80, of_one.data(), rows * 80)) << "sequence " << s;
      for (std::size_t h = 0; h < 2; ++h) {
        EXPECT_TRUE(same_bits(dkv[2 * s + h].data(), of_heads[h].data(), of_heads[h].size())) << "sequence " << s;
      }
      for (std::size_t h = 0; h < 4; ++h) sum[h] += static_cast<double>(of_sink[h]);
    }
    for (std::size_t h = 0; h < 4; ++h)
      EXPECT_NEAR(static_cast<double>(dsink[h]), sum[h], 1e-4 * std::abs(sum[h]) + 1e-6);
  }
}

// Keys and values in pages: their gradients are those of positions.
TEST(Gradients, PagesChangeNoBit) {
  const TrainingProblem<float> p({4, 1, 20, 12}, 70, 300, 5);
  Problem<float> head{{300, 20, 12, 1}, {}, p.k, p.v};
  for (const char* text : {"dense", "topk(9)+uniform(20)"}) {
    TrainingStep<float> expected(p), step(p);
    expected.run(parse(text));
    step.forward(parse(text));
    for (const std::size_t page_size : {1u, 16u, 100u}) {
      const InPages<float, float> pages(head, page_size, Adjacency::kAdjacent);
      const std::vector<PagedKv<float>> views{pages.kv()};
      backward(step.record, p.query(), LayerKv<PagedKv<float>>{views, 1}, step.gradients());
      EXPECT_TRUE(same_bits(step, expected)) << "pages of " << page_size;
    }
  }
}

// Every row is overwritten, also where nothing is read.
TEST(Gradients, OfWhatNobodyReadsAreZero) {
  TrainingProblem<float> p({2, 1, 8, 8}, 20, 50, 6);
  for (std::size_t r = 0; r < 20; ++r) p.visible.push_back({10, r % 2 == 0 ? 10 : 14});
  for (const char* text : {"dense", "topk(2)"}) {
    TrainingStep<float> step(p);
    step.run(parse(text));
    EXPECT_TRUE(step.all_written());
    for (std::size_t i = 0; i < 50; ++i) {
      for (std::size_t c = 0; c < 8 && (i < 10 || i >= 14); ++c) {
        EXPECT_EQ(step.dk.data()[i * 8 + c], 0.0f);
        EXPECT_EQ(step.dv.data()[i * 8 + c], 0.0f);
      }
    }
    for (std::size_t r = 0; r < 20; r += 2) {
      for (std::size_t c = 0; c < 16; ++c) EXPECT_EQ(step.dq.data()[r * 16 + c], 0.0f);
    }
  }
}

// The gradient in scale needs no output of its own.
TEST(Gradients, OfTheScaleFollowFromThoseOfQueries) {
  TrainingProblem<double> p({2, 1, 5, 4}, 11, 11, 7);
  p.soft_cap = 2;
  TrainingStep<double> step(p);
  step.run(TopK{4});
  double gradient = 0;
  const double scale = 1 / std::sqrt(5.0);
  for (std::size_t i = 0; i < p.q.size(); ++i) gradient += p.q[i] * step.dq.data()[i] / scale;
  const Lists lists = lists_of(step.record, p);
  const auto loss = [&](double factor) {
    Numbers x = numbers_of(p);
    for (double& q : x.q) q *= factor;  // as if the scale were so much larger
    return reference_loss(p, x, lists);
  };
  const double difference = (loss(1 + 1e-5) - loss(1 - 1e-5)) / (2e-5 * scale);
  EXPECT_NEAR(gradient, difference, 1e-6 * std::abs(difference));
}

}  // namespace
}  // namespace skim::test

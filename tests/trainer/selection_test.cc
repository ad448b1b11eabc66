// SPDX-License-Identifier: Apache-2.0
// Law 8 on the queries and keys of real training steps: the forward pass, the backward pass and the decoding of a
// single row select the same positions with the same weights.
#include <string>

#include <gtest/gtest.h>
#include <skim/skim.h>

#include "trainer.h"

namespace train {
namespace {

constexpr std::size_t kSelectionContext = 256;

/// A model after a few steps on a text that repeats itself: its logits differ by more than chance.
Trainer trained(const std::string& estimator) {
  std::string text;
  while (text.size() < 2 * Corpus::kMinBytes)
    text += "the cat sat on the mat and the dog lay on the log; ";
  const Corpus corpus({text});
  Recipe recipe;
  recipe.shape = {.layers = 2,
                  .width = 48,
                  .heads = 4,
                  .kv_heads = 2,
                  .head_size = 16,
                  .hidden = 64,
                  .vocabulary = 260,
                  .context = kSelectionContext};
  recipe.estimator = estimator;
  recipe.curriculum = {{kSelectionContext, 8}};
  recipe.tokens = 2 * kSelectionContext;
  recipe.warmup = 2;
  Trainer trainer(recipe, corpus, 1);
  while (!trainer.is_done()) trainer.step();
  return trainer;
}

/// What an entry says, to compare.
struct Chosen {
  std::vector<skim::Position> begins, ends, picks;
  std::vector<double> log_weights;
  bool operator==(const Chosen&) const = default;
};

Chosen chosen(const skim::SelectionRecord::View& entry) {
  Chosen all;
  for (const skim::Span& span : entry.spans) {
    all.begins.push_back(span.first);
    all.ends.push_back(span.last);
  }
  for (std::size_t i = 0; i < entry.picks.size(); ++i) {
    all.picks.push_back(entry.picks[i]);
    all.log_weights.push_back(entry.log_weights ? entry.log_weights[i] : 0);
  }
  return all;
}

class Selections : public testing::TestWithParam<const char*> {};

TEST_P(Selections, OfForwardBackwardAndDecodeAreTheSame) {
  const Trainer trainer = trained(GetParam());
  const skim::StageList estimator = skim::parse(GetParam());
  const engine::Shape& shape = trainer.recipe().shape;
  const std::size_t d = shape.head_size, heads = shape.heads, kv_heads = shape.kv_heads;
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < kSelectionContext; ++i) tokens.push_back(static_cast<Token>(100 + i * i % 26));

  constexpr std::uint64_t kSeed = 17;
  TrainedAttention<float> attention(shape, estimator);
  Tape<float> tape;
  attention.begin({}, kSeed);
  trainer.model().forward(trainer.state().weights.data(), tokens, attention, tape);

  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    const skim::SelectionRecord& forward = tape.layers[layer].attended.record;
    const Matrix<float>& qkv = tape.layers[layer].qkv;
    const auto stride = static_cast<std::ptrdiff_t>(qkv.cols());
    // Rows [first, end) as a call of their own, over the keys before `end`.
    const auto select = [&](std::size_t first, std::size_t end, skim::SelectionRecord& record) {
      const skim::HeadRows<const float> keys{qkv.data() + heads * d, end, kv_heads, d, stride};
      const skim::HeadRows<const float> values{qkv.data() + (heads + kv_heads) * d, end, kv_heads, d,
                                               stride};
      std::vector<skim::ContiguousKv<float>> kv;
      for (std::size_t h = 0; h < kv_heads; ++h) kv.push_back({keys.head(h), values.head(h)});
      skim::LayerQuery query;
      query.rows = {qkv.row(static_cast<Eigen::Index>(first)).data(), end - first, heads, d, stride};
      query.stream = {.seed = kSeed, .layer = static_cast<std::uint32_t>(layer)};
      skim::select(estimator, query, skim::LayerKv<skim::ContiguousKv<float>>{kv, kv_heads}, record);
    };

    ASSERT_EQ(forward.rows(), kSelectionContext);
    skim::SelectionRecord backward;  // as it makes the selections again, without a record
    select(0, kSelectionContext, backward);
    ASSERT_EQ(backward.size(), forward.size());
    const std::size_t entries = kv_heads * forward.per_unit();
    std::size_t picks = 0;
    for (std::size_t row = 0; row < kSelectionContext; ++row) {
      skim::SelectionRecord decode;
      select(row, row + 1, decode);
      ASSERT_EQ(decode.size(), entries);
      for (std::size_t i = 0; i < entries; ++i) {
        const Chosen of_forward = chosen(forward[row * entries + i]);
        picks += of_forward.picks.size();
        EXPECT_EQ(of_forward, chosen(backward[row * entries + i]))
            << "layer " << layer << ", row " << row;
        EXPECT_EQ(of_forward, chosen(decode[i])) << "layer " << layer << ", row " << row;
      }
    }
    EXPECT_GT(picks, kSelectionContext) << "the estimator has chosen nothing";
  }
}

INSTANTIATE_TEST_SUITE_P(Of, Selections,
                         testing::Values("topk(16)", "sinks(2)+window(8)+topk(power(1,0.5))",
                                         "priority(16)", "sinks(2)+window(8)+uniform(8)", "topp(0.5)"),
                         [](const auto& of) { return "Estimator" + std::to_string(of.index); });

}  // namespace
}  // namespace train

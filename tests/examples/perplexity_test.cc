// SPDX-License-Identifier: Apache-2.0
#include "perplexity.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "plain_attention.h"
#include "sample.h"
#include "skim_attention.h"
#include "tiny_model.h"

namespace engine {
namespace {

using Documents = std::vector<std::string_view>;

TEST(SplitDocuments, StripsWhiteSpaceAndLeavesOutEmptyOnes) {
  EXPECT_EQ(split_documents("\n a b \n<|endoftext|>\r\n\tc<|endoftext|>\n"), (Documents{"a b", "c"}));
  EXPECT_EQ(split_documents("<|endoftext|> <|endoftext|>x"), Documents{"x"});
  EXPECT_EQ(split_documents("no end <|endoftext"), Documents{"no end <|endoftext"});
  EXPECT_EQ(split_documents(" \n"), Documents{});
  EXPECT_EQ(split_documents(""), Documents{});
}

TEST(Score, OfExactAttentionIsWithoutDivergence) {
  const Llama model(Gguf(tiny_model().bytes()));
  const std::vector<Token> tokens{1, 70, 80, 90, 100};
  PlainAttention tested(model.shape()), exact(model.shape());
  std::vector<std::size_t> heard;
  const Score one =
      score(model, tokens, tested, exact, [&](std::size_t done) { heard.push_back(done); });
  EXPECT_EQ(one.predictions, 4u);
  EXPECT_EQ(one.kl(), 0);
  EXPECT_EQ(one.changed, 0u);
  EXPECT_EQ(heard, (std::vector<std::size_t>{1, 2, 3, 4}));
}

TEST(Score, IsWhatItsDefinitionSays) {
  const Llama model(Gguf(tiny_model().bytes()));
  const std::vector<Token> tokens{1, 70, 80, 90, 100, 110, 120};
  const auto tested = make_attention(model.shape(), {.estimator = "window(1)"});
  PlainAttention exact(model.shape());
  const Score scored = score(model, tokens, *tested, exact);

  const auto again = make_attention(model.shape(), {.estimator = "window(1)"});
  PlainAttention exact_again(model.shape());
  double nll = 0, kl = 0;
  std::size_t changed = 0;
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
    const Vector q = model.decode(tokens[i], i, *again);
    const Vector p = model.decode(tokens[i], i, exact_again);
    double q_sum = 0, p_sum = 0;
    for (const double x : q) q_sum += std::exp(x);
    for (const double x : p) p_sum += std::exp(x);
    nll -= std::log(std::exp(double{q[tokens[i + 1]]}) / q_sum);
    for (Eigen::Index t = 0; t < p.size(); ++t) {
      const double p_t = std::exp(double{p[t]}) / p_sum;
      kl += p_t * std::log(p_t / (std::exp(double{q[t]}) / q_sum));
    }
    changed += std::max_element(p.begin(), p.end()) - p.begin() !=
               std::max_element(q.begin(), q.end()) - q.begin();
  }
  EXPECT_GT(kl, 1e-4);
  EXPECT_NEAR(scored.nll_sum, nll, 1e-9);
  EXPECT_NEAR(scored.kl_sum, kl, 1e-9);
  EXPECT_EQ(scored.changed, changed);

  Score twice = scored;
  twice += scored;
  EXPECT_EQ(twice.predictions, 12u);
  EXPECT_DOUBLE_EQ(twice.nll(), scored.nll());
  EXPECT_DOUBLE_EQ(twice.kl(), scored.kl());
  EXPECT_DOUBLE_EQ(twice.changed_share(), scored.changed_share());
}

TEST(Sample, TakesTheLowestOfTheLikeliestAtTemperatureZero) {
  std::mt19937_64 random(1);
  EXPECT_EQ(sample(Vector{{0, 2, 2, 1}}, 0, random), 1);
  EXPECT_EQ(sample(Vector{{NAN, NAN}}, 0, random), 0);
  EXPECT_EQ(sample(Vector{{NAN, NAN}}, 1, random), 0);
}

TEST(Sample, FollowsSoftmax) {
  std::mt19937_64 random(1);
  const Vector logits{{0, 1, -INFINITY, 2}};
  std::vector<int> counts(4);
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) ++counts[static_cast<std::size_t>(sample(logits, 2, random))];
  const double sum = 1 + std::exp(0.5) + std::exp(1.0);
  EXPECT_NEAR(counts[0], kDraws / sum, 1000);  // 7 standard deviations
  EXPECT_NEAR(counts[1], kDraws * std::exp(0.5) / sum, 1000);
  EXPECT_EQ(counts[2], 0);
}

}  // namespace
}  // namespace engine

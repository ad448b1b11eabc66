// SPDX-License-Identifier: Apache-2.0
// Indexes that grow beside the cache of the engine: they change what is read, and what is selected only where they
// have the last word.
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "model.h"
#include "perplexity.h"
#include "skim_attention.h"
#include "test_data.h"
#include "tiny_model.h"

namespace engine {
namespace {

constexpr const char* kIndexed[] = {
    "topk(16,by=sketch1)",
    "topk(16,by=sketch4,candidates=40)",
    "topk(16,by=sketch8,exact)",
    "sinks(1)+window(4)+systematic(16,by=sketch1)",
    "priority(16,by=sketch4)",
    "topk(16,by=boxes,exact)",
    "sinks(1)+window(4)+quest(16)",
    "topk(16,by=means)",
    "topk(8)+summaries",
    "topk(8,by=sketch1)+priority(8,by=sketch8)",
};

constexpr CacheType kEveryCache[] = {CacheType::kF32, CacheType::kF16, CacheType::kBF16, CacheType::kInt8};

/// A model whose heads are wide enough for a sketch to say something.
const Llama& model() {
  const TinyShape shape{.layers = 1, .width = 32, .heads = 4, .kv_heads = 2, .head_size = 8};
  static const Llama llama(Gguf(tiny_model(shape).bytes()));
  return llama;
}

std::vector<Token> random_tokens(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<Token> tokens(count);
  for (Token& token : tokens) token = static_cast<Token>(random() % 259);
  return tokens;
}

/// Feeds the tokens from position `first` on; the logits after the last.
Vector feed(const std::vector<Token>& tokens, Attention& attention, std::size_t first = 0) {
  Vector logits;
  for (std::size_t i = first; i < tokens.size(); ++i) logits = model().decode(tokens[i], i, attention);
  return logits;
}

TEST(IndexedAttention, ExactOnesAreWhatReadsEveryKey) {
  const auto tokens = random_tokens(900, 1);
  for (const CacheType cache : kEveryCache) {
    const auto plain = make_attention(model().shape(), {.estimator = "sinks(2)+topk(20)", .cache = cache});
    const auto exact = make_attention(
        model().shape(), {.estimator = "sinks(2)+topk(20,by=sketch8,exact)", .cache = cache});
    const auto all = make_attention(
        model().shape(), {.estimator = "sinks(2)+topk(20,by=sketch1,candidates=fraction(1))", .cache = cache});
    const auto boxes = make_attention(
        model().shape(), {.estimator = "sinks(2)+topk(20,by=boxes,exact)", .cache = cache});
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const Vector expected = model().decode(tokens[i], i, *plain);
      ASSERT_EQ(model().decode(tokens[i], i, *exact), expected) << i;
      ASSERT_EQ(model().decode(tokens[i], i, *all), expected) << i;
      ASSERT_EQ(model().decode(tokens[i], i, *boxes), expected) << i;
    }
    EXPECT_EQ(plain->density().keys(), 1);
    EXPECT_LT(exact->density().keys(), 0.95);
    EXPECT_GT(exact->density().index(), 0);
  }
}

TEST(IndexedAttention, GrowsAgainAfterACutAsIfItHadNeverBeen) {
  for (const CacheType cache : kEveryCache) {
    for (const char* estimator : kIndexed) {
      for (const std::size_t cut : {0u, 256u, 300u, 599u}) {
        if (cut != 300 && cache != CacheType::kF32) continue;
        const AttentionOptions options{.estimator = estimator, .cache = cache, .page_size = 7};
        auto tokens = random_tokens(600, 2);
        const auto again = make_attention(model().shape(), options);
        feed(tokens, *again);
        again->truncate(cut);
        const auto others = random_tokens(560, 3);
        for (std::size_t i = cut; i < others.size(); ++i) tokens[i] = others[i];
        tokens.resize(std::max(cut + 1, others.size()));
        const auto fresh = make_attention(model().shape(), options);
        const Vector expected = feed(tokens, *fresh);
        ASSERT_EQ(feed(tokens, *again, cut), expected) << estimator << " cut to " << cut;
        for (std::size_t i = 0; i < fresh->memory().size(); ++i) {
          EXPECT_EQ(again->memory()[i].bytes, fresh->memory()[i].bytes) << estimator;
        }
      }
    }
  }
}

TEST(IndexedAttention, CannotBeCutToMoreThanItHas) {
  const auto attention = make_attention(model().shape(), {.estimator = "topk(4,by=sketch1)"});
  feed(random_tokens(3, 1), *attention);
  EXPECT_THROW(attention->truncate(4), std::exception);
  const auto dense = make_attention(model().shape(), {});
  EXPECT_THROW(dense->truncate(1), std::exception);
}

/// What the last of n tokens reads, 1 layer of 2 KV heads.
Density read_by_token(std::size_t n, const char* estimator) {
  const auto attention = make_attention(model().shape(), {.estimator = estimator});
  auto tokens = random_tokens(n - 1, 4);
  feed(tokens, *attention);
  const Density before = attention->density();
  tokens.push_back(5);
  feed(tokens, *attention, n - 1);
  Density density = attention->density();
  density -= before;
  EXPECT_EQ(density.calls, 2u);
  return density;
}

TEST(IndexedAttention, CountsKeysReadInFullAndBytesOfTheIndex) {
  // 8 signs and a factor a key, a centre of 8 bfloat16 a segment; a key and a value are 64 bytes.
  const double index = (512.0 * 3 + 2 * 16) / (512 * 64);
  const Density ranked = read_by_token(512, "topk(5,by=sketch1)");
  EXPECT_DOUBLE_EQ(ranked.keys(), 5.0 / 512);
  EXPECT_DOUBLE_EQ(ranked.values(), 5.0 / 512);
  EXPECT_DOUBLE_EQ(ranked.index(), index);
  EXPECT_DOUBLE_EQ(ranked.bytes(), 5.0 / 512 + index);
  // Candidates are read to be scored, and those that are chosen once more.
  const Density candidates = read_by_token(512, "topk(5,by=sketch1,candidates=50)");
  EXPECT_DOUBLE_EQ(candidates.keys(), 55.0 / 512);
  EXPECT_DOUBLE_EQ(candidates.values(), 5.0 / 512);
  // So are the newest, which no segment holds yet.
  EXPECT_NEAR(read_by_token(767, "sinks(5)+topk(5,by=sketch1)").keys(), 265.0 / 767, 1e-9);
  EXPECT_NEAR(read_by_token(255, "topk(5,by=sketch1)").keys(), 260.0 / 255, 1e-9);
  EXPECT_EQ(read_by_token(255, "topk(5,by=sketch1)").index(), 0);
  EXPECT_EQ(read_by_token(512, "topk(5)").keys(), 1);
  EXPECT_EQ(read_by_token(512, "topk(5)").index(), 0);
}

std::string kept_by(const char* estimator) {
  std::string text;
  const auto attention = make_attention(model().shape(), {.estimator = estimator, .cache = CacheType::kBF16});
  feed(random_tokens(300, 5), *attention);
  for (const Memory& memory : attention->memory()) {
    text += memory.what + " " + std::to_string(memory.bytes).substr(0, 7) + "; ";
  }
  return text;
}

TEST(IndexedAttention, ShortSegmentsLeaveFewerKeysToRead) {
  const auto keys = [](std::size_t segment) {
    const AttentionOptions options{.estimator = "topk(4,by=sketch4)", .segment = segment};
    const auto attention = make_attention(model().shape(), options);
    feed(random_tokens(500, 6), *attention);
    return attention->density().keys();
  };
  EXPECT_LT(keys(64), 0.6 * keys(256));
  EXPECT_THROW(make_attention(model().shape(), {.estimator = "topk(4,by=sketch4)", .segment = 65}), std::exception);
}

TEST(IndexedAttention, KeepsWhatTheEstimatorGoesBy) {
  EXPECT_EQ(kept_by("dense"), "keys 16.0000; values 16.0000; ");
  EXPECT_EQ(kept_by("topk(4)"), "keys 16.0000; values 16.0000; ");
  EXPECT_EQ(kept_by("topk(4,by=sketch1)"), "keys 16.0000; values 16.0000; 1-bit sketch 3.09375; ");
  EXPECT_EQ(kept_by("priority(4,by=sketch4)"), "keys 16.0000; values 16.0000; 4-bit sketch 6.09375; ");
  EXPECT_EQ(kept_by("topk(4,by=sketch8,exact)").find("1-bit"), std::string::npos);
  // Centre and half-width of 8 bfloat16 and a bound for 16 positions; two means of 8 for 64.
  EXPECT_EQ(kept_by("quest(4)"), "keys 16.0000; values 16.0000; page boxes 2.75000; ");
  EXPECT_EQ(kept_by("sinks(4)+summaries"), "keys 16.0000; values 16.0000; table of page means 0.62500; ");
  const std::string several = kept_by("topk(4,by=sketch1)+priority(4,by=sketch4)");
  EXPECT_NE(several.find("1-bit"), std::string::npos);
  EXPECT_NE(several.find("4-bit"), std::string::npos);
  EXPECT_THROW(make_attention(model().shape(), {.estimator = "topk(4,by=external)"}), std::runtime_error);
}

class RealIndexedAttention : public RealModel {
 protected:
  /// On a text of 700 tokens, behind the first 256.
  static Score score_of(const char* estimator) {
    const Model real = Model::load(model_path());
    const std::string text = read_text(text_path());
    std::vector<Token> tokens;
    for (const std::string_view story : split_documents(text)) {
      for (const Token token : real.tokenizer.encode(story)) tokens.push_back(token);
    }
    tokens.resize(700);
    const auto tested = make_attention(real.llama.shape(), {.estimator = estimator});
    const auto exact = make_attention(real.llama.shape(), {});
    return score(real.llama, tokens, *tested, *exact, {}, 256);
  }
};

TEST_F(RealIndexedAttention, PredictsAsWellAsExactTopKWhenItIsExact) {
  const Score plain = score_of("topk(fraction(0.1))"), exact = score_of("topk(fraction(0.1),by=sketch8,exact)");
  EXPECT_EQ(plain.predictions, 444u);
  EXPECT_EQ(exact.nll_sum, plain.nll_sum);
  EXPECT_EQ(exact.kl_sum, plain.kl_sum);
}

TEST_F(RealIndexedAttention, PredictsBetterTheMoreTheIndexKnows) {
  const double dense = score_of("dense").kl(), exact = score_of("topk(fraction(0.1))").kl();
  const double bits8 = score_of("topk(fraction(0.1),by=sketch8)").kl();
  const double bits1 = score_of("topk(fraction(0.1),by=sketch1)").kl();
  EXPECT_EQ(dense, 0);
  EXPECT_NEAR(bits8, exact, 0.1 * exact);
  EXPECT_GT(bits1, 1.2 * exact);
}

}  // namespace
}  // namespace engine

// SPDX-License-Identifier: Apache-2.0
// The model in training against the model that generates, and its gradients against differences.
#include "transformer.h"

#include <cmath>
#include <functional>
#include <numeric>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "bytes.h"
#include "generate/gguf_writer.h"
#include "generate/llama.h"
#include "generate/skim_attention.h"
#include "model_file.h"
#include "recipe.h"
#include "support/scratch_folder.h"

namespace train {
namespace {

engine::Shape small_shape() {
  return {.layers = 2,
          .width = 24,
          .heads = 4,
          .kv_heads = 2,
          .head_size = 8,
          .hidden = 40,
          .vocabulary = kVocabulary,
          .context = 64};
}

/// Weights that no symmetry makes easy: the gains are not all 1.
template <class Real>
std::vector<Real> weights_of(const engine::Shape& shape) {
  const std::vector<float> first = first_weights(shape, 7);
  std::vector<Real> weights(first.begin(), first.end());
  const Layout layout(shape);
  std::mt19937_64 random(3);
  for (const Place* place : layout.places()) {
    if (!place->is_gain) continue;
    for (std::size_t i = 0; i < place->size(); ++i)
      weights[place->begin + i] = Real(0.5) + static_cast<Real>(random() % 100) / 100;
  }
  return weights;
}

std::vector<Token> tokens_of(std::size_t n) {
  std::mt19937_64 random(5);
  std::vector<Token> tokens(n);
  for (Token& token : tokens) token = static_cast<Token>(random() % kVocabulary);
  return tokens;
}

/// A loss of a text with unequal weights, and its gradient.
class Loss {
 public:
  Loss(const engine::Shape& shape, const std::string& estimator, std::size_t n)
      : model_(shape), attention_(shape, skim::parse(estimator)), tokens_(tokens_of(n + 1)) {
    for (std::size_t i = 0; i < n; ++i) weights_.push_back(static_cast<double>(i % 3));
  }

  double operator()(const std::vector<double>& weights) {
    const std::span<const Token> tokens = tokens_;
    model_.forward(weights.data(), tokens.first(tokens.size() - 1), attention_, tape_);
    cross_entropy<double>(tape_.logits, tokens.subspan(1), weights_, losses_);
    return std::inner_product(losses_.begin(), losses_.end(), weights_.begin(), 0.0);
  }

  std::vector<double> gradient(const std::vector<double>& weights) {
    (*this)(weights);
    std::vector<double> gradient(weights.size());
    model_.backward(weights.data(), std::span<const Token>(tokens_).first(tokens_.size() - 1),
                    attention_, tape_, gradient.data());
    return gradient;
  }

 private:
  Transformer<double> model_;
  TrainedAttention<double> attention_;
  std::vector<Token> tokens_;
  std::vector<double> weights_, losses_;
  Tape<double> tape_;
};

class Gradients : public testing::TestWithParam<const char*> {};

/// Of every tensor, in a random direction: all of its values take part.
TEST_P(Gradients, AreCentralDifferences) {
  const engine::Shape shape = small_shape();
  const Layout layout(shape);
  const std::vector<double> weights = weights_of<double>(shape);
  Loss loss(shape, GetParam(), 37);
  const std::vector<double> gradient = loss.gradient(weights);
  std::mt19937_64 random(11);
  for (const Place* place : layout.places()) {
    std::vector<double> direction(place->size());
    double squares = 0;
    for (double& x : direction) x = static_cast<double>(random() % 2001) / 1000 - 1;
    for (const double x : direction) squares += x * x;
    for (double& x : direction) x /= std::sqrt(squares);

    const auto moved = [&](double by) {
      std::vector<double> at = weights;
      for (std::size_t i = 0; i < direction.size(); ++i) at[place->begin + i] += by * direction[i];
      return loss(at);
    };
    // A selection is a constant of the step: so small a move changes none here, or the difference would show it.
    constexpr double kStep = 1e-5;
    const double difference = (moved(kStep) - moved(-kStep)) / (2 * kStep);
    double expected = 0, length = 0;
    for (std::size_t i = 0; i < direction.size(); ++i) {
      expected += gradient[place->begin + i] * direction[i];
      length += gradient[place->begin + i] * gradient[place->begin + i];
    }
    EXPECT_GT(length, 0) << place->name;
    EXPECT_NEAR(difference, expected, 1e-6 * std::sqrt(length)) << place->name;
  }
}

// Not of a sampler whose weights follow the logits: those are constants of the step, and differences move them.
INSTANTIATE_TEST_SUITE_P(Of, Gradients,
                         testing::Values("dense", "topk(9)", "sinks(2)+window(5)+topk(4)",
                                         "sinks(2)+window(4)+uniform(6)"),
                         [](const auto& of) { return "Estimator" + std::to_string(of.index); });

TEST(Gradients, OfAForgottenTermFail) {
  const engine::Shape shape = small_shape();
  const std::vector<double> weights = weights_of<double>(shape);
  const Layout layout(shape);
  Loss dense(shape, "dense", 37), sparse(shape, "topk(9)", 37);
  const auto a = dense.gradient(weights), b = sparse.gradient(weights);
  double squares = 0, apart = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    squares += a[i] * a[i];
    apart += (a[i] - b[i]) * (a[i] - b[i]);
  }
  EXPECT_GT(std::sqrt(apart / squares), 1e-3);  // a thousand times what the test above lets through
}

TEST(Transformer, SaysWhatTheModelThatGeneratesSays) {
  const engine::Shape shape = small_shape();
  const std::vector<float> weights = weights_of<float>(shape);
  const std::vector<Token> tokens = tokens_of(50);
  const skim::test::ScratchFolder folder;
  const auto path = folder.path() / "model.gguf";
  save_model(shape, weights, {"test", "Apache-2.0", "none"}, false, path);
  const engine::Gguf file = engine::Gguf::read(path);
  EXPECT_EQ(load_weights(file, shape), weights);

  const engine::Llama generates(file);
  for (const char* estimator : {"dense", "topk(9)"}) {
    const Transformer<float> model(shape);
    TrainedAttention<float> attention(shape, skim::parse(estimator));
    Tape<float> tape;
    model.forward(weights.data(), tokens, attention, tape);
    const auto decoding = engine::make_attention(shape, {.estimator = estimator});
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const engine::Vector logits = generates.decode(tokens[i], i, *decoding);
      const auto row = tape.logits.row(static_cast<Eigen::Index>(i));
      EXPECT_LT((logits.transpose() - row).cwiseAbs().maxCoeff(), 1e-4f)
          << estimator << ", token " << i;
    }
  }
}

TEST(ModelFile, OfAnotherVocabularyIsRefused) {
  engine::Shape shape = small_shape();
  shape.vocabulary = 259;
  const std::vector<float> weights = weights_of<float>(shape);
  const skim::test::ScratchFolder folder;
  engine::GgufWriter file;
  file.texts("tokenizer.ggml.tokens", std::vector<std::string>(259, "a"));
  file.write(folder.path() / "model.gguf");
  const engine::Gguf read = engine::Gguf::read(folder.path() / "model.gguf");
  EXPECT_EQ(skim::test::error_of([&] { load_weights(read, shape); }),
            "train: the file is no model of bytes: it has 259 tokens, those of train run are 260");
}

TEST(ModelFile, OfOtherPositionsIsRefused) {
  const engine::Shape shape = small_shape();
  const skim::test::ScratchFolder folder;
  const auto error_with = [&](const std::function<void(engine::GgufWriter&)>& add) {
    engine::GgufWriter file;
    write_vocabulary(file);
    file.number("llama.rope.freq_base", static_cast<float>(kTheta));
    file.number("llama.attention.layer_norm_rms_epsilon", static_cast<float>(kEpsilon));
    add(file);
    file.write(folder.path() / "model.gguf");
    const engine::Gguf read = engine::Gguf::read(folder.path() / "model.gguf");
    return skim::test::error_of([&] { load_weights(read, shape); });
  };
  const std::string expected =
      "train: the file rotates a part of each head only or scales positions (keys llama.rope.*, tensor "
      "rope_freqs.weight), which is not supported";
  EXPECT_EQ(error_with([](auto& f) { f.number("llama.rope.scaling.factor", 4); }), expected);
  EXPECT_EQ(error_with([](auto& f) { f.count("llama.rope.dimension_count", 2); }), expected);
  EXPECT_EQ(error_with([&](auto& f) {
              std::vector<float> divisors(shape.head_size / 2, 2.0f);
              f.tensor("rope_freqs.weight", engine::TensorType::kF32, {divisors.size()}, divisors);
            }),
            expected);
  EXPECT_NE(error_with([](auto&) {}).find(" is missing"), std::string::npos) << "a tensor";
}

TEST(Transformer, RefusesATextBeyondItsContext) {
  const engine::Shape shape = small_shape();
  const Transformer<float> model(shape);
  TrainedAttention<float> attention(shape, skim::parse("dense"));
  Tape<float> tape;
  const std::vector<float> weights = weights_of<float>(shape);
  try {
    model.forward(weights.data(), tokens_of(65), attention, tape);
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "train: 65 tokens but the context is 64");
  }
}

}  // namespace
}  // namespace train

// SPDX-License-Identifier: Apache-2.0
// The model that comes with the library: what its page says of it.
#include <cmath>
#include <filesystem>

#include <gtest/gtest.h>

#include "evaluate.h"
#include "generate/model.h"
#include "model_file.h"
#include "support/scratch_folder.h"

namespace train {
namespace {

const std::filesystem::path kData = SKIM_EXAMPLES_DATA;
const std::filesystem::path kModel = kData / "skim-kjv-1m.gguf";

TEST(OurModel, IsSmallAndLong) {
  EXPECT_LE(std::filesystem::file_size(kModel), 8u << 20);
  const engine::Gguf file = engine::Gguf::read(kModel);
  const engine::Model model{engine::Tokenizer(file), engine::Llama(file)};
  const engine::Shape& shape = model.llama.shape();
  EXPECT_GE(Layout(shape).size, 1000000u);
  EXPECT_GE(shape.head_size, 32u);
  EXPECT_GT(shape.heads, shape.kv_heads);
  EXPECT_GE(shape.context, 2048u);
  EXPECT_EQ(model.tokenizer.size(), shape.vocabulary);
  EXPECT_EQ(file.find_text("general.license"), "Apache-2.0");
  EXPECT_NE(file.text("general.description").find("curriculum="), std::string_view::npos)
      << "its recipe";
}

/// Of texts as long as the model can read, out of a passage that it has not learnt from.
Evaluation of(const char* task, const char* prompt, const char* decode, std::size_t texts) {
  const engine::Gguf file = engine::Gguf::read(kModel);
  const engine::Shape shape = engine::Llama(file).shape();
  const Transformer<float> model(shape);
  const Corpus corpus = Corpus::read({kData / "revelation.txt"});
  return evaluate(
      model, load_weights(file, shape), make_task(task, corpus, Part::kTraining), shape.context, texts,
      1,
      [&] {
        return std::make_unique<PromptedAttention<skim::StageList>>(shape, skim::parse(prompt),
                                                                    skim::parse(decode));
      },
      2);
}

// A bound that a model without the skill misses by far: a number of four digits is not guessed.
TEST(OurModel, FindsANeedleInItsWholeContext) {
  EXPECT_GE(of("needle", "dense", "dense", 24).accuracy(), 0.9);
}
TEST(OurModel, FindsItWithTopK) { EXPECT_GE(of("needle", "dense", "topk(64)", 24).accuracy(), 0.9); }
TEST(OurModel, DoesNotFindItInAWindow) {
  EXPECT_LE(of("needle", "dense", "sinks(4)+window(124)", 24).accuracy(), 0.25);
}

TEST(Evaluation, OfWeightsThatAreNotNumbersIsNone) {
  const engine::Gguf file = engine::Gguf::read(kModel);
  const engine::Shape shape = engine::Llama(file).shape();
  const Transformer<float> model(shape);
  const Corpus corpus = Corpus::read({kData / "revelation.txt"});
  std::vector<float> weights = load_weights(file, shape);
  weights.back() = NAN;
  const std::string error = skim::test::error_of([&] {
    evaluate(model, weights, make_task("text", corpus, Part::kTraining), 128, 1, 1,
             [&] { return std::make_unique<TrainedAttention<float>>(shape, skim::parse("dense")); }, 1);
  });
  EXPECT_EQ(error, "train: token 1 of a text has a loss of nan");
}

TEST(OurModel, KnowsEnglish) {
  EXPECT_LT(of("text", "dense", "dense", 4).bits(), 2.3);  // 4.3 by the frequencies of letters alone
}

}  // namespace
}  // namespace train

// SPDX-License-Identifier: Apache-2.0
#include "entropy.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace train {
namespace {

TEST(Entropy, OfKnownDistributions) {
  EXPECT_NEAR(entropy(std::vector<double>(37, 5.0)), std::log(37), 1e-12);
  EXPECT_EQ(entropy(std::vector<double>{3.0}), 0);
  EXPECT_NEAR(entropy(std::vector<double>{0.0, 0.0, 800.0}), 0, 1e-12);
  const double ln3 = std::log(3.0);  // shares of 3/4 and 1/4
  EXPECT_NEAR(entropy(std::vector<double>{ln3 - 1000, -1000}), std::log(4) - 0.75 * ln3, 1e-12);
  EXPECT_NEAR(entropy(std::vector<double>{0.0, -std::numeric_limits<double>::infinity(), 0.0}),
              std::log(2), 1e-12);
}

TEST(Entropy, RowsThatWriteAnswers) {
  Sample sample;
  sample.tokens.resize(65);
  sample.answers = {{40, 42}, {50, 51}};
  EXPECT_EQ(decoding_rows(sample), (std::vector<std::size_t>{39, 40, 49}));
}

TEST(Entropy, RowsOfATextAreOfItsSecondHalf) {
  Sample sample;
  sample.tokens.resize(65);
  const std::vector<std::size_t> rows = decoding_rows(sample);
  ASSERT_EQ(rows.size(), 16u);
  EXPECT_EQ(rows.front(), 33u);
  EXPECT_EQ(rows.back(), 63u);
}

/// Two layers of two query heads and one KV head of two channels, five rows. Layer 0 has equal keys; in layer 1 head 0
/// sees one key far above the others, and head 1 asks for nothing.
TEST(Entropy, OfHeads) {
  const engine::Shape shape{.layers = 2, .heads = 2, .kv_heads = 1, .head_size = 2};
  Tape<float> tape;
  tape.layers.resize(2);
  for (auto& layer : tape.layers) layer.qkv = Matrix<float>::Constant(5, 8, 0.5f);
  Matrix<float>& second = tape.layers[1].qkv;
  second.leftCols(2).setConstant(10.0f);
  second.middleCols(2, 2).setZero();
  second.middleCols(4, 2).setZero();
  second.row(1).segment(4, 2).setConstant(100.0f);

  HeadEntropies entropies(shape);
  entropies.add(tape, std::vector<std::size_t>{2, 4});
  const double of_equal_keys = (std::log(3) + std::log(5)) / 2;
  EXPECT_NEAR(entropies.mean(0, 0), of_equal_keys, 1e-12);
  EXPECT_NEAR(entropies.mean(0, 1), of_equal_keys, 1e-12);
  EXPECT_NEAR(entropies.mean(1, 0), 0, 1e-12);
  EXPECT_NEAR(entropies.mean(1, 1), of_equal_keys, 1e-12);

  HeadEntropies sum(shape);
  sum.add(entropies);
  sum.add(entropies);
  EXPECT_NEAR(sum.mean(0, 1), of_equal_keys, 1e-12);
}

}  // namespace
}  // namespace train

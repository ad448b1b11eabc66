// SPDX-License-Identifier: Apache-2.0
// The law of one scale (support/one_scale.h) on what models ask of their keys.
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "compare/model_problem.h"
#include "examples/test_data.h"
#include "support/one_scale.h"

namespace compare {
namespace {

using skim::Grouping;
using skim::test::OneScale;
using skim::test::ScaledHead;

/// most: see OneScale::expect.
void expect_one_scale(const ModelSettings& settings, const std::vector<double>& most) {
  const Problem problem = read_model_problem(settings);
  // No key of a model is an outlier of its segment: centres of sketches and tables are the means of all keys.
  for (const KvHead& head : problem.heads) {
    for (const std::size_t segment : {64u, 256u}) {
      skim::PageMeans means(segment);
      append(means, head.kv());
      EXPECT_TRUE(means.left_out().empty()) << "layer " << head.layer << ", head " << head.head << ", position "
                                            << means.left_out()[0];
    }
  }
  for (const double share : {0.05, 0.1}) {
    OneScale per_group{skim::fraction(share)}, per_head{skim::fraction(share)};
    for (const KvHead& head : problem.heads) {
      for (const Ask& ask : head.asks) {
        const ScaledHead indexed(head.kv(), static_cast<std::size_t>(ask.position) + 1);
        per_group.ask(indexed, head.query(ask, 1, Grouping::kPerGroup));
        per_head.ask(indexed, head.query(ask, 1, Grouping::kPerHead));
      }
    }
    const std::string name = settings.model.filename().string() + " at " + std::to_string(share).substr(0, 4);
    per_group.expect(name + ", per group", most);
    per_head.expect(name + ", per head", most);
  }
}

TEST(OneScaleOfModel, OfTheRepository) {
  const std::filesystem::path data = SKIM_EXAMPLES_DATA;
  expect_one_scale({.model = data / "skim-kjv-1m.gguf", .text = data / "revelation.txt", .context = 1024, .tokens = 700,
                    .first = 300, .queries = 4},
                   {0.002, 0, 0, 0.01, 0.01});
}

// Heads of 8 channels, of which even 4 bits leave little.
class OneScaleOfStories : public engine::RealModel {};

TEST_F(OneScaleOfStories, Holds) {
  expect_one_scale({.model = model_path(), .text = text_path(), .context = 512, .first = 128, .queries = 4},
                   {1, 0.001, 0, 0.07, 0.05});
}

}  // namespace
}  // namespace compare

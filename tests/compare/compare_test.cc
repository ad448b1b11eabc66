// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <skim/skim.h>

#include "compare/evaluate.h"
#include "compare/method.h"
#include "compare/model_problem.h"
#include "compare/reference.h"
#include "compare/report.h"
#include "compare/sweep.h"
#include "compare/synthetic_problem.h"
#include "compare/table.h"
#include "examples/tiny_model.h"
#include "generate/model.h"

namespace compare {
namespace {

std::string text_at(const char* spec, double share, skim::Position n) {
  const auto estimator = Method(spec).at(share, n, n);
  return estimator ? skim::to_text(*estimator) : "none";
}

TEST(Method, PutsTheBudgetWhereBStands) {
  EXPECT_EQ(text_at("topk(B)", 0.05, 1000), "topk(50)");
  EXPECT_EQ(text_at("topk(B/2)+priority(B/2)", 0.05, 1000), "topk(25)+priority(25)");
  EXPECT_EQ(text_at("window(B/4)+topk(3B/4)", 0.1, 1000), "window(25)+topk(75)");
  EXPECT_EQ(text_at("window( B/10 ) + topk( 9B/10 )", 0.1, 1000), "window(10)+topk(90)");
}

TEST(Method, PartsAddUpToTheBudget) {
  EXPECT_EQ(text_at("topk(B/2)+priority(B/2)", 0.03, 100), "topk(2)+priority(1)");
  EXPECT_EQ(text_at("sinks(B/3)+window(B/3)+topk(B/3)", 0.05, 100), "sinks(2)+window(1)+topk(2)");
}

TEST(Method, TakesFixedSinksAndWindowsOffTheBudget) {
  EXPECT_EQ(text_at("sinks(4)+window(16)+topk(B)", 0.1, 1000), "sinks(4)+window(16)+topk(80)");
  EXPECT_EQ(text_at("sinks(4)+window(96)+topk(B)", 0.1, 1000), "none");
}

TEST(Method, PowerCostsAsMuchAsBInAPass) {
  const skim::Position n = 1000;
  for (const double share : {0.02, 0.1}) {
    double fixed = 0, dynamic = 0;
    for (skim::Position m = 1; m <= n; ++m) {
      fixed += share * static_cast<double>(m);
      const auto estimator = Method("topk(power(B,0.5))").at(share, m, n);
      ASSERT_TRUE(estimator || share * static_cast<double>(m) < 0.5);
      if (estimator) dynamic += static_cast<double>(estimator->max_picks(static_cast<std::size_t>(m)));
    }
    EXPECT_NEAR(dynamic / fixed, 1, 0.06) << share;  // budgets are whole numbers, rounded up
  }
}

TEST(Method, WithoutBHasOneCost) {
  const Method method("sinks(4)+topk(power(2,0.5))");
  EXPECT_FALSE(method.has_budget());
  EXPECT_EQ(skim::to_text(*method.at(0.01, 5, 5)), "sinks(4)+topk(power(2,0.5))");
}

TEST(Method, KnowsWhatDraws) {
  for (const char* spec : {"topk(B)", "dense", "sinks(4)+window(B)", "topp(0.5)"})
    EXPECT_FALSE(Method(spec).is_random());
  for (const char* spec :
       {"uniform(B)", "topk(B/2)+priority(B/2)", "multinomial(B)", "systematic(8)", "poisson(B)"}) {
    EXPECT_TRUE(Method(spec).is_random());
  }
}

TEST(Method, ErrorsStandUnderTheWrongCharacter) {
  try {
    Method("window(13B/14)+topc(B)");
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("at character 16\n"), std::string::npos) << error.what();
  }
  for (const char* spec : {"", "topk(B", "topk(b)", "topk(B/0)", "topk(BB)", "topk(B2)", "topk(B/2/2)",
                           "priority(B)+topk(B)", "B"}) {
    EXPECT_THROW(Method{spec}, std::invalid_argument) << spec;
  }
}

TEST(Method, DefaultsAreValidAtEveryShare) {
  for (const Method& method : default_methods()) {
    for (const double share : {0.02, 0.5}) EXPECT_TRUE(method.at(share, 128, 128)) << method.spec();
  }
}

class Evaluate : public testing::Test {
 protected:
  static SyntheticSettings settings(std::size_t group) {
    SyntheticSettings s;
    s.n = 400;
    s.d = 16;
    s.kv_heads = 3;
    s.group = group;
    return s;
  }

  static Accuracy measure(const Problem& problem, const char* spec, double share, Settings how = {}) {
    const std::vector<Method> methods{Method(spec)};
    const auto runs = plan(methods, {share});
    const auto accuracies = measure_accuracy(problem, runs, how, {});
    EXPECT_EQ(accuracies.size(), 1u);
    return accuracies.at(0).value();
  }
};

TEST_F(Evaluate, DenseIsExactAndReadsEverything) {
  for (const std::size_t group : {1u, 4u}) {
    const Problem problem = make_synthetic_problem(settings(group));
    const Accuracy a = measure(problem, "dense", 1);
    EXPECT_EQ(a.head_errors.size(), 3 * group);
    EXPECT_LT(a.worst_error(), 1e-5);
    EXPECT_LT(a.variation, 1e-9);
    EXPECT_EQ(a.keys_read, 1);
    EXPECT_EQ(a.values_read, 1);
  }
}

TEST_F(Evaluate, VariationOfTopKIsTheMassItDrops) {
  const Problem problem = make_synthetic_problem(settings(1));
  double dropped = 0;
  for (const KvHead& kv : problem.heads) {
    const skim::Query q = kv.query(kv.asks[0], 0, skim::Grouping::kPerGroup);
    const auto kept = skim::attend(skim::TopK{40}, q, kv.kv());
    const auto all = skim::attend(skim::Dense{}, q, kv.kv());
    dropped += 1 - std::exp(static_cast<double>(kept.lse()) - static_cast<double>(all.lse()));
  }
  const Accuracy a = measure(problem, "topk(B)", 0.1);
  EXPECT_NEAR(a.variation, dropped / 3, 1e-5);
  EXPECT_EQ(a.keys_read, 1);
  EXPECT_NEAR(a.values_read, 0.1, 1e-12);
  EXPECT_EQ(a.seeds, 1u);
}

TEST_F(Evaluate, CountsTheKeysOfAMethodThatDoesNotScore) {
  const Problem problem = make_synthetic_problem(settings(1));
  EXPECT_NEAR(measure(problem, "uniform(B)", 0.1).keys_read, 0.1, 1e-12);
  EXPECT_NEAR(measure(problem, "sinks(4)+window(B)", 0.1).keys_read, 0.1, 1e-12);
}

TEST_F(Evaluate, VariationOfADrawIsThatOfItsWeights) {
  const Problem problem = make_synthetic_problem(settings(1));
  const KvHead& kv = problem.heads[0];
  const Reference exact(kv, kv.asks[0], 0);
  skim::Selection selection;  // two positions that count 1 and 3
  selection.add(5);
  selection.add(7, std::log(3.0));
  const double a = exact.weights[5], b = 3 * exact.weights[7];
  const double rest = 1 - exact.weights[5] - exact.weights[7];
  const double expected =
      (std::abs(a / (a + b) - exact.weights[5]) + std::abs(b / (a + b) - exact.weights[7]) + rest) / 2;
  EXPECT_NEAR(exact.variation(selection), expected, 1e-12);
  EXPECT_EQ(exact.variation(skim::Selection{}), 1);
}

TEST_F(Evaluate, MoreSeedsOfADrawGiveAnotherMeanAndTheSameSeedTheSame) {
  const Problem problem = make_synthetic_problem(settings(2));
  Settings one, many;
  one.seeds = 1;
  many.seeds = 5;
  const Accuracy first = measure(problem, "priority(B)", 0.1, one);
  EXPECT_EQ(first.head_errors, measure(problem, "priority(B)", 0.1, one).head_errors);
  EXPECT_NE(first.head_errors, measure(problem, "priority(B)", 0.1, many).head_errors);
  EXPECT_EQ(measure(problem, "priority(B)", 0.1, many).seeds, 5u);
}

TEST_F(Evaluate, PerHeadHearsASetOfEveryHead) {
  const Problem problem = make_synthetic_problem(settings(4));
  Settings how;
  how.grouping = skim::Grouping::kPerHead;
  const Accuracy own = measure(problem, "topk(B)", 0.1, how), pooled = measure(problem, "topk(B)", 0.1);
  EXPECT_NEAR(own.values_read, 0.1, 1e-12);
  EXPECT_LT(own.variation, pooled.variation);  // no set of 40 holds more mass of a head than its own
}

TEST_F(Evaluate, WhatCannotBeIsLeftOut) {
  const Problem problem = make_synthetic_problem(settings(1));
  const std::vector<Method> methods{Method("sinks(100)+topk(B)")};
  const auto runs = plan(methods, {0.1});
  EXPECT_FALSE(measure_accuracy(problem, runs, {}, {})[0]);
  EXPECT_FALSE(measure_speed(problem, runs, {}, 1, {})[0]);
}

TEST_F(Evaluate, TimesEveryRun) {
  const Problem problem = make_synthetic_problem(settings(1));
  const std::vector<Method> methods{Method("topk(B)")};
  const auto runs = plan(methods, {0.1, 0.5});
  std::size_t timed = 0;
  const auto speeds = measure_speed(problem, runs, {}, 2, [&](std::size_t done) { timed = done; });
  ASSERT_EQ(speeds.size(), 2u);
  for (const auto& speed : speeds) {
    EXPECT_GT(speed.value().microseconds, 0);
    EXPECT_GT(speed.value().vs_dense, 0);
    EXPECT_EQ(speed.value().rounds, 2u);
    EXPECT_NEAR(speed.value().megabytes, 3 * 400 * (16 + 16) * 4e-6, 1e-9);
  }
  EXPECT_EQ(timed, 2u);
}

// Which way round the ratio is: what reads one key of 30000 is many times as fast as what reads all, and in
// microseconds it is that much less than dense itself.
TEST_F(Evaluate, SpeedIsDenseTimeOverTheMethodsOwn) {
  SyntheticSettings s = settings(1);
  s.n = 30000;
  s.kv_heads = 1;
  const Problem problem = make_synthetic_problem(s);
  const std::vector<Method> methods{Method("sinks(1)"), Method("dense")};
  const auto speeds = measure_speed(problem, plan(methods, {0.1}), {}, 5, {});
  EXPECT_GT(speeds[0].value().vs_dense, 10);
  EXPECT_GT(speeds[1].value().microseconds, 10 * speeds[0].value().microseconds);
}

TEST_F(Evaluate, WithoutRoundsNothingIsTimed) {
  const Problem problem = make_synthetic_problem(settings(1));
  const std::vector<Method> methods{Method("topk(B)")};
  const auto speeds = measure_speed(problem, plan(methods, {0.1}), {}, 0, {});
  ASSERT_EQ(speeds.size(), 1u);
  EXPECT_FALSE(speeds[0]);
}

TEST_F(Evaluate, SweepIsTimedAtOneCorrelation) {
  const std::vector<Method> methods{Method("topk(B)"), Method("uniform(B)")};
  const auto points = run_sweep(settings(1), plan(methods, {0.1, 0.5}), {.seeds = 1}, 1);
  ASSERT_EQ(points.size(), std::size(kSpreads) * std::size(kCorrelations));
  for (const SweepPoint& point : points) {
    ASSERT_EQ(point.results.size(), 4u);
    for (const Result& result : point.results) {
      EXPECT_TRUE(result.accuracy);
      EXPECT_EQ(result.speed.has_value(), point.correlation == kTimedCorrelation);
    }
  }
}

class Files : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("skim_compare_" + std::to_string(testing::UnitTest::GetInstance()->random_seed()) + "_" +
               std::to_string(reinterpret_cast<std::uintptr_t>(this)));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const char* name, std::string_view bytes) {
    std::ofstream(folder_ / name, std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return folder_ / name;
  }

  std::filesystem::path folder_;
};

/// What a model hands to its attention.
struct Spy : engine::Attention {
  std::vector<std::vector<float>> keys[2], queries[2];  // [layers][tokens][width]
  engine::Vector attend(std::size_t layer, const engine::Vector& q, const engine::Vector& k,
                        const engine::Vector& v) override {
    keys[layer].emplace_back(k.begin(), k.end());
    queries[layer].emplace_back(q.begin(), q.end());
    engine::Vector out(q.size());  // at the first token exact attention is its own value
    for (Eigen::Index i = 0; i < q.size(); ++i) out[i] = v[i / 4 * 2 + i % 2];
    return out;
  }
};

TEST_F(Files, ModelProblemIsWhatTheModelComputes) {
  const auto bytes = engine::tiny_model().bytes();
  const auto model = write("tiny.gguf", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  const auto text =
      write("text.txt", "abcdefghijkl\n<|endoftext|>\nabc\n<|endoftext|>\nmnopqrstuvwxyz");
  const Problem problem =
      read_model_problem({.model = model, .text = text, .tokens = 12, .first = 8, .queries = 3});
  EXPECT_EQ(problem.layers, 2u);
  EXPECT_EQ(problem.kv_heads, 2u);
  EXPECT_EQ(problem.group, 2u);
  EXPECT_EQ(problem.longest, 12u);
  ASSERT_EQ(problem.heads.size(), 2u * 2u * 2u);  // the text "abc" is too short
  EXPECT_EQ(problem.asks(), 8u * 3u);
  for (const KvHead& kv : problem.heads) {
    EXPECT_EQ(kv.d, 2u);
    EXPECT_EQ(kv.size(), 12u);
    for (const Ask& ask : kv.asks) {
      EXPECT_GE(ask.position, 8);
      EXPECT_LT(ask.position, 12);
      EXPECT_EQ(ask.rows.size(), 4u);
    }
  }

  // Layer 0 depends on tokens and positions alone.
  const engine::Model loaded = engine::Model::load(model);
  const auto tokens = loaded.tokenizer.encode("abcdefghijkl");
  Spy spy;
  for (std::size_t i = 0; i < 12; ++i) loaded.llama.decode(tokens[i], i, spy);
  for (std::size_t h = 0; h < 2; ++h) {
    const KvHead& kv = problem.heads[h];
    ASSERT_EQ(kv.head, h);
    for (std::size_t i = 0; i < 12; ++i) {
      for (std::size_t c = 0; c < 2; ++c) EXPECT_EQ(kv.keys[i * 2 + c], spy.keys[0][i][h * 2 + c]);
    }
    for (const Ask& ask : kv.asks) {
      for (std::size_t c = 0; c < 4; ++c) {
        EXPECT_EQ(ask.rows[c], spy.queries[0][static_cast<std::size_t>(ask.position)][h * 4 + c]);
      }
    }
  }
  // And layer 1, at the first token, on the value alone.
  for (std::size_t c = 0; c < 2; ++c) EXPECT_NEAR(problem.heads[2].keys[c], spy.keys[1][0][c], 1e-6);
}

TEST_F(Files, ModelProblemJoinsDocuments) {
  const auto bytes = engine::tiny_model().bytes();
  const auto model = write("tiny.gguf", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  const auto text = write("text.txt", "abcdefghijkl\n<|endoftext|>\nabc\n<|endoftext|>\nmnopqrstuvwxyz");
  const Problem problem = read_model_problem({.model = model, .text = text, .context = 20, .first = 19, .queries = 2});
  ASSERT_FALSE(problem.heads.empty());
  for (const KvHead& kv : problem.heads) EXPECT_EQ(kv.size(), 20u);  // no document has as many
}

TEST_F(Files, ModelProblemSaysWhatIsMissing) {
  const auto bytes = engine::tiny_model().bytes();
  const auto model = write("tiny.gguf", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  const auto text = write("text.txt", "abc");
  EXPECT_THROW(read_model_problem({.model = model, .text = text}), std::runtime_error);
  EXPECT_THROW(read_model_problem({.model = model, .text = folder_ / "no.txt"}), std::runtime_error);
}

TEST_F(Files, CsvHasOneHeadAndALineEach) {
  const Method method("topk(power(B,0.5))");
  Accuracy accuracy;
  accuracy.head_errors = {0.5, 0.25};
  const std::vector<Result> results{{{&method, 0.1}, accuracy, Speed{2, 3}}, {{&method, 0.2}, {}, {}}};
  std::istringstream in(csv_head() + csv_lines("a \"name\"", results) + csv_lines("a \"name\"", results));
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[1], lines[2]);
  EXPECT_EQ(lines[1], "\"a \"\"name\"\"\",\"topk(power(B,0.5))\",0.1,0.375,0.5,0,0,0,1,2,3");
}

TEST(Table, NumbersHaveThreeDigits) {
  const std::vector<std::pair<double, const char*>> expected{
      {0, "0"},         {0.0123456, "0.0123"}, {4.5678, "4.57"},  {99.96, "100"},
      {1234.5, "1234"}, {-0.5, "-0.500"},      {1e-7, "1.00e-07"}};
  for (const auto& [x, text] : expected) EXPECT_EQ(table::short_number(x), text);
  EXPECT_EQ(table::plain_number(2.5), "2.5");
}

}  // namespace
}  // namespace compare

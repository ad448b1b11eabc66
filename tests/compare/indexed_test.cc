// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <map>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "compare/evaluate.h"
#include "compare/indexed.h"
#include "compare/indexed_head.h"
#include "compare/method.h"
#include "compare/recall.h"
#include "compare/synthetic_problem.h"

namespace compare {
namespace {

Problem problem_of(std::size_t group = 1) {
  SyntheticSettings s;
  s.n = 1000;
  s.d = 32;
  s.kv_heads = 3;
  s.group = group;
  Problem problem = make_synthetic_problem(s);
  round_to_storage(problem);
  return problem;
}

Accuracy measure(const Problem& problem, const char* spec, double share, bool indexed = true) {
  const std::vector<Method> methods{Method(spec)};
  Settings how;
  how.indexed = indexed;
  return measure_accuracy(problem, plan(methods, {share}), how, {}).at(0).value();
}

TEST(Indexed, HeadIsThatOfItsFirstPositionsHoweverItGotThere) {
  const Problem problem = problem_of();
  const KvHead& kv = problem.heads[0];
  IndexedHead grown(kv, 64), fresh(kv, 64);
  for (const std::size_t n : {100u, 700u, 65u, 64u, 300u}) grown.resize(n);
  fresh.resize(300);
  EXPECT_EQ(grown.sketched(), 256u);
  const skim::Query query = [&] {
    skim::Query q = kv.query(kv.asks[0], 1, skim::Grouping::kPerGroup);
    q.position = 299;
    return q;
  }();
  for (const char* spec : {"topk(20,by=sketch1)", "topk(20,by=sketch4)", "topk(20,by=sketch8,exact)"}) {
    const auto a = skim::select(skim::parse(spec), query, grown.kv());
    const auto b = skim::select(skim::parse(spec), query, fresh.kv());
    ASSERT_EQ(a.picks().size(), 20u);
    for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(a.picks()[i].position, b.picks()[i].position) << spec;
  }
}

TEST(Indexed, ErrorsAreThoseOfTheMethodAndBytesAreCounted) {
  for (const std::size_t group : {1u, 4u}) {
    const Problem problem = problem_of(group);
    const Accuracy dense = measure(problem, "dense", 1), topk = measure(problem, "topk(B)", 0.05);
    EXPECT_LT(dense.worst_error(), 1e-5);  // not those of bfloat16
    EXPECT_DOUBLE_EQ(dense.bytes_read, 1);
    EXPECT_EQ(topk.head_errors, measure(problem, "topk(B,by=sketch8,exact)", 0.05).head_errors);
    EXPECT_NEAR(topk.bytes_read, (1 + 0.05) / 2, 1e-12);
    // 32 bits and a factor a key in each of three segments, their centres; 232 keys that no segment holds.
    const Accuracy ranked = measure(problem, "topk(B,by=sketch1)", 0.05);
    EXPECT_NEAR(ranked.keys_read, 0.232 + 0.05, 1e-12);
    EXPECT_NEAR(ranked.bytes_read, (0.232 + 0.1) / 2 + (768.0 * 6 + 3 * 64) / (1000 * 128), 1e-12);
    EXPECT_GT(ranked.median_error(), topk.median_error());
  }
}

TEST(Indexed, WithoutIndexesMethodsThatGoByOneAreRefused) {
  EXPECT_THROW(measure(problem_of(), "topk(B,by=sketch1)", 0.05, false), std::invalid_argument);
}

TEST(Indexed, TimesOnlyTheNewestPosition) {
  Problem problem = problem_of();
  const std::vector<Method> methods{Method("priority(B,by=sketch4)")};
  Settings how;
  how.indexed = true;
  EXPECT_GT(measure_speed(problem, plan(methods, {0.05}), how, 2, {}).at(0).value().vs_dense, 0);
  problem.heads[1].asks[0].position = 900;
  EXPECT_THROW(measure_speed(problem, plan(methods, {0.05}), how, 2, {}), std::invalid_argument);
}

TEST(Indexed, RecallGrowsWithCandidatesAndBits) {
  Settings how;
  how.segment = 64;
  const std::vector<Recall> recalls = measure_recall(problem_of(2), how);
  ASSERT_EQ(recalls.size(), std::size(kRanking) * (4 + 3 + 2));
  std::map<std::pair<double, double>, double> of_fewer_bits;
  double of_fewer_candidates = 0, sought = 0;
  for (const Recall& recall : recalls) {
    EXPECT_LE(recall.worst_head, recall.mean);
    EXPECT_LE(recall.mean, 1);
    EXPECT_GT(recall.worst_head, 0);
    if (recall.sought == sought) {
      EXPECT_GE(recall.mean, of_fewer_candidates);
    }
    sought = recall.sought;
    of_fewer_candidates = recall.mean;
    double& fewer = of_fewer_bits[{recall.sought, recall.candidates}];
    EXPECT_GE(recall.mean, fewer);
    fewer = recall.mean;
    if (recall.by == skim::Source::kSketch8) {
      EXPECT_GT(recall.mean, 0.95);
    }
    if (recall.by == skim::Source::kSketch1 && recall.candidates == recall.sought) {
      EXPECT_LT(recall.mean, 0.8);
    }
  }
}

TEST(Indexed, WhatIsComparedExistsAtEveryShare) {
  for (const Method& method : indexed_methods()) {
    for (const double share : {0.005, 0.2}) EXPECT_TRUE(method.at(share, 32768, 32768)) << method.spec();
  }
  EXPECT_GE(indexed_workloads().size(), 8u);
}

TEST(Indexed, MeasuresErrorsTimesAndRecallsOfAWorkload) {
  const std::vector<Method> methods{Method("topk(B)"), Method("topk(B,by=sketch4,candidates=2B)")};
  const auto point = measure_indexed("some", problem_of(), plan(methods, {0.05}), {.seeds = 1}, 1, {64, 256});
  ASSERT_EQ(point.results.size(), 2u);
  EXPECT_NEAR(point.results[1].accuracy.value().median_error(), point.results[0].accuracy.value().median_error(), 1e-2);
  EXPECT_TRUE(point.results[0].speed);
  ASSERT_EQ(point.recalls.size(), 2u);
  EXPECT_EQ(point.recalls[1].keys, "some, segments of 256");
}

}  // namespace
}  // namespace compare

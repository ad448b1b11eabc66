// SPDX-License-Identifier: Apache-2.0
// Does every argument that does not fit throw, with both numbers, before anything is written?
#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "skim/skim.h"
#include "support/training_problem.h"

namespace skim::test {
namespace {

/// 12 rows against 20 positions, 4 query heads on 2 KV heads, d 24, d_v 16.
struct Check : testing::Test {
  TrainingProblem<float> p{{4, 2, 24, 16}, 12, 20, 1};
  TrainingStep<float> step{p};
  LayerQuery query = p.query();
  std::vector<ContiguousKv<float>> views = step.views;
  std::vector<KvGradient> kv_gradients = step.kv_gradients;
  LayerGradients gradients = step.gradients();
  std::vector<float> somewhere = std::vector<float>(100000);

  Check() { step.forward(TopK{5}); }

  LayerKv<ContiguousKv<float>> kv() const { return {views, 2}; }
  void run(const Options& options = {}) {
    gradients.kv = kv_gradients;
    backward(step.record, query, kv(), gradients, options);
  }
  void expect_fails(std::initializer_list<const char*> parts) {
    expect_error([&] { run(); }, parts);
    expect_error([&] { backward(TopK{5}, query, kv(), gradients); }, parts);
    EXPECT_TRUE(step.dq.untouched() && step.dk.untouched() && step.dv.untouched());
  }
  void expect_record_fails(std::initializer_list<const char*> parts) {
    expect_error([&] { run(); }, parts);
    EXPECT_TRUE(step.dq.untouched() && step.dk.untouched() && step.dv.untouched());
  }
};

TEST_F(Check, WithoutAFaultItWorks) {
  run();
  EXPECT_TRUE(step.all_written());
}
TEST_F(Check, WhatAttendChecks) {
  query.rows.cols = 23;
  expect_fails({"q has 23 columns", "24"});
  query.rows.cols = 24;
  query.logit.soft_cap = -1;
  expect_fails({"soft_cap is -1"});
  query.logit.soft_cap = 0;
  gradients.state.out.rows = 11;
  expect_fails({"out has 11 rows", "12"});
}
TEST_F(Check, Lse) {
  gradients.state.lse = nullptr;
  expect_fails({"lse is null", "12 rows"});
}
TEST_F(Check, Dout) {
  gradients.dout.rows = 11;
  expect_fails({"dout has 11 rows", "12"});
  gradients.dout.rows = 12;
  gradients.dout.heads = 3;
  expect_fails({"dout has 3 heads", "4"});
  gradients.dout.heads = 4;
  gradients.dout.cols = 24;
  expect_fails({"dout has 24 columns", "16"});
  gradients.dout.cols = 16;
  gradients.dout.data = nullptr;
  expect_fails({"dout is null", "12"});
}
TEST_F(Check, Dq) {
  gradients.dq.rows = 13;
  expect_fails({"dq has 13 rows", "12"});
  gradients.dq.rows = 12;
  gradients.dq.heads = 8;
  expect_fails({"dq has 8 heads", "4"});
  gradients.dq.heads = 4;
  gradients.dq.cols = 16;
  expect_fails({"dq has 16 columns", "24"});
  gradients.dq.cols = 24;
  gradients.dq.head_stride = 23;
  expect_fails({"heads of dq", "23", "24"});
  gradients.dq.head_stride = 24;
  gradients.dq.row_stride = 0;
  expect_fails({"rows of dq", "0", "24"});
  gradients.dq.row_stride = 96;
  gradients.dq.data = nullptr;
  expect_fails({"dq is null", "12"});
}
TEST_F(Check, ViewsOfKvGradients) {
  kv_gradients.pop_back();
  gradients.kv = kv_gradients;
  expect_fails({"gradients of 1 KV views", "2"});
}
TEST_F(Check, DkAndDv) {
  auto& second = kv_gradients[1];
  second.dk.rows = 19;
  gradients.kv = kv_gradients;
  expect_fails({"dk of KV view 1", "19 rows", "20 positions"});
  second.dk.rows = 20;
  second.dk.cols = 16;
  expect_fails({"dk of KV view 1", "16 columns", "24"});
  second.dk.cols = 24;
  second.dk.stride = 23;
  expect_fails({"rows of dk of KV view 1", "23", "24"});
  second.dk.stride = 48;
  second.dv.rows = 21;
  expect_fails({"dv of KV view 1", "21 rows", "20 positions"});
  second.dv.rows = 20;
  second.dv.cols = 24;
  expect_fails({"dv of KV view 1", "24 columns", "16"});
  second.dv.cols = 16;
  second.dv.data = nullptr;
  expect_fails({"dv of KV view 1", "null", "20 positions"});
}
TEST_F(Check, Overlaps) {
  gradients.dq.data = somewhere.data();
  gradients.dout.data = somewhere.data() + 5;
  expect_fails({"dq overlaps dout"});
  gradients.dout.data = p.dout.data();
  query.rows.data = somewhere.data() + 5;
  expect_fails({"dq overlaps q"});
  query.rows.data = p.q.data();
  kv_gradients[1] = kv_gradients[0];
  gradients.kv = kv_gradients;
  expect_fails({"gradients of KV views 0 and 1 overlap"});
  kv_gradients[0] = {{somewhere.data(), 20, 24}, {somewhere.data() + 300, 20, 16}};
  expect_fails({"dk and dv of KV view 0 overlap"});
}
TEST_F(Check, SinkLogits) {
  gradients.dsink = step.dsink.data();
  expect_fails({"dsink", "4 heads", "0 sink logits"});
}
TEST_F(Check, RecordOfOtherShape) {
  const TrainingProblem<float> other({4, 2, 24, 16}, 11, 20, 2), more_heads({4, 4, 24, 16}, 12, 20, 3);
  select(TopK{5}, other.query(), kv(), step.record);
  expect_record_fails({"record has 11 rows", "12"});
  select(TopK{5}, more_heads.query(), LayerKv<ContiguousKv<float>>{more_heads.views(), 4}, step.record);
  expect_record_fails({"record has 4 KV heads", "2"});
  LayerQuery per_head = query;
  per_head.grouping = Grouping::kPerHead;
  select(TopK{5}, per_head, kv(), step.record);
  expect_record_fails({"record has 2 selections", "makes 1"});
}
TEST_F(Check, RecordOfWhatARowDoesNotSee) {
  LayerQuery seeing_more = query;
  seeing_more.causal = false;
  select(Dense{}, seeing_more, kv(), step.record);
  expect_record_fails({"entry 0 of the record", "[0, 20)", "[0, 9)"});
  begin_record(step.record, 12, 2, 1, 20, 1);
  Selection selection;
  selection.add(7);
  selection.add(20);
  write_down(step.record, 23, selection, 0);
  expect_record_fails({"entry 23 of the record", "[7, 21)", "[0, 20)"});
}
TEST_F(Check, Workspaces) {
  std::vector<Workspace> one(1);
  Options options;
  options.executor.threads = 2;
  options.workspaces = one;
  expect_error([&] { run(options); }, {"1 workspaces", "2 threads"});
}

}  // namespace
}  // namespace skim::test

// SPDX-License-Identifier: Apache-2.0
// Does every argument that does not fit throw, with both numbers, before anything is written?
#include <functional>
#include <vector>

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
  /// The same into memory of its own.
  void fresh_run() {
    gradients = step.gradients();
    kv_gradients = step.kv_gradients;
    run();
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
  expect_fails({"KV view 0", "overlaps", "KV view 1"});
  kv_gradients[0] = {{somewhere.data() + 2000, 20, 24}, {somewhere.data() + 2300, 20, 16}};
  expect_fails({"dk of KV view 0 overlaps dv of KV view 0"});
}

// Every pair of something that is written with anything else, wherever in the list it stands.
TEST_F(Check, EveryPairOfOverlaps) {
  const std::vector<float> sinks(4, 0.5f);
  std::vector<float> state_lse(12 * 4), state_out(12 * 4 * 16);
  const auto fresh = [&] {
    kv_gradients = step.kv_gradients;
    views = step.views;
    query = p.query();
    query.sink_logits = sinks.data();
    gradients = step.gradients();
    gradients.dsink = step.dsink.data();
    gradients.state.lse = state_lse.data();
    gradients.state.out.data = state_out.data();
  };
  struct Tensor {
    const char* name;
    bool written;
    std::function<void(float*)> put;
  };
  const std::vector<Tensor> all = {
      {"dq", true, [&](float* at) { gradients.dq.data = at; }},
      {"dk of KV view 0", true, [&](float* at) { kv_gradients[0].dk.data = at; }},
      {"dv of KV view 0", true, [&](float* at) { kv_gradients[0].dv.data = at; }},
      {"dk of KV view 1", true, [&](float* at) { kv_gradients[1].dk.data = at; }},
      {"dv of KV view 1", true, [&](float* at) { kv_gradients[1].dv.data = at; }},
      {"dsink", true, [&](float* at) { gradients.dsink = at; }},
      {"q", false, [&](float* at) { query.rows.data = at; }},
      {"out", false, [&](float* at) { gradients.state.out.data = at; }},
      {"dout", false, [&](float* at) { gradients.dout.data = at; }},
      {"lse", false, [&](float* at) { gradients.state.lse = at; }},
      {"sink_logits", false, [&](float* at) { query.sink_logits = at; }},
      {"keys of KV view 0", false, [&](float* at) { views[0].keys.data = at; }},
      {"values of KV view 1", false, [&](float* at) { views[1].values.data = at; }},
  };
  fresh();
  EXPECT_NO_THROW(run());
  for (std::size_t a = 0; a < all.size(); ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      if (!all[a].written && !all[b].written) continue;
      for (const std::ptrdiff_t apart : {0, 3, -3}) {
        fresh();
        all[a].put(somewhere.data() + 5000);
        all[b].put(somewhere.data() + 5000 + apart);
        expect_error([&] { run(); }, {all[a].name, "overlaps", all[b].name});
      }
    }
  }
}

// Rows in between are no overlap: all gradients of a token in one record.
TEST_F(Check, InterleavedGradientsAreAccepted) {
  float* at = somewhere.data();
  constexpr std::ptrdiff_t kRecord = 4 * 24 + 2 * (24 + 16) + 4 * 16;
  gradients.dq = {at, 12, 4, 24, kRecord, 24};
  kv_gradients[0] = {{at + 96, 20, 24, kRecord}, {at + 120, 20, 16, kRecord}};
  kv_gradients[1] = {{at + 136, 20, 24, kRecord}, {at + 160, 20, 16, kRecord}};
  gradients.dout = {at + 176, 12, 4, 16, kRecord, 16};
  for (std::size_t i = 0; i < 12 * 4 * 16; ++i) at[176 + i / 64 * std::size_t{kRecord} + i % 64] = p.dout[i];
  run();
  fresh_run();
  EXPECT_TRUE(same_bits(at, step.dq.data(), 96));
  EXPECT_TRUE(same_bits(at + 160 + 19 * kRecord, step.kv_gradients[1].dv.row(19), 16));
}
TEST_F(Check, SinkLogits) {
  gradients.dsink = step.dsink.data();
  expect_fails({"dsink", "4 heads", "0 sink logits"});
}
TEST_F(Check, RecordOfOtherShape) {
  const TrainingProblem<float> other({4, 2, 24, 16}, 11, 20, 2), more_heads({4, 4, 24, 16}, 12, 20, 3);
  select(TopK{5}, other.query(), kv(), step.record);
  expect_record_fails({"record has 11 rows", "12"});
  const auto more_views = more_heads.views();
  select(TopK{5}, more_heads.query(), LayerKv<ContiguousKv<float>>{more_views, 4}, step.record);
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
  expect_error([&] { run(options); }, {"2 threads", "run is null"});
  options.executor.run = [](void*, std::size_t tasks, Executor::Task task, void* arg) {
    for (std::size_t i = 0; i < tasks; ++i) task(arg, i, 0);
  };
  options.workspaces = one;
  expect_error([&] { run(options); }, {"1 workspaces", "2 threads"});
  options.executor.threads = 0;
  expect_error([&] { run(options); }, {"threads", "is 0", "at least 1"});
}

}  // namespace
}  // namespace skim::test

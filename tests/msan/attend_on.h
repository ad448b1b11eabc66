// SPDX-License-Identifier: Apache-2.0
// Every estimator, index and layer call. One storage type a source file, since each takes long to compile.
#ifndef SKIM_TESTS_MSAN_ATTEND_ON_H_
#define SKIM_TESTS_MSAN_ATTEND_ON_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "msan/bare.h"
#include "skim/skim.h"

namespace skim::msan {

inline constexpr const char* kEstimators[] = {
    "dense", "sinks(3)+window(20)", "topk(9)", "topk(300)", "topp(0.7)", "uniform(9)", "priority(9)", "multinomial(9)",
    "systematic(9)", "poisson(9)", "sinks(2)+window(4)+topk(9)+priority(9)", "quest(40)", "quest(20)+summaries", "summaries",
    "lsh(2,8)", "topk(3)+lsh(2,8,collisions=1)", "topk(9,by=sketch1)", "topk(9,by=sketch4)", "topk(9,by=sketch8)",
    "topk(9,by=sketch8,exact)", "topk(9,by=boxes)", "topk(9,by=boxes,exact)", "topk(9,by=external)", "topk(9,by=means)",
    "topk(9,by=sketch1,candidates=40)", "priority(9,by=sketch1)", "priority(9,by=sketch4)", "systematic(9,by=sketch8)",
    "multinomial(9,by=boxes)", "poisson(9,by=means)", "priority(9,by=external)"};

/// Of one storage type.
template <class K>
void attend_on() {
  constexpr std::size_t kKvHeads = 2, kQueryHeads = 6, kRows = 7, d = 19, d_v = 13;
  const auto planes = std::make_shared<const LshPlanes>(d, 2, 8, 1);
  struct Head {
    Stored<K> keys, values;
    Stored<float> scores;
    ExternalScores external;
    Sketch1 one{64};
    Sketch4 four{64};
    Sketch8 eight{64};
    PageBoxes boxes;
    PageMeans means{16};
    LshTables tables;

    Head(std::size_t n, const std::shared_ptr<const LshPlanes>& p)
        : keys(n, d, 3), values(n, d_v, 5), scores(n, n, 0), external{scores.rows, 0}, tables(p, 1024) {
      for (std::size_t to = 100; to < n; to += 101) grow(to);
      grow(n);
    }
    void grow(std::size_t to) {
      ContiguousKv<K> kv{keys.rows, values.rows};
      kv.keys.rows = kv.values.rows = to;
      append(one, kv), append(four, kv), append(eight, kv), append(boxes, kv), append(means, kv), append(tables, kv);
    }
    auto view() const {
      return with_index(ContiguousKv<K>{keys.rows, values.rows}, one, four, eight, boxes, means, tables, external);
    }
  };
  std::vector<std::unique_ptr<Head>> heads;
  std::vector<decltype(heads[0]->view())> views;
  for (const std::size_t n : {430u, 430u, 33u, 33u}) {
    heads.push_back(std::make_unique<Head>(n, planes));
    views.push_back(heads.back()->view());
  }
  const std::vector<std::size_t> row_begin{0, 5, kRows};
  const Stored<float> q(kRows * kQueryHeads, d, 2);
  const Stored<float> extras(2, kQueryHeads, 0);

  std::vector<Workspace> workspaces(2);
  for (const char* text : kEstimators) {
    const StageList e = parse(text);
    for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
      for (const std::size_t threads : {1u, 2u}) {
        for (Workspace& ws : workspaces) forget(ws);
        LayerQuery query;
        query.rows = {q.rows.data, kRows, kQueryHeads, d, static_cast<std::ptrdiff_t>(kQueryHeads) * q.rows.stride,
                      q.rows.stride};
        query.row_begin = row_begin;
        query.grouping = grouping;
        // No soft cap: lanes behind the last key of a block hold anything and are not used, and of Highway's tanh
        // MemorySanitizer cannot see that.
        query.logit.alibi_slopes = threads == 2 ? extras.rows.row(0) : nullptr;
        query.sink_logits = threads == 2 ? extras.rows.row(1) : nullptr;
        Executor executor;
        executor.threads = threads;
        executor.run = [](void*, std::size_t tasks, Executor::Task task, void* arg) {
          for (std::size_t i = tasks; i-- > 0;) task(arg, i, i % 2);
        };
        if (threads == 1) executor = {};
        const Bare<float> out(kRows * kQueryHeads * d_v), lse(kRows * kQueryHeads);
        attend(e, query, LayerKv<decltype(heads[0]->view())>{views, kKvHeads},
               LayerState{{out.data(), kRows, kQueryHeads, d_v}, lse.data()},
               {.executor = executor, .workspaces = workspaces});
        out.expect_written();
        lse.expect_written();
      }
    }
  }
}

void attend_on_f32();
void attend_on_f16();
void attend_on_bf16();
void attend_on_int8();
void run_backward();

}  // namespace skim::msan

#endif  // SKIM_TESTS_MSAN_ATTEND_ON_H_

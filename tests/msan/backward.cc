// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <vector>

#include "msan/attend_on.h"
#include "msan/bare.h"
#include "skim/skim.h"

void skim::msan::run_backward() {
  constexpr std::size_t kRows = 70, kKvHeads = 2, kQueryHeads = 4, d = 19, d_v = 13;
  const Stored<float> q(kRows * kQueryHeads, d, 0), dout(kRows * kQueryHeads, d_v, 0);
  std::vector<Stored<float>> keys, values;
  std::vector<ContiguousKv<float>> views;
  for (std::size_t h = 0; h < kKvHeads; ++h) {
    keys.emplace_back(kRows, d, 3);
    values.emplace_back(kRows, d_v, 5);
    views.push_back({keys.back().rows, values.back().rows});
  }
  const Stored<float> sinks(1, kQueryHeads, 0);
  std::vector<Workspace> workspaces(1);
  for (const char* text : {"dense", "sinks(2)+window(9)", "topk(7)", "sinks(2)+topk(5)+priority(6)"}) {
    const StageList e = parse(text);
    forget(workspaces[0]);
    LayerQuery query;
    query.rows = {q.rows.data, kRows, kQueryHeads, d};
    query.sink_logits = sinks.rows.data;
    const Bare<float> out(kRows * kQueryHeads * d_v), lse(kRows * kQueryHeads), dq(kRows * kQueryHeads * d);
    const Bare<float> dsink(kQueryHeads);
    std::vector<Bare<float>> dk, dv;
    std::vector<KvGradient> gradients;
    for (std::size_t h = 0; h < kKvHeads; ++h) {
      dk.emplace_back(kRows * d);
      dv.emplace_back(kRows * d_v);
      gradients.push_back({{dk.back().data(), kRows, d}, {dv.back().data(), kRows, d_v}});
    }
    SelectionRecord record;
    const LayerKv<ContiguousKv<float>> kv{views, kKvHeads};
    const LayerState state{{out.data(), kRows, kQueryHeads, d_v}, lse.data()};
    attend(e, query, kv, state, {.workspaces = workspaces, .record = &record});
    forget(workspaces[0]);
    backward(record, query, kv,
             LayerGradients{state, {dout.rows.data, kRows, kQueryHeads, d_v}, {dq.data(), kRows, kQueryHeads, d},
                            gradients, dsink.data()},
             {.workspaces = workspaces});
    dq.expect_written();
    dsink.expect_written();
    for (std::size_t h = 0; h < kKvHeads; ++h) dk[h].expect_written(), dv[h].expect_written();
  }
}

// SPDX-License-Identifier: Apache-2.0
// Does anything read memory that nobody has written? Every estimator, storage type, index, layer call and backward pass
// under MemorySanitizer (preset msan). What lies between rows, behind the last position and in the workspaces has no
// content; what a call has written must have one. A plain program: MemorySanitizer wants every library it calls built
// with it, and gtest is not.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>

#include <sanitizer/msan_interface.h>

#include "skim/skim.h"

namespace {

using namespace skim;

/// Memory without content, exactly as much as is asked for.
template <class T>
class Bare {
 public:
  explicit Bare(std::size_t count) : count_(count), data_(static_cast<T*>(::operator new(count * sizeof(T)))) {
    __msan_allocated_memory(data_, count * sizeof(T));
  }
  Bare(Bare&& other) : count_(other.count_), data_(other.data_) { other.data_ = nullptr; }
  ~Bare() { ::operator delete(data_); }

  T* data() const { return data_; }
  void expect_written() const { __msan_check_mem_is_initialized(data_, count_ * sizeof(T)); }

 private:
  std::size_t count_;
  T* data_;
};

float noise() {
  static std::uint64_t state = 1;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<float>(static_cast<std::int32_t>(state >> 32)) * 0x1p-30f;
}

/// Rows with a gap behind each, which has no content.
template <class T>
struct Stored {
  Bare<T> memory;
  Rows<const T> rows;

  Stored(std::size_t n, std::size_t cols, std::size_t gap) : memory(n * (row_values<T>(cols) + gap)) {
    const std::size_t stride = row_values<T>(cols) + gap;
    std::vector<float> row(cols);
    for (std::size_t i = 0; i < n; ++i) {
      for (float& x : row) x = noise();
      T* to = memory.data() + i * stride;
      if constexpr (std::is_same_v<T, I8>) {
        quantize_row(row.data(), cols, to);
      } else {
        for (std::size_t c = 0; c < cols; ++c) to[c] = from_float<T>(row[c]);
      }
    }
    rows = {memory.data(), n, cols, static_cast<std::ptrdiff_t>(stride)};
  }
};

/// A workspace gets used; what is left in it is content no more.
void forget(Workspace& ws) {
  constexpr std::size_t kBytes = 1 << 18;
  for (int slot = 0; slot < Workspace::kSlots; ++slot) {
    __msan_allocated_memory(ws.get<std::byte>(static_cast<Workspace::Slot>(slot), kBytes), kBytes);
  }
}

constexpr const char* kEstimators[] = {
    "dense", "sinks(3)+window(20)", "topk(9)", "topk(300)", "topp(0.7)", "uniform(9)", "priority(9)", "multinomial(9)",
    "systematic(9)", "poisson(9)", "sinks(2)+window(4)+topk(9)+priority(9)", "quest(40)", "quest(20)+summaries", "summaries",
    "lsh(2,8)", "topk(3)+lsh(2,8,collisions=1)", "topk(9,by=sketch1)", "topk(9,by=sketch4)", "topk(9,by=sketch8)",
    "topk(9,by=sketch8,exact)", "topk(9,by=boxes)", "topk(9,by=boxes,exact)", "topk(9,by=external)", "topk(9,by=means)",
    "topk(9,by=sketch1,candidates=40)", "priority(9,by=sketch1)", "priority(9,by=sketch4)", "systematic(9,by=sketch8)",
    "multinomial(9,by=boxes)", "poisson(9,by=means)", "priority(9,by=external)"};

/// One storage type.
template <class K>
void run() {
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
        query.logit.soft_cap = threads == 2 ? 20 : 0;
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

void run_backward() {
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

}  // namespace

int main() {
  run<float>();
  run<F16>();
  run<BF16>();
  run<I8>();
  run_backward();
  std::puts("nothing was read that nobody had written");
}

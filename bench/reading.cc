// SPDX-License-Identifier: Apache-2.0
// Dense decode in each order of reading keys and values (Reading in kernel/accumulate-inl.h): which one a machine likes.
// What the library chooses is `decode/dense`.
#include <span>
#include <vector>

#include "bench/suite.h"
#include "skim/skim.h"

namespace skim_bench {
namespace {

namespace k = skim::HWY_NAMESPACE;

struct Order {
  const char* what;
  k::Reading reading;
};
constexpr Order kOrders[] = {
    {"none", {k::kBlock, k::Prefetch::kNone}}, {"other", {k::kBlock, k::Prefetch::kOther}},
    {"same", {k::kBlock, k::Prefetch::kSame}}, {"none_64", {64, k::Prefetch::kNone}},
    {"none_256", {256, k::Prefetch::kNone}},   {"same_256", {256, k::Prefetch::kSame}},
};

template <class T>
void run_order(benchmark::State& state, const Case& c, const Order& order) {
  const Dataset<T>& data = dataset<T>(c.data);
  const Shape& s = data.shape();
  Pool& pool = Machine::pool(c.threads);
  const std::size_t padded = k::round_up(s.d, k::kStep<float>);
  std::vector<float> out(s.q_heads * s.d), lse(s.q_heads);
  std::vector<skim::Workspace> workspaces(pool.threads());
  skim::Selection everything;
  everything.add(skim::Span{0, static_cast<skim::Position>(s.n)});
  const auto attend_head = [&](std::size_t kv_head, std::size_t worker) {
    skim::Workspace& ws = workspaces[worker];
    const auto& kv = data.heads()[kv_head];
    skim::Query q;
    q.rows = {data.query(0, kv_head * s.group()), s.group(), s.d};
    q = q.resolved(kv.size());
    const std::size_t size = k::Partial<float>::size(s.group(), padded);
    auto* memory = ws.get<float>(skim::Workspace::kAccumulator, 2 * size);
    const auto total = k::Partial<float>::at(memory, s.group(), padded);
    const auto part = k::Partial<float>::at(memory + size, s.group(), padded);
    auto* scratch = ws.get<float>(skim::Workspace::kBlockLogits, k::chunk_scratch(s.group()));
    const auto lanes = k::lane_query<T>(q, ws);
    total.clear(s.group(), padded);
    k::for_each_chunk(everything, [&](const k::Chunk& chunk) {
      k::accumulate_chunk(lanes, {}, kv, everything, chunk, order.reading, part, scratch);
      k::merge_partial(total, part, s.group(), padded);
    });
    const std::size_t first = kv_head * s.group();
    k::finish<T>(total, padded,
                 skim::StateView{{out.data() + first * s.d, s.group(), s.d}, lse.data() + first, 1});
  };
  const double bytes = 2 * static_cast<double>(s.kv_heads * s.n * row_bytes<T>(s.d));
  for (auto _ : state) {
    const Rounds rounds =
        compete(c, {{"this", [&] { pool.each(s.kv_heads, attend_head); }}, read_loop(pool, bytes)});
    report_rounds(state, rounds);
    report_read_fraction(state, rounds, bytes);
  }
  report_errors(state, data.errors(out.data()));
}

}  // namespace

void register_reading() {
  for (const Heads heads : {Heads{8, 8}, Heads{32, 8}}) {
    for (const Type type : {Type::kF32, Type::kF16, Type::kBF16}) {
      for (const Order& order : kOrders) {
        register_case({"reading", {order.what, ""}, type, {{heads.q, heads.kv, 131072, 128}}},
                      [&order](benchmark::State& state, const Case& mine) {
                        visit_type(mine.type, [&]<class T>(T) { run_order<T>(state, mine, order); });
                      });
      }
    }
  }
}

}  // namespace skim_bench

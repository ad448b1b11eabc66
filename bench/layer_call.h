// SPDX-License-Identifier: Apache-2.0
// A layer-level call of skim on a dataset, ready to be repeated.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "bench/dataset.h"
#include "bench/pool.h"
#include "skim/skim.h"

namespace skim_bench {

/// Attention of all heads and rows with one estimator. After the first call it allocates nothing.
template <class E, class Kv>
class LayerCall {
 public:
  template <class T>
  LayerCall(E estimator, const Dataset<T>& data, std::span<const Kv> heads, skim::Grouping grouping,
            Pool& pool)
      : estimator_(std::move(estimator)),
        kv_{heads, data.shape().kv_heads},
        workspaces_(pool.threads()) {
    const Shape& s = data.shape();
    const std::size_t rows = data.spec().rows;
    query_.rows = {data.queries(), rows, s.q_heads, s.d};
    query_.grouping = grouping;
    query_.stream.seed = 1;
    out_.resize(rows * s.q_heads * s.d);
    state_.out = {out_.data(), rows, s.q_heads, s.d};
    options_.executor = pool.executor();
  }

  LayerCall(const LayerCall&) = delete;  // it points into itself
  LayerCall& operator=(const LayerCall&) = delete;

  void operator()() {
    options_.workspaces = workspaces_;
    skim::attend(estimator_, query_, kv_, state_, options_);
  }

  /// What one call reads, as the library counts it: a row twice if it is read as a candidate and to be attended to.
  skim::Reads reads() {
    for (skim::Workspace& ws : workspaces_) ws.reads = {};
    (*this)();
    skim::Reads sum;
    for (const skim::Workspace& ws : workspaces_) {
      sum.keys += ws.reads.keys;
      sum.values += ws.reads.values;
      sum.index_bytes += ws.reads.index_bytes;
    }
    return sum;
  }

  const float* out() const { return out_.data(); }
  skim::LayerQuery& query() { return query_; }  ///< to ask for more than plain attention

 private:
  E estimator_;
  skim::LayerQuery query_;
  skim::LayerKv<Kv> kv_;
  std::vector<float> out_;
  skim::LayerState state_;
  std::vector<skim::Workspace> workspaces_;
  skim::Options options_;
};

/// Shares of the n positions of a KV head whose keys and values are read, each counted once however many
/// query heads and stages read it. Mean over (at most eight) KV heads.
struct Coverage {
  double keys = 0;
  double values = 0;
};

/// Decode: calls visit(KV head, query) for each query of the one row of `data` that selects for itself, under the
/// streams a layer call would use, of at most eight KV heads. Returns how many KV heads there were.
template <class T, class Visit>
double each_selecting(const Dataset<T>& data, skim::Grouping grouping, const Visit& visit) {
  const Shape& s = data.shape();
  const std::size_t step = std::max<std::size_t>(1, s.kv_heads / 8);
  const bool per_head = grouping == skim::Grouping::kPerHead;
  double counted = 0;
  for (std::size_t kv_head = 0; kv_head < s.kv_heads; kv_head += step, ++counted) {
    for (std::size_t first = 0; first < s.group(); first += per_head ? 1 : s.group()) {
      skim::Query q;
      q.rows = {data.query(0, kv_head * s.group() + first), per_head ? 1 : s.group(), s.d};
      q.stream.seed = 1;
      q.stream.head = static_cast<std::uint32_t>(per_head ? kv_head * s.group() + first : kv_head);
      visit(kv_head, q);
    }
  }
  return counted;
}

inline void mark(const skim::Selection& chosen, std::vector<bool>& marks) {
  for (const skim::Span& span : chosen.spans()) {
    std::fill(marks.begin() + span.first, marks.begin() + span.last, true);
  }
  for (const skim::Pick& pick : chosen.picks()) marks[static_cast<std::size_t>(pick.position)] = true;
}

inline double share_of(const std::vector<bool>& marks) {
  return static_cast<double>(std::count(marks.begin(), marks.end(), true)) /
         static_cast<double>(marks.size());
}

/// Of an estimator that goes by no index: then its scores read all keys, or those of what it selects.
template <class Kv, class T>
Coverage coverage(const skim::StageList& e, const Dataset<T>& data, std::span<const Kv> heads,
                  skim::Grouping grouping) {
  std::vector<std::vector<bool>> read(data.shape().kv_heads, std::vector<bool>(data.shape().n));
  const double counted = each_selecting(data, grouping, [&](std::size_t kv_head, const skim::Query& q) {
    mark(skim::select(e, q, heads[kv_head]), read[kv_head]);
  });
  Coverage total;
  for (const std::vector<bool>& marks : read) total.values += share_of(marks) / counted;
  total.keys = skim::reads_logits(e) ? 1 : total.values;
  return total;
}

}  // namespace skim_bench

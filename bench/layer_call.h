// SPDX-License-Identifier: Apache-2.0
// A layer-level call of skim on a dataset, ready to be repeated.
#pragma once

#include <cstddef>
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

/// Decode: what the one row of `data` selects under the streams a layer call would use.
template <class Kv, class T>
Coverage coverage(const skim::StageList& e, const Dataset<T>& data, std::span<const Kv> heads,
                  skim::Grouping grouping) {
  const Shape& s = data.shape();
  const std::size_t step = std::max<std::size_t>(1, s.kv_heads / 8);
  Coverage total;
  double counted = 0;
  for (std::size_t kv_head = 0; kv_head < s.kv_heads; kv_head += step, ++counted) {
    std::vector<bool> read(s.n);
    const bool per_head = grouping == skim::Grouping::kPerHead;
    for (std::size_t first = 0; first < s.group(); first += per_head ? 1 : s.group()) {
      skim::Query q;
      q.rows = {data.query(0, kv_head * s.group() + first), per_head ? 1 : s.group(), s.d};
      q.stream.seed = 1;
      q.stream.head = static_cast<std::uint32_t>(per_head ? kv_head * s.group() + first : kv_head);
      const skim::Selection chosen = skim::select(e, q, heads[kv_head]);
      for (const skim::Span& span : chosen.spans()) {
        std::fill(read.begin() + span.first, read.begin() + span.last, true);
      }
      for (const skim::Pick& pick : chosen.picks())
        read[static_cast<std::size_t>(pick.position)] = true;
    }
    total.values +=
        static_cast<double>(std::count(read.begin(), read.end(), true)) / static_cast<double>(s.n);
  }
  total.values /= counted;
  total.keys = skim::reads_logits(e) ? 1 : total.values;
  return total;
}

}  // namespace skim_bench

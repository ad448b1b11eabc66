// SPDX-License-Identifier: Apache-2.0
// What is asked: the query rows of one group at one position, and how a query and a key become a logit.
#ifndef SKIM_CORE_QUERY_H_
#define SKIM_CORE_QUERY_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

#include "skim/core/position.h"
#include "skim/core/random.h"
#include "skim/core/rows.h"

namespace skim::inline SKIM_ABI {

/// How a query row and a key become a logit:
///   s = scale <q, k>;  s = soft_cap tanh(s / soft_cap) if soft_cap is set;  s -= slope |distance|.
struct LogitRule {
  std::optional<double> scale{};         ///< 1/sqrt(d) when not given; finite and not 0 in the type of the query
  double soft_cap = 0;                   ///< 0: none
  const float* alibi_slopes = nullptr;   ///< one a query head, finite, or none
};

/// Which positions the query heads of a group (those that share a KV head) read.
enum class Grouping {
  kPerGroup,  ///< one selection for the group, right for every head: rows are read once
  kPerHead,   ///< every head selects for itself
};

/// A query position that means "the newest position of the KV head".
inline constexpr Position kNewest = std::numeric_limits<Position>::min();

/// The query heads that share one KV head, at one position. `attend` fills in the defaults before an
/// estimator sees it: scale, position and visible range are then always set.
template <class Real>
struct BasicQuery {
  Rows<const Real> rows{};              ///< [g, d], one row a query head
  Position position = kNewest;          ///< position of the query's own token
  bool causal = true;                   ///< see nothing after `position`
  Span visible = kEverything;           ///< the positions that exist for this query
  LogitRule logit{};
  const float* sink_logits = nullptr;   ///< [g] learned logits that only enlarge the denominator (-inf: not), or none
  Grouping grouping = Grouping::kPerGroup;
  Stream stream{};
  std::optional<std::uint32_t> first_head{};  ///< number of row 0 among all query heads, for streams of single heads;
                                              ///< stream.head * heads() when not given

  std::size_t heads() const { return rows.rows; }

  /// This query with its defaults filled in for a KV head of n positions.
  BasicQuery resolved(Position n) const {
    BasicQuery q = *this;
    if (q.position == kNewest) q.position = n - 1;
    if (!q.logit.scale) q.logit.scale = 1.0 / std::sqrt(static_cast<double>(rows.cols));
    q.visible = intersect(q.visible, {0, n});
    if (q.causal && q.position < q.visible.last) q.visible.last = q.position + 1;
    if (q.visible.size() == 0) q.visible = {0, 0};
    return q;
  }

  /// Row h alone, as a group of one; its stream is that of its query head.
  BasicQuery head(std::size_t h) const {
    BasicQuery q = *this;
    q.stream.head = first_head.value_or(static_cast<std::uint32_t>(stream.head * heads())) + static_cast<std::uint32_t>(h);
    q.first_head = q.stream.head;
    q.rows = {rows.row(h), 1, rows.cols, rows.stride};
    if (q.logit.alibi_slopes) q.logit.alibi_slopes += h;
    if (q.sink_logits) q.sink_logits += h;
    return q;
  }
};

using Query = BasicQuery<float>;

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_QUERY_H_

// SPDX-License-Identifier: Apache-2.0
// Top-k as an index would find it that misses some: how many it misses is a setting, so that one can see
// what they cost.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include <skim/skim.h>

namespace train {

/// Of the `k` positions with the largest logits it keeps round(precision * k), any of them with equal
/// chance; in place of the others it takes as many that are not among the k, again any. With precision 1
/// it is topk(k), bit for bit. Where k or fewer are left it reads them all.
///
/// Where fewer than 2k are left there may be too few others. Then it takes them all and reads fewer than
/// k positions: the exact ones that it finds are as many as ever, but of what it reads, kept / (kept +
/// left - k), a larger share.
struct ImpreciseTopK {
  static constexpr bool reads_logits = true;

  skim::Position k = 64;
  double precision = 1;

  void validate() const {
    if (k < 1) skim::fail("ImpreciseTopK: k is ", k, " but must be at least 1");
    if (!(precision >= 0 && precision <= 1))
      skim::fail("ImpreciseTopK: precision is ", precision, " but must be in [0, 1]");
  }
  std::size_t max_picks(std::size_t n) const { return std::min(n, static_cast<std::size_t>(k)); }
  std::size_t kept() const {
    return static_cast<std::size_t>(std::lround(precision * static_cast<double>(k)));
  }

  void select(const auto& q, const auto& kv, skim::Selection& selection, skim::Workspace& ws) const {
    const auto most = static_cast<std::size_t>(q.visible.size());
    const auto top = static_cast<std::size_t>(k);
    auto* const positions = ws.get<skim::Position>(skim::Workspace::kUser, most);
    std::size_t left = 0;
    skim::for_each_gap(selection, q.visible, [&](skim::Span gap) {
      for (skim::Position i = gap.first; i < gap.last; ++i) positions[left++] = i;
    });
    if (left <= top) return add_runs(positions, left, selection);

    // As skim::TopK: a group by the largest logit of its heads, NaN as -inf, ties to the lower position.
    const auto logits = skim::logits(q, kv, ws);
    const auto score = [&](skim::Position i) {
      float largest = -INFINITY;
      for (std::size_t h = 0; h < q.heads(); ++h)
        largest = std::fmax(largest, logits.of_head(h)[i - logits.first]);
      return largest;
    };
    std::nth_element(positions, positions + top, positions + left,
                     [&](skim::Position a, skim::Position b) {
                       return score(a) != score(b) ? score(a) > score(b) : a < b;
                     });
    // Libraries leave both parts in orders of their own, and draws go by order.
    std::sort(positions, positions + top);
    std::sort(positions + top, positions + left);

    const skim::Draws draws(q.stream, q.position);
    const std::size_t others = std::min(top - kept(), left - top);
    draw(draws, 0, kept(), top, positions);
    draw(draws, top, others, left, positions);
    skim::Position* const end = std::copy_n(positions + top, others, positions + kept());
    std::sort(positions, end);
    std::for_each(positions, end, [&](skim::Position i) { selection.add(i); });
  }

 private:
  /// Moves `count` of positions [first, last) to the front of them: every subset is equally likely. A whole one stays.
  static void draw(const skim::Draws& draws, std::size_t first, std::size_t count, std::size_t last,
                   skim::Position* positions) {
    for (std::size_t i = first; i < first + count && first + count < last; ++i) {
      std::swap(positions[i], positions[i + draws.below(i, last - i)]);
    }
  }

  /// Ascending positions as spans: a kernel adds up spans in other pieces than picks, and TopK has spans here.
  static void add_runs(const skim::Position* positions, std::size_t count, skim::Selection& selection) {
    for (std::size_t i = 0; i < count;) {
      std::size_t end = i + 1;
      while (end < count && positions[end] == positions[end - 1] + 1) ++end;
      selection.add(skim::Span{positions[i], positions[end - 1] + 1});
      i = end;
    }
  }
};

}  // namespace train

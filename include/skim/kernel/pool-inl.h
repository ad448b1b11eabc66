// SPDX-License-Identifier: Apache-2.0
// One score a position from the logits of all heads of a group, over what is not selected yet.
// A NaN logit counts as -inf here: last in top-k, probability 0 in samplers.
#if defined(SKIM_KERNEL_POOL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_KERNEL_POOL_INL_H_
#undef SKIM_KERNEL_POOL_INL_H_
#else
#define SKIM_KERNEL_POOL_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <span>

#include "skim/kernel/accumulate-inl.h"
#include "skim/kernel/score-inl.h"
#include "skim/kernel/select-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// One value for each position that is not selected yet, in ascending order of position.
template <class Real>
struct Pooled {
  Real* scores = nullptr;
  std::size_t count = 0;
  const Position* positions = nullptr;  // null: of all that are not selected
};

template <class Real>
HWY_INLINE Vec<Real> nan_to_least(Vec<Real> x) {
  return hn::IfThenElse(hn::Eq(x, x), x, hn::Set(Tag<Real>(), -kInfinity<Real>));
}

/// Calls visit(const Real* logits of head 0 there, count, offset in the pooled array) for each gap.
template <class Real, class Visit>
void for_each_unselected(const Logits<Real>& s, const Selection& selection, Span visible, const Visit& visit) {
  std::size_t offset = 0;
  for_each_gap(selection, visible, [&](Span gap) {
    const auto count = static_cast<std::size_t>(gap.size());
    visit(s.data + (gap.first - s.first), count, offset);
    offset += count;
  });
}

/// The largest logit of the group's heads: how a group agrees on a top-k set.
template <class Real>
HWY_ATTR void max_of_heads(const Real* s, std::size_t stride, std::size_t heads, std::size_t count, Real* out) {
  const Tag<Real> tag;
  std::size_t i = 0;
  for (; i + kLanes<Real> <= count; i += kLanes<Real>) {
    auto top = nan_to_least<Real>(hn::LoadU(tag, s + i));
    for (std::size_t h = 1; h < heads; ++h) {
      top = hn::Max(top, nan_to_least<Real>(hn::LoadU(tag, s + h * stride + i)));
    }
    hn::StoreU(top, tag, out + i);
  }
  for (; i < count; ++i) {
    out[i] = -kInfinity<Real>;
    for (std::size_t h = 0; h < heads; ++h) {
      const Real x = s[h * stride + i];
      if (x > out[i]) out[i] = x;  // false for NaN
    }
  }
}

template <class Real>
Pooled<Real> pool_max(const Logits<Real>& s, std::size_t heads, const Selection& selection, Span visible,
                      Workspace& ws) {
  const auto count = static_cast<std::size_t>(count_gaps(selection, visible));
  Real* out = ws.get<Real>(Workspace::kProposal, count);
  for_each_unselected(s, selection, visible, [&](const Real* at, std::size_t n, std::size_t offset) {
    max_of_heads(at, s.stride, heads, n, out + offset);
  });
  return {out, count};
}

/// The same for those of ascending `positions` that are not selected yet. They are scored here, unless all logits are
/// known; no other key is read.
template <class Real, class Kv>
Pooled<Real> pool_max_of(std::span<const Position> positions, const BasicQuery<Real>& q, const Kv& kv,
                         const Selection& selection, Workspace& ws) {
  const Position* left = positions.data();
  std::size_t count = positions.size();
  const bool all_free = count_gaps(selection, q.visible) == q.visible.size();
  if (!all_free || (count > 0 && !(q.visible.contains(left[0]) && q.visible.contains(left[count - 1])))) {
    Position* kept = ws.get<Position>(Workspace::kChosen, positions.size());
    std::size_t next = 0;
    count = 0;
    for_each_gap(selection, q.visible, [&](Span gap) {
      while (next < positions.size() && positions[next] < gap.first) ++next;
      while (next < positions.size() && positions[next] < gap.last) kept[count++] = positions[next++];
    });
    left = kept;
  }
  const std::size_t heads = q.heads(), stride = round_up(count, kBlock);
  const Logits<Real> known = known_logits(q, kv, ws);
  if (known.data != nullptr) {  // they lie where others would be put
    Real* out = ws.get<Real>(Workspace::kProposal, count);
    for (std::size_t j = 0; j < count; ++j) max_of_heads(known.data + (left[j] - known.first), known.stride, heads, 1, out + j);
    return {out, count, left};
  }
  const LaneQuery<Real> lanes = lane_query<typename Kv::Key>(q, ws);
  Real* all = ws.get<Real>(Workspace::kShortlist, heads * stride);
  Real* s = ws.get<Real>(Workspace::kBlockLogits, heads * kBlock);
  const auto fill = [&](std::size_t i, Block<Kv>& b) {
    fill_list(kv, [&](std::size_t t) { return left[i + t]; }, std::min(kBlock, count - i), b);
  };
  score_blocks<Kv>(lanes, count, fill, all, stride, s);
  ws.reads.keys += count;
  Real* out = ws.get<Real>(Workspace::kProposal, count);
  max_of_heads(all, stride, heads, count, out);
  return {out, count, left};
}

/// ln sum e^s over the unselected positions of one head; NaN counts as -inf.
template <class Real>
struct LogSum {
  Real max = -kInfinity<Real>;
  double sum = 0;

  HWY_ATTR void add(const Real* s, std::size_t count) {
    const Tag<Real> tag;
    auto tops = hn::Set(tag, -kInfinity<Real>);
    std::size_t i = 0;
    for (; i + kLanes<Real> <= count; i += kLanes<Real>) tops = hn::Max(nan_to_least<Real>(hn::LoadU(tag, s + i)), tops);
    Real top = hn::GetLane(hn::MaxOfLanes(tag, tops));
    for (; i < count; ++i) {
      if (s[i] > top) top = s[i];  // false for NaN
    }
    if (top == -kInfinity<Real>) return;
    if (top > max) {
      sum *= std::exp(static_cast<double>(max) - static_cast<double>(top));
      max = top;
    }
    i = 0;
    auto part = hn::Zero(tag);
    for (; i + kLanes<Real> <= count; i += kLanes<Real>) {
      part = hn::Add(part, exp_below(nan_to_least<Real>(hn::LoadU(tag, s + i)), max));
      if (i / kLanes<Real> % 64 == 63) {  // long sums in double
        sum += static_cast<double>(hn::GetLane(hn::SumOfLanes(tag, part)));
        part = hn::Zero(tag);
      }
    }
    sum += static_cast<double>(hn::GetLane(hn::SumOfLanes(tag, part)));
    for (; i < count; ++i) {
      if (s[i] > -kInfinity<Real>) sum += s[i] == max ? 1.0 : std::exp(static_cast<double>(s[i] - max));
    }
  }
  Real log() const { return max + static_cast<Real>(std::log(sum)); }
};

/// out[i] = ln of the mean over heads of e^{s(h, i) - lse[h]}. kFinite: every lse is, as it all but always is.
template <bool kFinite, class Real>
void log_mean_share(const Real* s, std::size_t stride, const Real* lse, std::size_t heads, std::size_t count,
                    Real* out) {
  const Tag<Real> tag;
  const auto none = hn::Set(tag, -kInfinity<Real>);
  const auto log_heads = hn::Set(tag, std::log(static_cast<Real>(heads)));
  const auto mean_at = [&](const auto& load) HWY_ATTR {
    const auto share = [&](std::size_t h) HWY_ATTR {
      const auto x = nan_to_least<Real>(load(h));
      const auto all = hn::Set(tag, lse[h]);
      if constexpr (kFinite) return hn::Sub(x, all);
      // ln of one head's probability: 0 where logit and sum are both infinite, -inf where either is missing.
      const auto log_p = hn::IfThenZeroElse(hn::Eq(x, all), hn::Sub(x, all));
      return hn::IfThenElse(hn::Or(hn::Eq(x, none), hn::Eq(all, none)), none, log_p);
    };
    auto top = share(0);
    for (std::size_t h = 1; h < heads; ++h) top = hn::Max(top, share(h));
    auto sum = hn::Zero(tag);
    const auto shift = hn::IfThenZeroElse(hn::Eq(top, none), top);
    for (std::size_t h = 0; h < heads; ++h) sum = hn::Add(sum, exp_nonpositive(hn::Sub(share(h), shift)));
    const auto log_mean = hn::Add(shift, hn::Sub(hn::Log(tag, sum), log_heads));
    return hn::IfThenElse(hn::Eq(top, none), none, log_mean);
  };
  std::size_t i = 0;
  for (; i + kLanes<Real> <= count; i += kLanes<Real>) {
    hn::StoreU(mean_at([&](std::size_t h) HWY_ATTR { return hn::LoadU(tag, s + h * stride + i); }), tag, out + i);
  }
  for (; i < count; ++i) {
    out[i] = hn::GetLane(mean_at([&](std::size_t h) HWY_ATTR { return hn::Set(tag, s[h * stride + i]); }));
  }
}

/// ln of the mean over heads of the probability each head gives a position among the unselected ones:
/// the proposal from which a group samples, right for every head. For one head its logits will do: they
/// differ from that by a constant, which no sampler sees.
template <class Real>
Pooled<Real> pool_log_share(const Logits<Real>& s, std::size_t heads, const Selection& selection, Span visible,
                            Workspace& ws) {
  if (heads == 1) return pool_max(s, 1, selection, visible, ws);
  const auto count = static_cast<std::size_t>(count_gaps(selection, visible));
  const std::size_t padded = round_up(count, kStep<Real>);
  Real* out = ws.get<Real>(Workspace::kProposal, padded + 2 * heads);
  Real* lse = out + padded;
  for (std::size_t h = 0; h < heads; ++h) {
    LogSum<Real> total;
    for_each_unselected(s, selection, visible,
                        [&](const Real* at, std::size_t n, std::size_t) { total.add(at + h * s.stride, n); });
    lse[h] = total.log();
  }
  const bool finite = std::all_of(lse, lse + heads, [](Real x) { return std::abs(x) < kInfinity<Real>; });
  for_each_unselected(s, selection, visible, [&](const Real* at, std::size_t n, std::size_t offset) {
    finite ? log_mean_share<true>(at, s.stride, lse, heads, n, out + offset)
           : log_mean_share<false>(at, s.stride, lse, heads, n, out + offset);
  });
  return {out, count};
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_KERNEL_POOL_INL_H_

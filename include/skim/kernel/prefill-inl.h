// SPDX-License-Identifier: Apache-2.0
// Dense attention of many query rows: matrix products instead of rows one by one.
//
// Logits arrive as [key, query] (panel-inl.h), so the softmax is vertical: no sum over lanes anywhere. Masks are two
// bounds for each query, looked at only in the blocks they cut.
#if defined(SKIM_KERNEL_PREFILL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_KERNEL_PREFILL_INL_H_
#undef SKIM_KERNEL_PREFILL_INL_H_
#else
#define SKIM_KERNEL_PREFILL_INL_H_
#endif

#include <cmath>

#include "skim/core/query.h"
#include "skim/core/state.h"
#include "skim/core/workspace.h"
#include "skim/kernel/accumulate-inl.h"
#include "skim/kernel/panel-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// One query row of a prefill: where it is read and written, and what it sees.
template <class Real>
struct PrefillRow {
  const Real* query = nullptr;  // [d]
  Real* out = nullptr;          // [d_v]
  Real* lse = nullptr;
  Span visible{};
  Position position = 0;
  float alibi_slope = 0;
};

/// Dense attention of `count` query rows that share one KV head. Rows near each other in the list should see
/// nearly the same keys. `rule` has its scale set; slopes come with the rows.
template <class Real, class Kv>
class Prefill {
 public:
  Prefill(const Kv& kv, const LogitRule& rule, const PrefillRow<Real>* rows, std::size_t count, Workspace& ws)
      : kv_(kv), rule_(rule), d_(kv.key_dim()), d_v_(kv.value_dim()), panel_count_((count + kP - 1) / kP) {
    panels_ = ws.get<Panel>(Workspace::kPanels, panel_count_);
    const std::size_t of_panel = (d_ + d_v_ + 2) * kP;
    const std::size_t k_block = kPanelKeys * round_up(d_, kStep<Real>);
    const std::size_t v_block = kPanelKeys * round_up(d_v_, kStep<Real>);
    Real* memory = ws.get<Real>(Workspace::kPrefill, panel_count_ * of_panel + k_block + v_block + kPanelKeys * kP);
    key_room_ = memory + panel_count_ * of_panel;
    value_room_ = key_room_ + k_block;
    weights_ = value_room_ + v_block;
    for (std::size_t p = 0; p < panel_count_; ++p) {
      panels_[p] = begin(rows + p * kP, std::min(kP, count - p * kP), memory + p * of_panel);
      all_ = hull(all_, panels_[p].seen);
    }
  }

  void run() {
    constexpr auto kB = static_cast<Position>(kPanelKeys);
    for (Position b = all_.first / kB; b * kB < all_.last; ++b) {
      const Span block = intersect({b * kB, (b + 1) * kB}, all_);
      load(block);
      for (std::size_t p = 0; p < panel_count_; ++p) {
        const Span seen = intersect(block, panels_[p].seen);
        if (seen.size() > 0) attend(panels_[p], block.first, seen);
      }
    }
    for (std::size_t p = 0; p < panel_count_; ++p) finish(panels_[p]);
  }

 private:
  static constexpr std::size_t kP = kPanel<Real>;
  static constexpr std::size_t kN = kLanes<Real>;

  /// Up to kP query rows; the arrays are [.., kP]. Lanes beyond `count` see nothing.
  struct Panel {
    const PrefillRow<Real>* rows;
    std::size_t count;
    Span seen;    // what any of its rows sees
    Span common;  // what all of them see
    Real* query;  // [d]
    Real* numerator;  // [d_v]
    Real* max;
    Real* sum;
  };

  Panel begin(const PrefillRow<Real>* rows, std::size_t count, Real* memory) const {
    Panel p{rows, count, {}, kEverything, memory, memory + d_ * kP, nullptr, nullptr};
    p.max = p.numerator + d_v_ * kP;
    p.sum = p.max + kP;
    std::memset(p.numerator, 0, d_v_ * kP * sizeof(Real));
    fill_panel<typename Kv::Key>([&](std::size_t i) { return i < count ? rows[i].query : nullptr; }, d_, p.query);
    for (std::size_t i = 0; i < kP; ++i) {
      p.max[i] = -kInfinity<Real>;
      p.sum[i] = 0;
      if (i < count) p.seen = hull(p.seen, rows[i].visible);
      p.common = intersect(p.common, i < count ? rows[i].visible : kEverything);
    }
    return p;
  }

  void load(Span block) {
    block_ = block;
    keys_ = widen_run(kv_, block, d_, [](const Block<Kv>& b) { return b.keys; }, key_room_);
    values_ = widen_run(kv_, block, d_v_, [](const Block<Kv>& b) { return b.values; }, value_room_);
    finite_ = Finite::kUnknown;
  }

  /// Whether all values of the loaded block are finite: looked at once, and only where somebody asks.
  bool values_are_finite() {
    if (finite_ == Finite::kUnknown) {
      const auto count = static_cast<std::size_t>(block_.size()) * d_v_;
      finite_ = all_finite(values_, count) ? Finite::kYes : Finite::kNo;
    }
    return finite_ == Finite::kYes;
  }

  /// One panel over the part of the loaded block that it sees.
  void attend(const Panel& p, Position block_first, Span seen) {
    const auto skip = static_cast<std::size_t>(seen.first - block_first);
    const auto keys = static_cast<std::size_t>(seen.size());
    const Tag<Real> tag;
    panel_product(keys_ + skip * d_, keys, d_, 1, p.query, d_,
                  [this, &tag](std::size_t key, Vec<Real> low, Vec<Real> high) HWY_ATTR {
                    hn::Store(low, tag, weights_ + key * kP);
                    hn::Store(high, tag, weights_ + key * kP + kN);
                  });
    const bool cut = p.count < kP || p.common.first > seen.first || p.common.last < seen.last;
    Real first[kP], last[kP];  // bounds of each lane, in keys of this part
    if (cut) {
      for (std::size_t i = 0; i < kP; ++i) {
        const Span v = i < p.count ? intersect(p.rows[i].visible, seen) : Span{};
        first[i] = static_cast<Real>(v.size() == 0 ? 0 : v.first - seen.first);
        last[i] = static_cast<Real>(v.size() == 0 ? 0 : v.last - seen.first);
      }
    }
    Vec<Real> rescale[2];
    for (std::size_t half = 0; half < 2; ++half) {
      const std::size_t lane = half * kN;
      rescale[half] = soften(p, lane, seen.first, keys, cut ? first + lane : nullptr, cut ? last + lane : nullptr);
    }
    if (cut && !values_are_finite()) return weigh_guarded(p, skip, keys, rescale, first, last);
    panel_product(values_ + skip * d_v_, d_v_, 1, d_v_, weights_, keys,
                  [&](std::size_t c, Vec<Real> low, Vec<Real> high) HWY_ATTR {
                    Real* to = p.numerator + c * kP;
                    hn::Store(hn::MulAdd(hn::Load(tag, to), rescale[0], low), tag, to);
                    hn::Store(hn::MulAdd(hn::Load(tag, to + kN), rescale[1], high), tag, to + kN);
                  });
  }

  /// Products become weights relative to the new maxima, for one vector of queries. first, last: the keys each
  /// sees, or null when it sees all. Returns what everything before must be multiplied by.
  Vec<Real> soften(const Panel& p, std::size_t lane, Position first_key, std::size_t keys, const Real* first,
                   const Real* last) {
    const Tag<Real> tag;
    const auto least = hn::Set(tag, -kInfinity<Real>);
    const auto scale = hn::Set(tag, static_cast<Real>(*rule_.scale));
    const auto cap = hn::Set(tag, static_cast<Real>(rule_.soft_cap));
    Real slope[kN], position[kN];
    bool alibi = false;
    for (std::size_t i = 0; i < kN; ++i) {
      const bool here = lane + i < p.count;
      slope[i] = here ? static_cast<Real>(p.rows[lane + i].alibi_slope) : Real{0};
      position[i] = here ? static_cast<Real>(p.rows[lane + i].position - first_key) : Real{0};
      alibi = alibi || slope[i] != 0;
    }
    auto max = hn::Load(tag, p.max + lane);
    const auto before = max;
    for (std::size_t j = 0; j < keys; ++j) {
      auto s = hn::Mul(hn::Load(tag, weights_ + j * kP + lane), scale);
      if (rule_.soft_cap > 0) s = hn::Mul(cap, hn::Tanh(tag, hn::Div(s, cap)));
      const auto at = hn::Set(tag, static_cast<Real>(j));
      if (alibi) s = hn::NegMulAdd(hn::LoadU(tag, slope), hn::Abs(hn::Sub(hn::LoadU(tag, position), at)), s);
      if (first != nullptr) {
        const auto seen = hn::And(hn::Ge(at, hn::LoadU(tag, first)), hn::Lt(at, hn::LoadU(tag, last)));
        s = hn::IfThenElse(seen, s, least);
      }
      hn::Store(s, tag, weights_ + j * kP + lane);
      max = hn::Max(s, max);
    }
    // -inf - -inf must not become NaN: a lane that has seen nothing is shifted by 0.
    const auto shift = hn::IfThenZeroElse(hn::Eq(max, least), max);
    const auto one = hn::Set(tag, Real{1});
    const auto weight = [&](Vec<Real> s) HWY_ATTR {
      return hn::IfThenElse(hn::Eq(s, shift), one, exp_nonpositive(hn::Sub(s, shift)));
    };
    auto sum = hn::Zero(tag);
    for (std::size_t j = 0; j < keys; ++j) {
      const auto w = weight(hn::Load(tag, weights_ + j * kP + lane));
      hn::Store(w, tag, weights_ + j * kP + lane);
      sum = hn::Add(sum, w);
    }
    const auto rescale = weight(before);
    hn::Store(max, tag, p.max + lane);
    hn::Store(hn::MulAdd(hn::Load(tag, p.sum + lane), rescale, sum), tag, p.sum + lane);
    return rescale;
  }

  /// Where a bound cuts a block that holds an infinity or NaN: what a query does not see must not reach it, and
  /// 0 * NaN would.
  void weigh_guarded(const Panel& p, std::size_t skip, std::size_t keys, const Vec<Real> (&rescale)[2],
                     const Real* first, const Real* last) {
    const Tag<Real> tag;
    for (std::size_t half = 0; half < 2; ++half) {
      const std::size_t lane = half * kN;
      for (std::size_t c = 0; c < d_v_; ++c) {
        auto part = hn::Zero(tag);
        for (std::size_t j = 0; j < keys; ++j) {
          const auto at = hn::Set(tag, static_cast<Real>(j));
          const auto seen = hn::And(hn::Ge(at, hn::LoadU(tag, first + lane)), hn::Lt(at, hn::LoadU(tag, last + lane)));
          const auto sum = hn::MulAdd(hn::Set(tag, values_[(skip + j) * d_v_ + c]),
                                      hn::Load(tag, weights_ + j * kP + lane), part);
          part = hn::IfThenElse(seen, sum, part);
        }
        Real* to = p.numerator + c * kP + lane;
        hn::Store(hn::MulAdd(hn::Load(tag, to), rescale[half], part), tag, to);
      }
    }
  }

  void finish(const Panel& p) const {
    Real factor[kP];
    for (std::size_t i = 0; i < p.count; ++i) {
      Real sum = p.sum[i];
      if (p.max[i] == kInfinity<Real> && sum != 1) sum = std::numeric_limits<Real>::quiet_NaN();
      factor[i] = sum == 0 ? Real{0} : Real{1} / sum;
      *p.rows[i].lse = sum == 0 ? -kInfinity<Real> : p.max[i] + std::log(sum);
    }
    read_panel(p.numerator, p.count, d_v_, factor, [&p](std::size_t i) { return p.rows[i].out; });
  }

  const Kv& kv_;
  const LogitRule& rule_;
  std::size_t d_, d_v_;
  std::size_t panel_count_;
  Panel* panels_;
  Span all_{};
  Real* key_room_;    // [block, d]
  Real* value_room_;  // [block, d_v]
  Span block_{};      // what is loaded:
  const Real* keys_ = nullptr;
  const Real* values_ = nullptr;
  Real* weights_;  // [block, kP]: logits, then weights
  enum class Finite { kUnknown, kYes, kNo } finite_ = Finite::kUnknown;
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_KERNEL_PREFILL_INL_H_

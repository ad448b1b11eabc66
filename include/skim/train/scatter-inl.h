// SPDX-License-Identifier: Apache-2.0
// Gradients of attention over any positions: those of a query group are gathered, and what they get is scattered.
//
// Logits are the canonical ones, so that a weight here is the weight of the forward pass to the rounding of its lse.
#if defined(SKIM_TRAIN_SCATTER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_TRAIN_SCATTER_INL_H_
#undef SKIM_TRAIN_SCATTER_INL_H_
#else
#define SKIM_TRAIN_SCATTER_INL_H_
#endif

#include <algorithm>
#include <utility>

#include "skim/core/workspace.h"
#include "skim/kernel/accumulate-inl.h"
#include "skim/kernel/score-inl.h"
#include "skim/train/gradients.h"
#include "skim/train/key_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// What a query group brings to a backward pass besides its query. Pointers: [g].
template <class Real>
struct BackwardGroup {
  Rows<const Real> dout{};      // [g, d_v]
  Rows<Real> dq{};              // [g, d], added to
  const Real* lse = nullptr;    // +inf where a head sees no mass: then every weight is 0
  const Real* delta = nullptr;  // <dout, out>
};

/// to[t, c] += sum_h weights[h, t] rows[h, c] for W vectors of columns from c on.
template <int G, int W, class Real>
HWY_INLINE void scatter_tile(const Real* HWY_RESTRICT weights, const Real* HWY_RESTRICT rows, std::size_t padded,
                             std::size_t count, std::size_t c, Real* const* HWY_RESTRICT to) {
  const Tag<Real> tag;
  const auto column = [c](int w) { return c + static_cast<std::size_t>(w) * kLanes<Real>; };
  Vec<Real> x[G][W];
  HWY_UNROLL(8) for (int h = 0; h < G; ++h) {
    const Real* row = rows + static_cast<std::size_t>(h) * padded;
    HWY_UNROLL(8) for (int w = 0; w < W; ++w) x[h][w] = hn::Load(tag, row + column(w));
  }
  for (std::size_t t = 0; t < count; ++t) {
    Vec<Real> sum[W];
    HWY_UNROLL(8) for (int w = 0; w < W; ++w) sum[w] = hn::LoadU(tag, to[t] + column(w));
    HWY_UNROLL(8) for (int h = 0; h < G; ++h) {
      const auto weight = hn::Set(tag, weights[static_cast<std::size_t>(h) * kBlock + t]);
      HWY_UNROLL(8) for (int w = 0; w < W; ++w) sum[w] = hn::MulAdd(weight, x[h][w], sum[w]);
    }
    HWY_UNROLL(8) for (int w = 0; w < W; ++w) hn::StoreU(sum[w], tag, to[t] + column(w));
  }
}

template <int G, class Real>
HWY_INLINE void scatter_heads(const Real* weights, const Real* rows, std::size_t padded, std::size_t count,
                              std::size_t cols, Real* const* to) {
  constexpr int kWide = 2 * kTile;
  constexpr std::size_t kN = kLanes<Real>;
  std::size_t c = 0;
  for (; c + kWide * kN <= cols; c += kWide * kN) scatter_tile<G, kWide>(weights, rows, padded, count, c, to);
  for (; c + kN <= cols; c += kN) scatter_tile<G, 1>(weights, rows, padded, count, c, to);
  for (std::size_t t = 0; t < count && c < cols; ++t) {
    for (std::size_t i = c; i < cols; ++i) {
      for (std::size_t h = 0; h < G; ++h) to[t][i] += weights[h * kBlock + t] * rows[h * padded + i];
    }
  }
}

/// to[t] += sum_h weights[h, t] rows[h] for `count` rows of `cols` values. weights: [g, kBlock], rows: [g, padded]. No
/// row twice.
template <class Real>
HWY_INLINE void scatter(const Real* weights, const Real* rows, std::size_t padded, std::size_t heads, std::size_t count,
                        std::size_t cols, Real* const* to) {
  std::size_t h = 0;
  for (; h + 4 <= heads; h += 4) scatter_heads<4>(weights + h * kBlock, rows + h * padded, padded, count, cols, to);
  for (; h + 2 <= heads; h += 2) scatter_heads<2>(weights + h * kBlock, rows + h * padded, padded, count, cols, to);
  for (; h < heads; ++h) scatter_heads<1>(weights + h * kBlock, rows + h * padded, padded, count, cols, to);
}

/// Adds the gradients of a resolved query group over some positions of one KV head, read with weights.
template <class Real, class Kv>
class Scatter {
  static_assert(std::is_same_v<typename Kv::Key, Real> && std::is_same_v<typename Kv::Value, Real>);

 public:
  Scatter(const BasicQuery<Real>& q, const Kv& kv, const BackwardGroup<Real>& group,
          const BasicKvGradient<Real>& gradient, Workspace& ws)
      : q_(q),
        kv_(kv),
        group_(group),
        gradient_(gradient),
        heads_(q.heads()),
        padded_(round_up(kv.key_dim(), kStep<Real>)),
        padded_v_(round_up(kv.value_dim(), kStep<Real>)) {
    dout_.rows = group.dout;
    Real* memory = ws.get<Real>(Workspace::kScatter, heads_ * (2 * padded_ + padded_v_ + 3 * kBlock + 1));
    const auto take = [&memory](std::size_t count) { return std::exchange(memory, memory + count); };
    p_ = take(heads_ * kBlock);
    ds_ = take(heads_ * kBlock);
    slope_ = take(heads_ * kBlock);
    dq_ = take(heads_ * padded_);
    queries_ = take(heads_ * padded_);
    douts_ = take(heads_ * padded_v_);
    ones_ = take(heads_);
    for (std::size_t h = 0; h < heads_; ++h) {
      to_lanes<Real>(q.rows.row(h), q.rows.cols, queries_ + h * padded_);
      to_lanes<Real>(group.dout.row(h), group.dout.cols, douts_ + h * padded_v_);
      ones_[h] = 1;
    }
    std::memset(dq_, 0, heads_ * padded_ * sizeof(Real));
    // What is behind the last position of a block is computed with, and not used.
    std::fill_n(p_, heads_ * kBlock, Real{0});
    std::fill_n(ds_, heads_ * kBlock, Real{0});
  }

  /// Positions position(0), ..., position(count - 1), none twice, with log weight log_weight(i).
  template <class PositionAt, class LogWeightAt>
  void add(std::size_t count, const PositionAt& position, const LogWeightAt& log_weight) {
    Block<Kv> block;
    for (std::size_t first = 0; first < count; first += kBlock) {
      const auto at = [&](std::size_t t) { return position(first + t); };
      fill_list(kv_, at, std::min(kBlock, count - first), block);
      for (std::size_t t = 0; t < kBlock; ++t) {
        block.log_weights[t] = t < block.count ? log_weight(first + t) : 0;
      }
      add_block(block);
    }
  }

  void finish() const {
    for (std::size_t h = 0; h < heads_; ++h) add_row(dq_ + h * padded_, group_.dq.cols, group_.dq.row(h));
  }

 private:
  void add_block(const Block<Kv>& b) {
    constexpr const Real* const* kNothingAhead = nullptr;
    const LaneQuery<Real> query{&q_, queries_, padded_}, dout{&dout_, douts_, padded_v_};
    dots(query, b.keys, b.count, kNothingAhead, p_);
    dots(dout, b.values, b.count, kNothingAhead, ds_);
    find_slopes();
    apply_rule(q_, b.positions, p_);
    differentiate(b);

    Real* dk[kBlock];
    Real* dv[kBlock];
    for (std::size_t t = 0; t < b.count; ++t) {
      dk[t] = gradient_.dk.row(static_cast<std::size_t>(b.positions[t]));
      dv[t] = gradient_.dv.row(static_cast<std::size_t>(b.positions[t]));
    }
    weigh(ds_, ones_, heads_, b.keys, b.count, q_.rows.cols, kNothingAhead, dq_, padded_);
    scatter(ds_, queries_, padded_, heads_, b.count, q_.rows.cols, dk);
    scatter(p_, douts_, padded_v_, heads_, b.count, group_.dout.cols, dv);
  }

  /// How fast each logit grows with its dot product, from the dot products in p_.
  void find_slopes() {
    const Tag<Real> tag;
    const auto scale = hn::Set(tag, static_cast<Real>(*q_.logit.scale));
    const auto cap = hn::Set(tag, static_cast<Real>(q_.logit.soft_cap));
    for (std::size_t i = 0; i < heads_ * kBlock; i += kLanes<Real>) {
      auto slope = scale;
      if (q_.logit.soft_cap > 0) {
        const auto share = hn::Tanh(tag, hn::Div(hn::Mul(hn::Load(tag, p_ + i), scale), cap));
        slope = hn::Mul(scale, hn::NegMulAdd(share, share, hn::Set(tag, Real{1})));
      }
      hn::Store(slope, tag, slope_ + i);
    }
  }

  /// Logits in p_ and products <dout, value> in ds_ become weights and gradients in the dot products.
  void differentiate(const Block<Kv>& b) {
    const Tag<Real> tag;
    HWY_ALIGN Real log_weights[kBlock];
    for (std::size_t t = 0; t < kBlock; ++t) log_weights[t] = static_cast<Real>(b.log_weights[t]);
    for (std::size_t h = 0; h < heads_; ++h) {
      const auto lse = hn::Set(tag, group_.lse[h]), delta = hn::Set(tag, group_.delta[h]);
      for (std::size_t t = 0; t < kBlock; t += kLanes<Real>) {
        const std::size_t i = h * kBlock + t;
        const auto s = hn::Add(hn::Load(tag, p_ + i), hn::Load(tag, log_weights + t));
        const auto p = exp_nonpositive(hn::Sub(s, lse));
        const auto ds = hn::Mul(hn::Mul(p, hn::Load(tag, slope_ + i)), hn::Sub(hn::Load(tag, ds_ + i), delta));
        hn::Store(p, tag, p_ + i);
        hn::Store(ds, tag, ds_ + i);
      }
    }
  }

  const BasicQuery<Real>& q_;
  const Kv& kv_;
  const BackwardGroup<Real>& group_;
  const BasicKvGradient<Real>& gradient_;
  BasicQuery<Real> dout_{};  // dout as the rows of a query
  std::size_t heads_, padded_, padded_v_;
  Real* p_;        // [g, kBlock]: logits, then weights
  Real* ds_;       // [g, kBlock]
  Real* slope_;    // [g, kBlock]
  Real* dq_;       // [g, padded]
  Real* queries_;  // [g, padded]
  Real* douts_;    // [g, padded_v]
  Real* ones_;     // [g]
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_TRAIN_SCATTER_INL_H_

// SPDX-License-Identifier: Apache-2.0
// The result of attention over a set of positions, in the form that merges.
#ifndef SKIM_CORE_STATE_H_
#define SKIM_CORE_STATE_H_

#include <cstddef>

#include "skim/core/buffer.h"
#include "skim/core/limits.h"
#include "skim/core/rows.h"

namespace skim::inline SKIM_ABI {

/// Attention of g query heads over some positions, in the caller's memory.
/// out: [g, d_v], sum w e^s v / sum w e^s. lse: [g], natural log of sum w e^s.
/// The empty set is out = 0, lse = -inf: the neutral element of `merge`.
template <class Real>
struct BasicStateView {
  Rows<Real> out{};
  Real* lse = nullptr;
  std::ptrdiff_t lse_stride = 1;

  Real& lse_of(std::size_t h) const { return lse[static_cast<std::ptrdiff_t>(h) * lse_stride]; }

  /// Row h alone.
  BasicStateView head(std::size_t h) const {
    return {{out.row(h), 1, out.cols, out.stride}, &lse_of(h), lse_stride};
  }
};

using StateView = BasicStateView<float>;

/// A state that owns its memory. Its values are undefined until something is written.
template <class Real>
class BasicState {
 public:
  BasicState() = default;
  BasicState(std::size_t heads, std::size_t value_dim) : heads_(heads), value_dim_(value_dim) {
    out_.resize(checked_product(heads, value_dim));
    lse_.resize(heads);
  }

  std::size_t heads() const { return heads_; }
  std::size_t value_dim() const { return value_dim_; }
  /// [d_v], attention of head h.
  const Real* out(std::size_t h = 0) const { return out_.data() + h * value_dim_; }
  Real* out(std::size_t h = 0) { return out_.data() + h * value_dim_; }
  Real lse(std::size_t h = 0) const { return lse_[h]; }

  BasicStateView<Real> view() { return {{out_.data(), heads_, value_dim_}, lse_.data(), 1}; }

 private:
  std::size_t heads_ = 0;
  std::size_t value_dim_ = 0;
  Buffer<Real> out_;
  Buffer<Real> lse_;
};

using State = BasicState<float>;

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_STATE_H_

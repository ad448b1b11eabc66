// SPDX-License-Identifier: Apache-2.0
// Keys and values of a stretch of positions as matrix products read them, and room for their gradients.
#if defined(SKIM_TRAIN_KEY_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_TRAIN_KEY_BLOCKS_INL_H_
#undef SKIM_TRAIN_KEY_BLOCKS_INL_H_
#else
#define SKIM_TRAIN_KEY_BLOCKS_INL_H_
#endif

#include "skim/core/position.h"
#include "skim/kernel/panel-inl.h"
#include "skim/train/gradients.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Values in a cache line.
template <class Real>
constexpr std::size_t kLine = 64 / sizeof(Real);

/// Values from row to row of copies whose rows have d: whole panels of columns, and a cache line more, so that rows
/// below each other do not share the sets of a cache.
template <class Real>
constexpr std::size_t copied_row(std::size_t d) {
  return round_up(d, kPanel<Real>) + kLine<Real>;
}

/// Copies a row, zeros behind it; zeros alone from null.
template <class Real>
void copy_row(const Real* from, std::size_t d, Real* to) {
  const std::size_t copied = from == nullptr ? 0 : d;
  if (copied != 0) std::memcpy(to, from, d * sizeof(Real));
  std::memset(to + copied, 0, (copied_row<Real>(d) - copied) * sizeof(Real));
}

/// to[c] += from[c].
template <class Real>
void add_row(const Real* HWY_RESTRICT from, std::size_t d, Real* HWY_RESTRICT to) {
  const Tag<Real> tag;
  constexpr std::size_t kN = kLanes<Real>;
  std::size_t c = 0;
  for (; c + kN <= d; c += kN) hn::StoreU(hn::Add(hn::LoadU(tag, to + c), hn::LoadU(tag, from + c)), tag, to + c);
  for (; c < d; ++c) to[c] += from[c];
}

/// Blocks of kKeys positions, the last filled up with zeros. Key i of block b: number b * kKeys + i.
template <class Real>
class KeyBlocks {
 public:
  static constexpr std::size_t kKeys = 128;
  static_assert(kKeys % kPanel<Real> == 0);

  KeyBlocks(Span positions, std::size_t d, std::size_t d_v) : positions_(positions), d_(d), d_v_(d_v) {}

  Span positions() const { return positions_; }
  std::size_t blocks() const { return (static_cast<std::size_t>(positions_.size()) + kKeys - 1) / kKeys; }
  /// The positions of block b.
  Span block(std::size_t b) const {
    const Position first = positions_.first + static_cast<Position>(b * kKeys);
    return intersect({first, first + static_cast<Position>(kKeys)}, positions_);
  }

  /// Values of Real that it takes, a multiple of a cache line.
  std::size_t size() const {
    return blocks() * kKeys * (d_ + d_v_ + 2 * copied_row<Real>(d_) + copied_row<Real>(d_v_));
  }

  /// Takes `memory`, copies keys and values there, and sets all gradients to 0.
  template <class Kv>
  void load(const Kv& kv, Real* memory) {
    const std::size_t keys = blocks() * kKeys, row = copied_row<Real>(d_), row_v = copied_row<Real>(d_v_);
    key_panels_ = memory;
    value_panels_ = key_panels_ + keys * d_;
    key_rows_ = value_panels_ + keys * d_v_;
    dk_ = key_rows_ + keys * row;
    dv_ = dk_ + keys * row;
    std::memset(dk_, 0, keys * (row + row_v) * sizeof(Real));
    const auto count = static_cast<std::size_t>(positions_.size());
    const auto at = [this](std::size_t i) { return positions_.first + static_cast<Position>(i); };
    for (std::size_t first = 0; first < keys; first += kPanel<Real>) {
      const auto key = [&](std::size_t i) { return first + i < count ? kv.key(at(first + i)) : nullptr; };
      const auto value = [&](std::size_t i) { return first + i < count ? kv.value(at(first + i)) : nullptr; };
      fill_panel<Real>(key, d_, key_panels_ + first * d_);
      fill_panel<Real>(value, d_v_, value_panels_ + first * d_v_);
    }
    for (std::size_t i = 0; i < keys; ++i) copy_row(i < count ? kv.key(at(i)) : nullptr, d_, key_rows_ + i * row);
  }

  const Real* key_panel(std::size_t key) const { return key_panels_ + key * d_; }        ///< [d, kPanel] from `key` on
  const Real* value_panel(std::size_t key) const { return value_panels_ + key * d_v_; }  ///< [d_v, kPanel]
  const Real* key_row(std::size_t key) const { return key_rows_ + key * copied_row<Real>(d_); }
  Real* dk(std::size_t key) const { return dk_ + key * copied_row<Real>(d_); }
  Real* dv(std::size_t key) const { return dv_ + key * copied_row<Real>(d_v_); }

  bool keys_are_finite() const { return all_finite(key_rows_, blocks() * kKeys * copied_row<Real>(d_)); }

  /// Adds the gradients to those of the whole KV head.
  void add_to(const BasicKvGradient<Real>& gradient) const {
    for (std::size_t i = 0; i < static_cast<std::size_t>(positions_.size()); ++i) {
      const std::size_t at = static_cast<std::size_t>(positions_.first) + i;
      add_row(dk(i), d_, gradient.dk.row(at));
      add_row(dv(i), d_v_, gradient.dv.row(at));
    }
  }

 private:
  Span positions_;
  std::size_t d_, d_v_;
  Real* key_panels_ = nullptr;    // [panel, d, kPanel]
  Real* value_panels_ = nullptr;  // [panel, d_v, kPanel]
  Real* key_rows_ = nullptr;      // [key, copied_row]
  Real* dk_ = nullptr;            // the same
  Real* dv_ = nullptr;            // [key, copied_row of d_v]
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_TRAIN_KEY_BLOCKS_INL_H_

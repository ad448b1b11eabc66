// SPDX-License-Identifier: Apache-2.0
// Gradients of attention over runs of positions: blocks of query rows against blocks of keys, five matrix products a
// pair.
//
//   S = Q K^T    dP = G V^T    dV += P^T G    dK += dS^T Q    dQ += dS K        G: gradient of the output
//
// Logits are made again, a pair of blocks at a time, and forgotten: nothing of n x n is ever held. They lie as
// [query, key], so that a row has one lse and one <G, out>. What a query does not see is 0 in P and in dS; tiles of
// which nobody sees anything are left out.
#if defined(SKIM_TRAIN_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_TRAIN_TILES_INL_H_
#undef SKIM_TRAIN_TILES_INL_H_
#else
#define SKIM_TRAIN_TILES_INL_H_
#endif

#include <algorithm>

#include "skim/core/query.h"
#include "skim/core/workspace.h"
#include "skim/kernel/panel-inl.h"
#include "skim/train/gradients.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// One query row of a backward pass.
template <class Real>
struct BackwardRow {
  const Real* query = nullptr;  // [d]
  const Real* dout = nullptr;   // [d_v]
  Real* dq = nullptr;           // [d], added to
  Real lse = 0;                 // +inf where the row sees no mass: then every weight is 0
  Real delta = 0;               // <dout, out>
  Span seen{};                  // read with weight 1
  Position position = 0;
  float alibi_slope = 0;
};

/// Adds the gradients of some positions of one KV head. `rule` has its scale set; slopes come with the rows.
template <class Real, class Kv>
class Tiles {
 public:
  /// Query rows at a time, and keys.
  static constexpr std::size_t kQueries = 11 * static_cast<std::size_t>(kTileRows);
  static constexpr std::size_t kKeys = 128;

  /// `keys`: the positions whose gradients are added to; dk and dv: [n, ...] of the whole head.
  Tiles(const Kv& kv, const LogitRule& rule, Span keys, const BasicKvGradient<Real>& gradient, Workspace& ws)
      : rule_(rule),
        keys_(keys),
        gradient_(gradient),
        d_(kv.key_dim()),
        d_v_(kv.value_dim()),
        row_(padded(d_)),
        row_v_(padded(d_v_)),
        blocks_((static_cast<std::size_t>(keys.size()) + kKeys - 1) / kKeys) {
    const std::size_t of_block = kKeys * (d_ + d_v_ + 2 * row_ + row_v_);
    const std::size_t of_queries = kQueries * (2 * row_ + row_v_ + 2 * kPairRow);
    Real* memory = ws.get<Real>(Workspace::kTiles, blocks_ * of_block + of_queries);
    const auto take = [&memory](std::size_t count) { return std::exchange(memory, memory + count); };
    key_panels_ = take(blocks_ * kKeys * d_);
    value_panels_ = take(blocks_ * kKeys * d_v_);
    key_rows_ = take(blocks_ * kKeys * row_);
    dk_ = take(blocks_ * kKeys * row_);
    dv_ = take(blocks_ * kKeys * row_v_);
    queries_ = take(kQueries * row_);
    douts_ = take(kQueries * row_v_);
    dq_ = take(kQueries * row_);
    p_ = take(kQueries * kPairRow);
    ds_ = take(kQueries * kPairRow);
    std::memset(dk_, 0, blocks_ * kKeys * row_ * sizeof(Real));
    std::memset(dv_, 0, blocks_ * kKeys * row_v_ * sizeof(Real));
    pack_keys(kv);
  }

  /// Any number of rows; those near each other in the list should see nearly the same keys.
  void add(const BackwardRow<Real>* rows, std::size_t count) {
    for (std::size_t r = 0; r < count; r += kQueries) add_block(rows + r, std::min(kQueries, count - r));
  }

  /// Writes what has been added: once, at the end.
  void finish() const {
    for (std::size_t i = 0; i < static_cast<std::size_t>(keys_.size()); ++i) {
      const std::size_t at = static_cast<std::size_t>(keys_.first) + i;
      add_row(dk_ + i * row_, d_, gradient_.dk.row(at));
      add_row(dv_ + i * row_v_, d_v_, gradient_.dv.row(at));
    }
  }

 private:
  static constexpr std::size_t kP = kPanel<Real>;
  static constexpr std::size_t kN = kLanes<Real>;
  static constexpr std::size_t kLine = 64 / sizeof(Real);
  static constexpr std::size_t kPairRow = kKeys + kLine;  // a line more, so that rows do not share cache sets
  static constexpr auto kRowsOfTile = static_cast<std::size_t>(kTileRows);
  static constexpr std::size_t kTiles = kQueries / kRowsOfTile;
  static constexpr std::size_t kPanels = kKeys / kP;
  static_assert(kKeys % kP == 0 && kQueries % kRowsOfTile == 0);

  static constexpr std::size_t padded(std::size_t d) { return round_up(d, kP) + kLine; }

  /// Panels [first, last) of a block.
  struct Range {
    std::size_t first = 0, last = 0;
    bool contains(std::size_t i) const { return first <= i && i < last; }
  };

  static void add_row(const Real* from, std::size_t count, Real* to) {
    const Tag<Real> tag;
    std::size_t c = 0;
    for (; c + kN <= count; c += kN) hn::StoreU(hn::Add(hn::LoadU(tag, to + c), hn::LoadU(tag, from + c)), tag, to + c);
    for (; c < count; ++c) to[c] += from[c];
  }

  static void copy_padded(const Real* from, std::size_t count, std::size_t padded_count, Real* to) {
    if (from != nullptr) std::memcpy(to, from, count * sizeof(Real));
    const std::size_t copied = from == nullptr ? 0 : count;
    std::memset(to + copied, 0, (padded_count - copied) * sizeof(Real));
  }

  void pack_keys(const Kv& kv) {
    const auto n = static_cast<std::size_t>(keys_.size());
    const auto at = [this](std::size_t i) { return keys_.first + static_cast<Position>(i); };
    for (std::size_t first = 0; first < blocks_ * kKeys; first += kP) {
      fill_panel<Real>([&](std::size_t i) { return first + i < n ? kv.key(at(first + i)) : nullptr; }, d_,
                       key_panels_ + first * d_);
      fill_panel<Real>([&](std::size_t i) { return first + i < n ? kv.value(at(first + i)) : nullptr; }, d_v_,
                       value_panels_ + first * d_v_);
    }
    for (std::size_t i = 0; i < blocks_ * kKeys; ++i) {
      copy_padded(i < n ? kv.key(at(i)) : nullptr, d_, row_, key_rows_ + i * row_);
    }
  }

  void add_block(const BackwardRow<Real>* rows, std::size_t count) {
    rows_ = rows;
    count_ = count;
    tiles_ = (count + kRowsOfTile - 1) / kRowsOfTile;
    for (std::size_t r = 0; r < tiles_ * kRowsOfTile; ++r) {
      copy_padded(r < count ? rows[r].query : nullptr, d_, row_, queries_ + r * row_);
      copy_padded(r < count ? rows[r].dout : nullptr, d_v_, row_v_, douts_ + r * row_v_);
    }
    std::memset(dq_, 0, tiles_ * kRowsOfTile * row_ * sizeof(Real));
    for (std::size_t b = 0; b < blocks_; ++b) add_pair(b);
    for (std::size_t r = 0; r < count; ++r) add_row(dq_ + r * row_, d_, rows[r].dq);
  }

  /// The rows at hand against block b of keys.
  void add_pair(std::size_t b) {
    const Position first_key = keys_.first + static_cast<Position>(b * kKeys);
    const Span block = intersect({first_key, first_key + static_cast<Position>(kKeys)}, keys_);
    Range seen[kTiles];  // by each tile of rows: panels of the block
    for (std::size_t t = 0; t < tiles_; ++t) seen[t] = panels_seen(t, block);
    for (std::size_t j = 0; j < kPanels; ++j) {
      std::size_t begin = 0, end = tiles_;  // tiles that see something of panel j, and what lies between them
      while (begin < end && !seen[begin].contains(j)) ++begin;
      while (end > begin && !seen[end - 1].contains(j)) --end;
      if (begin == end) continue;
      for (std::size_t t = begin; t < end; ++t) {
        if (seen[t].contains(j)) {
          products(b, j, t);
        } else {
          clear(j, t);
        }
      }
      for (std::size_t r = begin * kRowsOfTile; r < std::min(end * kRowsOfTile, count_); ++r) {
        differentiate(rows_[r], first_key + static_cast<Position>(j * kP), r * kPairRow + j * kP);
      }
      for (std::size_t r = count_; r < end * kRowsOfTile; ++r) clear_row(r, j);
      add_to_keys(b, j, {begin * kRowsOfTile, end * kRowsOfTile});
    }
    add_to_queries(b, seen);
  }

  /// Panels of which some row of tile t sees something.
  Range panels_seen(std::size_t t, Span block) const {
    Span all{};
    for (std::size_t r = t * kRowsOfTile; r < std::min(count_, (t + 1) * kRowsOfTile); ++r) {
      all = hull(all, intersect(rows_[r].seen, block));
    }
    if (all.size() == 0) return {};
    const auto from = static_cast<std::size_t>(all.first - block.first), to = static_cast<std::size_t>(all.last - block.first);
    return {from / kP, (to + kP - 1) / kP};
  }

  void clear_row(std::size_t r, std::size_t j) {
    std::memset(p_ + r * kPairRow + j * kP, 0, kP * sizeof(Real));
    std::memset(ds_ + r * kPairRow + j * kP, 0, kP * sizeof(Real));
  }
  void clear(std::size_t j, std::size_t t) {
    for (std::size_t r = t * kRowsOfTile; r < (t + 1) * kRowsOfTile; ++r) clear_row(r, j);
  }

  /// S and dP of a tile of rows and a panel of keys.
  void products(std::size_t b, std::size_t j, std::size_t t) {
    const Tag<Real> tag;
    const std::size_t r = t * kRowsOfTile, key = b * kKeys + j * kP;
    const auto into = [&](Real* to) {
      return [to, tag](std::size_t i, Vec<Real> low, Vec<Real> high) HWY_ATTR {
        hn::Store(low, tag, to + i * kPairRow);
        hn::Store(high, tag, to + i * kPairRow + kN);
      };
    };
    panel_tile<kTileRows>(queries_ + r * row_, row_, 1, key_panels_ + key * d_, d_, into(p_ + r * kPairRow + j * kP));
    panel_tile<kTileRows>(douts_ + r * row_v_, row_v_, 1, value_panels_ + key * d_v_, d_v_, into(ds_ + r * kPairRow + j * kP));
  }

  /// S and dP of one row and a panel of keys become P and dS, in place.
  HWY_INLINE void differentiate(const BackwardRow<Real>& row, Position first_key, std::size_t at) {
    const Tag<Real> tag;
    const auto scale = hn::Set(tag, static_cast<Real>(*rule_.scale));
    const auto lse = hn::Set(tag, row.lse), delta = hn::Set(tag, row.delta);
    const Position first = row.seen.first - first_key, last = row.seen.last - first_key;
    const bool cut = first > 0 || last < static_cast<Position>(kP);
    for (std::size_t lane = 0; lane < kP; lane += kN) {
      Real* p = p_ + at + lane;
      Real* ds = ds_ + at + lane;
      auto s = hn::Mul(hn::Load(tag, p), scale);
      auto slope = scale;  // of the logit, in the dot product
      if (rule_.soft_cap > 0) {
        const auto cap = hn::Set(tag, static_cast<Real>(rule_.soft_cap));
        const auto share = hn::Tanh(tag, hn::Div(s, cap));
        s = hn::Mul(cap, share);
        slope = hn::Mul(scale, hn::NegMulAdd(share, share, hn::Set(tag, Real{1})));
      }
      if (row.alibi_slope != 0) {
        const auto origin = hn::Set(tag, static_cast<Real>(row.position - first_key - static_cast<Position>(lane)));
        const auto distance = hn::Abs(hn::Sub(origin, hn::Iota(tag, Real{0})));
        s = hn::NegMulAdd(hn::Set(tag, static_cast<Real>(row.alibi_slope)), distance, s);
      }
      auto weight = exp_nonpositive(hn::Sub(s, lse));
      auto gradient = hn::Mul(hn::Mul(weight, slope), hn::Sub(hn::Load(tag, ds), delta));
      if (cut) {
        const auto key = hn::Iota(tag, static_cast<Real>(lane));
        const auto seen = hn::And(hn::Ge(key, hn::Set(tag, static_cast<Real>(first))),
                                  hn::Lt(key, hn::Set(tag, static_cast<Real>(last))));
        weight = hn::IfThenElseZero(seen, weight);
        gradient = hn::IfThenElseZero(seen, gradient);
      }
      hn::Store(weight, tag, p);
      hn::Store(gradient, tag, ds);
    }
  }

  /// to[r, panel] += low, high.
  static auto adding(Real* to, std::size_t row) {
    return [to, row](std::size_t r, Vec<Real> low, Vec<Real> high) HWY_ATTR {
      const Tag<Real> tag;
      Real* at = to + r * row;
      hn::Store(hn::Add(hn::Load(tag, at), low), tag, at);
      hn::Store(hn::Add(hn::Load(tag, at + kN), high), tag, at + kN);
    };
  }

  /// dV += P^T G and dK += dS^T Q, for one panel of keys and the rows `by`.
  void add_to_keys(std::size_t b, std::size_t j, Range by) {
    const std::size_t key = b * kKeys + j * kP, depth = by.last - by.first;
    const Real* p = p_ + by.first * kPairRow + j * kP;
    const Real* ds = ds_ + by.first * kPairRow + j * kP;
    for (std::size_t c = 0; c < d_v_; c += kP) {
      panel_product(p, kP, 1, kPairRow, douts_ + by.first * row_v_ + c, depth, adding(dv_ + key * row_v_ + c, row_v_), row_v_);
    }
    for (std::size_t c = 0; c < d_; c += kP) {
      panel_product(ds, kP, 1, kPairRow, queries_ + by.first * row_ + c, depth, adding(dk_ + key * row_ + c, row_), row_);
    }
  }

  /// dQ += dS K, each tile of rows by the panels it sees.
  void add_to_queries(std::size_t b, const Range* seen) {
    for (std::size_t c = 0; c < d_; c += kP) {
      for (std::size_t t = 0; t < tiles_; ++t) {
        if (seen[t].first == seen[t].last) continue;
        const std::size_t r = t * kRowsOfTile, key = seen[t].first * kP;
        panel_tile<kTileRows>(ds_ + r * kPairRow + key, kPairRow, 1, key_rows_ + (b * kKeys + key) * row_ + c,
                              (seen[t].last - seen[t].first) * kP, adding(dq_ + r * row_ + c, row_), row_);
      }
    }
  }

  const LogitRule& rule_;
  Span keys_;
  const BasicKvGradient<Real>& gradient_;
  std::size_t d_, d_v_;
  std::size_t row_, row_v_;  // values between rows of [.., d] and [.., d_v] in here
  std::size_t blocks_;
  // Of all keys, in blocks:
  Real* key_panels_;    // [panel, d, kP]
  Real* value_panels_;  // [panel, d_v, kP]
  Real* key_rows_;      // [key, row]
  Real* dk_;            // [key, row]
  Real* dv_;            // [key, row_v]
  // Of the rows at hand:
  const BackwardRow<Real>* rows_ = nullptr;
  std::size_t count_ = 0, tiles_ = 0;
  Real* queries_;  // [kQueries, row]
  Real* douts_;    // [kQueries, row_v]
  Real* dq_;       // [kQueries, row]
  Real* p_;        // [kQueries, kPairRow]: S, then P, of a pair of blocks
  Real* ds_;       // the same: dP, then dS
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_TRAIN_TILES_INL_H_

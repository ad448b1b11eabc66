// SPDX-License-Identifier: Apache-2.0
// Gradients of attention over runs of positions: blocks of query rows against blocks of keys, five matrix products a
// pair.
//
//   S = Q K^T    dP = G V^T    dV += P^T G    dK += dS^T Q    dQ += dS K        G: gradient of the output
//
// Logits are made again, a pair of blocks at a time, and forgotten: nothing of n x n is ever held. They lie as
// [query, key], so that a row has one lse and one <G, out>. What a query does not see is 0 in P and in dS, and tiles of
// which no query sees anything are left out.
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
#include "skim/train/key_blocks-inl.h"

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

/// Adds the gradients of a stretch of positions of one KV head, in dq of the rows at once, in keys and values at the
/// end. `rule` has its scale set; slopes come with the rows.
template <class Real>
class Tiles {
 public:
  /// Query rows of a block: as many as fill the first-level cache as one operand of a product, in whole tiles.
  static constexpr std::size_t kQueries = 11 * static_cast<std::size_t>(kTileRows);

  template <class Kv>
  Tiles(const Kv& kv, const LogitRule& rule, Span positions, Workspace& ws)
      : rule_(rule), keys_(positions, kv.key_dim(), kv.value_dim()), d_(kv.key_dim()), d_v_(kv.value_dim()) {
    const std::size_t of_queries = kQueries * (2 * row_ + row_v_ + 2 * kPairRow);
    Real* memory = ws.get<Real>(Workspace::kTiles, of_queries + keys_.size());
    queries_ = memory;
    dq_ = queries_ + kQueries * row_;
    douts_ = dq_ + kQueries * row_;
    p_ = douts_ + kQueries * row_v_;
    ds_ = p_ + kQueries * kPairRow;
    keys_.load(kv, ds_ + kQueries * kPairRow);
  }

  /// Any number of rows; those near each other in the list should see nearly the same keys.
  void add(const BackwardRow<Real>* rows, std::size_t count) {
    for (std::size_t r = 0; r < count; r += kQueries) add_block(rows + r, std::min(kQueries, count - r));
  }

  /// Adds the gradients of keys and values to those of the whole head: once.
  void finish(const BasicKvGradient<Real>& gradient) const { keys_.add_to(gradient); }

 private:
  static constexpr std::size_t kP = kPanel<Real>;
  static constexpr std::size_t kN = kLanes<Real>;
  static constexpr std::size_t kKeys = KeyBlocks<Real>::kKeys;
  static constexpr std::size_t kPairRow = copied_row<Real>(kKeys);
  static constexpr auto kRows = static_cast<std::size_t>(kTileRows);  // of a tile
  static constexpr std::size_t kTiles = kQueries / kRows;

  /// Some in a row: panels of a block of keys, or tiles of rows.
  struct Range {
    std::size_t first = 0, last = 0;
    bool contains(std::size_t i) const { return first <= i && i < last; }
    std::size_t size() const { return last - first; }
  };

  void add_block(const BackwardRow<Real>* rows, std::size_t count) {
    rows_ = rows;
    count_ = count;
    tiles_ = (count + kRows - 1) / kRows;
    for (std::size_t r = 0; r < tiles_ * kRows; ++r) {
      copy_row(r < count ? rows[r].query : nullptr, d_, queries_ + r * row_);
      copy_row(r < count ? rows[r].dout : nullptr, d_v_, douts_ + r * row_v_);
    }
    std::memset(dq_, 0, tiles_ * kRows * row_ * sizeof(Real));
    finite_ = Finite::kUnknown;
    for (std::size_t b = 0; b < keys_.blocks(); ++b) add_pair(b);
    for (std::size_t r = 0; r < count; ++r) add_row(dq_ + r * row_, d_, rows[r].dq);
  }

  /// The rows at hand against block b of keys.
  void add_pair(std::size_t b) {
    const Span block = keys_.block(b);
    Range seen[kTiles];  // by each tile of rows: panels of the block
    bool cut = false;
    for (std::size_t t = 0; t < tiles_; ++t) seen[t] = panels_seen(t, block, cut);
    const bool guarded = cut && !is_finite();
    for (std::size_t j = 0; j < kKeys / kP; ++j) {
      Range by{0, tiles_};  // tiles that see something of panel j, and what lies between them
      while (by.size() != 0 && !seen[by.first].contains(j)) ++by.first;
      while (by.size() != 0 && !seen[by.last - 1].contains(j)) --by.last;
      if (by.size() == 0) continue;
      for (std::size_t t = by.first; t < by.last; ++t) {
        if (!seen[t].contains(j)) {
          clear(t, j);
          continue;
        }
        score(b, j, t);
        for (std::size_t r = t * kRows; r < std::min((t + 1) * kRows, count_); ++r) {
          differentiate(rows_[r], block.first + static_cast<Position>(j * kP), r * kPairRow + j * kP);
        }
      }
      if (!guarded) add_to_keys(b, j, {by.first * kRows, by.last * kRows});
    }
    if (guarded) {
      add_guarded(b);
    } else {
      add_to_queries(b, seen);
    }
  }

  /// Panels of which some row of tile t sees something; notes whether a row sees a part of the block only.
  Range panels_seen(std::size_t t, Span block, bool& cut) const {
    Span all{};
    for (std::size_t r = t * kRows; r < std::min(count_, (t + 1) * kRows); ++r) {
      const Span of_row = intersect(rows_[r].seen, block);
      all = hull(all, of_row);
      cut = cut || of_row != block;
    }
    if (all.size() == 0) return {};
    return {static_cast<std::size_t>(all.first - block.first) / kP,
            (static_cast<std::size_t>(all.last - block.first) + kP - 1) / kP};
  }

  /// P = dS = 0 for a tile of rows and a panel of keys.
  void clear(std::size_t t, std::size_t j) {
    for (std::size_t r = t * kRows; r < (t + 1) * kRows; ++r) {
      std::memset(p_ + r * kPairRow + j * kP, 0, kP * sizeof(Real));
      std::memset(ds_ + r * kPairRow + j * kP, 0, kP * sizeof(Real));
    }
  }

  /// S and dP of a tile of rows and a panel of keys. Rows of zeros that fill up the last tile need no more: theirs are
  /// P = dS = 0, or NaN where those of all rows are.
  void score(std::size_t b, std::size_t j, std::size_t t) {
    const Tag<Real> tag;
    const std::size_t r = t * kRows, key = b * kKeys + j * kP;
    const auto storing = [&](Real* to) {
      return [to, tag](std::size_t i, Vec<Real> low, Vec<Real> high) HWY_ATTR {
        hn::Store(low, tag, to + i * kPairRow);
        hn::Store(high, tag, to + i * kPairRow + kN);
      };
    };
    const std::size_t at = r * kPairRow + j * kP;
    panel_tile<kTileRows>(queries_ + r * row_, row_, 1, keys_.key_panel(key), d_, storing(p_ + at));
    panel_tile<kTileRows>(douts_ + r * row_v_, row_v_, 1, keys_.value_panel(key), d_v_, storing(ds_ + at));
  }

  /// S and dP of one row and a panel of keys, from `at` on, become P and dS.
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

  /// dV += P^T G and dK += dS^T Q, for a panel of keys and `rows`.
  void add_to_keys(std::size_t b, std::size_t j, Range rows) {
    const std::size_t key = b * kKeys + j * kP, at = rows.first * kPairRow + j * kP;
    const Real* dout = douts_ + rows.first * row_v_;
    const Real* query = queries_ + rows.first * row_;
    for (std::size_t c = 0; c < d_v_; c += kP) {
      panel_product(p_ + at, kP, 1, kPairRow, dout + c, rows.size(), adding(keys_.dv(key) + c, row_v_), row_v_);
    }
    for (std::size_t c = 0; c < d_; c += kP) {
      panel_product(ds_ + at, kP, 1, kPairRow, query + c, rows.size(), adding(keys_.dk(key) + c, row_), row_);
    }
  }

  /// dQ += dS K, each tile of rows by the panels it sees.
  void add_to_queries(std::size_t b, const Range* seen) {
    for (std::size_t c = 0; c < d_; c += kP) {
      for (std::size_t t = 0; t < tiles_; ++t) {
        if (seen[t].size() == 0) continue;
        const std::size_t r = t * kRows, key = seen[t].first * kP;
        panel_tile<kTileRows>(ds_ + r * kPairRow + key, kPairRow, 1, keys_.key_row(b * kKeys + key) + c,
                              seen[t].size() * kP, adding(dq_ + r * row_ + c, row_), row_);
      }
    }
  }

  /// Whether products may multiply what a row does not see by 0: looked at once for each block of rows, and only where
  /// a row sees a part of a block.
  bool is_finite() {
    if (finite_ == Finite::kUnknown) {
      if (keys_finite_ == Finite::kUnknown) keys_finite_ = keys_.keys_are_finite() ? Finite::kYes : Finite::kNo;
      const bool all = keys_finite_ == Finite::kYes && all_finite(queries_, tiles_ * kRows * row_) &&
                       all_finite(douts_, tiles_ * kRows * row_v_);
      finite_ = all ? Finite::kYes : Finite::kNo;
    }
    return finite_ == Finite::kYes;
  }

  /// The last three products by what is seen alone: 0 * NaN would reach rows and keys that have nothing to do with it.
  /// In the same order, so that those have the same bits.
  void add_guarded(std::size_t b) {
    const Span block = keys_.block(b);
    const auto keys = static_cast<std::size_t>(block.size());
    const auto sees = [&](std::size_t r, std::size_t i) {
      return rows_[r].seen.contains(block.first + static_cast<Position>(i));
    };
    for (std::size_t i = 0; i < keys; ++i) {
      const std::size_t key = b * kKeys + i;
      const auto seen = [&](std::size_t r) { return sees(r, i); };
      add_terms(count_, seen, p_ + i, kPairRow, douts_, row_v_, d_v_, keys_.dv(key));
      add_terms(count_, seen, ds_ + i, kPairRow, queries_, row_, d_, keys_.dk(key));
    }
    for (std::size_t r = 0; r < count_; ++r) {
      const auto seen = [&](std::size_t i) { return sees(r, i); };
      add_terms(keys, seen, ds_ + r * kPairRow, 1, keys_.key_row(b * kKeys), row_, d_, dq_ + r * row_);
    }
  }

  /// to += sum of x[i * step] rows[i * row] over those of `count` that are seen.
  template <class Seen>
  static void add_terms(std::size_t count, const Seen& seen, const Real* x, std::size_t step, const Real* rows,
                        std::size_t row, std::size_t d, Real* to) {
    const Tag<Real> tag;
    for (std::size_t c = 0; c < d; c += kN) {
      auto sum = hn::Zero(tag);
      for (std::size_t i = 0; i < count; ++i) {
        if (seen(i)) sum = hn::MulAdd(hn::Set(tag, x[i * step]), hn::Load(tag, rows + i * row + c), sum);
      }
      hn::Store(hn::Add(hn::Load(tag, to + c), sum), tag, to + c);
    }
  }

  const LogitRule& rule_;
  KeyBlocks<Real> keys_;
  std::size_t d_, d_v_;
  std::size_t row_ = copied_row<Real>(d_), row_v_ = copied_row<Real>(d_v_);
  // Of the rows at hand:
  const BackwardRow<Real>* rows_ = nullptr;
  std::size_t count_ = 0, tiles_ = 0;
  enum class Finite { kUnknown, kYes, kNo } finite_ = Finite::kUnknown, keys_finite_ = Finite::kUnknown;
  Real* queries_;  // [kQueries, row]
  Real* dq_;       // [kQueries, row]
  Real* douts_;    // [kQueries, row_v]
  Real* p_;        // [kQueries, kPairRow]: S, then P, of a pair of blocks
  Real* ds_;       // the same: dP, then dS
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_TRAIN_TILES_INL_H_

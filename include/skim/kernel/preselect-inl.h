// SPDX-License-Identifier: Apache-2.0
// Which positions can be among the largest logits of a query? Asked for many rows at once, by matrix products.
//
// The products add up in another order than the canonical logit (score-inl.h). So they only pre-select: a position is
// left out when its product is below the k-th largest one by more than rounding can explain, and whoever asked scores
// the rest canonically. A row keeps a list of what has reached its threshold so far; when the list is full, the
// threshold rises to the k-th largest of it. No row of n logits is ever stored.
#if defined(SKIM_KERNEL_PRESELECT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_KERNEL_PRESELECT_INL_H_
#undef SKIM_KERNEL_PRESELECT_INL_H_
#else
#define SKIM_KERNEL_PRESELECT_INL_H_
#endif

#include <cmath>
#include <span>

#include "skim/core/query.h"
#include "skim/core/workspace.h"
#include "skim/kernel/panel-inl.h"
#include "skim/kernel/pool-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// One query group and how many of its largest pooled logits (pool_max) are wanted, at least 1.
template <class Real>
struct Wanted {
  BasicQuery<Real> query{};  // resolved
  std::size_t count = 0;
};

/// Works on groups of one KV head that are equally large and share a logit rule but for their ALiBi slopes. Groups
/// near each other in the list should see nearly the same keys.
template <class Real, class Kv>
class Preselect {
 public:
  Preselect(const Kv& kv, const Wanted<Real>* wanted, std::size_t count, Workspace& ws)
      : kv_(kv),
        wanted_(wanted),
        count_(count),
        d_(kv.key_dim()),
        heads_(wanted[0].query.heads()),
        panel_count_((count + kP - 1) / kP) {
    lists_ = ws.get<List>(Workspace::kPanels, panel_count_ * kP);
    std::size_t entries = 0, most = 0;
    for (std::size_t r = 0; r < count; ++r) {
      const std::size_t room = limit(wanted[r].count) + kPanelKeys;  // a block may add all its keys
      lists_[r] = {};
      lists_[r].end = entries += room;
      most = std::max(most, room);
      all_ = hull(all_, wanted[r].query.visible);
    }
    const std::size_t of_panel = heads_ * d_ * kP + kP;
    const std::size_t keys = kPanelKeys * round_up(d_, kStep<Real>);
    queries_ = ws.get<Real>(Workspace::kPrefill,
                            panel_count_ * of_panel + keys + 2 * kPanelKeys * kP + most + round_up(entries, kN));
    key_room_ = queries_ + panel_count_ * of_panel;
    products_ = key_room_ + keys;
    pooled_ = products_ + kPanelKeys * kP;
    scores_ = pooled_ + kPanelKeys * kP;
    scratch_ = scores_ + round_up(entries, kN);
    positions_ = ws.get<Position>(Workspace::kCandidates, entries);
  }

  void run() {
    const Real longest = longest_key();
    for (std::size_t p = 0; p < panel_count_; ++p) begin(p, longest);
    // From the newest block back: a model looks at what is near, and the threshold should rise early.
    constexpr auto kB = static_cast<Position>(kPanelKeys);
    for (Position b = (all_.last - 1) / kB; all_.size() > 0 && b >= all_.first / kB; --b) {
      const Span block = intersect({b * kB, (b + 1) * kB}, all_);
      keys_ = load(block);
      for (std::size_t p = 0; p < panel_count_; ++p) {
        const Span seen = intersect(block, seen_by(p));
        if (seen.size() > 0) offer(p, block.first, seen);
      }
    }
    for (std::size_t r = 0; r < count_; ++r) {
      if (lists_[r].count > wanted_[r].count) raise_threshold(r);
    }
  }

  /// A superset of the positions of the wanted logits of group r, ascending. Empty when it is not known: nothing is
  /// visible, or something is not finite, or too many logits are as good as equal. Valid until `kCandidates` is asked
  /// for again.
  std::span<const Position> candidates(std::size_t r) const {
    return {positions_ + lists_[r].end - lists_[r].count, lists_[r].count};
  }

 private:
  static constexpr std::size_t kP = kPanel<Real>;
  static constexpr std::size_t kN = kLanes<Real>;

  /// What has reached a row's threshold: the last `count` entries before `end`, ascending by position.
  struct List {
    std::size_t end = 0;
    std::size_t count = 0;
    Real slack = 0;     // twice what a product may be off
    bool open = false;  // it takes entries
  };

  /// A longer list is thinned out.
  static constexpr std::size_t limit(std::size_t wanted) { return 2 * wanted + 64; }

  Real* query(std::size_t panel, std::size_t head) const {
    return queries_ + panel * (heads_ * d_ * kP + kP) + head * d_ * kP;
  }
  Real* thresholds(std::size_t panel) const { return query(panel, heads_); }
  std::size_t rows_of(std::size_t panel) const { return std::min(kP, count_ - panel * kP); }

  Span seen_by(std::size_t panel) const {
    Span seen{};
    for (std::size_t i = 0; i < rows_of(panel); ++i) seen = hull(seen, wanted_[panel * kP + i].query.visible);
    return seen;
  }

  /// The keys of a block, [block, d].
  const Real* load(Span block) const {
    return widen_run(kv_, block, d_, [](const Block<Kv>& b) { return b.keys; }, key_room_);
  }

  static Real square_length(const Real* row, std::size_t d) {
    const Tag<Real> tag;
    auto sum = hn::Zero(tag);
    std::size_t c = 0;
    for (; c + kN <= d; c += kN) {
      const auto x = hn::LoadU(tag, row + c);
      sum = hn::MulAdd(x, x, sum);
    }
    Real total = hn::GetLane(hn::SumOfLanes(tag, sum));
    for (; c < d; ++c) total += row[c] * row[c];
    return total;
  }

  /// |k| of the longest visible key; infinite when some key is not finite.
  Real longest_key() const {
    Real longest = 0;
    for (Span block = all_; block.size() > 0; block.first += static_cast<Position>(kPanelKeys)) {
      const Span part = intersect(block, {block.first, block.first + static_cast<Position>(kPanelKeys)});
      const Real* keys = load(part);
      for (std::size_t i = 0; i < static_cast<std::size_t>(part.size()); ++i) {
        const Real length = square_length(keys + i * d_, d_);
        longest = length <= longest ? longest : length < kInfinity<Real> ? length : kInfinity<Real>;
      }
    }
    return std::sqrt(longest);
  }

  void begin(std::size_t p, Real longest) {
    Real* bounds = thresholds(p);
    for (std::size_t h = 0; h < heads_; ++h) {
      const auto row_of = [&](std::size_t i) {
        return i < rows_of(p) ? wanted_[p * kP + i].query.rows.row(h) : nullptr;
      };
      fill_panel<typename Kv::Key>(row_of, d_, query(p, h));
    }
    for (std::size_t i = 0; i < kP; ++i) {
      const std::size_t r = p * kP + i;
      if (i < rows_of(p)) {
        lists_[r].slack = 2 * product_error(wanted_[r].query, longest);
        lists_[r].open = lists_[r].slack < kInfinity<Real>;  // false for NaN
      }
      bounds[i] = i < rows_of(p) && lists_[r].open ? -kInfinity<Real> : kInfinity<Real>;
    }
  }

  /// Most that a pooled logit made of products can differ from the canonical one. Two sums of d products, each added
  /// up with fused steps in some order, are each off by at most d eps sum |q_i k_i|, and that is at most |q| |k|; the
  /// rest is a few roundings of the logit rule, or of quantised numbers.
  Real product_error(const BasicQuery<Real>& q, Real longest) const {
    constexpr double kEpsilon = std::numeric_limits<Real>::epsilon() / 2;
    double worst = 0;
    for (std::size_t h = 0; h < heads_; ++h) {
      const double length = std::sqrt(static_cast<double>(square_length(q.rows.row(h), d_)));
      const double logit = std::abs(*q.logit.scale) * length * static_cast<double>(longest);
      const double slope = q.logit.alibi_slopes == nullptr ? 0.0 : static_cast<double>(q.logit.alibi_slopes[h]);
      const double penalty = std::abs(slope) * static_cast<double>(all_.last + std::abs(q.position));
      const double error = kEpsilon * ((2 * static_cast<double>(d_) + 8) * logit + 4 * penalty);
      worst = error <= worst ? worst : error;  // a NaN stays, as the last heads' error or as that of longest
      if (!(error < kInfinity<double>)) return kInfinity<Real>;
    }
    worst += 1e-6 * q.logit.soft_cap;  // tanh, twice
    worst += 4 * static_cast<double>(d_) * static_cast<double>(std::numeric_limits<Real>::min());
    return static_cast<Real>(1.01 * worst);  // lengths are rounded too, and queries for quantised keys
  }

  /// The keys of the loaded block that a panel sees are offered to its rows.
  void offer(std::size_t p, Position block_first, Span seen) {
    const Tag<Real> tag;
    const auto skip = static_cast<std::size_t>(seen.first - block_first);
    const auto keys = static_cast<std::size_t>(seen.size());
    for (std::size_t h = 0; h < heads_; ++h) {
      panel_product(keys_ + skip * d_, keys, d_, 1, query(p, h), d_,
                    [this, &tag](std::size_t key, Vec<Real> low, Vec<Real> high) HWY_ATTR {
                      hn::Store(low, tag, products_ + key * kP);
                      hn::Store(high, tag, products_ + key * kP + kN);
                    });
      for (std::size_t lane = 0; lane < kP; lane += kN) pool(p, h, lane, seen.first, keys);
    }
    alignas(64) Real first[kP], last[kP];  // bounds of each lane, in keys of this part
    for (std::size_t i = 0; i < kP; ++i) {
      const Span v = i < rows_of(p) ? intersect(wanted_[p * kP + i].query.visible, seen) : Span{};
      first[i] = static_cast<Real>(v.size() == 0 ? 0 : v.first - seen.first);
      last[i] = static_cast<Real>(v.size() == 0 ? 0 : v.last - seen.first);
    }
    for (std::size_t lane = 0; lane < kP; lane += kN) {
      const auto bound = hn::Load(tag, thresholds(p) + lane);
      const auto from = hn::Load(tag, first + lane), to = hn::Load(tag, last + lane);
      for (std::size_t key = keys; key-- > 0;) {
        const auto at = hn::Set(tag, static_cast<Real>(key));
        const auto reached = hn::Ge(hn::Load(tag, pooled_ + key * kP + lane), bound);
        const auto taken = hn::And(reached, hn::And(hn::Ge(at, from), hn::Lt(at, to)));
        if (!hn::AllFalse(tag, taken)) take(taken, p * kP + lane, key, lane, seen.first);
      }
    }
    for (std::size_t i = 0; i < rows_of(p); ++i) {
      const std::size_t r = p * kP + i;
      if (lists_[r].count <= limit(wanted_[r].count)) continue;
      thresholds(p)[i] = raise_threshold(r);
    }
  }

  /// Products of one head become logits, pooled with those of the heads before it.
  void pool(std::size_t p, std::size_t head, std::size_t lane, Position first_key, std::size_t keys) {
    const Tag<Real> tag;
    const LogitRule& rule = wanted_[p * kP].query.logit;
    const auto scale = hn::Set(tag, static_cast<Real>(*rule.scale));
    const auto cap = hn::Set(tag, static_cast<Real>(rule.soft_cap));
    alignas(64) Real slopes[kN] = {}, positions[kN] = {};
    for (std::size_t i = lane; rule.alibi_slopes != nullptr && i < std::min(lane + kN, rows_of(p)); ++i) {
      const BasicQuery<Real>& q = wanted_[p * kP + i].query;
      slopes[i - lane] = static_cast<Real>(q.logit.alibi_slopes[head]);
      positions[i - lane] = static_cast<Real>(q.position - first_key);
    }
    const auto slope = hn::Load(tag, slopes), position = hn::Load(tag, positions);
    for (std::size_t key = 0; key < keys; ++key) {
      auto s = hn::Mul(hn::Load(tag, products_ + key * kP + lane), scale);
      if (rule.soft_cap > 0) s = hn::Mul(cap, hn::Tanh(tag, hn::Div(s, cap)));
      if (rule.alibi_slopes != nullptr) {
        const auto distance = hn::Abs(hn::Sub(position, hn::Set(tag, static_cast<Real>(key))));
        s = hn::NegMulAdd(slope, distance, s);
      }
      Real* to = pooled_ + key * kP + lane;
      hn::Store(head == 0 ? s : hn::Max(s, hn::Load(tag, to)), tag, to);
    }
  }

  /// Puts a key into the lists of the rows in `taken`, whose first is row `first_row`.
  template <class Mask>
  void take(Mask taken, std::size_t first_row, std::size_t key, std::size_t lane, Position first_key) {
    alignas(8) std::uint8_t bytes[8] = {};
    hn::StoreMaskBits(Tag<Real>(), taken, bytes);
    std::uint64_t bits;
    std::memcpy(&bits, bytes, sizeof(bits));
    for (; bits != 0; bits &= bits - 1) {
      const auto i = static_cast<std::size_t>(hwy::Num0BitsBelowLS1Bit_Nonzero64(bits));
      List& list = lists_[first_row + i];
      if (!list.open) continue;
      const std::size_t to = list.end - ++list.count;
      scores_[to] = pooled_[key * kP + lane + i];
      positions_[to] = first_key + static_cast<Position>(key);
    }
  }

  /// Drops from a list what cannot be among the wanted ones, and returns the new threshold. A list that stays too long
  /// is given up.
  Real raise_threshold(std::size_t r) {
    List& list = lists_[r];
    const Real* scores = scores_ + list.end - list.count;
    const Real bound = kth_largest(scores, list.count, wanted_[r].count, scratch_) - list.slack;
    std::size_t to = list.end;
    for (std::size_t from = list.end; from-- > list.end - list.count;) {
      if (!(scores_[from] >= bound)) continue;
      scores_[--to] = scores_[from];
      positions_[to] = positions_[from];
    }
    list.count = list.end - to;
    if (list.count <= limit(wanted_[r].count)) return bound;
    list.open = false;
    list.count = 0;
    return kInfinity<Real>;
  }

  const Kv& kv_;
  const Wanted<Real>* wanted_;
  std::size_t count_;
  std::size_t d_, heads_;
  std::size_t panel_count_;
  Span all_{};
  List* lists_;
  Real* queries_;   // for each panel [g, d, kP], then [kP] thresholds
  Real* key_room_;  // [block, d]
  const Real* keys_ = nullptr;  // of the block at hand
  Real* products_;  // [block, kP]
  Real* pooled_;    // [block, kP]
  Real* scores_;    // of the lists
  Real* scratch_;
  Position* positions_;  // of the lists
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_KERNEL_PRESELECT_INL_H_

// SPDX-License-Identifier: Apache-2.0
#if defined(SKIM_ESTIMATOR_TOPP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ESTIMATOR_TOPP_INL_H_
#undef SKIM_ESTIMATOR_TOPP_INL_H_
#else
#define SKIM_ESTIMATOR_TOPP_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "skim/estimator/proportional-inl.h"
#include "skim/estimator/topp.h"
#include "skim/kernel/pool-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// The ranks of a residual in descending order of `score` (ties: lower rank first), cut so that every head
/// drops at most `allowed` of its mass. score: [n], e^{score - whole} is the largest probability a head gives
/// the rank. mass(h, i): probability head h gives rank i.
/// Found from the small end with a histogram: only the bin in which the cut falls is sorted.
/// Writes the kept ranks, ascending, and returns how many. ranks holds n.
template <class Real, class Mass>
std::size_t keep_mass(const Real* score, Real whole, std::size_t n, std::size_t heads, double allowed,
                      const Mass& mass, std::size_t* ranks, Workspace& ws) {
  constexpr std::size_t kBins = 2048;
  constexpr Real kBinsPerUnit = 32;  // the lowest bin takes all below -64
  const auto bin_of = [whole](Real x) {
    const Real log_share = x == whole ? Real{0} : x - whole;  // both may be infinite
    const Real at = static_cast<Real>(kBins) + log_share * kBinsPerUnit;
    return at >= 1 ? std::min(static_cast<std::size_t>(at), kBins - 1) : std::size_t{0};
  };
  double* histogram = ws.get<double>(Workspace::kWeights, (kBins + 1) * heads);
  std::fill_n(histogram, (kBins + 1) * heads, 0.0);
  for (std::size_t i = 0; i < n; ++i) {
    double* bin = histogram + bin_of(score[i]) * heads;
    for (std::size_t h = 0; h < heads; ++h) bin[h] += mass(h, i);
  }
  double* dropped = histogram + kBins * heads;
  const auto all_may_drop = [&](const auto& part) {
    for (std::size_t h = 0; h < heads; ++h) {
      if (!(dropped[h] + part(h) <= allowed)) return false;
    }
    for (std::size_t h = 0; h < heads; ++h) dropped[h] += part(h);
    return true;
  };
  std::size_t cut = 0;  // bins below it are dropped whole
  while (cut < kBins && all_may_drop([&](std::size_t h) { return histogram[cut * heads + h]; })) ++cut;

  // Within the bin of the cut: the smallest first, of equal ones the highest rank first.
  std::size_t kept = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (bin_of(score[i]) == cut) ranks[kept++] = i;
  }
  struct Dropping {
    const Real* score;
    bool operator()(std::size_t a, std::size_t b) const {
      return score[a] < score[b] || (score[a] == score[b] && a > b);
    }
  };
  std::sort(ranks, ranks + kept, Dropping{score});
  std::size_t first = 0;
  while (first < kept && all_may_drop([&](std::size_t h) { return mass(h, ranks[first]); })) ++first;
  const bool any = first < kept;
  const Real least = any ? score[ranks[first]] : Real{0};
  const std::size_t least_rank = any ? ranks[first] : 0;

  std::size_t out = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t bin = bin_of(score[i]);
    const bool keep = bin > cut || (bin == cut && any &&
                                    (score[i] > least || (score[i] == least && i <= least_rank)));
    if (keep) ranks[out++] = i;
  }
  return out;
}

/// Below the first mass rounding may hide that a head holds less of it than it should: so what it holds is added up.
/// Below the second it hides whether it holds anything: 1 less it, what may be dropped, is everything.
constexpr double kSmallMass = 1e-4, kHiddenMass = 1e-6;

/// Whether a head surely holds the mass, give or take a half that is due to rounding. share: of its positions that are left.
template <class Real>
bool holds(const Real* share, const std::size_t* ranks, std::size_t count, double mass) {
  double sum = 0;
  for (std::size_t j = 0; j < count; ++j) sum += static_cast<double>(share[ranks[j]]);
  return mass >= kHiddenMass && sum >= mass / 2;
}

/// The probability that one head, whose logits are s and add up to `total`, gives to what is selected.
template <class Real>
double selected_share(const Real* s, Position first, const LogSum<Real>& total, const Selection& selection,
                      Span visible) {
  double sum = 0;
  const auto add = [&](Position i) {
    const Real x = s[i - first];
    if (!(x > -kInfinity<Real>)) return;
    sum += x == total.max ? 1.0 : std::exp(static_cast<double>(x) - static_cast<double>(total.max));
  };
  for (const Span& span : selection.spans()) {
    const Span seen = intersect(span, visible);
    for (Position i = seen.first; i < seen.last; ++i) add(i);
  }
  for (const Pick& pick : selection.picks()) {
    if (visible.contains(pick.position)) add(pick.position);
  }
  return sum == 0 ? 0 : sum / total.sum;
}

/// Puts a rank where it belongs among ascending ones, if it is not there. Returns how many there are then.
inline std::size_t insert_rank(std::size_t* ranks, std::size_t count, std::size_t rank) {
  std::size_t* at = std::lower_bound(ranks, ranks + count, rank);
  if (at != ranks + count && *at == rank) return count;
  std::copy_backward(at, ranks + count, ranks + count + 1);
  *at = rank;
  return count + 1;
}

template <>
struct Select<TopP> {
  template <class Real, class Kv>
  static void run(const TopP& e, const BasicQuery<Real>& q, const Kv& kv, Selection& selection, Workspace& ws) {
    const auto left = static_cast<std::size_t>(count_gaps(selection, q.visible));
    if (left == 0 || e.mass == 0) return;
    if (e.mass == 1) return add_gaps(selection, q.visible);

    // ln of the probability each head gives each position that is left, over all that is visible.
    const std::size_t heads = q.heads();
    const Logits<Real> s = logits(q, kv, ws);
    Real* log_share = ws.get<Real>(Workspace::kPriorities, heads * left);
    auto* likeliest = ws.get<std::size_t>(Workspace::kChosen, heads);  // rank for each head; `left`: it wants none
    Real lse = 0;
    for (std::size_t h = 0; h < heads; ++h) {
      LogSum<Real> total;
      total.add(s.of_head(h), static_cast<std::size_t>(q.visible.size()));
      lse = total.log();
      const auto log_sum = static_cast<Real>(std::log(total.sum));  // on its own: beside a large logit it would vanish
      Real best = -kInfinity<Real>;
      likeliest[h] = left;
      for_each_unselected(s, selection, q.visible, [&](const Real* at, std::size_t n, std::size_t offset) {
        for (std::size_t i = 0; i < n; ++i) {
          const Real x = at[h * s.stride + i];
          if (x > best) {
            best = x;
            likeliest[h] = offset + i;
          }
          const bool none = !(x > -kInfinity<Real>) || lse == -kInfinity<Real>;
          const Real log_p = x == kInfinity<Real> ? Real{0} : std::min(x - total.max - log_sum, Real{0});
          log_share[h * left + offset + i] = none ? -kInfinity<Real> : log_p;
        }
      });
      if (e.mass < kSmallMass && selected_share(s.of_head(h), s.first, total, selection, q.visible) >= e.mass) {
        likeliest[h] = left;
      }
    }
    // A group is ordered by the largest share; one head by its logits, among which the rounding of shares would
    // make ties.
    Real* score = ws.get<Real>(Workspace::kProposal, left);
    if (heads == 1) score = pool_max(s, 1, selection, q.visible, ws).scores;
    else max_of_heads(log_share, left, heads, left, score);
    auto* ranks = ws.get<std::size_t>(Workspace::kRanks, left);
    exp_shifted(log_share, heads * left, Real{0}, log_share);
    std::size_t count = keep_mass(
        score, heads == 1 ? lse : Real{0}, left, heads, 1 - e.mass,
        [=](std::size_t h, std::size_t i) { return static_cast<double>(log_share[h * left + i]); }, ranks, ws);
    const std::size_t by_mass = count;
    for (std::size_t h = 0; e.mass < kSmallMass && h < heads; ++h) {
      if (likeliest[h] == left || (by_mass != 0 && holds(log_share + h * left, ranks, count, e.mass))) continue;
      count = insert_rank(ranks, count, likeliest[h]);
    }
    add_ranks(selection, q.visible, ranks, count, [](std::size_t) { return 0.0; });
  }
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ESTIMATOR_TOPP_INL_H_

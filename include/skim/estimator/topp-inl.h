// SPDX-License-Identifier: Apache-2.0
#if defined(SKIM_ESTIMATOR_TOPP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ESTIMATOR_TOPP_INL_H_
#undef SKIM_ESTIMATOR_TOPP_INL_H_
#else
#define SKIM_ESTIMATOR_TOPP_INL_H_
#endif

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
    Real lse = 0;
    for (std::size_t h = 0; h < heads; ++h) {
      LogSum<Real> total;
      total.add(s.of_head(h), static_cast<std::size_t>(q.visible.size()));
      lse = total.log();
      for_each_unselected(s, selection, q.visible, [&](const Real* at, std::size_t n, std::size_t offset) {
        for (std::size_t i = 0; i < n; ++i) {
          const Real x = at[h * s.stride + i];
          const bool none = !(x > -kInfinity<Real>) || lse == -kInfinity<Real>;
          log_share[h * left + offset + i] = none ? -kInfinity<Real> : x == lse ? Real{0} : std::min(x - lse, Real{0});
        }
      });
    }
    // A group is ordered by the largest share; one head by its logits, among which the rounding of shares would
    // make ties.
    Real* score = ws.get<Real>(Workspace::kProposal, left);
    if (heads == 1) score = pool_max(s, 1, selection, q.visible, ws).scores;
    else max_of_heads(log_share, left, heads, left, score);
    auto* ranks = ws.get<std::size_t>(Workspace::kRanks, left);
    exp_shifted(log_share, heads * left, Real{0}, log_share);
    const std::size_t count = keep_mass(
        score, heads == 1 ? lse : Real{0}, left, heads, 1 - e.mass,
        [=](std::size_t h, std::size_t i) { return static_cast<double>(log_share[h * left + i]); }, ranks, ws);
    add_ranks(selection, q.visible, ranks, count, [](std::size_t) { return 0.0; });
  }
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ESTIMATOR_TOPP_INL_H_

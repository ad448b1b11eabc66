// SPDX-License-Identifier: Apache-2.0
// The positions that may be among the k largest logits, by page boxes: what is left when most pages are excluded
// without a look at their keys.
//
// The keys of the pages with the largest upper bounds are scored first. The k-th largest of these logits is reached by
// at least k positions, and so is the lower bound that pages of k positions reach: a page whose upper bound is below
// either cannot hold one of the k largest.
#if defined(SKIM_INDEX_BRANCH_AND_BOUND_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_BRANCH_AND_BOUND_INL_H_
#undef SKIM_INDEX_BRANCH_AND_BOUND_INL_H_
#else
#define SKIM_INDEX_BRANCH_AND_BOUND_INL_H_
#endif

#include <span>

#include "skim/index/box_bounds-inl.h"
#include "skim/index/visible_pages-inl.h"
#include "skim/kernel/pool-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Of one query and what is not selected yet. `q` is resolved; a group pools as in `pool_max`.
template <class Kv>
class BranchAndBound {
 public:
  BranchAndBound(const PageBoxes& boxes, const BasicQuery<float>& q, const Kv& kv, const Selection& selection,
                 Workspace& ws)
      : boxes_(boxes), q_(q), kv_(kv), selection_(selection), ws_(ws) {}

  /// A superset of the unselected positions with the k largest logits, ascending; some may be selected already. Empty
  /// when the boxes leave so many that to read all keys is no slower. Valid until kCandidates is asked for again.
  std::span<const Position> candidates(std::size_t k) {
    const PageSet pages = pages_of(boxes_, q_.visible);
    unselected_ = static_cast<std::size_t>(count_gaps(selection_, q_.visible));
    // Of fewer pages there is no sample that says anything.
    if (pages.count < 2 * kSampledPages || k == 0 || 2 * kScoredFirst * k > unselected_) return {};
    const PageSet sample = pages.every(std::min(kSampledStride, pages.count / kSampledPages));
    if (!is_tight(sample, k)) return {};
    const std::size_t kept = exclude(pages, k);
    if (share(positions_of(kept) + static_cast<std::size_t>(tail(pages).size())) > kWorthAList) return {};
    return list(pages, kept);
  }

 private:
  /// So many times k keys are scored to find a threshold.
  static constexpr std::size_t kScoredFirst = 2;
  /// A sample is one page in kSampledStride, but at least so many.
  static constexpr std::size_t kSampledPages = 32, kSampledStride = 16;
  /// In keys read, a list and what it costs to make it must stay below this share of all; when that has been spent,
  /// the list alone below the other.
  static constexpr double kWorthBounds = 0.7, kWorthAList = 0.8;

  double share(std::size_t positions) const {
    return static_cast<double>(positions) / static_cast<double>(unselected_);
  }

  /// Whether a sample of pages promises that boxes exclude enough.
  bool is_tight(const PageSet& sample, std::size_t k) {
    const std::size_t of_sample = count_sample(sample);
    if (of_sample == 0) return false;
    const std::size_t kept = exclude(sample, std::max<std::size_t>(1, k * of_sample / unselected_));
    using Key = typename Kv::Key;
    const auto row = static_cast<double>(row_values<Key>(boxes_.key_dim()) * sizeof(Key));
    const double box = static_cast<double>(2 * boxes_.key_dim() * sizeof(BF16)) /
                       static_cast<double>(boxes_.page_size());
    const double listed = static_cast<double>(positions_of(kept)) / static_cast<double>(of_sample);
    return box / row + share(kScoredFirst * k) + listed <= kWorthBounds;
  }

  std::size_t count_sample(const PageSet& sample) {
    Position* left = ws_.get<Position>(Workspace::kCandidates, sample.count);
    return count_left(sample, selection_, q_.visible, left).positions;
  }

  /// Excludes the pages of a set that cannot hold one of its k largest unselected logits. The ranks of the others become
  /// kept_[0 .. result), ascending.
  std::size_t exclude(const PageSet& pages, std::size_t k) {
    const std::size_t room = round_up(pages.count, kBlock);
    float* low = ws_.get<float>(Workspace::kBounds, 2 * room + pages.count * (sizeof(Position) / sizeof(float)));
    float* high = low + room;
    left_ = reinterpret_cast<Position*>(high + room);
    const Left left = count_left(pages, selection_, q_.visible, left_);
    bound(pages, low, high);
    // Among so many pages there are k positions.
    const std::size_t enough = (k + boxes_.page_size() - 1) / boxes_.page_size() + left.broken;
    float threshold = reached_by_bounds(low, pages.count, enough);
    const std::size_t first = (kScoredFirst * k + boxes_.page_size() - 1) / boxes_.page_size() + left.broken;
    threshold = std::max(threshold, reached_by_scores(pages, high, std::min(first, pages.count), k));
    kept_ = ws_.get<std::size_t>(Workspace::kRanks, pages.count);
    return keep_at_least(high, pages.count, threshold, kept_, ws_.get<float>(Workspace::kSurvivors, pages.count));
  }

  /// Pooled bounds of all pages of a set; of those that have nothing left -infinity.
  void bound(const PageSet& pages, float* low, float* high) {
    const BoxQuery lanes = box_query<typename Kv::Key>(q_, ws_);
    box_bounds(lanes, boxes_, pages.count, [&](std::size_t rank) { return pages.page(rank); }, ws_,
               [&](std::size_t rank, std::size_t, const float* of_low, const float* of_high) {
                 pool_bounds(q_.heads(), of_low, of_high, low + rank, high + rank);
               });
    for (std::size_t rank = 0; rank < pages.count; ++rank) {
      if (left_[rank] == 0) low[rank] = high[rank] = -kInfinity<float>;
    }
  }

  float reached_by_bounds(const float* low, std::size_t count, std::size_t pages) {
    if (pages > count) return -kInfinity<float>;
    return kth_largest(low, count, pages, ws_.get<float>(Workspace::kSurvivors, count));
  }

  /// The k-th largest logit in the `first` pages with the largest upper bounds.
  float reached_by_scores(const PageSet& pages, const float* high, std::size_t first, std::size_t k) {
    const Largest<float> best = largest(high, pages.count, first, ws_);
    Position* positions = ws_.get<Position>(Workspace::kCandidates, best.count * boxes_.page_size());
    std::size_t count = 0;
    for (std::size_t j = 0; j < best.count; ++j) {
      const Span span = intersect(pages.span(best.ranks[j]), q_.visible);
      for (Position at = span.first; at < span.last; ++at) positions[count++] = at;
    }
    const Pooled<float> x = pool_max_of(std::span<const Position>(positions, count), q_, kv_, selection_, ws_);
    if (x.count < k) return -kInfinity<float>;
    return kth_largest(x.scores, x.count, k, ws_.get<float>(Workspace::kSurvivors, x.count));
  }

  /// Unselected positions in the pages that are kept.
  std::size_t positions_of(std::size_t kept) const {
    std::size_t count = 0;
    for (std::size_t j = 0; j < kept; ++j) count += static_cast<std::size_t>(left_[kept_[j]]);
    return count;
  }

  /// The newest positions, of which there is no box yet.
  Span tail(const PageSet& pages) const {
    const Position end = static_cast<Position>(pages.first + pages.count) * pages.page_size;
    return {std::max(q_.visible.first, end), q_.visible.last};
  }

  std::span<const Position> list(const PageSet& pages, std::size_t kept) {
    const Span rest = tail(pages);
    Position* positions = ws_.get<Position>(Workspace::kCandidates,
                                            kept * boxes_.page_size() + static_cast<std::size_t>(rest.size()));
    std::size_t count = 0;
    const auto add = [&](Span span) {
      for (Position at = span.first; at < span.last; ++at) positions[count++] = at;
    };
    for (std::size_t j = 0; j < kept; ++j) add(intersect(pages.span(kept_[j]), q_.visible));
    add(rest);
    return {positions, count};
  }

  const PageBoxes& boxes_;
  const BasicQuery<float>& q_;
  const Kv& kv_;
  const Selection& selection_;
  Workspace& ws_;
  std::size_t unselected_ = 0;
  Position* left_ = nullptr;     // [pages]: unselected positions of each
  std::size_t* kept_ = nullptr;  // ranks of pages that are not excluded
};

/// All unselected positions that may be among those with the k largest logits, ascending, as `boxes` say. Empty when
/// these leave so many that reading all keys is no slower.
template <class Kv>
std::span<const Position> possible_largest(const PageBoxes& boxes, std::size_t k, const BasicQuery<float>& q,
                                           const Kv& kv, const Selection& selection, Workspace& ws) {
  return BranchAndBound<Kv>(boxes, q, kv, selection, ws).candidates(k);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_BRANCH_AND_BOUND_INL_H_

// SPDX-License-Identifier: Apache-2.0
// Where keys are, but for those that are unlike all others: what an index takes off before it rounds or hashes.
#if defined(SKIM_INDEX_CENTRE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_CENTRE_INL_H_
#undef SKIM_INDEX_CENTRE_INL_H_
#else
#define SKIM_INDEX_CENTRE_INL_H_
#endif

#include <algorithm>
#include <cstddef>

#include "skim/core/storage.h"
#include "skim/kernel/panel-inl.h"
#include "skim/kernel/select-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// The mean of the rows that are `in`, rounded to bfloat16. rows: [count, d]. Summed in the order of the positions, each
/// share divided first, so that nothing overflows.
inline void mean_of(const float* rows, const bool* in, std::size_t count, std::size_t d, BF16* mean) {
  std::size_t n = 0;
  for (std::size_t t = 0; t < count; ++t) n += in[t] ? 1u : 0u;
  const float share = n == 0 ? 0.0f : 1.0f / static_cast<float>(n);
  const Tag<float> tag;
  for (std::size_t c = 0; c < d; c += kLanes<float>) {
    const std::size_t w = std::min(kLanes<float>, d - c);
    auto sum = hn::Zero(tag);
    for (std::size_t t = 0; t < count; ++t) {
      if (in[t]) sum = hn::MulAdd(load_padded(rows + t * d, c, d), hn::Set(tag, share), sum);
    }
    float means[kLanes<float>];
    hn::StoreU(sum, tag, means);
    for (std::size_t j = 0; j < w; ++j) mean[c + j] = from_float<BF16>(means[j]);
  }
}

/// The largest distance in one channel between a row and `centre`; +infinity beyond the floats.
inline float distance_from(const float* row, const float* centre, std::size_t d) {
  const Tag<float> tag;
  auto largest = hn::Zero(tag);
  for (std::size_t c = 0; c < d; c += kLanes<float>) {
    largest = hn::Max(largest, hn::Abs(hn::Sub(load_padded(row, c, d), load_padded(centre, c, d))));
  }
  return hn::GetLane(hn::MaxOfLanes(tag, largest));
}

/// A row so many times as far from the mean as half of all rows are is an outlier. The mean of 64 or more rows is moved
/// by nearer ones by a fraction of what the others differ by; and no row of ordinary ones, even of one Gaussian channel,
/// lies beyond 7.
constexpr float kOutlier = 16;

/// The mean of the finite rows of a segment without outliers, rounded to bfloat16: one row of 1e4 among 256 of size 1
/// would move it by 40. Without outliers it is the mean of all. On return `in` says which rows it is of: on entry, which
/// are finite. Outliers are found by how far the mean is that they have moved: up to count / 17 that are alike, and when
/// the largest are out the next ones. scratch: centre_scratch(count, d).
constexpr std::size_t centre_scratch(std::size_t count, std::size_t d) { return d + 3 * count; }
inline void centre_of(const float* rows, bool* in, std::size_t count, std::size_t d, BF16* centre, float* scratch) {
  float* mean = scratch;
  float* distance = mean + d;
  float* of_in = distance + count;
  for (;;) {
    mean_of(rows, in, count, d, centre);
    for (std::size_t c = 0; c < d; ++c) mean[c] = to_float(centre[c]);
    std::size_t n = 0;
    for (std::size_t t = 0; t < count; ++t) {
      if (in[t]) of_in[n++] = distance[t] = distance_from(rows + t * d, mean, d);
    }
    if (n == 0) return;
    const float most = kOutlier * kth_largest(of_in, n, (n + 1) / 2, of_in + count);
    bool all = true;
    for (std::size_t t = 0; t < count; ++t) {
      if (!in[t] || !(distance[t] > most) || most == 0) continue;
      in[t] = all = false;
    }
    if (all) return;
  }
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_CENTRE_INL_H_

// SPDX-License-Identifier: Apache-2.0
// The scores of a lightning indexer: a reference, by the dot products that attention uses.
#if defined(SKIM_INDEX_LIGHTNING_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_LIGHTNING_INL_H_
#undef SKIM_INDEX_LIGHTNING_INL_H_
#else
#define SKIM_INDEX_LIGHTNING_INL_H_
#endif

#include "skim/core/error.h"
#include "skim/index/lightning.h"
#include "skim/kernel/score-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// The score of every indexer key, for one query token: a row of ExternalScores, which all query heads then share.
/// keys: [n, d], one a position, in any storage type of keys. scores: [n], overwritten. A key with a NaN has
/// a score of NaN, which ranks last. Throws std::invalid_argument on shapes that do not fit.
template <class K>
void lightning_scores(const LightningQuery& q, const Rows<const K>& keys, std::span<float> scores, Workspace& ws) {
  static_assert(kIsStorage<K, float>, "skim::lightning_scores: indexer keys in float, F16, BF16 or I8");
  const std::size_t heads = q.rows.rows;
  if (q.rows.cols != keys.cols) {
    fail("skim::lightning_scores: q has ", q.rows.cols, " columns but keys have ", keys.cols);
  }
  if (keys.cols == 0) fail("skim::lightning_scores: keys have 0 columns but need at least 1");
  if (q.weights.size() != heads) {
    fail("skim::lightning_scores: there are ", q.weights.size(), " weights but q has ", heads, " rows");
  }
  if (scores.size() != keys.rows) {
    fail("skim::lightning_scores: there is room for ", scores.size(), " scores but there are ", keys.rows, " keys");
  }
  const Tag<float> tag;
  const auto zero = hn::Zero(tag);
  BasicQuery<float> rows;
  rows.rows = q.rows;
  const LaneQuery<float> lanes = lane_query<K>(rows, ws);
  float* s = ws.get<float>(Workspace::kBlockLogits, heads * kBlock);
  const K* block[kBlock];
  for (std::size_t i = 0; i < keys.rows; i += kBlock) {
    const std::size_t count = std::min(kBlock, keys.rows - i);
    for (std::size_t t = 0; t < kBlock; ++t) block[t] = keys.row(i + std::min(t, count - 1));
    dots(lanes, block, count, static_cast<const K* const*>(nullptr), s);
    alignas(64) float sum[kBlock];
    for (std::size_t t = 0; t < kBlock; t += kLanes<float>) {
      auto total = zero;
      for (std::size_t h = 0; h < heads; ++h) {
        const auto x = hn::Load(tag, s + h * kBlock + t);
        // A NaN is not below 0 and stays one.
        total = hn::MulAdd(hn::Set(tag, q.weights[h]), hn::IfThenZeroElse(hn::Lt(x, zero), x), total);
      }
      hn::Store(total, tag, sum + t);
    }
    std::memcpy(scores.data() + i, sum, count * sizeof(float));
  }
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_LIGHTNING_INL_H_

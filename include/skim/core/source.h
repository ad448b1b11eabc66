// SPDX-License-Identifier: Apache-2.0
// Where an estimator takes its scores from: the keys themselves, or an index beside them.
#ifndef SKIM_CORE_SOURCE_H_
#define SKIM_CORE_SOURCE_H_

#include <cstddef>
#include <string_view>

#include "skim/core/config.h"

namespace skim::inline SKIM_ABI {

/// What ranks the positions for an estimator. All but kKeys must be carried by the KV: `with_index(kv, index)`.
///
/// Whatever a sampler goes by, it is unbiased; but by a poor proposal unbiased and useless, most estimates too low and a
/// few far too high. Median of the estimated softmax denominator over the true one, logits of spread 3 (n = 16384
/// independent keys, d = 128, 5 %, priority sampling): keys and sketch4 .999, sketch1 .98, boxes .79, means .76.
enum class Source : unsigned char {
  kKeys,      ///< the exact logits: every visible key is read
  kSketch1,   ///< Sketch<1>: a bit a component
  kSketch4,   ///< Sketch<4>
  kSketch8,   ///< Sketch<8>
  kBoxes,     ///< PageBoxes: what the largest logit of a page is likely to be, for each of its positions
  kExternal,  ///< ExternalScores: whatever the caller hands in, such as a learned indexer's scores
  kMeans,     ///< PageMeans: the logit of the mean key of a page, for each of its positions
  kLsh,       ///< LshTables: which keys fall into the query's buckets; they rank nothing, only LshTail goes by them
  kSources
};

/// In the order of Source: what the text form calls them.
inline constexpr std::string_view kSourceNames[] = {"keys", "sketch1", "sketch4", "sketch8", "boxes", "external", "means", "lsh"};

constexpr std::string_view name_of(Source source) { return kSourceNames[static_cast<std::size_t>(source)]; }

/// Whether its scores are on a scale of their own, of pages and not of positions, beside which a logit says nothing. What
/// such an index does not cover cannot be ranked among what it covers: top-k and tails that go by it select that in any
/// case, with weight 1, ahead of their budget. (A sketch guesses at logits: the exact ones of its newest positions stand
/// beside its own.)
constexpr bool has_own_scale(Source source) { return source == Source::kBoxes || source == Source::kMeans; }

/// Whether it gives positions a score that an estimator can go `by`.
constexpr bool ranks(Source source) { return source != Source::kLsh; }

/// A set of sources, a bit each; the keys are always there.
using Sources = unsigned;
constexpr Sources sources_bit(Source source) {
  return source == Source::kKeys ? 0u : 1u << static_cast<unsigned>(source);
}

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_SOURCE_H_

// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_ESTIMATOR_LSH_H_
#define SKIM_ESTIMATOR_LSH_H_

#include <cstddef>
#include <type_traits>

#include "skim/core/error.h"
#include "skim/core/source.h"
#include "skim/index/indexed_kv.h"
#include "skim/index/lsh.h"

namespace skim::inline SKIM_ABI {

/// LSH sampling of the positions that are left: those whose keys fall into the query's bucket in at least two of the
/// tables that the KV carries (`LshTables`), a key that points the query's way more often than another (MagicPIG: Chen
/// et al., "MagicPIG: LSH sampling for efficient LLM generation", arXiv 2410.16179).
///
/// A key at the cosine c to the query, both relative to the key's centre, shares one bucket with probability P = (1 -
/// acos(c) / pi)^bits, so it is selected with probability u = 1 - (1 - P)^L - L P (1 - P)^(L-1), L tables, and has
/// weight 1 / u: exactly, without a floor. With `collisions` = 1 one bucket is enough, and u = 1 - (1 - P)^L. Positions
/// that are not hashed are all read, with weight 1. Numerator and denominator are unbiased over random planes, their
/// ratio is consistent. But the planes stay: all queries of a model have the same ones, so errors do not average out
/// over heads, layers and tokens; and the selected keys are not independent of each other.
///
/// A group asks as one query, the mean of the directions of its heads, and u comes from the angle to it: so one weight
/// is right for every head. Per head each asks for itself. Heads that are zero or not finite have no say.
///
/// Scale, soft cap and distance have no part in what is selected. Reads the buckets, and the keys it selects twice.
struct LshTail {
  static constexpr bool stands_for_rest = true;
  static constexpr Source by = Source::kLsh;

  std::size_t bits = 10;        ///< of a code, those of the tables
  std::size_t tables = 150;     ///< how many of them are asked, from the first on
  std::size_t collisions = 2;   ///< in how many tables a key must be met: 2 or 1

  void validate() const {
    if (bits == 0 || bits > LshPlanes::kMostBits) {
      fail("skim::LshTail: bits is ", bits, " but must be between 1 and ", LshPlanes::kMostBits);
    }
    if (collisions != 1 && collisions != 2) fail("skim::LshTail: collisions is ", collisions, " but must be 1 or 2");
    if (tables < collisions || tables > LshPlanes::kMostTables) {
      fail("skim::LshTail: tables is ", tables, " but must be between ", collisions, " and ", LshPlanes::kMostTables);
    }
  }
  std::size_t max_picks(std::size_t n) const { return n; }

  /// Throws std::invalid_argument if it cannot ask the tables of `kv`.
  template <class Kv>
  void check_indexes(const Kv& kv) const {
    if constexpr (kCarries<LshTables, Kv>) {
      if constexpr (std::is_same_v<typename Kv::Key, double>) {
        fail("skim::attend: LshTail is for keys in float, F16, BF16 or I8, not double");
      }
      check(index_of<LshTables>(kv));
    }
  }
  void check(const LshTables& index) const {
    const LshPlanes& planes = index.planes();
    if (planes.bits() != bits) {
      fail("skim::attend: LshTail asks for codes of ", bits, " bits but those of the ", index.kName, " have ",
           planes.bits());
    }
    if (planes.tables() < tables) {
      fail("skim::attend: LshTail asks ", tables, " tables but the ", index.kName, " has ", planes.tables());
    }
  }
};

/// It asks for no position's score.
constexpr Sources scored_sources(const LshTail&) { return 0; }

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_LSH_H_

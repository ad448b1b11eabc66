// SPDX-License-Identifier: Apache-2.0
// Which keys of one KV head fall into the same bucket as a query.
#ifndef SKIM_INDEX_LSH_H_
#define SKIM_INDEX_LSH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "skim/core/buffer.h"
#include "skim/core/error.h"
#include "skim/core/limits.h"
#include "skim/core/position.h"
#include "skim/core/source.h"
#include "skim/core/storage.h"
#include "skim/index/lsh_planes.h"

namespace skim::inline SKIM_ABI {

/// Hash tables of the keys of one KV head: `LshTail` reads the keys that fall into the query's bucket in two of them
/// (MagicPIG: Chen et al., "MagicPIG: LSH sampling for efficient LLM generation", arXiv 2410.16179). Grows with the
/// head (`append`, `truncate` in index/lsh-inl.h). It ranks nothing, so that no estimator can go `by` it.
///
/// Keys far from zero, and all on one side of it, would share their buckets. So positions are taken in segments, [0,
/// S), [S, 2 S) ..., and hashed relative to the centre of their segment: the mean of the finite keys among its first
/// 256 but for outliers (as in a Sketch), known and frozen as soon as those are there. (Logits are of the keys as they
/// are.) Keys that drift away from the centre are followed at the next segment. What is not hashed yet is read exactly:
/// up to 255 positions at the beginning of a segment, later up to 63, since keys are hashed 64 at a time. So the tables
/// depend on the keys alone, not on how they arrived.
///
/// A key that is not finite, or so far from the centre or so near that their distance squared is no normal float
/// (1.8e19, 1e-12), is noted and always read; one that is the centre is hashed as a vector on no side of any plane.
///
/// Hashed keys are kept in parts of 1024, 2048, 4096 ... S positions, as the binary digits of their number say; the
/// up to 1023 newest as plain codes, which a query compares one by one. A part has for each table its positions ordered
/// by bucket: 2 bytes for a position and a table, and 2 for a bucket and a table.
///
/// Of the keys of each block of 64 that is hashed another hash of 64 bits is kept, by which `verify` and
/// `Options::strict` tell other keys.
///
/// Bytes a key, d = 128, S = 16384: 319 for 10 bits and 150 tables, 152 for (8, 75) (beside 512 of keys and values in
/// bfloat16).
class LshTables {
 public:
  static constexpr Source kSource = Source::kLsh;
  static constexpr const char* kName = "set of LSH tables";

  static constexpr std::size_t kOfCentre = 256;     ///< positions whose mean a centre is
  static constexpr std::size_t kAtOnce = 64;        ///< positions that are hashed at once
  static constexpr std::size_t kLeastPart = 1024;   ///< positions of the smallest part
  static constexpr std::size_t kMostPart = 32768;

  /// planes: shared by all heads; segment: positions with a common centre, a power of two from 1024 to 32768.
  /// Throws std::invalid_argument otherwise.
  explicit LshTables(std::shared_ptr<const LshPlanes> planes, std::size_t segment = 16384)
      : planes_(std::move(planes)), segment_(segment) {
    if (planes_ == nullptr) fail("skim::LshTables: there are no planes");
    if (segment < kLeastPart || segment > kMostPart || (segment & (segment - 1)) != 0) {
      fail("skim::LshTables: segment is ", segment, " but must be a power of two between ", kLeastPart, " and ",
           kMostPart);
    }
  }
  LshTables(const LshTables&) = default;
  LshTables(LshTables&&) noexcept = default;
  LshTables& operator=(const LshTables& other) { return *this = LshTables(other); }  // whole or not at all
  LshTables& operator=(LshTables&&) noexcept = default;

  /// Positions covered.
  Position size() const { return size_; }
  /// Columns of the keys.
  std::size_t key_dim() const { return planes_->key_dim(); }
  /// Bytes of all that is stored for this head: without the planes.
  std::size_t bytes() const {
    return (starts_.size() + positions_.size() + codes_.size()) * sizeof(std::uint16_t) +
           centres_.size() * sizeof(BF16) + unhashed_.size() * sizeof(Position) +
           fingerprints_.size() * sizeof(std::uint64_t);
  }
  const LshPlanes& planes() const { return *planes_; }
  /// Positions of a segment.
  std::size_t segment() const { return segment_; }
  /// Positions that are hashed: those from here on are read exactly.
  Position hashed() const { return hashed_; }
  /// Hashed positions that parts hold; of those from here on there are codes.
  Position in_parts() const { return in_parts_; }

  /// Hashes of the keys in each block of positions that is hashed at once, and the positions that one is of.
  const Buffer<std::uint64_t>& fingerprints() const { return fingerprints_; }
  std::size_t piece() const { return kAtOnce; }

  /// How many of n positions are hashed.
  Position hashed_of(Position n) const {
    const auto step = static_cast<Position>(kAtOnce);
    const Position in_segment = n % static_cast<Position>(segment_);
    return n - in_segment + (in_segment < static_cast<Position>(kOfCentre) ? 0 : in_segment / step * step);
  }

  /// Positions of the part that ends at `end`, a multiple of kLeastPart: the largest power of two that divides it.
  std::size_t part_ending(Position end) const {
    const auto e = static_cast<std::size_t>(end);
    const std::size_t divisor = e & (~e + 1);
    return divisor < segment_ ? divisor : segment_;
  }

 private:
  friend struct LshAccess;

  std::shared_ptr<const LshPlanes> planes_;
  std::size_t segment_;
  Position size_ = 0, hashed_ = 0, in_parts_ = 0;
  Buffer<std::uint16_t> starts_;     // [parts, tables, 2^bits]: where a bucket begins in its row of positions
  Buffer<std::uint16_t> positions_;  // part by part [tables, positions]: counted from the part's first, by bucket
  Buffer<std::uint16_t> codes_;      // [blocks of kAtOnce, tables, kAtOnce]: of what no part holds
  Buffer<BF16> centres_;             // [segments, d]
  Buffer<Position> unhashed_;        // ascending: hashed positions that are always read
  Buffer<std::uint64_t> fingerprints_;  // [hashed / kAtOnce]
  Buffer<std::byte> scratch_;           // what `reserve` sets aside
};

/// For the kernels, whose loops may not live in a class of this kind.
struct LshAccess {
  static auto& size(LshTables& t) { return t.size_; }
  static auto& hashed(LshTables& t) { return t.hashed_; }
  static auto& in_parts(LshTables& t) { return t.in_parts_; }
  template <class T>
  static auto& starts(T& t) { return t.starts_; }
  template <class T>
  static auto& positions(T& t) { return t.positions_; }
  template <class T>
  static auto& codes(T& t) { return t.codes_; }
  template <class T>
  static auto& centres(T& t) { return t.centres_; }
  template <class T>
  static auto& unhashed(T& t) { return t.unhashed_; }
  static auto& fingerprints(LshTables& t) { return t.fingerprints_; }
  static auto& scratch(LshTables& t) { return t.scratch_; }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_INDEX_LSH_H_

// SPDX-License-Identifier: Apache-2.0
// A compressed copy of the keys of one KV head.
#ifndef SKIM_INDEX_SKETCH_H_
#define SKIM_INDEX_SKETCH_H_

#include <bit>
#include <cstddef>
#include <cstdint>

#include "skim/core/buffer.h"
#include "skim/core/error.h"
#include "skim/core/limits.h"
#include "skim/core/position.h"
#include "skim/core/source.h"
#include "skim/core/storage.h"

namespace skim::inline SKIM_ABI {

/// The keys of one KV head at kBits a component: 8, 4 or 1. Grows with the head (`append`, `truncate` in
/// index/sketch-inl.h) and is read by estimators that rank `by` it.
///
/// Keys are taken in segments of fixed positions, [0, 256), [256, 512) ...; a segment is sketched when it is complete,
/// relative to the mean of its finite keys but for outliers, 16 times as far from it as half of them. So the sketch
/// depends on the keys alone, not on how they arrived; appending never changes what is there; and the up to 255 newest
/// keys, which no segment holds yet, are scored exactly. Shorter segments follow keys that drift more closely, and take
/// 2 d bytes each for their centre.
/// A key that is not finite, or is too large for its sketch, is noted and always scored exactly as well.
///
///   8, 4 bits  key = centre + scale * (signed integer) + rest; scale by key, to bfloat16.
///   8 bits     also |rest|, rounded up: with it come bounds of every logit (`TopK{k, Source::kSketch8}.exact`).
///   1 bit      the signs of R (key - centre), R a fixed random rotation, and one factor: an estimate of <q, key> with no
///              bias over rotations and an error of about .6 factor |q| (Gao and Long, RaBitQ, arXiv 2405.12497).
///
/// Of the keys of each segment a hash of 64 bits is kept, by which `verify` and `Options::strict` tell other keys.
///
/// Bytes a key, d = 128, segments of 256: 133, 67, 19 (beside 512 of keys and values in bfloat16).
template <int kBits>
class Sketch {
  static_assert(kBits == 1 || kBits == 4 || kBits == 8, "skim::Sketch: 1, 4 or 8 bits");

 public:
  static constexpr Source kSource = kBits == 1 ? Source::kSketch1 : kBits == 4 ? Source::kSketch4 : Source::kSketch8;
  static constexpr const char* kName = kBits == 1 ? "1-bit sketch" : kBits == 4 ? "4-bit sketch" : "8-bit sketch";

  /// segment: positions with a common centre, a multiple of 64 up to kMostInPiece; throws std::invalid_argument
  /// otherwise.
  explicit Sketch(std::size_t segment = 256) : segment_(segment) {
    if (segment == 0 || segment % 64 != 0 || segment > kMostInPiece) {
      fail("skim::Sketch: segment is ", segment, " but must be a multiple of 64 up to ", kMostInPiece);
    }
  }
  Sketch(const Sketch&) = default;
  Sketch(Sketch&&) noexcept = default;
  Sketch& operator=(const Sketch& other) { return *this = Sketch(other); }  // whole or not at all
  Sketch& operator=(Sketch&&) noexcept = default;

  /// Positions covered.
  Position size() const { return size_; }
  /// Columns of the keys.
  std::size_t key_dim() const { return d_; }
  /// Bytes of all that is stored.
  std::size_t bytes() const {
    return codes_.size() + (scales_.size() + rests_.size() + centres_.size()) * sizeof(BF16) +
           reach_.size() * sizeof(float) + unsketched_.size() * sizeof(Position) +
           fingerprints_.size() * sizeof(std::uint64_t);
  }
  /// Positions of a segment.
  std::size_t segment() const { return segment_; }
  /// Complete segments.
  std::size_t segments() const { return scales_.size() / segment_; }
  /// Positions that complete segments hold: those from here on are scored exactly.
  Position sketched() const { return static_cast<Position>(scales_.size()); }
  /// Hashes of the keys of complete segments, one each, and the positions that one is of.
  const Buffer<std::uint64_t>& fingerprints() const { return fingerprints_; }
  std::size_t piece() const { return segment_; }

  /// Columns of a code: a power of two for the rotation, else whole groups of 32 bits.
  static constexpr std::size_t code_dim(std::size_t d) {
    if constexpr (kBits == 1) return std::bit_ceil(d < 8 ? std::size_t{8} : d);
    constexpr std::size_t group = 32 / kBits;
    return (d + group - 1) / group * group;
  }

 private:
  friend struct SketchAccess;

  std::size_t segment_;
  std::size_t d_ = 0;
  Position size_ = 0;
  Buffer<std::uint8_t> codes_;    // [segments, segment * code_dim * kBits / 8], in blocks
  Buffer<BF16> scales_;           // [segments, segment]: scale, or factor of a 1-bit key; 0 where there is no sketch
  Buffer<BF16> rests_;            // [segments, segment]: |rest|, rounded up; 8 bits only
  Buffer<BF16> centres_;          // [segments, d]
  Buffer<float> reach_;           // [segments]: an upper bound of |key| + |centre| + |rest|; 8 bits only
  Buffer<Position> unsketched_;   // ascending: keys of complete segments that have no sketch
  Buffer<std::uint64_t> fingerprints_;  // [segments]
  Buffer<std::byte> scratch_;     // what `reserve` sets aside
};

using Sketch1 = Sketch<1>;
using Sketch4 = Sketch<4>;
using Sketch8 = Sketch<8>;

/// For the kernels, whose loops may not live in a class of this kind.
struct SketchAccess {
  template <int kBits>
  static auto& d(Sketch<kBits>& s) { return s.d_; }
  template <int kBits>
  static auto& size(Sketch<kBits>& s) { return s.size_; }
  template <class S>
  static auto& codes(S& s) { return s.codes_; }
  template <class S>
  static auto& scales(S& s) { return s.scales_; }
  template <class S>
  static auto& rests(S& s) { return s.rests_; }
  template <class S>
  static auto& centres(S& s) { return s.centres_; }
  template <class S>
  static auto& reach(S& s) { return s.reach_; }
  template <class S>
  static auto& unsketched(S& s) { return s.unsketched_; }
  template <class S>
  static auto& fingerprints(S& s) { return s.fingerprints_; }
  template <class S>
  static auto& scratch(S& s) { return s.scratch_; }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_INDEX_SKETCH_H_

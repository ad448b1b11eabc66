// SPDX-License-Identifier: Apache-2.0
// The random planes by which LSH tables hash keys and queries.
#ifndef SKIM_INDEX_LSH_PLANES_H_
#define SKIM_INDEX_LSH_PLANES_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>

#include "skim/core/buffer.h"
#include "skim/core/error.h"
#include "skim/core/random.h"

namespace skim::inline SKIM_ABI {

/// Planes through the origin, `bits` of them for each of `tables` tables. Bit b of a vector's code in table l says on
/// which side of plane (l, b) it lies; two vectors at an angle of theta lie on the same side with probability
/// 1 - theta / pi (SimHash: Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002). That is
/// exact, since normals are independent and their components normal: a structured rotation would be quicker, and
/// would not do.
///
/// One object serves all heads and layers of a model; it does not change, so that any number of threads may read it.
/// Equal arguments give equal planes. 4 d bits tables bytes: 768,000 for d = 128 and (10, 150).
class LshPlanes {
 public:
  static constexpr std::size_t kMostColumns = 1024;
  static constexpr std::size_t kMostBits = 16;
  static constexpr std::size_t kMostTables = 1024;

  /// d: columns of the keys. Throws std::invalid_argument where an argument is out of range.
  LshPlanes(std::size_t d, std::size_t bits, std::size_t tables, std::uint64_t seed)
      : d_(d), bits_(bits), tables_(tables) {
    const auto check = [](const char* what, std::size_t have, std::size_t most) {
      if (have == 0 || have > most) fail("skim::LshPlanes: ", what, " is ", have, " but must be between 1 and ", most);
    };
    check("d", d, kMostColumns);
    check("bits", bits, kMostBits);
    check("tables", tables, kMostTables);
    const std::size_t count = tables * bits * d;
    normals_.resize(count);
    for (std::size_t i = 0; i < count; i += 4) {
      float four[4];
      draw(seed, i / 4, four);
      for (std::size_t j = 0; j < 4 && i + j < count; ++j) normals_[i + j] = four[j];
    }
  }

  std::size_t key_dim() const { return d_; }
  std::size_t bits() const { return bits_; }
  std::size_t tables() const { return tables_; }
  std::size_t bytes() const { return normals_.size() * sizeof(float); }
  /// [tables, bits, d]
  const float* normals() const { return normals_.data(); }

 private:
  /// Four normal numbers from four uniform ones (Box and Muller). A function of its own: no vector code for the linker
  /// to merge.
  static void draw(std::uint64_t seed, std::uint64_t i, float* four) {
    constexpr std::uint32_t kPlanes = 0x706C616Eu;  // a stream that no sampler draws from
    const Philox::Block bits =
        Philox::block(seed, {static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i >> 32), kPlanes, 0});
    for (std::size_t j = 0; j < 4; j += 2) {
      const double radius = std::sqrt(-2 * std::log((bits[j] + 1.0) * 0x1p-32));
      const double angle = 2 * std::numbers::pi * (bits[j + 1] * 0x1p-32);
      four[j] = static_cast<float>(radius * std::cos(angle));
      four[j + 1] = static_cast<float>(radius * std::sin(angle));
    }
  }

  std::size_t d_, bits_, tables_;
  Buffer<float> normals_;
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_INDEX_LSH_PLANES_H_

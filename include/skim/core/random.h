// SPDX-License-Identifier: Apache-2.0
// Counter-based random numbers: what is drawn depends on the key and the counter alone, so results do
// not change with threads, batch order or how often something was called before.
#ifndef SKIM_CORE_RANDOM_H_
#define SKIM_CORE_RANDOM_H_

#include <array>
#include <cstdint>

#include "skim/core/config.h"
#include "skim/core/position.h"

namespace skim::inline SKIM_ABI {

/// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
struct Philox {
  using Block = std::array<std::uint32_t, 4>;

  static constexpr std::uint32_t kMul0 = 0xD2511F53u, kMul1 = 0xCD9E8D57u;
  static constexpr std::uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;

  static constexpr Block block(std::uint64_t key, Block c) {
    std::uint32_t k0 = static_cast<std::uint32_t>(key);
    std::uint32_t k1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t p0 = std::uint64_t{kMul0} * c[0];
      const std::uint64_t p1 = std::uint64_t{kMul1} * c[2];
      c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1),
           static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<std::uint32_t>(p0)};
      k0 += kWeyl0;
      k1 += kWeyl1;
    }
    return c;
  }
};

/// Where random numbers come from. The caller fills `seed`, `layer` and `sequence`; a layer-level call
/// fills `head` (the KV head, or the query head when every head selects for itself).
struct Stream {
  std::uint64_t seed = 0;
  std::uint32_t layer = 0;
  std::uint32_t head = 0;
  std::uint64_t sequence = 0;
};

/// The draws of one query: an unlimited indexed sequence, keyed by the stream and the query's position.
class Draws {
 public:
  constexpr Draws(const Stream& stream, Position query) {
    const std::uint64_t of_head =
        fold(Philox::block(stream.seed, {stream.layer, stream.head, low(stream.sequence), high(stream.sequence)}));
    const auto at = static_cast<std::uint64_t>(query);
    key_ = fold(Philox::block(of_head, {low(at), high(at), 0, 0}));
  }

  /// 32 random bits: the same for the same i.
  constexpr std::uint32_t bits(std::uint64_t i) const {
    return Philox::block(key_, {low(i / 4), high(i / 4), 0, 0})[i % 4];
  }

  /// Uniform on (0, 1]: never 0, so that its logarithm is finite.
  constexpr double uniform(std::uint64_t i) const { return (bits(i) + 1.0) * 0x1p-32; }

  /// Uniform on {0, ..., bound - 1}, bound <= 2^32; off by at most 2^-32 of a share (64-bit draw).
  constexpr std::uint64_t below(std::uint64_t i, std::uint64_t bound) const {
    const Philox::Block b = Philox::block(key_, {low(i), high(i), 1, 0});
    const std::uint64_t x = (std::uint64_t{b[1]} << 32) | b[0];
    return ((x >> 32) * bound + (((x & 0xFFFFFFFFu) * bound) >> 32)) >> 32;
  }

  /// The Philox key, for kernels that draw many numbers at once.
  constexpr std::uint64_t key() const { return key_; }

 private:
  static constexpr std::uint32_t low(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
  static constexpr std::uint32_t high(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }
  static constexpr std::uint64_t fold(const Philox::Block& b) {
    return (std::uint64_t{b[1]} << 32) | b[0];
  }

  std::uint64_t key_;
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_RANDOM_H_

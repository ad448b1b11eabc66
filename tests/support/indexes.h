// SPDX-License-Identifier: Apache-2.0
// What does an index hold? Sketches of a problem's keys, and what can be read back from them in plain words.
#ifndef SKIM_TESTS_SUPPORT_INDEXES_H_
#define SKIM_TESTS_SUPPORT_INDEXES_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {

inline constexpr Source kSketched[] = {Source::kSketch1, Source::kSketch4, Source::kSketch8};

/// A fresh sketch of all that `kv` holds.
template <class S, class Kv>
S sketch_of(const Kv& kv) {
  S sketch;
  append(sketch, kv);
  return sketch;
}

/// Sketches of 1, 4 and 8 bits.
struct Sketches {
  Sketch1 one;
  Sketch4 four;
  Sketch8 eight;

  Sketches() = default;
  template <class Kv>
  explicit Sketches(const Kv& kv) {
    append(one, kv);
    append(four, kv);
    append(eight, kv);
  }

  template <class Kv>
  auto beside(const Kv& kv) const {
    return with_index(kv, one, four, eight);
  }
};

/// The code of component c of key i: an integer of 4 or 8 bits, or a sign.
template <int kBits>
int code_of(const Sketch<kBits>& sketch, std::size_t i, std::size_t c) {
  constexpr std::size_t kKeys = kBits == 1 ? 64 : 16;
  const std::size_t block = kKeys * Sketch<kBits>::code_dim(sketch.key_dim()) * kBits / 8;
  const auto place = HWY_NAMESPACE::code_place<kBits>(i % kKeys, c);
  const int byte = SketchAccess::codes(sketch)[i / kKeys * block + place.byte];
  if constexpr (kBits == 8) return static_cast<std::int8_t>(byte);
  if constexpr (kBits == 4) return (byte >> place.shift & 15) - 8;
  return (byte >> place.shift & 1) != 0 ? 1 : -1;
}

/// Component c of the centre of key i.
template <int kBits>
double centre_of(const Sketch<kBits>& sketch, std::size_t i, std::size_t c) {
  return to_float(SketchAccess::centres(sketch)[i / sketch.segment() * sketch.key_dim() + c]);
}

/// Of 8 and 4 bits: what the sketch takes component c of key i for.
template <int kBits>
double decoded(const Sketch<kBits>& sketch, std::size_t i, std::size_t c) {
  return centre_of(sketch, i, c) + double{to_float(SketchAccess::scales(sketch)[i])} * code_of(sketch, i, c);
}

/// Whether key i of a complete segment has no sketch.
template <class S>
bool is_unsketched(const S& sketch, std::size_t i) {
  for (const Position at : SketchAccess::unsketched(sketch)) {
    if (at == static_cast<Position>(i)) return true;
  }
  return false;
}

template <class T>
testing::AssertionResult same_buffer(const char* what, const Buffer<T>& a, const Buffer<T>& b) {
  if (a.size() != b.size()) return testing::AssertionFailure() << a.size() << " and " << b.size() << " " << what;
  if (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure() << what << " differ";
}

/// Bit for bit, all that a sketch holds.
template <int kBits>
testing::AssertionResult same_sketch(const Sketch<kBits>& a, const Sketch<kBits>& b) {
  using Access = SketchAccess;
  if (a.size() != b.size()) return testing::AssertionFailure() << a.size() << " and " << b.size() << " positions";
  if (a.size() != 0 && a.key_dim() != b.key_dim()) return testing::AssertionFailure() << "columns differ";
  if (a.bytes() != b.bytes()) return testing::AssertionFailure() << a.bytes() << " and " << b.bytes() << " bytes";
  for (const auto& same : {same_buffer("codes", Access::codes(a), Access::codes(b)),
                           same_buffer("scales", Access::scales(a), Access::scales(b)),
                           same_buffer("rests", Access::rests(a), Access::rests(b)),
                           same_buffer("centres", Access::centres(a), Access::centres(b)),
                           same_buffer("reach", Access::reach(a), Access::reach(b)),
                           same_buffer("unsketched", Access::unsketched(a), Access::unsketched(b)),
                           same_buffer("fingerprints", a.fingerprints(), b.fingerprints())}) {
    if (!same) return same;
  }
  return testing::AssertionSuccess();
}

// ---- LSH tables -------------------------------------------------------------------------------------------------

/// Tables of all that `kv` holds: (bits, number) codes of planes of their own.
template <class Kv>
LshTables lsh_tables_of(const Kv& kv, std::size_t bits, std::size_t number, std::uint64_t seed = 1,
                        std::size_t segment = 1024) {
  LshTables tables(std::make_shared<const LshPlanes>(kv.key_dim(), bits, number, seed), segment);
  append(tables, kv);
  return tables;
}

/// Codes of all hashed positions, [hashed, tables], read back from parts and open blocks. Every position must be in one
/// bucket of each table, and buckets must be in order.
inline std::vector<std::vector<std::uint16_t>> codes_of(const LshTables& tables) {
  constexpr std::size_t kNone = 1u << 16;
  const std::size_t number = tables.planes().tables(), buckets = std::size_t{1} << tables.planes().bits();
  const auto hashed = static_cast<std::size_t>(tables.hashed()), in_parts = static_cast<std::size_t>(tables.in_parts());
  std::vector<std::vector<std::size_t>> codes(hashed, std::vector<std::size_t>(number, kNone));
  HWY_NAMESPACE::for_each_part(tables, tables.in_parts(), [&](const HWY_NAMESPACE::LshPart& part) {
    for (std::size_t t = 0; t < number; ++t) {
      for (std::size_t b = 0; b < buckets; ++b) {
        const std::size_t first = part.starts[t * buckets + b];
        const std::size_t last = b + 1 < buckets ? part.starts[t * buckets + b + 1] : part.size;
        for (std::size_t i = first; i < last; ++i) {
          const std::size_t at = part.positions[t * part.size + i];
          EXPECT_TRUE(i == first || at > part.positions[t * part.size + i - 1]);
          std::size_t& code = codes[static_cast<std::size_t>(part.first) + at][t];
          EXPECT_EQ(code, kNone) << "in two buckets";
          code = b;
        }
      }
    }
  });
  for (std::size_t i = in_parts; i < hashed; ++i) {
    const std::size_t block = (i - in_parts) / 64;
    for (std::size_t t = 0; t < number; ++t)
      codes[i][t] = LshAccess::codes(tables)[(block * number + t) * 64 + (i - in_parts) % 64];
  }
  std::vector<std::vector<std::uint16_t>> result(hashed);
  for (std::size_t i = 0; i < hashed; ++i) {
    for (const std::size_t code : codes[i]) {
      EXPECT_LT(code, buckets);
      result[i].push_back(static_cast<std::uint16_t>(code));
    }
  }
  return result;
}

/// Bit for bit, all that the tables hold.
inline testing::AssertionResult same_tables(const LshTables& a, const LshTables& b) {
  using Access = LshAccess;
  if (a.size() != b.size()) return testing::AssertionFailure() << a.size() << " and " << b.size() << " positions";
  if (a.hashed() != b.hashed()) return testing::AssertionFailure() << a.hashed() << " and " << b.hashed() << " hashed";
  if (a.in_parts() != b.in_parts())
    return testing::AssertionFailure() << a.in_parts() << " and " << b.in_parts() << " in parts";
  if (a.bytes() != b.bytes()) return testing::AssertionFailure() << a.bytes() << " and " << b.bytes() << " bytes";
  for (const auto& same : {same_buffer("starts", Access::starts(a), Access::starts(b)),
                           same_buffer("positions", Access::positions(a), Access::positions(b)),
                           same_buffer("codes", Access::codes(a), Access::codes(b)),
                           same_buffer("centres", Access::centres(a), Access::centres(b)),
                           same_buffer("unhashed", Access::unhashed(a), Access::unhashed(b)),
                           same_buffer("fingerprints", a.fingerprints(), b.fingerprints())}) {
    if (!same) return same;
  }
  return testing::AssertionSuccess();
}

}  // namespace skim::test

#endif  // SKIM_TESTS_SUPPORT_INDEXES_H_

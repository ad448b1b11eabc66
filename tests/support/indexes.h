// SPDX-License-Identifier: Apache-2.0
// What does an index hold? Sketches of a problem's keys, and what can be read back from them in plain words.
#ifndef SKIM_TESTS_SUPPORT_INDEXES_H_
#define SKIM_TESTS_SUPPORT_INDEXES_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {

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
                           same_buffer("unsketched", Access::unsketched(a), Access::unsketched(b))}) {
    if (!same) return same;
  }
  return testing::AssertionSuccess();
}

}  // namespace skim::test

#endif  // SKIM_TESTS_SUPPORT_INDEXES_H_

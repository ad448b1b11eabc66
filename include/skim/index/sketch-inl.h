// SPDX-License-Identifier: Apache-2.0
// How a sketch grows and shrinks with the keys of its head.
#if defined(SKIM_INDEX_SKETCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_SKETCH_INL_H_
#undef SKIM_INDEX_SKETCH_INL_H_
#else
#define SKIM_INDEX_SKETCH_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "skim/core/error.h"
#include "skim/core/kv.h"
#include "skim/core/limits.h"
#include "skim/core/scratch.h"
#include "skim/index/fingerprint-inl.h"
#include "skim/index/centre-inl.h"
#include "skim/index/rotate-inl.h"
#include "skim/index/sketch.h"
#include "skim/kernel/panel-inl.h"
#include "skim/kernel/round-inl.h"
#include "skim/kernel/select-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// The least bfloat16 that is not below x >= 0; +infinity if there is none.
inline BF16 bf16_above(double x) {
  const auto f = static_cast<float>(x);
  std::uint32_t bits = std::bit_cast<std::uint32_t>(f) + (static_cast<double>(f) < x ? 1u : 0u);
  return BF16{static_cast<std::uint16_t>((bits + 0xFFFFu) >> 16)};
}

// ---- codes: where a component of a key is -------------------------------------------------------------
// Keys lie across the lanes: a kernel then never adds up lanes. 8 and 4 bits: blocks of 16 keys; for each 32 bits of
// a code the words of the 16 keys in a row. As pairs of 16-bit numbers a word holds, for a shift of 0 and 8 (8 bits)
// or 0, 4, 8 and 12 (4 bits), two neighbouring components. 1 bit: blocks of 64 keys; for each 8 components the bytes
// of the 64 keys: even bytes are of the first 32 keys, odd ones of the others.

template <int kBits>
constexpr std::size_t kCodeBlock = kBits == 1 ? 64 : 16;

/// Where component c of key t of a block is: byte and shift within the codes of the block.
struct CodePlace {
  std::size_t byte;
  int shift;
};
template <int kBits>
constexpr CodePlace code_place(std::size_t t, std::size_t c) {
  if constexpr (kBits == 1) {
    return {c / 8 * 64 + (t < 32 ? 2 * t : 2 * (t - 32) + 1), static_cast<int>(c % 8)};
  } else {
    constexpr std::size_t kGroup = 32 / kBits;     // components of a word
    const std::size_t bit = 16 * (c % 2) + kBits * (c % kGroup / 2);
    return {(c / kGroup * 16 + t) * 4 + bit / 8, static_cast<int>(bit % 8)};
  }
}

/// The part of a sketch that a segment is.
struct SegmentRoom {
  std::uint8_t* codes = nullptr;
  BF16* scales = nullptr;
  BF16* rests = nullptr;  // 8 bits
};

/// kLanes keys less their centre, x[c * kLanes + j], as integers of kBits; the first is key t of the segment. ok[j] becomes
/// false where that cannot be said in finite numbers.
template <int kBits>
void quantize_keys(const float* HWY_RESTRICT x, std::size_t d, std::size_t t, const SegmentRoom& to, bool* ok) {
  constexpr std::size_t kN = kLanes<float>, kGroup = 32 / kBits;
  constexpr float kMost = kBits == 8 ? 127 : 7;
  const Tag<float> tag;
  const Tag<std::int32_t> d32;
  const Tag<std::uint32_t> du32;
  auto largest = hn::Zero(tag), squares = hn::Zero(tag);
  for (std::size_t c = 0; c < d; ++c) {
    const auto v = hn::Load(tag, x + c * kN);
    largest = hn::Max(hn::Abs(v), largest);
    squares = hn::MulAdd(v, v, squares);
  }
  float most[kN], norm[kN], scale[kN];
  hn::StoreU(largest, tag, most);
  hn::StoreU(hn::Sqrt(squares), tag, norm);
  for (std::size_t j = 0; j < kN; ++j) {
    const BF16 stored = bf16_above(static_cast<double>(most[j]) / kMost);
    ok[j] = ok[j] && norm[j] < kInfinity<float> && to_float(stored) < kInfinity<float>;
    to.scales[t + j] = ok[j] ? stored : BF16{};
    scale[j] = ok[j] && most[j] > 0 ? to_float(stored) : 1.0f;
  }
  const auto by_key = hn::LoadU(tag, scale);
  const auto bound = hn::Set(tag, kMost);
  std::uint8_t* codes = to.codes + t / kCodeBlock<kBits> * (kCodeBlock<kBits> * Sketch<kBits>::code_dim(d) * kBits / 8) +
                        t % kCodeBlock<kBits> * 4;
  auto rest = hn::Zero(tag);
  for (std::size_t first = 0; first < d; first += kGroup) {
    auto words = hn::Zero(du32);
    for (std::size_t c = first; c < std::min(d, first + kGroup); ++c) {
      const auto v = hn::Load(tag, x + c * kN);
      const auto step = hn::Min(hn::Max(hn::Round(hn::Div(v, by_key)), hn::Neg(bound)), bound);
      const auto off = hn::NegMulAdd(step, by_key, v);
      rest = hn::MulAdd(off, off, rest);
      // Nibbles have no sign: they are 8 too large.
      const auto code = hn::Add(hn::ConvertTo(d32, step), hn::Set(d32, kBits == 8 ? 0 : 8));
      const auto bits = hn::And(hn::BitCast(du32, code), hn::Set(du32, (1u << kBits) - 1));
      words = hn::Or(words, hn::ShiftLeftSame(bits, static_cast<int>(16 * (c % 2) + kBits * (c % kGroup / 2))));
    }
    hn::StoreU(words, du32, reinterpret_cast<std::uint32_t*>(codes + first / kGroup * 64));
  }
  if constexpr (kBits == 8) {
    float off[kN];
    hn::StoreU(hn::Sqrt(rest), tag, off);
    for (std::size_t j = 0; j < kN; ++j) {
      // Above what rounding can hide: of the sums; of key - centre, once in a component; squares that vanish.
      const double least = static_cast<double>(off[j]) * (1 + 1e-4) + static_cast<double>(norm[j]) * 0x1p-22 + 1e-17;
      to.rests[t + j] = ok[j] ? bf16_above(least) : BF16{};
    }
  }
}

/// kLanes keys less their centre, x[c * kLanes + j], as signs of their rotations; x is overwritten.
inline void sign_keys(float* HWY_RESTRICT x, std::size_t size, std::size_t t, const SegmentRoom& to, bool* ok) {
  constexpr std::size_t kN = kLanes<float>;
  const Tag<float> tag;
  const Tag<std::uint32_t> du32;
  rotate(x, size);
  auto squares = hn::Zero(tag), magnitudes = hn::Zero(tag);
  std::uint8_t* codes = to.codes + t / 64 * (64 * size / 8);
  for (std::size_t first = 0; first < size; first += 8) {
    auto bits = hn::Zero(du32);
    for (std::size_t b = 0; b < 8; ++b) {
      const auto v = hn::Load(tag, x + (first + b) * kN);
      squares = hn::MulAdd(v, v, squares);
      magnitudes = hn::Add(magnitudes, hn::Abs(v));
      const auto negative = hn::ShiftRight<31>(hn::BitCast(du32, v));
      bits = hn::Or(bits, hn::ShiftLeftSame(hn::Xor(negative, hn::Set(du32, 1)), static_cast<int>(b)));
    }
    std::uint32_t bytes[kN];
    hn::StoreU(bits, du32, bytes);
    for (std::size_t j = 0; j < kN; ++j) codes[code_place<1>((t + j) % 64, first).byte] = static_cast<std::uint8_t>(bytes[j]);
  }
  // |r| / sqrt(size) is how far apart the signs put the key; divided by <signs, r> / (sqrt(size) |r|), the share of
  // it that points the right way.
  float of_squares[kN], of_magnitudes[kN];
  hn::StoreU(squares, tag, of_squares);
  hn::StoreU(magnitudes, tag, of_magnitudes);
  for (std::size_t j = 0; j < kN; ++j) {
    const BF16 factor = from_float<BF16>(of_magnitudes[j] == 0 ? 0.0f : of_squares[j] / of_magnitudes[j]);
    ok[j] = ok[j] && to_float(factor) < kInfinity<float>;
    to.scales[t + j] = ok[j] ? factor : BF16{};
  }
}

/// No less than |key| + |centre| + |rest| for each sketched key of a segment. rows: [count, d].
inline float reach_of(const float* rows, const bool* ok, std::size_t count, std::size_t d, const float* centre,
                      const BF16* rests) {
  const auto norm = [d](const float* row) {
    const Tag<float> tag;
    auto sum = hn::Zero(tag);
    for (std::size_t c = 0; c < d; c += kLanes<float>) {
      const auto v = load_padded(row, c, d);
      sum = hn::MulAdd(v, v, sum);
    }
    return std::sqrt(static_cast<double>(hn::GetLane(hn::SumOfLanes(tag, sum))));
  };
  double most = 0;
  for (std::size_t t = 0; t < count; ++t) {
    if (ok[t]) most = std::max(most, norm(rows + t * d) + static_cast<double>(to_float(rests[t])));
  }
  return to_float(bf16_above((most + norm(centre)) * (1 + 1e-4) + 1e-17));
}

/// How many numbers of an ascending list are below `end`: found from the back, where they are cut off.
inline std::size_t count_below(const Buffer<Position>& list, Position end) {
  std::size_t count = list.size();
  while (count != 0 && list[count - 1] >= end) --count;
  return count;
}

/// Columns that a sketch takes.
constexpr std::size_t kMostSketchColumns = 1024;

/// Bytes that add_segment works in.
template <int kBits>
std::size_t segment_scratch(const Sketch<kBits>& sketch, std::size_t d) {
  const std::size_t count = sketch.segment();
  return (kLanes<float> * Sketch<kBits>::code_dim(d) + (count + 1) * d + centre_scratch(count, d)) * sizeof(float) +
         2 * count * sizeof(bool);
}

/// Calls visit(buffer, size) for all that a sketch keeps of so many segments, of whose keys so many have no sketch.
template <int kBits, class Visit>
void for_each_buffer(Sketch<kBits>& sketch, std::size_t segments, std::size_t unsketched, std::size_t d,
                     const Visit& visit) {
  using Access = SketchAccess;
  const std::size_t keys = segments * sketch.segment();
  visit(Access::codes(sketch), keys * Sketch<kBits>::code_dim(d) * kBits / 8);
  visit(Access::scales(sketch), keys);
  visit(Access::centres(sketch), segments * d);
  if constexpr (kBits == 8) {
    visit(Access::rests(sketch), keys);
    visit(Access::reach(sketch), segments);
  }
  visit(Access::unsketched(sketch), unsketched);
  visit(Access::fingerprints(sketch), segments);
}

/// Adds the complete segment that starts at `first`; there is room for it. memory: segment_scratch, aligned to 64 bytes.
template <int kBits, class Kv>
void add_segment(Sketch<kBits>& sketch, const Kv& kv, Position first, std::byte* memory) {
  using Access = SketchAccess;
  constexpr std::size_t kN = kLanes<float>;
  const std::size_t count = sketch.segment(), d = sketch.key_dim(), size = Sketch<kBits>::code_dim(d), number = sketch.segments();
  const std::size_t code_bytes = count * size * kBits / 8;
  float* x = reinterpret_cast<float*>(memory);
  float* centre = x + kN * size;
  float* of_outliers = centre + (count + 1) * d;
  bool* ok = reinterpret_cast<bool*>(of_outliers + centre_scratch(count, d));
  bool* in_centre = ok + count;
  auto& scales = Access::scales(sketch);
  auto& codes = Access::codes(sketch);
  auto& rests = Access::rests(sketch);
  auto& centres = Access::centres(sketch);
  auto& reach = Access::reach(sketch);
  auto& unsketched = Access::unsketched(sketch);

  codes.resize((number + 1) * code_bytes);
  centres.resize((number + 1) * d);
  scales.resize((number + 1) * count);
  SegmentRoom room{codes.data() + number * code_bytes, scales.data() + number * count};
  if constexpr (kBits == 8) {
    rests.resize((number + 1) * count);
    room.rests = rests.data() + number * count;
  }
  const float* rows = widen_run<float>(kv, Span{first, first + static_cast<Position>(count)}, d,
                                       [](const auto& block) { return block.keys; }, centre + d);
  for (std::size_t t = 0; t < count; ++t) in_centre[t] = ok[t] = all_finite(rows + t * d, d);
  BF16* stored_centre = centres.data() + number * d;
  centre_of(rows, in_centre, count, d, stored_centre, of_outliers);
  for (std::size_t c = 0; c < d; ++c) centre[c] = to_float(stored_centre[c]);
  for (std::size_t t = 0; t < count; t += kN) {
    std::memset(x, 0, kN * size * sizeof(float));
    for (std::size_t j = 0; j < kN; ++j) {
      if (!ok[t + j]) continue;
      for (std::size_t c = 0; c < d; ++c) x[c * kN + j] = rows[(t + j) * d + c] - centre[c];
    }
    if constexpr (kBits == 1) {
      sign_keys(x, size, t, room, ok + t);
    } else {
      quantize_keys<kBits>(x, d, t, room, ok + t);
    }
  }
  for (std::size_t t = 0; t < count; ++t) {
    if (!ok[t]) unsketched.push_back(first + static_cast<Position>(t));
  }
  if constexpr (kBits == 8) reach.push_back(reach_of(rows, ok, count, d, centre, room.rests));
  Access::fingerprints(sketch).push_back(fingerprint<Sketch<kBits>>(kv, {first, first + static_cast<Position>(count)}));
}

/// Forgets all positions from n on, as if they had never been. `kv`: the keys of the head, of which at least the first
/// n are still what they were. Throws std::invalid_argument if there are fewer than n. Allocates nothing.
template <int kBits, KvHead Kv>
void truncate(Sketch<kBits>& sketch, const Kv& kv, Position n) {
  if (n < 0 || n > sketch.size()) {
    fail("skim::truncate: the ", sketch.kName, " covers ", sketch.size(), " positions and cannot be cut to ", n);
  }
  (void)kv;  // keys of an incomplete segment are read when they are asked for
  using Access = SketchAccess;
  const std::size_t segments = std::min(sketch.segments(), static_cast<std::size_t>(n) / sketch.segment());
  const std::size_t keys = segments * sketch.segment();
  Access::codes(sketch).resize(keys * Sketch<kBits>::code_dim(sketch.key_dim()) * kBits / 8);
  Access::scales(sketch).resize(keys);
  Access::centres(sketch).resize(segments * sketch.key_dim());
  Access::fingerprints(sketch).resize(segments);
  if constexpr (kBits == 8) {
    Access::rests(sketch).resize(keys);
    Access::reach(sketch).resize(segments);
  }
  auto& unsketched = Access::unsketched(sketch);
  unsketched.resize(count_below(unsketched, static_cast<Position>(keys)));
  Access::size(sketch) = n;
}

/// Takes in the positions of `kv` from `from` on; what the sketch held of them before is forgotten. Appended one by
/// one, in bulk or after a truncate, equal keys give equal bits. Reads each new key once; allocates while the sketch
/// grows (`reserve`), and changes nothing if there is no memory. Throws std::invalid_argument if positions would be left
/// out, and on keys of another size.
template <int kBits, KvHead Kv>
void append(Sketch<kBits>& sketch, const Kv& kv, Position from) {
  static_assert(!std::is_same_v<typename Kv::Key, double>, "skim::append: sketches are of keys in float, F16, BF16 or I8");
  if (from < 0 || from > sketch.size()) {
    fail("skim::append: the ", sketch.kName, " covers ", sketch.size(), " positions and cannot go on from ", from);
  }
  if (kv.size() < from) fail("skim::append: from is ", from, " but there are ", kv.size(), " keys");
  check_between("skim::append: number of keys", kv.size(), Position{0}, kMostPositions);
  if (kv.key_dim() == 0) fail("skim::append: keys have 0 columns but need at least 1");
  if (kv.key_dim() > kMostSketchColumns) {
    fail("skim::append: keys have ", kv.key_dim(), " columns but a sketch takes at most ", kMostSketchColumns);
  }
  if (sketch.size() != 0 && kv.key_dim() != sketch.key_dim()) {
    fail("skim::append: keys have ", kv.key_dim(), " columns but the ", sketch.kName, " is of keys with ",
         sketch.key_dim());
  }
  // All memory first: a sketch that cannot grow is the one it was.
  const std::size_t segments = static_cast<std::size_t>(kv.size()) / sketch.segment();
  const std::size_t kept = static_cast<std::size_t>(from) / sketch.segment();
  const std::size_t unsketched =
      count_below(SketchAccess::unsketched(sketch), static_cast<Position>(kept * sketch.segment())) +
      (segments - kept) * sketch.segment();
  for_each_buffer(sketch, segments, unsketched, kv.key_dim(), [](auto& buffer, std::size_t size) { buffer.reserve(size); });
  const Scratch memory(SketchAccess::scratch(sketch), segments > kept ? segment_scratch(sketch, kv.key_dim()) : 0);
  if (sketch.size() == 0) SketchAccess::d(sketch) = kv.key_dim();
  truncate(sketch, kv, from);
  for (;;) {
    if (kv.size() - sketch.sketched() < static_cast<Position>(sketch.segment())) break;
    add_segment(sketch, kv, sketch.sketched(), memory.data());
  }
  SketchAccess::size(sketch) = kv.size();
}

/// Room for `positions` positions of keys of d columns: until there are more, append and truncate allocate nothing,
/// however they come. Beside what `bytes` will count it sets aside 4 (segment + 17) d bytes to work in, 140 KB at d = 128,
/// and 8 a position for keys that cannot be sketched; pages of these that nobody touches take no memory on most systems.
/// Copies are not reserved. Throws std::invalid_argument on sizes out of range; without memory nothing has changed.
template <int kBits>
void reserve(Sketch<kBits>& sketch, Position positions, std::size_t d) {
  check_between("skim::reserve: positions", positions, Position{0}, kMostPositions);
  check_between("skim::reserve: d", d, std::size_t{1}, kMostSketchColumns);
  const std::size_t segments = static_cast<std::size_t>(positions) / sketch.segment();
  for_each_buffer(sketch, segments, segments * sketch.segment(), d,
                  [](auto& buffer, std::size_t size) { buffer.reserve_exactly(size); });
  SketchAccess::scratch(sketch).reserve_exactly(segment_scratch(sketch, d));
}

/// All positions that the index does not cover yet.
template <class Index, KvHead Kv>
void append(Index& index, const Kv& kv) {
  append(index, kv, index.size());
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_SKETCH_INL_H_

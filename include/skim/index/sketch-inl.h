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
#include "skim/index/rotate-inl.h"
#include "skim/index/sketch.h"
#include "skim/kernel/panel-inl.h"
#include "skim/kernel/round-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// The least bfloat16 that is not below x >= 0; +infinity if there is none.
inline BF16 bf16_above(double x) {
  const auto f = static_cast<float>(x);
  std::uint32_t bits = std::bit_cast<std::uint32_t>(f) + (static_cast<double>(f) < x ? 1u : 0u);
  return BF16{static_cast<std::uint16_t>((bits + 0xFFFFu) >> 16)};
}

/// The mean of the finite rows of a segment, rounded to bfloat16. rows: [kSegment, d]. Summed in the order of the
/// positions, each share divided first, so that nothing overflows.
inline void centre_of(const float* rows, const bool* finite, std::size_t count, std::size_t d, BF16* centre) {
  std::size_t n = 0;
  for (std::size_t t = 0; t < count; ++t) n += finite[t] ? 1u : 0u;
  const float share = n == 0 ? 0.0f : 1.0f / static_cast<float>(n);
  const Tag<float> tag;
  for (std::size_t c = 0; c < d; c += kLanes<float>) {
    const std::size_t w = std::min(kLanes<float>, d - c);
    auto sum = hn::Zero(tag);
    for (std::size_t t = 0; t < count; ++t) {
      if (finite[t]) sum = hn::MulAdd(load_padded(rows + t * d, c, d), hn::Set(tag, share), sum);
    }
    float mean[kLanes<float>];
    hn::StoreU(sum, tag, mean);
    for (std::size_t j = 0; j < w; ++j) centre[c + j] = from_float<BF16>(mean[j]);
  }
}

// ---- codes: where a component of a key is -------------------------------------------------------------
// Keys lie across the lanes: a kernel then never adds up lanes. 8 and 4 bits: blocks of 16 keys; for each 32 bits of
// a code the words of the 16 keys in a row. As pairs of 16-bit numbers a word holds, for a shift of 0 and 8 (8 bits)
// or 0, 4, 8 and 12 (4 bits), two neighbouring components. 1 bit: blocks of 64 keys; for each 8 components the bytes
// of the 64 keys: even bytes are of the first 32 keys, odd ones of the others.

template <int kBits>
constexpr std::size_t kCodeBlock = kBits == 1 ? 64 : 16;

/// Where component c of key t of a block is: byte and shift within the codes of the block.
template <int kBits>
struct CodePlace {
  std::size_t byte;
  int shift;
};
template <int kBits>
constexpr CodePlace<kBits> code_place(std::size_t t, std::size_t c) {
  if constexpr (kBits == 1) {
    return {c / 8 * 64 + (t < 32 ? 2 * t : 2 * (t - 32) + 1), static_cast<int>(c % 8)};
  } else {
    constexpr std::size_t kGroup = 32 / kBits;     // components of a word
    const std::size_t pair = c % kGroup / 2;       // its shift, in steps of kBits
    const std::size_t upper = c % 2;               // the upper 16 bits
    const std::size_t bit = 16 * upper + kBits * pair;
    return {(c / kGroup * 16 + t) * 4 + bit / 8, static_cast<int>(bit % 8)};
  }
}

/// What a segment is made of: the room it has in the buffers.
struct SegmentRoom {
  std::uint8_t* codes;
  BF16* scales;
  BF16* rests;  // 8 bits
};

/// One key less its centre, as integers of kBits. Returns false if that cannot be said in finite numbers.
template <int kBits>
bool quantize_key(const float* key, const float* centre, std::size_t d, std::size_t t, const SegmentRoom& to) {
  constexpr std::size_t kBlockKeys = kCodeBlock<kBits>;
  constexpr float kMost = kBits == 8 ? 127 : 7;
  constexpr int kZero = kBits == 8 ? 0 : 8;  // nibbles are 1 to 15
  const Tag<float> tag;
  const float largest = largest_magnitude(d, [&](std::size_t c) HWY_ATTR {
    return hn::Sub(load_padded(key, c, d), load_padded(centre, c, d));
  });
  if (!(largest < kInfinity<float>)) return false;
  const BF16 stored = bf16_above(static_cast<double>(largest) / kMost);
  const float scale = to_float(stored);
  if (!(scale < kInfinity<float>)) return false;
  const float divisor = scale > 0 ? scale : 1;
  std::uint8_t* codes = to.codes + t / kBlockKeys * (kBlockKeys * Sketch<kBits>::code_dim(d) * kBits / 8);
  double rest = 0;
  for (std::size_t c = 0; c < d; c += kLanes<float>) {
    const auto x = hn::Sub(load_padded(key, c, d), load_padded(centre, c, d));
    const auto steps = hn::Min(hn::Max(hn::Round(hn::Div(x, hn::Set(tag, divisor))), hn::Set(tag, -kMost)), hn::Set(tag, kMost));
    float step[kLanes<float>];
    hn::StoreU(steps, tag, step);
    for (std::size_t j = 0; j < std::min(kLanes<float>, d - c); ++j) {
      const auto place = code_place<kBits>(t % kBlockKeys, c + j);
      const auto code = static_cast<std::uint8_t>(static_cast<int>(step[j]) + kZero);
      codes[place.byte] = static_cast<std::uint8_t>(codes[place.byte] | (code << place.shift));
      if constexpr (kBits == 8) {
        const double off = static_cast<double>(key[c + j]) - static_cast<double>(centre[c + j]) -
                           static_cast<double>(scale) * static_cast<double>(step[j]);
        rest += off * off;
      }
    }
  }
  to.scales[t] = stored;
  if constexpr (kBits == 8) {
    to.rests[t] = bf16_above(std::sqrt(rest) * (1 + 1e-9));
    if (!(to_float(to.rests[t]) < kInfinity<float>)) return false;
  }
  return true;
}

/// Up to kLanes keys, from t on, as signs of their rotations. ok[j] becomes false where the factor is not finite.
/// scratch: kLanes (code_dim + d) values.
inline void sign_keys(const float* keys, std::size_t count, const float* centre, std::size_t d, std::size_t t,
                      const SegmentRoom& to, bool* ok, float* scratch) {
  constexpr std::size_t kN = kLanes<float>;
  const std::size_t size = Sketch<1>::code_dim(d);
  float* x = scratch;
  float* rest = scratch + kN * size;
  for (std::size_t j = 0; j < count; ++j) {
    for (std::size_t c = 0; c < d; ++c) rest[j * d + c] = ok[j] ? keys[j * d + c] - centre[c] : 0.0f;
  }
  across_lanes(rest, d, count, d, size, x);
  rotate(x, size);
  for (std::size_t j = 0; j < count; ++j) {
    if (!ok[j]) continue;
    double squares = 0, magnitudes = 0;
    for (std::size_t c = 0; c < size; ++c) {
      const double v = static_cast<double>(x[c * kN + j]);
      squares += v * v;
      magnitudes += std::abs(v);
    }
    // |r| / sqrt(size) is how far apart the signs put the key; divided by <signs, r> / (sqrt(size) |r|), the share of
    // it that points the right way.
    const double factor = squares == 0 ? 0.0 : squares / magnitudes;
    const BF16 stored = from_float<BF16>(static_cast<float>(factor));
    if (!(to_float(stored) < kInfinity<float>)) {
      ok[j] = false;
      continue;
    }
    to.scales[t + j] = stored;
    std::uint8_t* codes = to.codes + (t + j) / 64 * (64 * size / 8);
    for (std::size_t c = 0; c < size; ++c) {
      if (x[c * kN + j] < 0) continue;
      const auto place = code_place<1>((t + j) % 64, c);
      codes[place.byte] = static_cast<std::uint8_t>(codes[place.byte] | (1u << place.shift));
    }
  }
}

/// Adds the complete segment that starts at `first`.
template <int kBits, class Kv>
void add_segment(Sketch<kBits>& sketch, const Kv& kv, Position first) {
  using Access = SketchAccess;
  constexpr std::size_t kCount = Sketch<kBits>::kSegment;
  const std::size_t d = sketch.key_dim(), number = sketch.segments();
  const std::size_t code_bytes = kCount * Sketch<kBits>::code_dim(d) * kBits / 8;
  constexpr std::size_t kN = kLanes<float>;
  const std::size_t for_signs = kBits == 1 ? kN * (Sketch<kBits>::code_dim(d) + d) : 0;
  Buffer<float> memory;
  memory.resize(for_signs + (kCount + 1) * d);
  float* room_for_rows = memory.data() + for_signs;
  float* centre = room_for_rows + kCount * d;
  const float* rows = widen_run<float>(kv, Span{first, first + static_cast<Position>(kCount)}, d,
                                       [](const auto& block) { return block.keys; }, room_for_rows);
  bool ok[kCount];
  for (std::size_t t = 0; t < kCount; ++t) ok[t] = all_finite(rows + t * d, d);

  // All memory first: a sketch that cannot grow is the one it was.
  auto& scales = Access::scales(sketch);
  auto& codes = Access::codes(sketch);
  auto& rests = Access::rests(sketch);
  auto& centres = Access::centres(sketch);
  auto& reach = Access::reach(sketch);
  auto& unsketched = Access::unsketched(sketch);
  codes.reserve((number + 1) * code_bytes);
  centres.reserve((number + 1) * d);
  if constexpr (kBits == 8) {
    rests.reserve((number + 1) * kCount);
    reach.reserve(number + 1);
  }
  unsketched.reserve(unsketched.size() + kCount);
  scales.reserve((number + 1) * kCount);

  codes.resize((number + 1) * code_bytes);
  centres.resize((number + 1) * d);
  scales.resize((number + 1) * kCount);
  SegmentRoom room{codes.data() + number * code_bytes, scales.data() + number * kCount, nullptr};
  std::memset(room.codes, 0, code_bytes);
  std::memset(static_cast<void*>(room.scales), 0, kCount * sizeof(BF16));
  if constexpr (kBits == 8) {
    rests.resize((number + 1) * kCount);
    room.rests = rests.data() + number * kCount;
    std::memset(static_cast<void*>(room.rests), 0, kCount * sizeof(BF16));
  }
  BF16* stored_centre = centres.data() + number * d;
  centre_of(rows, ok, kCount, d, stored_centre);
  for (std::size_t c = 0; c < d; ++c) centre[c] = to_float(stored_centre[c]);

  if constexpr (kBits == 1) {
    for (std::size_t t = 0; t < kCount; t += kN) {
      sign_keys(rows + t * d, std::min(kN, kCount - t), centre, d, t, room, ok + t, memory.data());
    }
  } else {
    for (std::size_t t = 0; t < kCount; ++t) ok[t] = ok[t] && quantize_key<kBits>(rows + t * d, centre, d, t, room);
  }
  for (std::size_t t = 0; t < kCount; ++t) {
    if (ok[t]) continue;
    room.scales[t] = BF16{};
    if constexpr (kBits == 8) room.rests[t] = BF16{};
    unsketched.push_back(first + static_cast<Position>(t));
  }
  if constexpr (kBits == 8) {
    double of_centre = 0, most = 0;
    for (std::size_t c = 0; c < d; ++c) of_centre += static_cast<double>(centre[c]) * static_cast<double>(centre[c]);
    for (std::size_t t = 0; t < kCount; ++t) {
      if (!ok[t]) continue;
      double squares = 0;
      for (std::size_t c = 0; c < d; ++c) squares += static_cast<double>(rows[t * d + c]) * static_cast<double>(rows[t * d + c]);
      most = std::max(most, std::sqrt(squares) + static_cast<double>(to_float(room.rests[t])));
    }
    reach.push_back(to_float(bf16_above((most + std::sqrt(of_centre)) * (1 + 1e-9))));
  }
}

/// Forgets all positions from n on, as if they had never been. `kv`: the keys of the head, of which at least the first
/// n are still what they were. Throws std::invalid_argument if there are fewer than n.
template <int kBits, KvHead Kv>
void truncate(Sketch<kBits>& sketch, const Kv& kv, Position n) {
  if (n < 0 || n > sketch.size()) {
    fail("skim::truncate: the ", sketch.kName, " covers ", sketch.size(), " positions and cannot be cut to ", n);
  }
  (void)kv;  // keys of an incomplete segment are read when they are asked for
  using Access = SketchAccess;
  const std::size_t segments = std::min(sketch.segments(), static_cast<std::size_t>(n) / Sketch<kBits>::kSegment);
  const std::size_t keys = segments * Sketch<kBits>::kSegment;
  Access::codes(sketch).resize(keys * Sketch<kBits>::code_dim(sketch.key_dim()) * kBits / 8);
  Access::scales(sketch).resize(keys);
  Access::centres(sketch).resize(segments * sketch.key_dim());
  if constexpr (kBits == 8) {
    Access::rests(sketch).resize(keys);
    Access::reach(sketch).resize(segments);
  }
  auto& unsketched = Access::unsketched(sketch);
  while (!unsketched.empty() && unsketched[unsketched.size() - 1] >= static_cast<Position>(keys)) {
    unsketched.resize(unsketched.size() - 1);
  }
  Access::size(sketch) = n;
}

/// Takes in the positions of `kv` from `from` on; what the sketch held of them before is forgotten. Appended one by
/// one, in bulk or after a truncate, equal keys give equal bits. Reads each new key once; allocates while the sketch
/// grows. Throws std::invalid_argument if positions would be left out, and on keys of another size.
template <int kBits, KvHead Kv>
void append(Sketch<kBits>& sketch, const Kv& kv, Position from) {
  static_assert(!std::is_same_v<typename Kv::Key, double>, "skim::append: sketches are of keys in float, F16, BF16 or I8");
  if (from < 0 || from > sketch.size()) {
    fail("skim::append: the ", sketch.kName, " covers ", sketch.size(), " positions and cannot go on from ", from);
  }
  if (kv.size() < from) fail("skim::append: from is ", from, " but there are ", kv.size(), " keys");
  if (kv.key_dim() == 0) fail("skim::append: keys have 0 columns but need at least 1");
  if (kv.key_dim() > 1024) fail("skim::append: keys have ", kv.key_dim(), " columns but a sketch takes at most 1024");
  if (sketch.size() != 0 && kv.key_dim() != sketch.key_dim()) {
    fail("skim::append: keys have ", kv.key_dim(), " columns but the ", sketch.kName, " is of keys with ", sketch.key_dim());
  }
  if (sketch.size() == 0) SketchAccess::d(sketch) = kv.key_dim();
  truncate(sketch, kv, from);
  for (;;) {
    const auto first = static_cast<Position>(sketch.segments() * Sketch<kBits>::kSegment);
    if (kv.size() - first < static_cast<Position>(Sketch<kBits>::kSegment)) break;
    add_segment(sketch, kv, first);
    SketchAccess::size(sketch) = first + static_cast<Position>(Sketch<kBits>::kSegment);
  }
  SketchAccess::size(sketch) = kv.size();
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

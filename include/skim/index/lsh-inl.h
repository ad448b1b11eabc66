// SPDX-License-Identifier: Apache-2.0
// How LSH tables grow and shrink with the keys of their head.
#if defined(SKIM_INDEX_LSH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_LSH_INL_H_
#undef SKIM_INDEX_LSH_INL_H_
#else
#define SKIM_INDEX_LSH_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "skim/core/error.h"
#include "skim/core/kv.h"
#include "skim/index/lsh.h"
#include "skim/index/sketch-inl.h"
#include "skim/kernel/panel-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

// ---- parts ------------------------------------------------------------------------------------------------------

/// A run of hashed positions in their buckets.
struct LshPart {
  Position first = 0;
  std::size_t size = 0;
  const std::uint16_t* starts = nullptr;     // [tables, buckets]
  const std::uint16_t* positions = nullptr;  // [tables, size], counted from `first`
};

/// Calls visit(part) for the parts that hold the positions [0, end), in their order.
template <class Visit>
void for_each_part(const LshTables& tables, Position end, const Visit& visit) {
  const std::size_t number = tables.planes().tables(), buckets = std::size_t{1} << tables.planes().bits();
  const std::uint16_t* starts = LshAccess::starts(tables).data();
  const std::uint16_t* positions = LshAccess::positions(tables).data();
  Position first = 0;
  for (std::size_t size = tables.segment(); size >= LshTables::kLeastPart;) {
    if (end - first < static_cast<Position>(size)) {
      size /= 2;
      continue;
    }
    visit(LshPart{first, size, starts, positions});
    first += static_cast<Position>(size);
    starts += number * buckets;
    positions += number * size;
  }
}

/// Parts that hold the positions [0, end).
inline std::size_t count_parts(const LshTables& tables, Position end) {
  std::size_t count = 0;
  for_each_part(tables, end, [&count](const LshPart&) { ++count; });
  return count;
}

/// Orders the positions [0, size) by their codes; starts: [buckets].
inline void sort_by_code(const std::uint16_t* HWY_RESTRICT codes, std::size_t size, std::size_t buckets,
                         std::uint16_t* HWY_RESTRICT starts, std::uint16_t* HWY_RESTRICT positions) {
  std::memset(starts, 0, buckets * sizeof(std::uint16_t));
  for (std::size_t i = 0; i < size; ++i) ++starts[codes[i]];
  std::size_t sum = 0;
  for (std::size_t b = 0; b < buckets; ++b) {
    const std::size_t count = starts[b];
    starts[b] = static_cast<std::uint16_t>(sum);
    sum += count;
  }
  for (std::size_t i = 0; i < size; ++i) positions[starts[codes[i]]++] = static_cast<std::uint16_t>(i);
  // Each start has moved to where the next bucket begins.
  std::memmove(starts + 1, starts, (buckets - 1) * sizeof(std::uint16_t));
  starts[0] = 0;
}

/// The reverse: codes of table `table` of a part, [size].
inline void read_codes(const LshPart& part, std::size_t table, std::size_t buckets, std::uint16_t* HWY_RESTRICT codes) {
  const std::uint16_t* HWY_RESTRICT starts = part.starts + table * buckets;
  const std::uint16_t* HWY_RESTRICT positions = part.positions + table * part.size;
  for (std::size_t b = 0, i = 0; b < buckets; ++b) {
    const std::size_t end = b + 1 < buckets ? starts[b + 1] : part.size;
    for (; i < end; ++i) codes[positions[i]] = static_cast<std::uint16_t>(b);
  }
}

/// Codes of table `table` of the `count` positions that no part holds, from the `from`-th on.
inline void read_open_codes(const LshTables& tables, std::size_t table, std::size_t from, std::size_t count,
                            std::uint16_t* HWY_RESTRICT codes) {
  constexpr std::size_t kAtOnce = LshTables::kAtOnce;
  for (std::size_t i = 0; i < count; i += kAtOnce) {
    const std::size_t row = (from + i) / kAtOnce * tables.planes().tables() + table;
    std::memcpy(codes + i, LshAccess::codes(tables).data() + row * kAtOnce, kAtOnce * sizeof(std::uint16_t));
  }
}

/// Makes the part that ends at `end`, of codes and of smaller parts. When memory runs out nothing has changed.
inline void make_part(LshTables& tables, Position end) {
  const std::size_t number = tables.planes().tables(), buckets = std::size_t{1} << tables.planes().bits();
  const std::size_t size = tables.part_ending(end);
  const Position first = end - static_cast<Position>(size);
  const auto of_parts = static_cast<std::size_t>(std::max(tables.in_parts(), first) - first);
  auto& starts = LshAccess::starts(tables);
  auto& positions = LshAccess::positions(tables);
  Buffer<std::uint16_t> room;
  room.resize(number * (size + buckets) + size);
  std::uint16_t* new_positions = room.data();
  std::uint16_t* new_starts = new_positions + number * size;
  std::uint16_t* codes = new_starts + number * buckets;
  const std::size_t kept_parts = count_parts(tables, first);
  const auto kept = static_cast<std::size_t>(first);
  starts.reserve((kept_parts + 1) * number * buckets);
  positions.reserve((kept + size) * number);

  for (std::size_t t = 0; t < number; ++t) {
    if (of_parts != 0) {
      for_each_part(tables, tables.in_parts(), [&](const LshPart& part) {
        if (part.first >= first) read_codes(part, t, buckets, codes + (part.first - first));
      });
    }
    read_open_codes(tables, t, 0, size - of_parts, codes + of_parts);
    sort_by_code(codes, size, buckets, new_starts + t * buckets, new_positions + t * size);
  }
  starts.resize((kept_parts + 1) * number * buckets);
  positions.resize((kept + size) * number);
  std::memcpy(starts.data() + kept_parts * number * buckets, new_starts, number * buckets * sizeof(std::uint16_t));
  std::memcpy(positions.data() + kept * number, new_positions, number * size * sizeof(std::uint16_t));
  auto& open = LshAccess::codes(tables);
  const std::size_t used = (size - of_parts) * number;
  std::memmove(open.data(), open.data() + used, (open.size() - used) * sizeof(std::uint16_t));
  open.resize(open.size() - used);
  LshAccess::in_parts(tables) = end;
}

/// Takes apart the part that holds position `last`, a multiple of kAtOnce, so that parts and codes hold [0, last). When
/// memory runs out nothing has changed.
inline void cut_part(LshTables& tables, Position last) {
  constexpr std::size_t kAtOnce = LshTables::kAtOnce;
  const std::size_t number = tables.planes().tables(), buckets = std::size_t{1} << tables.planes().bits();
  const Position end = last / static_cast<Position>(LshTables::kLeastPart) * static_cast<Position>(LshTables::kLeastPart);
  LshPart old;
  std::size_t kept_parts = 0;
  for_each_part(tables, tables.in_parts(), [&](const LshPart& part) {
    if (part.first > last) return;
    old = part;
    ++kept_parts;
  });
  --kept_parts;
  const std::size_t new_parts = count_parts(tables, end) - kept_parts;
  const auto in_new_parts = static_cast<std::size_t>(end - old.first), open = static_cast<std::size_t>(last - end);
  auto& starts = LshAccess::starts(tables);
  auto& positions = LshAccess::positions(tables);
  Buffer<std::uint16_t> room, new_codes;
  room.resize(number * (in_new_parts + new_parts * buckets) + old.size);
  std::uint16_t* new_positions = room.data();
  std::uint16_t* new_starts = new_positions + number * in_new_parts;
  std::uint16_t* codes = new_starts + new_parts * number * buckets;
  new_codes.resize(open * number);
  starts.reserve((kept_parts + new_parts) * number * buckets);  // of a large part may come several small ones

  // The buffers may have moved.
  for_each_part(tables, tables.in_parts(), [&](const LshPart& part) {
    if (part.first == old.first) old = part;
  });
  for (std::size_t t = 0; t < number; ++t) {
    read_codes(old, t, buckets, codes);
    std::size_t part = 0;
    for_each_part(tables, end, [&](const LshPart& fresh) {
      if (fresh.first < old.first) return;
      const auto from = static_cast<std::size_t>(fresh.first - old.first);
      sort_by_code(codes + from, fresh.size, buckets, new_starts + (part * number + t) * buckets,
                   new_positions + from * number + t * fresh.size);
      ++part;
    });
    for (std::size_t i = 0; i < open; i += kAtOnce) {
      std::memcpy(new_codes.data() + (i / kAtOnce * number + t) * kAtOnce, codes + in_new_parts + i,
                  kAtOnce * sizeof(std::uint16_t));
    }
  }
  starts.resize((kept_parts + new_parts) * number * buckets);
  positions.resize(static_cast<std::size_t>(end) * number);
  if (new_parts != 0) {
    std::memcpy(starts.data() + kept_parts * number * buckets, new_starts, new_parts * number * buckets * sizeof(std::uint16_t));
    std::memcpy(positions.data() + static_cast<std::size_t>(old.first) * number, new_positions,
                in_new_parts * number * sizeof(std::uint16_t));
  }
  LshAccess::codes(tables).swap(new_codes);
  LshAccess::in_parts(tables) = end;
}

// ---- hashing ----------------------------------------------------------------------------------------------------

/// Tables that are hashed at once: whole tiles of the product, whatever the number of bits.
constexpr std::size_t kTablesAtOnce = 12;

/// Values of scratch that hash_keys wants, aligned to 64 bytes.
inline std::size_t hash_scratch(const LshPlanes& planes) {
  return LshTables::kAtOnce * planes.key_dim() + kTablesAtOnce * planes.bits() * kPanel<float>;
}

/// Codes of the rows x, [kAtOnce, d], in all tables: [tables, kAtOnce]. What one row gets does not depend on the others.
inline void hash_keys(const LshPlanes& planes, const float* x, float* HWY_RESTRICT scratch, std::uint16_t* HWY_RESTRICT codes) {
  constexpr std::size_t kP = kPanel<float>, kN = kLanes<float>, kAtOnce = LshTables::kAtOnce;
  static_assert(kAtOnce % kP == 0);
  const std::size_t d = planes.key_dim(), bits = planes.bits();
  const Tag<float> tag;
  const Tag<std::int32_t> d32;
  const hn::Rebind<std::uint16_t, Tag<std::int32_t>> d16;
  float* panels = scratch;                      // [kAtOnce / kP, d, kP]: keys lie across the lanes
  float* products = scratch + kAtOnce * d;      // [kTablesAtOnce, bits, kP]
  for (std::size_t i = 0; i < kAtOnce; i += kP) {
    fill_panel<float, float>([&](std::size_t j) { return x + (i + j) * d; }, d, panels + i * d);
  }
  for (std::size_t first = 0; first < planes.tables(); first += kTablesAtOnce) {
    const std::size_t count = std::min(kTablesAtOnce, planes.tables() - first);
    for (std::size_t i = 0; i < kAtOnce; i += kP) {
      panel_product(planes.normals() + first * bits * d, count * bits, d, std::size_t{1}, panels + i * d, d,
                    [&](std::size_t r, Vec<float> low, Vec<float> high) HWY_ATTR {
                      hn::StoreU(low, tag, products + r * kP);
                      hn::StoreU(high, tag, products + r * kP + kN);
                    });
      for (std::size_t t = 0; t < count; ++t) {
        for (std::size_t lane = 0; lane < kP; lane += kN) {
          auto code = hn::Zero(d32);
          for (std::size_t b = 0; b < bits; ++b) {
            const auto positive = hn::Gt(hn::LoadU(tag, products + (t * bits + b) * kP + lane), hn::Zero(tag));
            const auto bit = hn::Set(d32, std::int32_t{1} << b);
            code = hn::Or(code, hn::IfThenElseZero(hn::RebindMask(d32, positive), bit));
          }
          hn::StoreU(hn::DemoteTo(d16, code), d16, codes + (first + t) * kAtOnce + i + lane);
        }
      }
    }
  }
}

/// row - centre into x, [d]. Whether a table may hold it: it is zero, or its squares have a sum that says how long it is.
inline bool less_centre(const float* row, const float* centre, std::size_t d, float* HWY_RESTRICT x) {
  const Tag<float> tag;
  auto squares = hn::Zero(tag), largest = hn::Zero(tag);
  for (std::size_t c = 0; c < d; c += kLanes<float>) {
    const auto v = hn::Sub(load_padded(row, c, d), load_padded(centre, c, d));
    squares = hn::MulAdd(v, v, squares);
    largest = hn::Max(largest, hn::Abs(v));
    if (c + kLanes<float> <= d) {
      hn::StoreU(v, tag, x + c);
    } else {
      float padded[kLanes<float>];
      hn::StoreU(v, tag, padded);
      std::memcpy(x + c, padded, (d - c) * sizeof(float));
    }
  }
  const float sum = hn::GetLane(hn::SumOfLanes(tag, squares));
  const bool says_length = sum >= 0x1p-80f && sum < kInfinity<float>;  // not so NaN
  return says_length || (sum == 0 && hn::GetLane(hn::MaxOfLanes(tag, largest)) == 0);
}

/// The centre of the segment that starts at what is hashed so far; its first kOfCentre keys must be there.
template <class Kv>
void add_centre(LshTables& tables, const Kv& kv) {
  constexpr std::size_t kCount = LshTables::kOfCentre;
  const std::size_t d = tables.key_dim();
  auto& centres = LshAccess::centres(tables);
  Buffer<float> room;
  room.resize(kCount * d);
  centres.reserve(centres.size() + d);
  const Position first = tables.hashed();
  const float* rows = widen_run<float>(kv, Span{first, first + static_cast<Position>(kCount)}, d,
                                       [](const auto& block) { return block.keys; }, room.data());
  bool finite[kCount];
  for (std::size_t t = 0; t < kCount; ++t) finite[t] = all_finite(rows + t * d, d);
  centres.resize(centres.size() + d);
  centre_of(rows, finite, kCount, d, centres.end() - d);
}

/// Hashes the next kAtOnce keys. scratch: hash_scratch + (2 kAtOnce + 1) d values, aligned like it. When memory runs out nothing has changed.
template <class Kv>
void hash_block(LshTables& tables, const Kv& kv, float* scratch) {
  constexpr std::size_t kAtOnce = LshTables::kAtOnce;
  const std::size_t d = tables.key_dim(), number = tables.planes().tables();
  const Position first = tables.hashed();
  auto& codes = LshAccess::codes(tables);
  auto& unhashed = LshAccess::unhashed(tables);
  codes.reserve(codes.size() + kAtOnce * number);
  unhashed.reserve(unhashed.size() + kAtOnce);
  float* x = scratch + hash_scratch(tables.planes());
  float* centre = x + kAtOnce * d;
  float* room = centre + d;
  const BF16* stored = LshAccess::centres(tables).data() + static_cast<std::size_t>(first) / tables.segment() * d;
  for (std::size_t c = 0; c < d; ++c) centre[c] = to_float(stored[c]);
  const float* rows = widen_run<float>(kv, Span{first, first + static_cast<Position>(kAtOnce)}, d,
                                       [](const auto& block) { return block.keys; }, room);
  for (std::size_t t = 0; t < kAtOnce; ++t) {
    if (less_centre(rows + t * d, centre, d, x + t * d)) continue;
    unhashed.push_back(first + static_cast<Position>(t));
    std::fill_n(x + t * d, d, 0.0f);
  }
  codes.resize(codes.size() + kAtOnce * number);
  hash_keys(tables.planes(), x, scratch, codes.end() - kAtOnce * number);
  LshAccess::hashed(tables) = first + static_cast<Position>(kAtOnce);
}

/// Forgets all positions from n on, as if they had never been. `kv`: the keys of the head, of which at least the first
/// n are still what they were. Throws std::invalid_argument if there are fewer than n. Allocates when it takes a part
/// apart, and changes nothing if there is no memory.
template <KvHead Kv>
void truncate(LshTables& tables, const Kv& kv, Position n) {
  if (n < 0 || n > tables.size()) {
    fail("skim::truncate: the ", tables.kName, " covers ", tables.size(), " positions and cannot be cut to ", n);
  }
  (void)kv;  // keys that are not hashed are read when they are asked for
  const Position hashed = std::min(tables.hashed(), tables.hashed_of(n));
  if (hashed < tables.in_parts()) {
    cut_part(tables, hashed);
  } else {
    LshAccess::codes(tables).resize(static_cast<std::size_t>(hashed - tables.in_parts()) * tables.planes().tables());
  }
  const auto segment = static_cast<Position>(tables.segment());
  const Position centres = n / segment + (n % segment >= static_cast<Position>(LshTables::kOfCentre) ? 1 : 0);
  auto& all = LshAccess::centres(tables);
  all.resize(std::min(all.size(), static_cast<std::size_t>(centres) * tables.key_dim()));
  auto& unhashed = LshAccess::unhashed(tables);
  while (!unhashed.empty() && unhashed[unhashed.size() - 1] >= hashed) unhashed.resize(unhashed.size() - 1);
  LshAccess::hashed(tables) = hashed;
  LshAccess::size(tables) = n;
}

/// Takes in the positions of `kv` from `from` on; what the tables held of them before is forgotten. Appended one by one,
/// in bulk or after a truncate, equal keys give equal bits. Reads each new key once, the first of a segment twice;
/// allocates while the tables grow. Throws std::invalid_argument if positions would be left out, and on keys of another
/// size than the planes.
template <KvHead Kv>
void append(LshTables& tables, const Kv& kv, Position from) {
  static_assert(!std::is_same_v<typename Kv::Key, double>, "skim::append: LSH tables are of keys in float, F16, BF16 or I8");
  if (from < 0 || from > tables.size()) {
    fail("skim::append: the ", tables.kName, " covers ", tables.size(), " positions and cannot go on from ", from);
  }
  if (kv.size() < from) fail("skim::append: from is ", from, " but there are ", kv.size(), " keys");
  const std::size_t d = tables.key_dim();
  if (kv.key_dim() != d) {
    fail("skim::append: keys have ", kv.key_dim(), " columns but the planes of the ", tables.kName, " have ", d);
  }
  truncate(tables, kv, from);
  const auto segment = static_cast<Position>(tables.segment()), least = static_cast<Position>(LshTables::kLeastPart);
  const Position end = tables.hashed_of(kv.size()), end_of_parts = end / least * least;
  Buffer<float> scratch;
  if (tables.hashed() < end) scratch.resize((2 * LshTables::kAtOnce + 1) * d + hash_scratch(tables.planes()));
  while (tables.hashed() < end) {
    const auto centres = static_cast<Position>(LshAccess::centres(tables).size() / d);
    if (centres * segment <= tables.hashed()) add_centre(tables, plain(kv));
    hash_block(tables, plain(kv), scratch.data());
    const Position at = tables.hashed();
    LshAccess::size(tables) = at;
    // Only parts that stay: those that a larger one would take in at once are not made.
    if (at % least == 0) {
      const auto size = static_cast<Position>(tables.part_ending(at));
      const bool stays = size == segment || end_of_parts - at < size;
      // After a failure for want of memory older codes may wait for a larger part.
      if (stays && at - size <= tables.in_parts()) make_part(tables, at);
    }
  }
  LshAccess::size(tables) = kv.size();
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_LSH_INL_H_

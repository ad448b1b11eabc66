// SPDX-License-Identifier: Apache-2.0
// How LSH tables grow and shrink with the keys of their head.
#if defined(SKIM_INDEX_LSH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_LSH_INL_H_
#undef SKIM_INDEX_LSH_INL_H_
#else
#define SKIM_INDEX_LSH_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstring>

#include "skim/core/error.h"
#include "skim/core/kv.h"
#include "skim/core/limits.h"
#include "skim/core/scratch.h"
#include "skim/index/fingerprint-inl.h"
#include "skim/index/lsh.h"
#include "skim/index/lsh_parts-inl.h"
#include "skim/index/sketch-inl.h"
#include "skim/kernel/panel-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

// ---- hashing ----------------------------------------------------------------------------------------------------

/// Tables that are hashed at once: whole tiles of the product, whatever the number of bits.
constexpr std::size_t kTablesAtOnce = 12;

/// Values of scratch that hash_keys wants, aligned to 64 bytes.
inline std::size_t hash_scratch(const LshPlanes& planes) {
  return LshTables::kAtOnce * planes.key_dim() + kTablesAtOnce * planes.bits() * kPanel<float>;
}

/// Codes of the rows x, [kAtOnce, d], in all tables: [tables, kAtOnce]. What one row gets does not depend on the
/// others.
inline void hash_keys(const LshPlanes& planes, const float* x, float* HWY_RESTRICT scratch,
                      std::uint16_t* HWY_RESTRICT codes) {
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

/// row - centre into x, [d]. Whether a table may hold it: it is zero, or its squares have a sum that says how long it
/// is.
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

/// The centre of the segment that starts at what is hashed so far; its first kOfCentre keys must be there, and room for it.
/// room: kOfCentre d + centre_scratch(kOfCentre, d) values.
template <class Kv>
void add_centre(LshTables& tables, const Kv& kv, float* room) {
  constexpr std::size_t kCount = LshTables::kOfCentre;
  const std::size_t d = tables.key_dim();
  auto& centres = LshAccess::centres(tables);
  const Position first = tables.hashed();
  const float* rows = widen_run<float>(kv, Span{first, first + static_cast<Position>(kCount)}, d,
                                       [](const auto& block) { return block.keys; }, room);
  bool in[kCount];
  for (std::size_t t = 0; t < kCount; ++t) in[t] = all_finite(rows + t * d, d);
  centres.resize(centres.size() + d);
  centre_of(rows, in, kCount, d, centres.end() - d, room + kCount * d);
}

/// Hashes the next kAtOnce keys; there must be room for their codes. scratch: hash_scratch + (2 kAtOnce + 1) d values,
/// aligned like it.
template <class Kv>
void hash_block(LshTables& tables, const Kv& kv, float* scratch) {
  constexpr std::size_t kAtOnce = LshTables::kAtOnce;
  const std::size_t d = tables.key_dim(), number = tables.planes().tables();
  const Position first = tables.hashed();
  auto& codes = LshAccess::codes(tables);
  auto& unhashed = LshAccess::unhashed(tables);
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
  LshAccess::fingerprints(tables).push_back(
      fingerprint<LshTables>(kv, {first, first + static_cast<Position>(kAtOnce)}));
  LshAccess::hashed(tables) = first + static_cast<Position>(kAtOnce);
}

/// Bytes that hashing works in, with room to make parts in place of it of `part` values.
inline std::size_t append_scratch(const LshTables& tables, std::size_t part) {
  const std::size_t d = tables.key_dim(), hashing = (2 * LshTables::kAtOnce + 1) * d + hash_scratch(tables.planes());
  const std::size_t of_centre = LshTables::kOfCentre * d + centre_scratch(LshTables::kOfCentre, d);
  return std::max(std::max(hashing, of_centre) * sizeof(float), part * sizeof(std::uint16_t));
}

/// Calls visit(buffer, size) for all that the tables keep of so many positions, of which so many are never hashed and up to
/// `open` have codes.
template <class Visit>
void for_each_buffer(LshTables& tables, Position positions, std::size_t unhashed, std::size_t open, const Visit& visit) {
  const std::size_t number = tables.planes().tables(), buckets = std::size_t{1} << tables.planes().bits();
  const auto n = static_cast<std::size_t>(positions);
  visit(LshAccess::starts(tables), most_parts(tables, positions) * number * buckets);
  visit(LshAccess::positions(tables), static_cast<std::size_t>(end_of_parts(positions)) * number + kLshSlack);
  visit(LshAccess::codes(tables), open * number);
  visit(LshAccess::centres(tables), (n / tables.segment() + 1) * tables.key_dim());
  visit(LshAccess::unhashed(tables), unhashed);
  visit(LshAccess::fingerprints(tables), n / LshTables::kAtOnce);
}

/// Positions that are hashed when the tables are cut to n.
inline Position hashed_after(const LshTables& tables, Position n) { return std::min(tables.hashed(), tables.hashed_of(n)); }

/// Room for all of tables that are cut to `from` positions and grow to n.
inline void make_room(LshTables& tables, Position from, Position n) {
  const Position start = hashed_after(tables, from), end = std::max(start, tables.hashed_of(n));
  const auto open = static_cast<std::size_t>(end - std::min(tables.in_parts(), end_of_parts(start)));
  const std::size_t unhashed = count_below(LshAccess::unhashed(tables), start) + static_cast<std::size_t>(end - start);
  for_each_buffer(tables, n, unhashed, std::min(open, tables.segment()),
                  [](auto& buffer, std::size_t size) { buffer.reserve(size); });
}

/// Values that truncate works in.
inline std::size_t truncate_scratch(const LshTables& tables, Position n) {
  const Position hashed = hashed_after(tables, n);
  return hashed < tables.in_parts() ? part_scratch(tables, find_cut(tables, hashed).part.size) : 0;
}

/// Forgets all positions from n on. There must be room for all. room: truncate_scratch.
inline void cut_tables(LshTables& tables, Position n, std::uint16_t* room) {
  const Position hashed = hashed_after(tables, n);
  if (hashed < tables.in_parts()) {
    cut_part(tables, hashed, room);
  } else {
    LshAccess::codes(tables).resize(static_cast<std::size_t>(hashed - tables.in_parts()) * tables.planes().tables());
  }
  const auto segment = static_cast<Position>(tables.segment());
  const Position centres = n / segment + (n % segment >= static_cast<Position>(LshTables::kOfCentre) ? 1 : 0);
  auto& all = LshAccess::centres(tables);
  all.resize(std::min(all.size(), static_cast<std::size_t>(centres) * tables.key_dim()));
  auto& unhashed = LshAccess::unhashed(tables);
  unhashed.resize(count_below(unhashed, hashed));
  LshAccess::fingerprints(tables).resize(static_cast<std::size_t>(hashed) / LshTables::kAtOnce);
  LshAccess::hashed(tables) = hashed;
  LshAccess::size(tables) = n;
}

/// Forgets all positions from n on, as if they had never been. `kv`: the keys of the head, of which at least the first
/// n are still what they were. Throws std::invalid_argument if there are fewer than n. Allocates when it takes a part
/// apart (`reserve`), and changes nothing if there is no memory.
template <KvHead Kv>
void truncate(LshTables& tables, const Kv& kv, Position n) {
  if (n < 0 || n > tables.size()) {
    fail("skim::truncate: the ", tables.kName, " covers ", tables.size(), " positions and cannot be cut to ", n);
  }
  (void)kv;  // keys that are not hashed are read when they are asked for
  const Scratch room(LshAccess::scratch(tables), truncate_scratch(tables, n) * sizeof(std::uint16_t));
  make_room(tables, n, n);
  cut_tables(tables, n, reinterpret_cast<std::uint16_t*>(room.data()));
}

/// Takes in the positions of `kv` from `from` on; what the tables held of them before is forgotten. Appended one by
/// one, in bulk or after a truncate, equal keys give equal bits. Reads each new key once, the first of a segment twice;
/// allocates while the tables grow (`reserve`), and changes nothing if there is no memory. Throws std::invalid_argument if
/// positions would be left out, and on keys of another size than the planes.
template <KvHead Kv>
void append(LshTables& tables, const Kv& kv, Position from) {
  static_assert(!std::is_same_v<typename Kv::Key, double>,
                "skim::append: LSH tables are of keys in float, F16, BF16 or I8");
  if (from < 0 || from > tables.size()) {
    fail("skim::append: the ", tables.kName, " covers ", tables.size(), " positions and cannot go on from ", from);
  }
  if (kv.size() < from) fail("skim::append: from is ", from, " but there are ", kv.size(), " keys");
  check_between("skim::append: number of keys", kv.size(), Position{0}, kMostPositions);
  const std::size_t d = tables.key_dim();
  if (kv.key_dim() != d) {
    fail("skim::append: keys have ", kv.key_dim(), " columns but the planes of the ", tables.kName, " have ", d);
  }
  const auto segment = static_cast<Position>(tables.segment());
  const Position start = hashed_after(tables, from), end = tables.hashed_of(kv.size());
  // All memory first: tables that cannot grow are the ones they were.
  std::size_t largest = 0;
  for_each_new_part(tables, std::min(tables.in_parts(), end_of_parts(start)), end, end_of_parts(end),
                    [&](Position at) { largest = std::max(largest, tables.part_ending(at)); });
  const std::size_t to_cut = truncate_scratch(tables, from), to_make = largest == 0 ? 0 : part_scratch(tables, largest);
  const Scratch scratch(LshAccess::scratch(tables), start < end ? append_scratch(tables, std::max(to_cut, to_make))
                                                                : to_cut * sizeof(std::uint16_t));
  make_room(tables, from, kv.size());
  auto* room = reinterpret_cast<std::uint16_t*>(scratch.data());
  cut_tables(tables, from, room);
  while (tables.hashed() < end) {
    const auto centres = static_cast<Position>(LshAccess::centres(tables).size() / d);
    if (centres * segment <= tables.hashed()) add_centre(tables, plain(kv), reinterpret_cast<float*>(scratch.data()));
    hash_block(tables, plain(kv), reinterpret_cast<float*>(scratch.data()));
    make_parts(tables, end_of_parts(end), room);
  }
  LshAccess::size(tables) = kv.size();
}

/// Room for `positions` positions: until there are more, append and truncate allocate nothing, however they come. Beside
/// what `bytes` will count it sets aside what the largest part is made of and made in, twice the bytes of a part of a
/// segment (11 MB for 10 bits, 150 tables and segments of 16384; less for fewer positions), and 8 bytes a position for keys
/// that cannot be hashed; pages of these that nobody touches take no memory on most systems. Copies are not reserved.
/// Throws std::invalid_argument on sizes out of range; without memory nothing has changed.
inline void reserve(LshTables& tables, Position positions) {
  check_between("skim::reserve: positions", positions, Position{0}, kMostPositions);
  const auto n = static_cast<std::size_t>(positions);
  for_each_buffer(tables, positions, n, std::min(n, tables.segment()),
                  [](auto& buffer, std::size_t size) { buffer.reserve_exactly(size); });
  const std::size_t part = std::min(std::bit_floor(n), tables.segment());
  LshAccess::scratch(tables).reserve_exactly(append_scratch(tables, part_scratch(tables, part)));
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_LSH_INL_H_

// SPDX-License-Identifier: Apache-2.0
// The parts that hold hashed positions: how codes become buckets, and buckets codes again.
#if defined(SKIM_INDEX_LSH_PARTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_LSH_PARTS_INL_H_
#undef SKIM_INDEX_LSH_PARTS_INL_H_
#else
#define SKIM_INDEX_LSH_PARTS_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "skim/index/lsh.h"
#include "skim/kernel/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

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

/// Codes of table `table` of the first `count` positions that no part holds.
inline void read_open_codes(const LshTables& tables, std::size_t table, std::size_t count,
                            std::uint16_t* HWY_RESTRICT codes) {
  constexpr std::size_t kAtOnce = LshTables::kAtOnce;
  for (std::size_t i = 0; i < count; i += kAtOnce) {
    const std::size_t row = i / kAtOnce * tables.planes().tables() + table;
    std::memcpy(codes + i, LshAccess::codes(tables).data() + row * kAtOnce, kAtOnce * sizeof(std::uint16_t));
  }
}

/// Buckets that come together in a larger part, of one table.
struct LshRun {
  const std::uint16_t* starts = nullptr;     // [buckets]
  const std::uint16_t* positions = nullptr;  // [size], and kLshSlack more that may be read
  std::size_t size = 0;
  std::size_t first = 0;  // added to its positions
};
constexpr std::size_t kLshSlack = 32;

/// Bucket by bucket one run behind the other: no codes, and nothing to count. starts: [buckets]; positions: [size of all],
/// and kLshSlack more are written.
inline void merge_runs(const LshRun* runs, std::size_t count, std::size_t buckets, std::uint16_t* HWY_RESTRICT starts,
                       std::uint16_t* HWY_RESTRICT positions) {
  const hn::CappedTag<std::uint16_t, kLshSlack> tag;
  const std::size_t lanes = hn::Lanes(tag);
  std::size_t size = 0;
  for (std::size_t b = 0; b < buckets; ++b) {
    starts[b] = static_cast<std::uint16_t>(size);
    for (const LshRun* run = runs; run != runs + count; ++run) {
      const std::size_t begin = run->starts[b], end = b + 1 < buckets ? run->starts[b + 1] : run->size;
      const auto first = hn::Set(tag, static_cast<std::uint16_t>(run->first));
      // What is too much is written over by what comes next.
      std::size_t i = begin;
      do {
        hn::StoreU(hn::Add(hn::LoadU(tag, run->positions + i), first), tag, positions + size + (i - begin));
        i += lanes;
      } while (i < end);
      size += end - begin;
    }
  }
}

/// Most parts that hold up to n positions.
inline std::size_t most_parts(const LshTables& tables, Position n) {
  std::size_t sizes = 1;
  for (std::size_t size = LshTables::kLeastPart; size < tables.segment(); size *= 2) ++sizes;
  return static_cast<std::size_t>(n) / tables.segment() + sizes;
}

/// Values that make_part works in for a part of `size` positions, and cut_part to take such a part apart: into one of each
/// smaller size at most.
inline std::size_t part_scratch(const LshTables& tables, std::size_t size) {
  const std::size_t number = tables.planes().tables(), buckets = std::size_t{1} << tables.planes().bits();
  return number * (size + most_parts(tables, 0) * buckets) + 2 * size + buckets + 2 * kLshSlack;
}

/// Makes the part that ends at `end`, of codes and of smaller parts; there must be room for it. room: part_scratch.
inline void make_part(LshTables& tables, Position end, std::uint16_t* room) {
  constexpr std::size_t kMostRuns = 8;
  static_assert((LshTables::kLeastPart << (kMostRuns - 2)) >= LshTables::kMostPart, "one of each size, and codes");
  const std::size_t number = tables.planes().tables(), buckets = std::size_t{1} << tables.planes().bits();
  const std::size_t size = tables.part_ending(end);
  const Position first = end - static_cast<Position>(size);
  const auto of_parts = static_cast<std::size_t>(std::max(tables.in_parts(), first) - first), of_codes = size - of_parts;
  auto& starts = LshAccess::starts(tables);
  auto& positions = LshAccess::positions(tables);
  std::uint16_t* new_positions = room;
  std::uint16_t* new_starts = new_positions + number * size + kLshSlack;
  std::uint16_t* codes = new_starts + number * buckets;
  std::uint16_t* sorted_starts = codes + of_codes;
  std::uint16_t* sorted = sorted_starts + buckets;
  const std::size_t kept_parts = count_parts(tables, first);
  const auto kept = static_cast<std::size_t>(first);

  LshPart parts[kMostRuns];
  std::size_t count = 0;
  if (of_parts != 0) {
    for_each_part(tables, tables.in_parts(), [&](const LshPart& part) {
      if (part.first >= first) parts[count++] = part;
    });
  }
  for (std::size_t t = 0; t < number; ++t) {
    std::uint16_t* to_starts = new_starts + t * buckets;
    std::uint16_t* to = new_positions + t * size;
    read_open_codes(tables, t, of_codes, codes);
    if (count == 0) {
      sort_by_code(codes, size, buckets, to_starts, to);
      continue;
    }
    LshRun runs[kMostRuns];
    for (std::size_t r = 0; r < count; ++r) {
      const LshPart& part = parts[r];
      runs[r] = {part.starts + t * buckets, part.positions + t * part.size, part.size,
                 static_cast<std::size_t>(part.first - first)};
    }
    sort_by_code(codes, of_codes, buckets, sorted_starts, sorted);
    runs[count] = {sorted_starts, sorted, of_codes, of_parts};
    merge_runs(runs, count + 1, buckets, to_starts, to);
  }
  starts.resize((kept_parts + 1) * number * buckets);
  positions.resize((kept + size) * number);
  std::memcpy(starts.data() + kept_parts * number * buckets, new_starts, number * buckets * sizeof(std::uint16_t));
  std::memcpy(positions.data() + kept * number, new_positions, number * size * sizeof(std::uint16_t));
  auto& open = LshAccess::codes(tables);
  const std::size_t used = of_codes * number;
  std::memmove(open.data(), open.data() + used, (open.size() - used) * sizeof(std::uint16_t));
  open.resize(open.size() - used);
  LshAccess::in_parts(tables) = end;
}

/// Calls visit(end of a part) for those that end in (first, last] and stay when parts hold [0, end): none that a larger one
/// would take in at once. first: a multiple of kLeastPart.
template <class Visit>
void for_each_new_part(const LshTables& tables, Position first, Position last, Position end, const Visit& visit) {
  const auto segment = static_cast<Position>(tables.segment()), least = static_cast<Position>(LshTables::kLeastPart);
  for (Position at = first + least; at <= last; at += least) {
    const auto size = static_cast<Position>(tables.part_ending(at));
    if (size == segment || end - at < size) visit(at);
  }
}

/// Makes the parts for which there are codes and which stay when parts hold [0, end).
inline void make_parts(LshTables& tables, Position end, std::uint16_t* room) {
  for_each_new_part(tables, tables.in_parts(), tables.hashed(), end,
                    [&](Position at) { make_part(tables, at, room); });
}

/// The part that holds position `last`, and how many come before it.
struct LshCut {
  LshPart part;
  std::size_t before = 0;
};
inline LshCut find_cut(const LshTables& tables, Position last) {
  LshCut cut;
  for_each_part(tables, tables.in_parts(), [&](const LshPart& part) {
    if (part.first > last) return;
    cut.before += cut.part.size != 0 ? 1 : 0;
    cut.part = part;
  });
  return cut;
}

/// Where the parts end that are left when parts and codes hold [0, last).
inline Position end_of_parts(Position last) {
  const auto least = static_cast<Position>(LshTables::kLeastPart);
  return last / least * least;
}

/// Takes apart the part that holds position `last`, a multiple of kAtOnce, so that parts and codes hold [0, last). There
/// must be room for more starts and codes. room: part_scratch.
inline void cut_part(LshTables& tables, Position last, std::uint16_t* room) {
  constexpr std::size_t kAtOnce = LshTables::kAtOnce;
  const std::size_t number = tables.planes().tables(), buckets = std::size_t{1} << tables.planes().bits();
  const Position end = end_of_parts(last);
  const LshCut cut = find_cut(tables, last);
  const LshPart& old = cut.part;
  const std::size_t kept_parts = cut.before;
  const std::size_t new_parts = count_parts(tables, end) - kept_parts;
  const auto in_new_parts = static_cast<std::size_t>(end - old.first), open = static_cast<std::size_t>(last - end);
  auto& starts = LshAccess::starts(tables);
  auto& positions = LshAccess::positions(tables);
  std::uint16_t* new_positions = room;
  std::uint16_t* new_starts = new_positions + number * in_new_parts;
  std::uint16_t* new_codes = new_starts + new_parts * number * buckets;
  std::uint16_t* codes = new_codes + number * open;
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
      std::memcpy(new_codes + (i / kAtOnce * number + t) * kAtOnce, codes + in_new_parts + i,
                  kAtOnce * sizeof(std::uint16_t));
    }
  }
  starts.resize((kept_parts + new_parts) * number * buckets);
  positions.resize(static_cast<std::size_t>(end) * number);
  if (new_parts != 0) {
    std::memcpy(starts.data() + kept_parts * number * buckets, new_starts,
                new_parts * number * buckets * sizeof(std::uint16_t));
    std::memcpy(positions.data() + static_cast<std::size_t>(old.first) * number, new_positions,
                in_new_parts * number * sizeof(std::uint16_t));
  }
  auto& open_codes = LshAccess::codes(tables);
  open_codes.resize(open * number);
  if (open != 0) std::memcpy(open_codes.data(), new_codes, open * number * sizeof(std::uint16_t));
  LshAccess::in_parts(tables) = end;
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_LSH_PARTS_INL_H_

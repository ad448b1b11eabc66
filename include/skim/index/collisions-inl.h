// SPDX-License-Identifier: Apache-2.0
// Which hashed keys share buckets with a query.
#if defined(SKIM_INDEX_COLLISIONS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_COLLISIONS_INL_H_
#undef SKIM_INDEX_COLLISIONS_INL_H_
#else
#define SKIM_INDEX_COLLISIONS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstring>

#include "skim/core/query.h"
#include "skim/core/selection.h"
#include "skim/core/workspace.h"
#include "skim/index/lsh-inl.h"
#include "skim/kernel/score-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

// ---- the query --------------------------------------------------------------------------------------------------

/// a b + c in one rounding where the target has such an instruction, in every caller: what a compiler fuses of its own
/// accord it may fuse here and not there, and a group would ask in two directions.
HWY_INLINE double multiply_add(double a, double b, double c) {
  const hn::CappedTag<double, 1> one;
  return hn::GetLane(hn::MulAdd(hn::Set(one, a), hn::Set(one, b), hn::Set(one, c)));
}

/// The query that speaks for a group: the mean of the directions of its heads, as a unit vector. out: [d]. A head that
/// is zero or not finite has no direction. Zeros if none has, or if they cancel but for rounding. Returns its length as
/// it is stored, 1 to rounding, or 0.
inline double pool_directions(const BasicQuery<float>& q, float* HWY_RESTRICT out, Workspace& ws) {
  const std::size_t d = q.rows.cols;
  double* sum = ws.get<double>(Workspace::kBounds, d);
  std::fill_n(sum, d, 0.0);
  for (std::size_t h = 0; h < q.heads(); ++h) {
    const float* row = q.rows.row(h);
    double squares = 0;
    for (std::size_t c = 0; c < d; ++c) {
      squares = multiply_add(static_cast<double>(row[c]), static_cast<double>(row[c]), squares);
    }
    if (!(squares > 0 && squares < kInfinity<double>)) continue;
    const double share = 1 / std::sqrt(squares);
    for (std::size_t c = 0; c < d; ++c) sum[c] = multiply_add(share, static_cast<double>(row[c]), sum[c]);
  }
  double squares = 0, stored = 0;
  for (std::size_t c = 0; c < d; ++c) squares = multiply_add(sum[c], sum[c], squares);
  const double rounding = static_cast<double>(q.heads()) * 0x1p-50;
  const double share = squares > rounding * rounding ? 1 / std::sqrt(squares) : 0;
  for (std::size_t c = 0; c < d; ++c) {
    out[c] = static_cast<float>(share * sum[c]);
    stored = multiply_add(static_cast<double>(out[c]), static_cast<double>(out[c]), stored);
  }
  return std::sqrt(stored);
}

/// Codes of one vector in the first `count` tables.
inline void hash_query(const LshPlanes& planes, std::size_t count, const float* row, std::uint16_t* HWY_RESTRICT codes,
                       Workspace& ws) {
  const std::size_t d = planes.key_dim(), all = count * planes.bits();
  BasicQuery<float> q;
  q.rows = {row, 1, d};
  const LaneQuery<float> lanes = lane_query<float>(q, ws);
  ws.reads.index_bytes += all * d * sizeof(float);
  const float* keys[2][kBlock];
  alignas(64) float products[kBlock];
  const auto fill = [&](std::size_t first, const float** to) {
    for (std::size_t j = 0; j < kBlock; ++j) to[j] = planes.normals() + std::min(first + j, all - 1) * d;
  };
  fill(0, keys[0]);
  std::size_t table = 0, bit = 0, code = 0;
  for (std::size_t first = 0, now = 0; first < all; first += kBlock, now = 1 - now) {
    fill(first + kBlock, keys[1 - now]);
    const std::size_t size = std::min(kBlock, all - first);
    dots<float, float, float>(lanes, keys[now], size, keys[1 - now], products);
    for (std::size_t j = 0; j < size; ++j) {
      code |= (products[j] > 0 ? std::size_t{1} : std::size_t{0}) << bit;
      if (++bit != planes.bits()) continue;
      codes[table++] = static_cast<std::uint16_t>(code);
      bit = code = 0;
    }
  }
}

// ---- retrieval --------------------------------------------------------------------------------------------------
// In how many tables has a position been met? Two bits for each position of a part: in one, and in two. A word holds the
// first kind of 32 positions, and above them the second, so that meeting a position reads and writes one word. They
// stay in the first-level cache, and what is met is read out 64 positions at a time.

/// Sets to 0 the bits [first, last).
inline void clear_bits(std::uint64_t* words, std::size_t first, std::size_t last) {
  for (std::size_t i = first, next; i < last; i = next) {
    const std::size_t in_word = i % 64;
    next = std::min(i - in_word + 64, last);
    words[i / 64] &= ~(~std::uint64_t{0} >> (64 - (next - i)) << in_word);
  }
}

/// Walks what is selected, run after run of positions in ascending order.
class Selected {
 public:
  explicit Selected(const Selection& selection) : spans_(selection.spans()), picks_(selection.picks()) {}

  /// Sets to 0 what is selected of the positions `of`, a bit each. Calls are for ascending runs.
  void clear(Span of, std::uint64_t* words) {
    while (span_ < spans_.size() && spans_[span_].last <= of.first) ++span_;
    for (std::size_t s = span_; s < spans_.size() && spans_[s].first < of.last; ++s) {
      const Span part = intersect(spans_[s], of);
      clear_bits(words, static_cast<std::size_t>(part.first - of.first),
                 static_cast<std::size_t>(part.last - of.first));
    }
    while (pick_ < picks_.size() && picks_[pick_].position < of.first) ++pick_;
    for (; pick_ < picks_.size() && picks_[pick_].position < of.last; ++pick_) {
      const auto at = static_cast<std::size_t>(picks_[pick_].position - of.first);
      clear_bits(words, at, at + 1);
    }
  }

 private:
  const Buffer<Span>& spans_;
  const Buffer<Pick>& picks_;
  std::size_t span_ = 0, pick_ = 0;
};

/// Appends the positions of `within` whose bit is set, and returns how many. words: bits of the positions from `first`
/// on, [count], a multiple of 64.
inline std::size_t keep_met(const std::uint64_t* words, Position first, std::size_t count, Span within,
                            Position* HWY_RESTRICT out) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; i += 64) {
    const Position at = first + static_cast<Position>(i);
    std::uint64_t bits = words[i / 64];
    if (bits == 0) continue;
    if (at < within.first) bits &= within.first - at >= 64 ? 0 : ~std::uint64_t{0} << (within.first - at);
    if (at + 64 > within.last) bits &= within.last <= at ? 0 : ~std::uint64_t{0} >> (64 - (within.last - at));
    for (; bits != 0; bits &= bits - 1)
      out[kept++] = at + static_cast<Position>(hwy::Num0BitsBelowLS1Bit_Nonzero64(bits));
  }
  return kept;
}

/// A query's bucket in one table of one part.
struct Bucket {
  const std::uint16_t* first = nullptr;
  std::size_t count = 0;
};

/// Copies a bucket, and returns its end there; up to kLshSlack more are written. last: the end of what may be read.
inline std::uint16_t* copy_bucket(const Bucket& bucket, const std::uint16_t* last, std::uint16_t* HWY_RESTRICT to) {
  const hn::CappedTag<std::uint16_t, kLshSlack> tag;
  if (static_cast<std::size_t>(last - bucket.first) < bucket.count + kLshSlack) {
    if (bucket.count != 0) std::memcpy(to, bucket.first, bucket.count * sizeof(std::uint16_t));
  } else {
    std::size_t i = 0;
    do {
      hn::StoreU(hn::LoadU(tag, bucket.first + i), tag, to + i);
      i += hn::Lanes(tag);
    } while (i < bucket.count);
  }
  return to + bucket.count;
}

/// Meets positions one after the other, each as often as it is there. at: [count]; twos: [positions / 32]
inline void meet(const std::uint16_t* HWY_RESTRICT at, std::size_t count, std::uint64_t* HWY_RESTRICT twos) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t bit = std::uint64_t{1} << (at[i] % 32), word = twos[at[i] / 32];
    twos[at[i] / 32] = word | bit | (word & bit) << 32;
  }
}

/// One kind of bits alone: of the positions that are met in at least `least` (1 or 2) tables. words: [count]
inline void met_in(std::size_t least, const std::uint64_t* HWY_RESTRICT twos, std::size_t count,
                   std::uint64_t* HWY_RESTRICT words) {
  const std::size_t shift = least == 1 ? 0 : 32;
  for (std::size_t w = 0; w < count; ++w) {
    const std::uint64_t low = twos[2 * w] >> shift & 0xFFFFFFFFu, high = twos[2 * w + 1] >> shift;
    words[w] = high << 32 | low;
  }
}

/// Which keys of a block, [kAtOnce], have the query's code in at least `least` of the first `number` tables: a bit each.
inline std::uint64_t equal_codes(const std::uint16_t* HWY_RESTRICT codes, const std::uint16_t* HWY_RESTRICT of_query,
                                 std::size_t number, std::size_t least) {
  constexpr std::size_t kAtOnce = LshTables::kAtOnce;
  static_assert(kAtOnce == 64);
  const hn::CappedTag<std::uint16_t, 32> tag;
  constexpr std::size_t kN = std::min<std::size_t>(kLanes<std::uint16_t>, 32);
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < kAtOnce; i += kN) {
    auto count = hn::Zero(tag);
    for (std::size_t t = 0; t < number; ++t) {
      const auto equal = hn::Eq(hn::LoadU(tag, codes + t * kAtOnce + i), hn::Set(tag, of_query[t]));
      count = hn::Sub(count, hn::VecFromMask(tag, equal));
    }
    std::uint16_t counts[kN];
    hn::StoreU(count, tag, counts);
    for (std::size_t j = 0; j < kN; ++j) bits |= std::uint64_t{counts[j] >= least ? 1u : 0u} << (i + j);
  }
  return bits;
}

/// Positions that are worth reading.
struct Met {
  Position* positions = nullptr;  // ascending, in the workspace
  std::size_t count = 0;
};

/// The hashed positions of `visible` that are not selected and share the query's bucket in at least `least` (1 or 2) of
/// the first `number` tables, together with those that have no hash. codes: [number], of the query.
inline Met collisions(const LshTables& tables, const std::uint16_t* codes, std::size_t number, std::size_t least,
                      Span visible, const Selection& selection, Workspace& ws) {
  constexpr std::size_t kAtOnce = LshTables::kAtOnce;
  const Span within = intersect(visible, {0, tables.hashed()});
  if (within.size() <= 0) return {};
  const std::size_t buckets = std::size_t{1} << tables.planes().bits(), all = tables.planes().tables();

  // Buckets first: where they begin are reads that wait for nothing, and then it is known what to ask for.
  const std::size_t parts = count_parts(tables, tables.in_parts());
  Bucket* bucket = ws.get<Bucket>(Workspace::kChosen, parts * number);
  std::size_t count = 0, entries = 0, most = 0;  // buckets, what is in them, and in those of one part
  for_each_part(tables, tables.in_parts(), [&](const LshPart& part) {
    if (intersect({part.first, part.first + static_cast<Position>(part.size)}, within).size() <= 0) return;
    std::size_t of_part = 0;
    for (std::size_t t = 0; t < number; ++t) {
      const std::uint16_t* start = part.starts + t * buckets + codes[t];
      const std::size_t end = codes[t] + 1u < buckets ? start[1] : part.size;
      bucket[count++] = {part.positions + t * part.size + start[0], end - start[0]};
      of_part += end - start[0];
    }
    entries += of_part;
    most = std::max(most, of_part);
  });
  ws.reads.index_bytes += (2 * count + entries) * sizeof(std::uint16_t);

  auto* positions = ws.get<Position>(Workspace::kCandidates, static_cast<std::size_t>(within.size()));
  const std::size_t words = tables.segment() / 64;
  auto* wanted = ws.get<std::uint64_t>(Workspace::kSurvivors, 3 * words + (most + kLshSlack + 3) / 4);
  auto* twos = wanted + words;
  Selected selected(selection);
  const auto& unhashed = LshAccess::unhashed(tables);
  std::size_t next_unhashed = 0, met = 0;
  const auto keep = [&](Position first, std::size_t size) {
    const Position last = first + static_cast<Position>(size);
    while (next_unhashed < unhashed.size() && unhashed[next_unhashed] < first) ++next_unhashed;
    for (; next_unhashed < unhashed.size() && unhashed[next_unhashed] < last; ++next_unhashed) {
      const auto at = static_cast<std::size_t>(unhashed[next_unhashed] - first);
      wanted[at / 64] |= std::uint64_t{1} << (at % 64);
    }
    selected.clear({first, last}, wanted);
    met += keep_met(wanted, first, size, within, positions + met);
  };

  // A part's buckets are copied before anything is met: else what is met waits for memory, and what it reads for what it
  // has written, since two positions may share a word.
  auto* list = reinterpret_cast<std::uint16_t*>(twos + 2 * words);
  const std::uint16_t* last = LshAccess::positions(tables).end();
  std::size_t done = 0;
  constexpr std::size_t kAhead = 8;
  for_each_part(tables, tables.in_parts(), [&](const LshPart& part) {
    if (intersect({part.first, part.first + static_cast<Position>(part.size)}, within).size() <= 0) return;
    std::uint16_t* to = list;
    for (std::size_t t = 0; t < number; ++t, ++done) {
      if (done + kAhead < count) {
        const Bucket& ahead = bucket[done + kAhead];
        __builtin_prefetch(ahead.first);
        __builtin_prefetch(ahead.first + ahead.count);
      }
      to = copy_bucket(bucket[done], last, to);
    }
    std::memset(twos, 0, part.size / 4);
    meet(list, static_cast<std::size_t>(to - list), twos);
    met_in(least, twos, part.size / 64, wanted);
    keep(part.first, part.size);
  });
  for (Position first = tables.in_parts(); first < tables.hashed(); first += static_cast<Position>(kAtOnce)) {
    if (intersect({first, first + static_cast<Position>(kAtOnce)}, within).size() <= 0) continue;
    const auto block = static_cast<std::size_t>(first - tables.in_parts()) / kAtOnce;
    *wanted = equal_codes(LshAccess::codes(tables).data() + block * all * kAtOnce, codes, number, least);
    ws.reads.index_bytes += number * kAtOnce * sizeof(std::uint16_t);
    keep(first, kAtOnce);
  }
  return {positions, met};
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_COLLISIONS_INL_H_

// SPDX-License-Identifier: Apache-2.0
// A query group against a sketch: dot products with all sketched keys, sixteen at a time.
//
// Keys lie across the lanes (sketch-inl.h). Of 8 and 4 bits pairs of components are multiplied with pairs of 16-bit query
// values and added up in 32 bits, exactly. Of 1 bit each four signs look up their part of the sum in a table of 16 (André,
// Kermarrec, Le Scouarnec, "Cache locality is not enough", VLDB 2015). A code is loaded once for up to four heads.
#if defined(SKIM_INDEX_SCAN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_SCAN_INL_H_
#undef SKIM_INDEX_SCAN_INL_H_
#else
#define SKIM_INDEX_SCAN_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cmath>

#include "skim/core/query.h"
#include "skim/core/workspace.h"
#include "skim/index/sketch-inl.h"
#include "skim/kernel/int8-inl.h"
#include "skim/kernel/score-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// What a sketch reads of one query head.
struct SketchQuery {
  const std::int16_t* row = nullptr;    // 8 and 4 bits: [code_dim], zeros behind the last
  const std::uint8_t* table = nullptr;  // 1 bit: [code_dim / 4, 16], for each four signs their part of the sum
  float step = 0;                       // what one unit of a sum is worth
  float offset = 0;                     // 1 bit: what a sum of 0 is worth
  std::int32_t excess = 0;              // 4 bits: what a sum is too large by, nibbles being 8 too large
  float off = 0;                        // 8 bits: an upper bound of |query - what row stands for|
  float norm = 0;                       // 8 bits: an upper bound of |query|
};

/// The query rows as the sketch reads them, and their dot products with its centres.
struct SketchQueries {
  const SketchQuery* heads = nullptr;  // [g]
  const float* centres = nullptr;      // [segments, g]
};

/// Tables of the sums of four signs times q, [size]. Each is quantised to 7 bits, so that two add up in a byte.
inline void make_tables(const float* q, std::size_t stride, std::size_t size, std::uint8_t* table, SketchQuery& out) {
  float widest = 0, offset = 0;
  for (std::size_t c = 0; c < size; c += 4) {
    float sum = 0;
    for (std::size_t j = 0; j < 4; ++j) sum += std::abs(q[(c + j) * stride]);
    widest = std::max(widest, sum);
    offset -= sum;
  }
  out.step = 2 * widest / 127;
  out.offset = offset;
  const float per_unit = out.step > 0 && out.step < kInfinity<float> ? 1 / out.step : 0.0f;
  // A sign that agrees adds 2 |v| = |v| + v (+-1) to the least sum there is, one that does not |v| - |v|.
  static constexpr auto kSigns = [] {
    std::array<std::array<float, 16>, 4> signs{};
    for (std::size_t j = 0; j < 4; ++j) {
      for (std::size_t code = 0; code < 16; ++code) signs[j][code] = (code >> j & 1u) != 0 ? 1.0f : -1.0f;
    }
    return signs;
  }();
  for (std::size_t c = 0; c < size; c += 4) {
    float v[4], least = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      v[j] = q[(c + j) * stride] * per_unit;
      least += std::abs(v[j]);
    }
    std::uint8_t* entries = table + c / 4 * 16;
    for (std::size_t code = 0; code < 16; ++code) {
      const float units = least + v[0] * kSigns[0][code] + v[1] * kSigns[1][code] + v[2] * kSigns[2][code] + v[3] * kSigns[3][code];
      // In this order a NaN, of a query that is not finite, becomes 127.
      entries[code] = per_unit > 0 ? static_cast<std::uint8_t>(std::max(0.0f, std::min(127.0f, units + 0.5f))) : std::uint8_t{0};
    }
  }
}

template <int kBits>
SketchQueries sketch_queries(const BasicQuery<float>& q, const Sketch<kBits>& sketch, Workspace& ws) {
  const std::size_t heads = q.heads(), d = q.rows.cols, size = Sketch<kBits>::code_dim(d), segments = sketch.segments();
  constexpr std::size_t kN = kLanes<float>;
  const std::size_t row_bytes = kBits == 1 ? size / 4 * 16 : round_up(size, kStep<float>) * sizeof(std::int16_t);
  const std::size_t padded = round_up(row_bytes, 64);
  auto* memory = ws.get<std::uint8_t>(Workspace::kIndexQuery, heads * (padded + sizeof(SketchQuery)) + segments * heads * sizeof(float) + 64 +
                                                                  (kBits == 1 ? size * kN * sizeof(float) : 0));
  std::uint8_t* rows = memory;
  float* turned = reinterpret_cast<float*>(rows + heads * padded);  // 1 bit: aligned
  auto* out = reinterpret_cast<SketchQuery*>(turned + (kBits == 1 ? size * kN : 0));
  float* centres = reinterpret_cast<float*>(out + heads);

  for (std::size_t h = 0; h < heads; ++h) {
    out[h] = {};
    if constexpr (kBits == 1) {
      if (h % kN == 0) {
        std::memset(turned, 0, size * kN * sizeof(float));
        for (std::size_t t = 0; t < std::min(kN, heads - h); ++t) {
          for (std::size_t c = 0; c < d; ++c) turned[c * kN + t] = q.rows.row(h + t)[c];
        }
        rotate(turned, size);
      }
      out[h].table = rows + h * padded;
      make_tables(turned + h % kN, kN, size, rows + h * padded, out[h]);
    } else {
      auto* row = reinterpret_cast<std::int16_t*>(rows + h * padded);
      std::memset(row, 0, padded);
      const float* from = q.rows.row(h);
      const float step = round_row(from, d, row);
      out[h].row = row;
      out[h].step = step;
      if constexpr (kBits == 4) {
        for (std::size_t c = 0; c < d; ++c) out[h].excess += 8 * row[c];
      }
      if constexpr (kBits == 8) {
        double off = 0, all = 0;
        for (std::size_t c = 0; c < d; ++c) {
          const double v = static_cast<double>(from[c]), e = v - static_cast<double>(step) * static_cast<double>(row[c]);
          off += e * e;
          all += v * v;
        }
        out[h].off = static_cast<float>(std::sqrt(off) * (1 + 1e-6)) + 0x1p-149f;  // no less, also of what is subnormal
        out[h].norm = static_cast<float>(std::sqrt(all) * (1 + 1e-6)) + 0x1p-149f;
      }
    }
  }
  // Centres are rows like keys.
  const LaneQuery<float> lanes = lane_query<BF16>(q, ws);
  float* s = ws.get<float>(Workspace::kBlockLogits, heads * kBlock);
  const BF16* all = SketchAccess::centres(sketch).data();
  for (std::size_t first = 0; first < segments; first += kBlock) {
    const std::size_t count = std::min(kBlock, segments - first);
    const BF16 *block[kBlock], *next[kBlock];
    for (std::size_t t = 0; t < kBlock; ++t) {
      block[t] = all + (first + std::min(t, count - 1)) * d;
      next[t] = all + std::min(first + 4 * kBlock + t, segments - 1) * d;
    }
    dots(lanes, block, count, static_cast<const BF16* const*>(next), s);
    for (std::size_t t = 0; t < count; ++t) {
      for (std::size_t h = 0; h < heads; ++h) centres[(first + t) * heads + h] = s[h * kBlock + t];
    }
  }
  return {out, centres};
}

/// kBlock scales as floats.
HWY_INLINE Vec<float> load_scales(const BF16* p) {
  const Tag<float> tag;
  const Tag<std::uint32_t> du32;
  const hn::Rebind<std::uint16_t, Tag<std::uint32_t>> du16;
  return hn::BitCast(tag, hn::ShiftLeft<16>(hn::PromoteTo(du32, hn::LoadU(du16, reinterpret_cast<const std::uint16_t*>(p)))));
}

/// Codes are asked for so many bytes before they are read, into the second-level cache.
constexpr std::size_t kScanAhead = 8192;

#if HWY_TARGET != HWY_SCALAR

/// The pairs of 16-bit numbers that 32 bits of a code hold: as many vectors as there are shifts.
template <int kBits>
struct CodePairs {
  static constexpr int kVectors = 16 / kBits;
  hn::Vec<Tag16> v[kVectors];

  HWY_INLINE explicit CodePairs(const std::uint8_t* p) {
    const Tag16 d16;
    const auto x = hn::BitCast(d16, hn::LoadU(hn::Repartition<std::uint8_t, Tag16>(), p));
    if constexpr (kBits == 8) {
      v[0] = hn::ShiftRight<8>(hn::ShiftLeft<8>(x));
      v[1] = hn::ShiftRight<8>(x);
    } else {
      const Tag<std::uint16_t> du16;
      const auto mask = hn::Set(d16, 0xF);
      const auto u = hn::BitCast(du16, x);
      v[0] = hn::And(x, mask);
      v[1] = hn::And(hn::BitCast(d16, hn::ShiftRight<4>(u)), mask);
      v[2] = hn::And(hn::BitCast(d16, hn::ShiftRight<8>(u)), mask);
      v[3] = hn::BitCast(d16, hn::ShiftRight<12>(u));
    }
  }
};

/// So many components have an exact sum; of nibbles any number that there is.
template <int kBits>
constexpr std::size_t kExactCodes = kBits == 8 ? kExactSum : 4096;

/// Sums over the components of 16 keys for G heads, as floats: out[h * kBlock + t].
template <int kBits, int G>
HWY_INLINE void code_sums(const std::uint8_t* HWY_RESTRICT codes, std::size_t size, const SketchQuery* heads,
                          float* HWY_RESTRICT out) {
  using Pairs = CodePairs<kBits>;
  constexpr std::size_t kGroup = 32 / kBits;
  constexpr std::size_t kN = kLanes<float>;
  // An addition waits for the one before it: few heads need several sums each.
  constexpr int kChains = std::min(Pairs::kVectors, std::max(1, 4 * kTile / G));
  const Tag32 d32;
  const Tag16 d16;
  const Tag<float> tag;
  for (std::size_t t = 0; t < kBlock; t += kN) {
    for (std::size_t first = 0; first < size; first += kExactCodes<kBits>) {
      const std::size_t last = std::min(size, first + kExactCodes<kBits>);
      PairSums sum[G][kChains];
      HWY_UNROLL(4) for (int h = 0; h < G; ++h) {
        HWY_UNROLL(4) for (int p = 0; p < kChains; ++p) sum[h][p].clear();
      }
      for (std::size_t c = first; c < last; c += kGroup) {
        const std::uint8_t* line = codes + c / kGroup * 64;
        if (t == 0) __builtin_prefetch(line + kScanAhead, 0, 2);
        const Pairs pairs(line + t * 4);
        HWY_UNROLL(4) for (int h = 0; h < G; ++h) {
          HWY_UNROLL(4) for (int p = 0; p < Pairs::kVectors; ++p) {
            std::int32_t both;
            std::memcpy(&both, heads[h].row + c + 2 * p, sizeof(both));
            sum[h][p % kChains].add(pairs.v[p], hn::BitCast(d16, hn::Set(d32, both)));
          }
        }
      }
      for (int h = 0; h < G; ++h) {
        auto exact = hn::Sub(sum[h][0].get(), hn::Set(d32, heads[h].excess));
        HWY_UNROLL(4) for (int p = 1; p < kChains; ++p) exact = hn::Add(exact, sum[h][p].get());
        float* to = out + static_cast<std::size_t>(h) * kBlock + t;
        const auto part = hn::ConvertTo(tag, exact);
        hn::StoreU(first == 0 ? part : hn::Add(hn::LoadU(tag, to), part), tag, to);
      }
    }
  }
}

/// Sums of table entries for the 64 keys of a block and G heads: out[h * 64 + t].
template <int G>
HWY_INLINE void table_sums(const std::uint8_t* HWY_RESTRICT codes, std::size_t size, const SketchQuery* heads,
                           float* HWY_RESTRICT out) {
  const hn::ScalableTag<std::uint8_t> d8;
  const hn::ScalableTag<std::uint16_t> d16;
  const Tag<std::int32_t> d32;
  const Tag<float> tag;
  constexpr std::size_t kBytes = HWY_LANES(std::uint8_t);
  const auto low_half = hn::Set(d8, 0x0F);
  const hn::Rebind<std::uint16_t, Tag<std::int32_t>> half16;
  for (std::size_t part = 0; part < 64; part += kBytes) {
    hn::Vec<decltype(d16)> all[G], odd[G];
    HWY_UNROLL(4) for (int h = 0; h < G; ++h) all[h] = odd[h] = hn::Zero(d16);
    for (std::size_t c = 0; c < size; c += 8) {
      const std::uint8_t* line = codes + c / 8 * 64;
      if (part == 0) __builtin_prefetch(line + kScanAhead, 0, 2);
      const auto x = hn::LoadU(d8, line + part);
      const auto low = hn::And(x, low_half);
      const auto high = hn::And(hn::BitCast(d8, hn::ShiftRight<4>(hn::BitCast(d16, x))), low_half);
      HWY_UNROLL(4) for (int h = 0; h < G; ++h) {
        const std::uint8_t* table = heads[h].table + c / 4 * 16;
        const auto both = hn::BitCast(d16, hn::Add(hn::TableLookupBytes(hn::LoadDup128(d8, table), low),
                                                   hn::TableLookupBytes(hn::LoadDup128(d8, table + 16), high)));
        all[h] = hn::Add(all[h], both);
        odd[h] = hn::Add(odd[h], hn::ShiftRight<8>(both));
      }
    }
    alignas(64) std::uint16_t sums[kBytes / 2];
    HWY_UNROLL(4) for (int h = 0; h < G; ++h) {
      const auto store = [&](hn::Vec<decltype(d16)> v, float* to) HWY_ATTR {
        hn::Store(v, d16, sums);
        for (std::size_t i = 0; i < kBytes / 2; i += kLanes<float>) {
          hn::StoreU(hn::ConvertTo(tag, hn::PromoteTo(d32, hn::LoadU(half16, sums + i))), tag, to + i);
        }
      };
      store(hn::Sub(all[h], hn::ShiftLeft<8>(odd[h])), out + h * 64 + part / 2);
      store(odd[h], out + h * 64 + 32 + part / 2);
    }
  }
}

#else

template <int kBits, int G>
void code_sums(const std::uint8_t* codes, std::size_t size, const SketchQuery* heads, float* out) {
  for (int h = 0; h < G; ++h) {
    for (std::size_t t = 0; t < kBlock; ++t) {
      float total = 0;
      for (std::size_t first = 0; first < size; first += kExactSum) {
        std::int32_t sum = 0;
        for (std::size_t c = first; c < std::min(size, first + kExactSum); ++c) {
          const auto place = code_place<kBits>(t, c);
          const int code = kBits == 8 ? static_cast<std::int8_t>(codes[place.byte]) : (codes[place.byte] >> place.shift & 0xF) - 8;
          sum += code * heads[h].row[c];
        }
        total += static_cast<float>(sum);
      }
      out[static_cast<std::size_t>(h) * kBlock + t] = total;
    }
  }
}

template <int G>
void table_sums(const std::uint8_t* codes, std::size_t size, const SketchQuery* heads, float* out) {
  for (int h = 0; h < G; ++h) {
    for (std::size_t t = 0; t < 64; ++t) {
      std::uint32_t sum = 0;
      for (std::size_t c = 0; c < size; c += 4) {
        const auto place = code_place<1>(t, c);
        sum += heads[h].table[c / 4 * 16 + (codes[place.byte] >> place.shift & 0xF)];
      }
      out[static_cast<std::size_t>(h) * 64 + t] = static_cast<float>(sum);
    }
  }
}

#endif

/// Sums of all heads for one block of codes: out[h * kCodeBlock + t].
template <int kBits>
HWY_INLINE void block_sums(const std::uint8_t* codes, std::size_t size, const SketchQuery* heads, std::size_t count, float* out) {
  constexpr std::size_t kKeys = kCodeBlock<kBits>;
  const auto of = [&]<int G>(std::integral_constant<int, G>, std::size_t h) {
    if constexpr (kBits == 1) {
      table_sums<G>(codes, size, heads + h, out + h * kKeys);
    } else {
      code_sums<kBits, G>(codes, size, heads + h, out + h * kKeys);
    }
  };
  std::size_t h = 0;
  for (; h + 4 <= count; h += 4) of(std::integral_constant<int, 4>(), h);
  for (; h + 2 <= count; h += 2) of(std::integral_constant<int, 2>(), h);
  for (; h < count; ++h) of(std::integral_constant<int, 1>(), h);
}

/// Asks for the codes of the positions of `within`.
template <int kBits>
void prefetch_codes(const Sketch<kBits>& sketch, Span within) {
  const std::size_t of_key = Sketch<kBits>::code_dim(sketch.key_dim()) * kBits / 8;
  const std::uint8_t* codes = SketchAccess::codes(sketch).data() + static_cast<std::size_t>(within.first) * of_key;
  for (std::size_t i = 0; i < static_cast<std::size_t>(within.size()) * of_key; i += 64) __builtin_prefetch(codes + i);
  __builtin_prefetch(SketchAccess::scales(sketch).data() + within.first);
}

/// What a scan of the sketched positions of `within` reads, but for partial blocks at its ends.
template <int kBits>
std::uint64_t scanned_bytes(const Sketch<kBits>& sketch, Span within) {
  const auto keys = static_cast<std::uint64_t>(std::max<Position>(0, intersect(within, {0, sketch.sketched()}).size()));
  const std::uint64_t of_key = Sketch<kBits>::code_dim(sketch.key_dim()) * kBits / 8 + (kBits == 8 ? 2 : 1) * sizeof(BF16);
  return keys * of_key + keys * sketch.key_dim() * sizeof(BF16) / sketch.segment();
}

/// Calls visit(first position, dots [g, kBlock], rank of the first among the sketched keys) for each sixteen keys of
/// complete segments that meet `within`; dots are estimates of <q, key>, 0 beyond what the centre says for a key
/// without a sketch, and may be overwritten. s: scratch for g (kCodeBlock + kBlock) values.
template <int kBits, class Visit>
void scan(const SketchQueries& q, std::size_t heads, const Sketch<kBits>& sketch, Span within, float* s, const Visit& visit) {
  constexpr std::size_t kKeys = kCodeBlock<kBits>;
  const Tag<float> tag;
  const std::size_t size = Sketch<kBits>::code_dim(sketch.key_dim()), block_bytes = kKeys * size * kBits / 8;
  const std::uint8_t* codes = SketchAccess::codes(sketch).data();
  const BF16* scales = SketchAccess::scales(sketch).data();
  float* dots_of = s + heads * kKeys;
  const auto end = static_cast<std::size_t>(std::max<Position>(0, std::min(within.last, sketch.sketched())));
  if (within.size() <= 0) return;
  for (std::size_t key = static_cast<std::size_t>(within.first) / kKeys * kKeys; key < end; key += kKeys) {
    const std::uint8_t* block = codes + key / kKeys * block_bytes;
    block_sums<kBits>(block, size, q.heads, heads, s);
    const float* centres = q.centres + key / sketch.segment() * heads;
    for (std::size_t part = 0; part < kKeys; part += kBlock) {
      const std::size_t first = key + part;
      if (first + kBlock <= static_cast<std::size_t>(within.first) || first >= end) continue;
      for (std::size_t h = 0; h < heads; ++h) {
        const auto step = hn::Set(tag, q.heads[h].step), offset = hn::Set(tag, q.heads[h].offset);
        const auto centre = hn::Set(tag, centres[h]);
        for (std::size_t t = 0; t < kBlock; t += kLanes<float>) {
          const auto sum = hn::LoadU(tag, s + h * kKeys + part + t);
          const auto units = kBits == 1 ? hn::MulAdd(sum, step, offset) : hn::Mul(sum, step);
          hn::StoreU(hn::MulAdd(units, load_scales(scales + first + t), centre), tag, dots_of + h * kBlock + t);
        }
      }
      visit(static_cast<Position>(first), dots_of, first);
    }
  }
}

/// Dot products of the sixteen keys from `first` on become logits, in place. s: [g, kBlock].
inline void apply_rule_from(const BasicQuery<float>& q, Position first, float* s) {
  Position positions[kBlock] = {};
  if (q.logit.alibi_slopes) {  // else nobody asks
    for (std::size_t t = 0; t < kBlock; ++t) positions[t] = first + static_cast<Position>(t);
  }
  apply_rule(q, positions, s);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_SCAN_INL_H_

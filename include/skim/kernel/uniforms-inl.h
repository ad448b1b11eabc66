// SPDX-License-Identifier: Apache-2.0
// Many uniform numbers at once: the bits of Draws::bits, several Philox blocks a vector.
#if defined(SKIM_KERNEL_UNIFORMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_KERNEL_UNIFORMS_INL_H_
#undef SKIM_KERNEL_UNIFORMS_INL_H_
#else
#define SKIM_KERNEL_UNIFORMS_INL_H_
#endif

#include <algorithm>

#include "skim/core/random.h"
#include "skim/kernel/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// out[j] = draws.uniform(first + j), rounded to Real once.
template <class Real>
void fill_uniforms_scalar(const Draws& draws, Position first, std::size_t count, Real* out) {
  for (std::size_t j = 0; j < count; ++j) {
    out[j] = static_cast<Real>(draws.uniform(static_cast<std::uint64_t>(first) + j));
  }
}

#if HWY_TARGET != HWY_SCALAR

/// The high halves of the products of 32-bit lanes.
HWY_INLINE Vec<std::uint32_t> mul_high(Vec<std::uint32_t> a, Vec<std::uint32_t> b) {
  const Tag<std::uint32_t> d;
  const Tag<std::uint64_t> d64;
  const auto even = hn::ShiftRight<32>(hn::MulEven(a, b));
  const auto odd = hn::MulEven(hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(d64, a))), b);
  return hn::OddEven(hn::BitCast(d, odd), hn::BitCast(d, even));
}

/// (bits + 1) 2^-32 with one rounding: both halves are exact in float.
HWY_INLINE Vec<float> to_unit(Vec<std::uint32_t> bits) {
  const Tag<float> d;
  const Tag<std::int32_t> di;
  const Tag<std::uint32_t> du;
  const auto high = hn::ConvertTo(d, hn::BitCast(di, hn::ShiftRight<16>(bits)));
  const auto low = hn::ConvertTo(d, hn::BitCast(di, hn::And(bits, hn::Set(du, 0xFFFFu))));
  const auto sum = hn::MulAdd(high, hn::Set(d, 65536.0f), hn::Add(low, hn::Set(d, 1.0f)));
  return hn::Mul(sum, hn::Set(d, 0x1p-32f));
}

/// Writes 4 * lanes numbers, from the Philox block `block` on. The blocks share their upper 32 bits.
HWY_INLINE void philox_blocks(std::uint64_t key, std::uint64_t block, float* out) {
  const Tag<std::uint32_t> d;
  const Tag<float> df;
  auto c0 = hn::Add(hn::Set(d, static_cast<std::uint32_t>(block)), hn::Iota(d, 0));
  auto c1 = hn::Set(d, static_cast<std::uint32_t>(block >> 32));
  auto c2 = hn::Zero(d), c3 = hn::Zero(d);
  const auto mul0 = hn::Set(d, Philox::kMul0), mul1 = hn::Set(d, Philox::kMul1);
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round, k0 += Philox::kWeyl0, k1 += Philox::kWeyl1) {
    const auto high0 = mul_high(c0, mul0), low0 = hn::Mul(c0, mul0);
    const auto high1 = mul_high(c2, mul1), low1 = hn::Mul(c2, mul1);
    c0 = hn::Xor(hn::Xor(high1, c1), hn::Set(d, k0));
    c1 = low1;
    c2 = hn::Xor(hn::Xor(high0, c3), hn::Set(d, k1));
    c3 = low0;
  }
  hn::StoreInterleaved4(to_unit(c0), to_unit(c1), to_unit(c2), to_unit(c3), df, out);
}

inline void fill_uniforms(const Draws& draws, Position first, std::size_t count, float* out) {
  constexpr std::size_t kAtOnce = 4 * kLanes<float>;
  std::size_t j = std::min(count, static_cast<std::size_t>((4 - first % 4) % 4));  // up to a whole block
  fill_uniforms_scalar(draws, first, j, out);
  for (; j + kAtOnce <= count; j += kAtOnce) {
    const auto block = (static_cast<std::uint64_t>(first) + j) / 4;
    const bool carries = (block & 0xFFFFFFFFu) + kLanes<float> > 0x100000000u;
    if (carries) {
      fill_uniforms_scalar(draws, first + static_cast<Position>(j), kAtOnce, out + j);
    } else {
      philox_blocks(draws.key(), block, out + j);
    }
  }
  fill_uniforms_scalar(draws, first + static_cast<Position>(j), count - j, out + j);
}

#else

inline void fill_uniforms(const Draws& draws, Position first, std::size_t count, float* out) {
  fill_uniforms_scalar(draws, first, count, out);
}

#endif

inline void fill_uniforms(const Draws& draws, Position first, std::size_t count, double* out) {
  fill_uniforms_scalar(draws, first, count, out);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_KERNEL_UNIFORMS_INL_H_

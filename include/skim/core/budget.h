// SPDX-License-Identifier: Apache-2.0
// How many new positions a stage may select, as a function of the number of visible ones.
#ifndef SKIM_CORE_BUDGET_H_
#define SKIM_CORE_BUDGET_H_

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>

#include "skim/core/error.h"
#include "skim/core/position.h"
#include "skim/core/source.h"

namespace skim::inline SKIM_ABI {

/// A closed value type: fixed k, a fraction of n, or alpha * n^C. What is left to select always bounds
/// it: a budget larger than that selects everything.
class Budget {
 public:
  enum class Kind { kFixed, kFraction, kPower };

  /// A fixed number of positions. Implicit, so that `TopK{64}` reads as it should.
  template <std::integral Int>
  constexpr Budget(Int k) : Budget(Kind::kFixed, static_cast<double>(k), 0.0, 0) {}

  constexpr Kind kind() const { return kind_; }
  /// k, the fraction, or alpha.
  constexpr double amount() const { return amount_; }
  /// C of a power budget.
  constexpr double exponent() const { return exponent_; }
  /// The fewest positions of a fraction or power budget.
  constexpr std::size_t minimum() const { return minimum_; }

  /// Positions to select when `n` are visible; at most n.
  std::size_t count(Position n) const {
    if (n <= 0) return 0;
    const double visible = static_cast<double>(n);
    double k = amount_;
    if (kind_ == Kind::kFraction) k = round_up(amount_ * visible);
    if (kind_ == Kind::kPower) k = round_up(amount_ * std::pow(visible, exponent_));
    k = std::max(k, static_cast<double>(minimum_));
    return k >= visible ? static_cast<std::size_t>(n) : static_cast<std::size_t>(k);
  }

  /// Throws std::invalid_argument; `owner` names the estimator.
  void validate(const char* owner) const {
    switch (kind_) {
      case Kind::kFixed:
        if (!(amount_ >= 0)) fail("skim::", owner, ": budget is ", amount_, " but must be at least 0");
        break;
      case Kind::kFraction:
        if (!(amount_ >= 0 && amount_ <= 1))
          fail("skim::", owner, ": fraction is ", amount_, " but must be between 0 and 1");
        break;
      case Kind::kPower:
        if (!(amount_ >= 0 && std::isfinite(amount_)))
          fail("skim::", owner, ": alpha of the power budget is ", amount_, " but must be at least 0");
        if (!(exponent_ >= 0 && exponent_ <= 1))
          fail("skim::", owner, ": C of the power budget is ", exponent_, " but must be between 0 and 1");
        break;
    }
  }

  friend constexpr bool operator==(const Budget&, const Budget&) = default;

 private:
  constexpr Budget(Kind kind, double amount, double exponent, std::size_t minimum)
      : kind_(kind), amount_(amount), exponent_(exponent), minimum_(minimum) {}

  // 0.07 * 100 is 7.000000000000001: a budget of 7 % of 100 keys is 7 all the same.
  static double round_up(double x) { return std::ceil(x * (1 - 1e-12)); }

  friend constexpr Budget fraction(double share, std::size_t minimum);
  friend constexpr Budget power(double alpha, double exponent, std::size_t minimum);

  Kind kind_;
  double amount_;
  double exponent_;
  std::size_t minimum_;
};

/// The most that a stage selects of n visible positions: what `by` cannot rank (has_own_scale) is not on its budget, and
/// how much that is only the index knows.
inline std::size_t most_selected(const Budget& budget, Source by, std::size_t n) {
  return has_own_scale(by) ? n : budget.count(static_cast<Position>(n));
}

/// ceil(share * n), share in [0, 1], and at least `minimum`.
constexpr Budget fraction(double share, std::size_t minimum = 0) {
  return {Budget::Kind::kFraction, share, 0.0, minimum};
}

/// ceil(alpha * n^exponent) and at least `minimum`: dynamic top-k is `TopK{power(alpha, C)}`.
/// The method is arXiv 2404.02690 (Deng, Song, Xiong, Yang).
constexpr Budget power(double alpha, double exponent, std::size_t minimum = 1) {
  return {Budget::Kind::kPower, alpha, exponent, minimum};
}

/// The power budget that selects as many keys as a fixed k does in one causal pass over n positions:
/// alpha = n k / sum_{m=1}^{n} m^C.
static inline Budget power_matching_pass(double k, Position n, double exponent) {
  double sum = 0;
  for (Position m = 1; m <= n; ++m) sum += std::pow(static_cast<double>(m), exponent);
  return power(n > 0 ? k * static_cast<double>(n) / sum : k, exponent);
}

/// The power budget that selects as many keys as a fixed k does when exactly n are visible:
/// alpha = k n^-C.
inline Budget power_matching_decode(double k, Position n, double exponent) {
  return power(k * std::pow(static_cast<double>(std::max<Position>(n, 1)), -exponent), exponent);
}

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_BUDGET_H_

// SPDX-License-Identifier: Apache-2.0
// Scores that an index or a caller could hand in, as bad as they come: none has anything to do with the keys.
#ifndef SKIM_TESTS_LAWS_BAD_PROPOSALS_H_
#define SKIM_TESTS_LAWS_BAD_PROPOSALS_H_

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "support/indexes.h"

namespace skim::test {

struct BadScores {
  const char* name;
  std::vector<float> scores;
};

inline std::vector<BadScores> bad_scores() {
  constexpr float kNot = std::numeric_limits<float>::quiet_NaN(), kMuch = std::numeric_limits<float>::infinity();
  constexpr float kLargest = std::numeric_limits<float>::max();
  return {
      {"random", {0.3f, -1.7f, 1.1f, -0.4f, 2.3f, 0.9f}},
      {"-inf, NaN and zeros", {-kMuch, 0, kNot, 0, 1.5f, -kMuch, 0}},
      {"all -inf", {-kMuch, -kMuch, -kMuch, -kMuch, -kMuch}},
      {"all NaN", {kNot, kNot, kNot, kNot}},
      {"all 0", {0, 0, 0, 0, 0, 0}},
      {"one is +inf", {0, 1, kMuch, -1, kNot}},
      {"several are +inf", {kMuch, 1, kMuch, -1, -kMuch, kMuch}},
      {"wider than the range of a proposal", {0, -40, -3, -17, -1e6f, 2}},
      {"of a scale of their own", {1e9f, 1.00001e9f, 0.99999e9f, 1e9f, -1e9f}},
      {"large and alike", {1e9f, 1e9f, 1e9f, 1e9f, 1e9f}},
      {"large and negative", {-1e9f, -1.0000001e9f, -1e9f, -2e9f, -kMuch}},
      {"as large as there is", {kLargest, -kLargest, 0, kLargest, 1}},
      {"subnormal", {1e-42f, -1e-42f, 0, 1e-40f, 1e-45f}},
  };
}

/// Keys, and such scores beside them, in double so that laws can be checked to 1e-12.
struct BadlyScored {
  Problem<double> p;
  std::vector<float> numbers;
  ExternalScores external;

  BadlyScored(const std::vector<float>& scores, std::size_t group)
      : p(random_problem<double>({scores.size(), 8, 3, group}, 7, 2.5)), numbers(scores) {
    external = {{numbers.data(), 1, numbers.size()}, static_cast<Position>(numbers.size()) - 1};
  }
  BadlyScored(const BadlyScored&) = delete;

  auto kv() const { return with_index(p.kv(), external); }

  /// What samplers make of the scores when they are those of an index: -inf is a guess like another.
  std::vector<double> index_proposal() const {
    std::vector<double> x;
    for (const float s : numbers) x.push_back(std::isnan(s) ? -kInf : double{s});
    HWY_NAMESPACE::raise_to_floor(x.data(), x.size(), false);
    return x;
  }

  /// What they make of them when they are the caller's, after `earlier` stages: -inf rules a position out. Nothing when
  /// all are ruled out.
  std::vector<double> log_proposal(const Selection& earlier = {}) const {
    Workspace ws;
    Selection selection = earlier;
    const auto q = p.query().resolved(static_cast<Position>(p.shape.n));
    const auto tail = HWY_NAMESPACE::tail_of<double>(Budget(1), Source::kExternal, q, kv(), selection, ws);
    return {tail.log_proposal, tail.log_proposal + tail.n};
  }
};

}  // namespace skim::test

#endif  // SKIM_TESTS_LAWS_BAD_PROPOSALS_H_

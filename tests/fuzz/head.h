// SPDX-License-Identifier: Apache-2.0
// What does a fuzzer ask of which keys and values? A small KV head, a query and an estimator, all read from an input.
#ifndef SKIM_TESTS_FUZZ_HEAD_H_
#define SKIM_TESTS_FUZZ_HEAD_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/input.h"
#include "skim/skim.h"
#include "support/problem.h"

namespace skim::fuzz {

// ---- numbers ----------------------------------------------------------------------------------------------------

/// Numbers that look random, quickly made.
class Noise {
 public:
  explicit Noise(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {}

  /// In [-2, 2).
  float operator()() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<float>(static_cast<std::int32_t>(state_ >> 32)) * 0x1p-30f;
  }

 private:
  std::uint64_t state_;
};

/// What a key, a value or a query may be besides a number.
inline constexpr float kOdd[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1e-45f, 1e-38f, 65504.0f, 1e20f, -3e38f};

/// Writes any bits at some places of `numbers`.
template <class T>
void poke(Input& in, std::vector<T>& numbers) {
  if (numbers.empty()) return;
  for (std::size_t i = in.between(0, 3); i > 0; --i) {
    T& place = numbers[in.between(0, std::min<std::size_t>(numbers.size(), 65536) - 1)];
    place = in.flag() ? in.bits<T>() : T{};
    if constexpr (!std::is_same_v<T, I8>) {
      if (in.flag()) place = test::stored<T>(double{in.one_of(kOdd)});
    }
  }
}

enum class Look { kNoise, kTies, kClusters, kOutliers, kLooks };

/// [rows, cols] of one look, then pokes.
template <class T>
std::vector<T> rows_from(Input& in, std::size_t rows, std::size_t cols) {
  const auto look = static_cast<Look>(in.between(0, static_cast<std::size_t>(Look::kLooks) - 1));
  Noise noise(in.byte());
  std::vector<T> numbers(rows * row_values<T>(cols));
  std::vector<double> row(cols);
  for (std::size_t i = 0; i < rows; ++i) {
    if (look == Look::kClusters) noise = Noise(i / 5 % 3);
    for (double& x : row) {
      x = double{noise()};
      if (look == Look::kTies) x = std::round(x);
      if (look == Look::kOutliers && i % 64 == 7) x *= 1e4;
    }
    test::store_row(row.data(), cols, test::row_at(numbers, i, cols));
  }
  poke(in, numbers);
  return numbers;
}

/// Up to `most` positions; the sizes where a page, a segment or a chunk ends come more often.
inline std::size_t positions_from(Input& in, std::size_t most) {
  constexpr std::size_t kEnds[] = {0, 1, 15, 16, 17, 63, 64, 65, 128, 255, 256, 257, 319, 320, 64, 1100};
  return std::min(most, in.rarely(3) ? in.one_of(kEnds) : in.between(0, 90));
}

template <class K>
test::Problem<K> problem_from(Input& in, const test::Shape& shape) {
  test::Problem<K> p;
  p.shape = shape;
  p.q = rows_from<float>(in, shape.group, shape.d);
  p.keys = rows_from<K>(in, shape.n, shape.d);
  p.values = rows_from<K>(in, shape.n, shape.d_v);
  return p;
}

// ---- estimators -------------------------------------------------------------------------------------------------

inline constexpr std::size_t kLshBits = 2, kLshTables = 8;

inline std::string budget_from(Input& in) {
  constexpr const char* kBudgets[] = {"fraction(0)",     "fraction(0.05,2)", "fraction(0.3)", "fraction(1)",
                                      "power(1,0.5)", "power(2,0.3,4)",   "1000000"};
  return in.flag() ? std::to_string(in.between(0, 40)) : in.one_of(kBudgets);
}

inline std::string by_from(Input& in) {
  constexpr const char* kBy[] = {"", ",by=sketch1", ",by=sketch4", ",by=sketch8", ",by=boxes", ",by=external", ",by=means"};
  return in.one_of(kBy);
}

/// One to four stages of every kind, the last of which may stand for what is left.
inline std::string estimator_from(Input& in) {
  std::string text;
  for (std::size_t stages = in.between(1, 4); stages > 0; --stages) {
    if (!text.empty()) text += '+';
    const bool last = stages == 1;
    switch (in.between(0, last ? 12 : 5)) {
      case 0: text += "sinks(" + std::to_string(in.between(0, 9)) + ")"; break;
      case 1: text += "window(" + std::to_string(in.between(0, 40)) + ")"; break;
      case 2: text += "topk(" + budget_from(in) + by_from(in) + ")"; break;
      case 3: {
        constexpr const char* kRescored[] = {",by=sketch8,exact", ",by=boxes,exact", ",by=sketch1,candidates=30",
                                             ",by=means,candidates=fraction(0.5)", ",by=external,candidates=20"};
        text += "topk(" + budget_from(in) + in.one_of(kRescored) + ")";
        break;
      }
      case 4: {
        constexpr const char* kMasses[] = {"0", "0.01", "0.5", "0.999", "1"};
        text += std::string("topp(") + in.one_of(kMasses) + ")";
        break;
      }
      case 5: text += "quest(" + budget_from(in) + ")"; break;
      case 6: text += "uniform(" + budget_from(in) + ")"; break;
      case 7: text += "priority(" + budget_from(in) + by_from(in) + ")"; break;
      case 8: text += "multinomial(" + budget_from(in) + by_from(in) + ")"; break;
      case 9: text += "systematic(" + budget_from(in) + by_from(in) + ")"; break;
      case 10: text += "poisson(" + budget_from(in) + by_from(in) + ")"; break;
      case 11: {
        const bool one = in.flag();
        text += "lsh(" + std::to_string(kLshBits) + "," + std::to_string(in.between(one ? 1 : 2, kLshTables)) +
                (one ? ",collisions=1)" : ")");
        break;
      }
      case 12: text += in.flag() ? "dense" : "summaries"; break;
    }
  }
  return text;
}

// ---- indexes ----------------------------------------------------------------------------------------------------

/// Sizes of pieces: small, so that small heads have some.
struct Pieces {
  std::size_t segment = 64, page = 16, means = 16;
};

inline Pieces pieces_from(Input& in) {
  Pieces pieces;
  constexpr std::size_t kSegments[] = {64, 64, 128, 256}, kPages[] = {16, 16, 17, 64}, kMeans[] = {16, 1, 3, 64};
  pieces.segment = in.one_of(kSegments);
  pieces.page = in.one_of(kPages);
  pieces.means = in.one_of(kMeans);
  return pieces;
}

inline std::shared_ptr<const LshPlanes> planes_of(std::size_t d) {
  return std::make_shared<const LshPlanes>(d, kLshBits, kLshTables, 1);
}

/// Every index that grows beside one KV head.
struct Grown {
  Sketch1 one;
  Sketch4 four;
  Sketch8 eight;
  PageBoxes boxes;
  PageMeans means;
  LshTables tables;

  Grown(const Pieces& pieces, const std::shared_ptr<const LshPlanes>& planes)
      : one(pieces.segment),
        four(pieces.segment),
        eight(pieces.segment),
        boxes(pieces.page),
        means(pieces.means),
        tables(planes, 1024) {}

  /// Calls visit(index) for each.
  template <class Visit>
  void each(const Visit& visit) {
    visit(one), visit(four), visit(eight), visit(boxes), visit(means), visit(tables);
  }

  template <class Kv>
  auto beside(const Kv& kv, const ExternalScores& external) const {
    return with_index(kv, one, four, eight, boxes, means, tables, external);
  }
};

// ---- queries ----------------------------------------------------------------------------------------------------

/// What a query points at.
struct QueryParts {
  std::vector<float> slopes, sinks;
};

/// A query of `q` rows against n positions; whatever it asks for is allowed.
inline Query query_from(Input& in, Rows<const float> q, std::size_t n, QueryParts& parts) {
  Query query;
  query.rows = q;
  query.grouping = in.flag() ? Grouping::kPerGroup : Grouping::kPerHead;
  query.causal = !in.rarely(4);
  if (n != 0 && in.flag()) query.position = static_cast<Position>(in.between(0, n - 1));
  if (in.flag()) {
    query.visible.first = static_cast<Position>(in.between(0, n));
    query.visible.last = static_cast<Position>(in.between(0, n + 3));
  }
  constexpr double kScales[] = {1, 0.3, -0.7, 1e-6, 30};
  if (in.flag()) query.logit.scale = in.one_of(kScales);
  constexpr double kCaps[] = {0, 0, 1, 30, 1e-3};
  query.logit.soft_cap = in.one_of(kCaps);
  Noise noise(in.byte());
  for (std::size_t h = 0; h < q.rows; ++h) {
    parts.slopes.push_back(std::abs(noise()));
    parts.sinks.push_back(h % 3 == 2 ? -INFINITY : 4 * noise());
  }
  if (in.rarely(3)) query.logit.alibi_slopes = parts.slopes.data();
  if (in.rarely(3)) query.sink_logits = parts.sinks.data();
  query.stream = {in.byte(), 1, 2, 3};
  return query;
}

}  // namespace skim::fuzz

#endif  // SKIM_TESTS_FUZZ_HEAD_H_

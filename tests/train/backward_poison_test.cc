// SPDX-License-Identifier: Apache-2.0
// Does what a row does not read reach its gradients, or the row the gradients of what it does not read?
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/training_problem.h"

namespace skim::test {
namespace {

constexpr float kPoisons[] = {NAN, INFINITY, -INFINITY};

/// Rows of [.., heads * cols] of which `of` says so have the same bits.
template <class Of>
void expect_same_rows(const float* a, const float* b, std::size_t rows, std::size_t cols, const Of& of) {
  for (std::size_t r = 0; r < rows; ++r) {
    if (!of(r)) continue;
    EXPECT_TRUE(same_bits(a + r * cols, b + r * cols, cols)) << "row " << r;
  }
}

template <class E>
void expect_contained(const E& estimator, TrainingProblem<float>& p) {
  TrainingStep<float> clean(p);
  clean.run(estimator);
  const Lists lists = lists_of(clean.record, p);
  const auto reads = [&](std::size_t r, std::size_t i) {
    for (std::size_t h = 0; h < 2; ++h) {
      for (const Weighted& w : lists[r * 2 + h]) {
        if (w.position == static_cast<Position>(i)) return true;
      }
    }
    return false;
  };
  for (const float poison : kPoisons) {
    for (const std::size_t at : {0u, 30u, 127u, 128u, 139u}) {  // a key and a value
      std::vector<float> k = p.k, v = p.v;
      std::fill_n(p.k.begin() + static_cast<std::ptrdiff_t>(at * 20), 20, poison);
      std::fill_n(p.v.begin() + static_cast<std::ptrdiff_t>(at * 12), 12, poison);
      TrainingStep<float> step(p);
      step.forward(Dense{});  // rows that see it are lost, all others are what they were
      for (std::size_t r = 0; r < p.rows; ++r) {
        if (reads(r, at)) continue;
        std::copy_n(clean.out.data() + r * 24, 24, step.out.data() + r * 24);
        std::copy_n(clean.lse.data() + r * 2, 2, step.lse.data() + r * 2);
      }
      backward(clean.record, p.query(), step.kv(), step.gradients());
      expect_same_rows(step.dq.data(), clean.dq.data(), p.rows, 40, [&](std::size_t r) { return !reads(r, at); });
      p.k = k;
      p.v = v;
    }
    for (const std::size_t at : {0u, 31u, 66u, 139u}) {  // a query, and what comes back to it
      std::vector<float> q = p.q, dout = p.dout;
      p.q[at * 40 + 5] = poison;
      p.dout[at * 24 + 20] = poison;
      TrainingStep<float> step(p);
      std::copy_n(clean.out.data(), clean.out.size(), step.out.data());
      std::copy_n(clean.lse.data(), clean.lse.size(), step.lse.data());
      backward(clean.record, p.query(), step.kv(), step.gradients());
      expect_same_rows(step.dq.data(), clean.dq.data(), p.rows, 40, [&](std::size_t r) { return r != at; });
      expect_same_rows(step.dk.data(), clean.dk.data(), p.n, 20, [&](std::size_t i) { return !reads(at, i); });
      expect_same_rows(step.dv.data(), clean.dv.data(), p.n, 12, [&](std::size_t i) { return !reads(at, i); });
      p.q = q;
      p.dout = dout;
    }
  }
}

TEST(BackwardPoison, OfCausalRows) {
  TrainingProblem<float> p({2, 1, 20, 12}, 140, 140, 1);
  expect_contained(Dense{}, p);
  expect_contained(TopK{5}, p);
  expect_contained(stack(Sinks{3}, Window{20}), p);
}

TEST(BackwardPoison, OfRangesWithoutOrder) {
  TrainingProblem<float> p({2, 1, 20, 12}, 140, 140, 2);
  p.causal = false;
  for (std::size_t r = 0; r < 140; ++r) {
    const auto first = static_cast<Position>(r * 31 % 139);
    p.visible.push_back({first, std::min<Position>(140, first + static_cast<Position>(r * 71 % 50))});
  }
  expect_contained(Dense{}, p);
}

TEST(BackwardPoison, NanInWhatIsReadReachesTheGradients) {
  TrainingProblem<float> p({2, 1, 20, 12}, 40, 40, 3);
  p.k[7 * 20 + 3] = NAN;
  for (const char* text : {"dense", "topk(3)+dense"}) {
    TrainingStep<float> step(p);
    step.run(parse(text));
    for (std::size_t r = 7; r < 40; ++r) EXPECT_TRUE(std::isnan(step.dq.data()[r * 40 + 3])) << "row " << r;
    for (std::size_t r = 0; r < 7; ++r) EXPECT_TRUE(std::isfinite(step.dq.data()[r * 40 + 3])) << "row " << r;
  }
}

// Rows whose logits are all -inf have an empty state: nothing flows through them.
TEST(BackwardPoison, RowsWithoutMassHaveNoGradient) {
  TrainingProblem<float> p({2, 1, 1, 12}, 40, 40, 4);
  for (float& x : p.q) x = 1;
  for (std::size_t i = 0; i < 5; ++i) p.k[i] = -INFINITY;
  for (const char* text : {"dense", "topk(3)"}) {
    TrainingStep<float> step(p);
    step.run(parse(text));
    EXPECT_EQ(step.lse.data()[4], -INFINITY);
    for (std::size_t i = 0; i < 5 * 12; ++i) EXPECT_EQ(step.dv.data()[i], 0.0f);
  }
}

}  // namespace
}  // namespace skim::test

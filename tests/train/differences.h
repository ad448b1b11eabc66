// SPDX-License-Identifier: Apache-2.0
// Are gradients those of the loss? Central differences of the textbook's loss, what is selected and its weights held
// fixed.
#ifndef SKIM_TESTS_TRAIN_DIFFERENCES_H_
#define SKIM_TESTS_TRAIN_DIFFERENCES_H_

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "support/training_problem.h"

namespace skim::test {

/// (L(x + h) - L(x - h)) / 2h for each number against its gradient, to 1e-6 of it; or of a thousandth of the largest of
/// its kind, if that is more: rounding gives a difference an absolute error.
inline testing::AssertionResult agrees_with_differences(TrainingStep<double>& step, const Lists& lists) {
  constexpr double kStep = 1e-5;
  const auto& p = step.p;
  Numbers x = numbers_of(p);
  const double* parts[] = {step.dq.data(), step.dk.data(), step.dv.data(), step.dsink.data()};
  for (std::size_t part = 0; part < (p.with_sinks ? 4 : 3); ++part) {
    double largest = 0;
    for (std::size_t i = 0; i < x[part].size(); ++i) largest = std::max(largest, std::abs(parts[part][i]));
    for (std::size_t i = 0; i < x[part].size(); ++i) {
      const double at = x[part][i];
      x[part][i] = at + kStep;
      const double above = reference_loss(p, x, lists);
      x[part][i] = at - kStep;
      const double below = reference_loss(p, x, lists);
      x[part][i] = at;
      const double difference = (above - below) / (2 * kStep), gradient = parts[part][i];
      if (std::abs(gradient - difference) <= 1e-6 * std::max(std::abs(difference), 1e-3 * largest)) continue;
      return testing::AssertionFailure() << Numbers::name(part) << "[" << i << "] is " << gradient
                                         << ", the difference " << difference;
    }
  }
  return testing::AssertionSuccess();
}

}  // namespace skim::test

#endif  // SKIM_TESTS_TRAIN_DIFFERENCES_H_

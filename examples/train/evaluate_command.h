// SPDX-License-Identifier: Apache-2.0
// `train evaluate`: measures how well a model does tasks on text it has not seen, decoding by several estimators.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "measured.h"

namespace train {

/// What decodes.
struct Decoding {
  std::vector<std::string> estimators;  // neither these nor `topk`: dense
  std::vector<std::size_t> topk;        // approximate top-k ...
  std::vector<double> precisions{1};    // ... at each of these
  std::string prompt;                   // empty: as decoding; dense where that is approximate
};

/// Prints a line for each task and estimator.
void evaluate(const MeasuredTexts& on, const Decoding& decoding, std::size_t threads);

}  // namespace train

// SPDX-License-Identifier: Apache-2.0
// `train evaluate`: measures how well a model does tasks on text it has not seen, decoding by several estimators.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "evaluate.h"

namespace train {

struct EvaluateArguments {
  std::filesystem::path model;
  std::vector<std::filesystem::path> texts;
  std::vector<std::string> tasks{"text",         "needle",         "needles",
                                 "common_words", "frequent_words", "variables"};
  std::vector<std::string> estimators;  // neither these nor `topk`: dense
  std::vector<std::size_t> topk;        // approximate top-k ...
  std::vector<double> precisions{1};    // ... at each of these
  std::string prompt;                   // empty: as decoding; dense where that is approximate
  std::size_t context = 0;              // 0: the model's
  std::size_t count = 32;
  std::uint64_t seed = 1;
  bool is_unseen =
      false;  // the model has not learnt from these texts: what a run would learn from serves
};

/// Prints a line for each task and estimator.
void evaluate(const EvaluateArguments& arguments, std::size_t threads);

}  // namespace train

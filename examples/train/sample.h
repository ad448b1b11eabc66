// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "bytes.h"

namespace train {

/// A text to learn from: its model reads all tokens but the last, and predicts all but the first.
struct Sample {
  /// Tokens [begin, end) are what a question asks for.
  struct Answer {
    std::size_t begin;
    std::size_t end;
  };

  std::vector<Token> tokens;    // [context + 1]
  std::vector<float> weights;   // [context + 1], of each token's prediction in the loss; the first is 0
  std::vector<Answer> answers;  // in order; empty for plain text
};

/// How many rows read what is given; those behind decode what follows it. The first of them predicts the
/// first answer, or in a text without questions what comes after its middle.
inline std::size_t prompt_rows(const Sample& sample) {
  return sample.answers.empty() ? sample.tokens.size() / 2 : sample.answers.front().begin - 1;
}

}  // namespace train

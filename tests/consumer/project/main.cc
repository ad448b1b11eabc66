// SPDX-License-Identifier: Apache-2.0
// The smallest program that uses skim: one query, three keys, attention over the best two.
#include <cmath>
#include <cstdio>

#include "skim/skim.h"

int main() {
  const float q[] = {1, 0};
  const float k[] = {3, 0, 1, 0, 2, 0};
  const float v[] = {10, 20, 30};

  skim::Query query;
  query.rows = {q, 1, 2};
  query.logit.scale = 1;
  const skim::ContiguousKv<float> kv{{k, 3, 2}, {v, 3, 1}};
  const skim::State state = skim::attend(skim::TopK{2}, query, kv);

  // Positions 0 and 2, with logits 3 and 2.
  const double expected = (10 * std::exp(3.0) + 30 * std::exp(2.0)) / (std::exp(3.0) + std::exp(2.0));
  if (std::abs(state.out()[0] - expected) > 1e-4) {
    std::printf("attention is %g but must be %g\n", state.out()[0], expected);
    return 1;
  }
  std::printf("skim %d.%d.%d on %s\n", SKIM_VERSION_MAJOR, SKIM_VERSION_MINOR, SKIM_VERSION_PATCH,
              skim::active_target());
}

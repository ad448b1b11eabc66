// SPDX-License-Identifier: Apache-2.0
// Ways to read a sixteenth of the keys and values, and how far each is from exact attention.
#include <skim/eigen.h>

#include <cstdio>

int main() {
  const int n = 4096, d = 64;
  const skim::RowMatrix q = 6 * skim::RowMatrix::Random(16, d);  // the last 16 of n positions
  const skim::RowMatrix k = skim::RowMatrix::Random(n, d), v = k + skim::RowMatrix::Random(n, d);
  const skim::RowMatrix exact = skim::attend(skim::Dense{}, q, k, v);

  const auto report = [&](const auto& estimator) {
    const skim::RowMatrix out = skim::attend(estimator, q, k, v);
    std::printf("%-44s %4zu of %d positions, error %.3f\n", skim::to_text(estimator).c_str(),
                estimator.max_picks(n), n, (out - exact).norm() / exact.norm());
  };
  report(skim::TopK{256});                    // the 256 largest logits
  report(skim::TopK{skim::power(2.0, 0.5)});  // 2 n^0.5 of them, whatever n is
  report(skim::PriorityTail{256});            // a random sample, weighted so that it stands for all
  report(skim::stack(skim::Sinks{4}, skim::Window{28}, skim::TopK{96}, skim::PriorityTail{128}));
}

// SPDX-License-Identifier: Apache-2.0
// An estimator of your own. It needs no registration and no base class, and stacks with the library's.
#include <skim/eigen.h>

#include <cmath>
#include <cstdio>

/// Every step-th of the positions that are left, from a random one on: each stands for `step` of them.
struct StridedTail {
  static constexpr bool stands_for_rest = true;  // so nothing can follow it in a stack

  skim::Position step = 16;

  void validate() const {
    if (step < 1) skim::fail("StridedTail: step is ", step, " but must be at least 1");
  }
  std::size_t max_picks(std::size_t n) const { return n / static_cast<std::size_t>(step) + 1; }

  // Reads only what it selects. (A method that needs the logits gets them from skim::logits(q, kv, ws).)
  void select(const auto& q, const auto&, skim::Selection& selection, skim::Workspace&) const {
    const skim::Draws draws(q.stream, q.position);
    auto until_next = static_cast<skim::Position>(draws.below(0, static_cast<std::uint64_t>(step)));
    skim::for_each_gap(selection, q.visible, [&](skim::Span gap) {
      for (; until_next < gap.size(); until_next += step) {
        selection.add(gap.first + until_next, std::log(static_cast<double>(step)));
      }
      until_next -= gap.size();
    });
  }
};

int main() {
  const int n = 4096, d = 64;
  const skim::RowMatrix q = 6 * skim::RowMatrix::Random(16, d);
  const skim::RowMatrix k = skim::RowMatrix::Random(n, d), v = k + skim::RowMatrix::Random(n, d);
  const skim::RowMatrix exact = skim::attend(skim::Dense{}, q, k, v);

  const auto report = [&](const char* name, const auto& estimator) {
    const skim::RowMatrix out = skim::attend(estimator, q, k, v);
    std::printf("%-30s at most %4zu of %d positions, error %.3f\n", name, estimator.max_picks(n), n,
                (out - exact).norm() / exact.norm());
  };
  report("top-k", skim::TopK{256});
  report("strided", StridedTail{8});
  report("top-k, strided", skim::stack(skim::TopK{256}, StridedTail{16}));
  report("sinks, window, top-k, strided",
         skim::stack(skim::Sinks{4}, skim::Window{28}, skim::TopK{224}, StridedTail{16}));
}

// SPDX-License-Identifier: Apache-2.0
// A problem to sample from again and again, by what sketches of its keys propose.
#ifndef SKIM_TESTS_STATISTICS_SKETCHED_TRIAL_H_
#define SKIM_TESTS_STATISTICS_SKETCHED_TRIAL_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "statistics/trial.h"
#include "support/indexes.h"

namespace skim::test {

/// A Trial over keys of 64 columns: its exact answers are those of their canonical logits.
class SketchedTrial : public Trial {
 public:
  SketchedTrial(std::size_t heads, std::size_t n, double spread, std::uint64_t seed)
      : SketchedTrial(random_problem<float>({n, 64, 1, heads}, seed, spread), seed) {}

  auto kv() const {
    ContiguousKv<float> kv = p_.kv();
    kv.values = Trial::kv().values;
    return sketches_.beside(kv);
  }
  const Sketches& sketches() const { return sketches_; }
  Query query() const { return p_.query(); }

  template <class E>
  void run(const E& estimator, std::uint64_t seed, std::vector<Estimate>& estimates) {
    Query q = p_.query();
    q.stream = {.seed = seed};
    attend(estimator, q, kv(), state_.view(), workspace());
    estimates.resize(heads());
    for (std::size_t h = 0; h < heads(); ++h) estimates[h] = estimate_of(state_, h);
  }

 private:
  SketchedTrial(Problem<float> p, std::uint64_t seed)
      : Trial(logits_of(p), true, seed), p_(std::move(p)), sketches_(p_.kv()), state_(heads(), kColumns) {}

  static GivenLogits<float> logits_of(const Problem<float>& p) {
    Workspace ws;
    const auto s = skim::logits(p.query().resolved(static_cast<Position>(p.shape.n)), p.kv(), ws);
    std::vector<std::vector<float>> all;
    for (std::size_t h = 0; h < p.shape.group; ++h) all.emplace_back(s.of_head(h), s.of_head(h) + p.shape.n);
    return GivenLogits<float>(std::move(all));
  }

  Problem<float> p_;
  Sketches sketches_;
  State state_;
};

}  // namespace skim::test

#endif  // SKIM_TESTS_STATISTICS_SKETCHED_TRIAL_H_

// SPDX-License-Identifier: Apache-2.0
// Estimators with a mistake, each of a kind that somebody has made: what the tests must find.
#ifndef SKIM_TESTS_STATISTICS_WRONG_ESTIMATORS_H_
#define SKIM_TESTS_STATISTICS_WRONG_ESTIMATORS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "skim/skim.h"

namespace skim::test {

/// What the mistakes have in common: they do something to what a right sampler has chosen.
template <class E>
struct Wrapped {
  static constexpr bool stands_for_rest = true;
  E right;

  void validate() const { right.validate(); }
  std::size_t max_picks(std::size_t n) const { return n; }

  template <class Kv>
  void choose(const Query& q, const Kv& kv, Selection& selection, Workspace& ws) const {
    HWY_NAMESPACE::Select<E>::run(right, q, kv, selection, ws);
  }
  /// Calls visit(Pick&) for each pick that `choose` appends.
  template <class Kv, class Visit>
  void choose_and_change(const Query& q, const Kv& kv, Selection& selection, Workspace& ws,
                         const Visit& visit) const {
    const std::size_t before = selection.picks().size();
    choose(q, kv, selection, ws);
    for (std::size_t p = before; p < selection.picks().size(); ++p)
      visit(SelectionAccess::picks(selection)[p]);
  }
};

/// pi for 1 / pi.
template <class E>
struct ProbabilityForWeight : Wrapped<E> {
  template <class Kv>
  void select(const Query& q, const Kv& kv, Selection& selection, Workspace& ws) const {
    this->choose_and_change(q, kv, selection, ws,
                            [](Pick& pick) { pick.log_weight = -pick.log_weight; });
  }
};

/// No weight at all.
template <class E>
struct NoWeight : Wrapped<E> {
  template <class Kv>
  void select(const Query& q, const Kv& kv, Selection& selection, Workspace& ws) const {
    this->choose_and_change(q, kv, selection, ws, [](Pick& pick) { pick.log_weight = 0; });
  }
};

/// m - 1 for m in the weight.
template <class E>
struct OneLess : Wrapped<E> {
  template <class Kv>
  void select(const Query& q, const Kv& kv, Selection& selection, Workspace& ws) const {
    const auto m = static_cast<double>(this->right.budget.count(q.visible.size()));
    this->choose_and_change(q, kv, selection, ws, [m](Pick& pick) {
      if (pick.log_weight > 0) pick.log_weight += std::log(m / (m - 1));
    });
  }
};

/// 1 / (p + 1e-4): a floor against division by zero.
template <class E>
struct Floor : Wrapped<E> {
  template <class Kv>
  void select(const Query& q, const Kv& kv, Selection& selection, Workspace& ws) const {
    this->choose_and_change(q, kv, selection, ws, [](Pick& pick) {
      pick.log_weight = -std::log(std::exp(-pick.log_weight) + 1e-4);
    });
  }
};

/// The last position that is left is never drawn.
template <class E>
struct LastNeverDrawn : Wrapped<E> {
  template <class Kv>
  void select(const Query& q, const Kv& kv, Selection& selection, Workspace& ws) const {
    Position last = -1;
    for_each_gap(selection, q.visible, [&last](skim::Span gap) { last = gap.last - 1; });
    this->choose(q, kv, selection, ws);
    auto& picks = SelectionAccess::picks(selection);
    if (!picks.empty() && picks[picks.size() - 1].position == last) picks.resize(picks.size() - 1);
  }
};

/// Every head draws the same numbers.
template <class E>
struct SameSeedForAllHeads : Wrapped<E> {
  template <class Kv>
  void select(const Query& q, const Kv& kv, Selection& selection, Workspace& ws) const {
    Query same = q;
    same.stream.head = 0;
    this->choose(same, kv, selection, ws);
  }
};

/// Every query position draws the same numbers.
template <class E>
struct SameSeedForAllPositions : Wrapped<E> {
  template <class Kv>
  void select(const Query& q, const Kv& kv, Selection& selection, Workspace& ws) const {
    Query same = q;
    same.position = 0;
    this->choose(same, kv, selection, ws);
  }
};

/// Uniform draws with replacement, duplicates dropped, weights as if there were none: what vAttention's code does.
struct DeduplicatedUniform {
  static constexpr bool stands_for_rest = true;
  std::size_t budget = 64;

  void validate() const {}
  std::size_t max_picks(std::size_t) const { return budget; }

  template <class Kv>
  void select(const Query& q, const Kv&, Selection& selection, Workspace&) const {
    std::vector<Position> left;
    for_each_gap(selection, q.visible, [&left](skim::Span gap) {
      for (Position i = gap.first; i < gap.last; ++i) left.push_back(i);
    });
    const Draws draws(q.stream, q.position);
    std::vector<Position> drawn;
    for (std::uint64_t i = 0; i < budget; ++i) drawn.push_back(left[draws.below(i, left.size())]);
    std::sort(drawn.begin(), drawn.end());
    drawn.erase(std::unique(drawn.begin(), drawn.end()), drawn.end());
    const double log_weight = std::log(static_cast<double>(left.size()) / static_cast<double>(budget));
    for (const Position i : drawn) selection.add(i, log_weight);
  }
};

/// Priority sampling in which a coarse histogram finds tau: priorities in the bin of tau, ties of it as far as the
/// histogram sees, are dropped instead of told apart.
struct TiesDropped {
  static constexpr bool stands_for_rest = true;
  std::size_t budget = 64;

  void validate() const {}
  std::size_t max_picks(std::size_t) const { return budget; }

  template <class Kv>
  void select(const Query& q, const Kv& kv, Selection& selection, Workspace& ws) const {
    const auto s = logits(q, kv, ws);
    const Draws draws(q.stream, q.position);
    struct Key {
      Position at;
      double logit, priority;
    };
    std::vector<Key> keys;
    for_each_gap(selection, q.visible, [&](skim::Span gap) {
      for (Position i = gap.first; i < gap.last; ++i) {
        const double logit = s.of_head(0)[i - s.first];
        const double priority = logit - std::log(draws.uniform(static_cast<std::uint64_t>(i)));
        keys.push_back({i, logit, std::floor(priority * 16) / 16});
      }
    });
    std::vector<double> sorted;
    for (const Key& key : keys) sorted.push_back(key.priority);
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(budget), sorted.end(),
                     std::greater<>());
    const double log_tau = sorted[budget];
    for (const Key& key : keys) {
      if (key.priority > log_tau) selection.add(key.at, std::max(0.0, log_tau - key.logit));
    }
  }
};

/// Two of the b "independent" draws are always neighbours: each key's own probability is right, pairs are not.
struct Clumped {
  static constexpr bool stands_for_rest = true;
  std::size_t budget = 64;

  void validate() const {}
  std::size_t max_picks(std::size_t) const { return budget; }

  template <class Kv>
  void select(const Query& q, const Kv&, Selection& selection, Workspace&) const {
    // Every stride-th position from a random start: as equal in single positions as can be.
    const auto n = static_cast<std::uint64_t>(q.visible.size());
    const std::uint64_t start = Draws(q.stream, q.position).below(0, n);
    std::vector<Position> chosen;
    for (std::uint64_t j = 0; j < budget; ++j)
      chosen.push_back(static_cast<Position>((start + j * (n / budget)) % n));
    std::sort(chosen.begin(), chosen.end());
    for (const Position i : chosen)
      selection.add(i, std::log(static_cast<double>(n) / static_cast<double>(budget)));
  }
};

}  // namespace skim::test

#endif  // SKIM_TESTS_STATISTICS_WRONG_ESTIMATORS_H_

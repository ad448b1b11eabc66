// SPDX-License-Identifier: Apache-2.0
// Which estimators must obey the laws? Every one of the library, several stacks, and their text forms.
#ifndef SKIM_TESTS_LAWS_CASES_H_
#define SKIM_TESTS_LAWS_CASES_H_

#include <limits>

#include <gtest/gtest.h>

#include "skim/skim.h"

namespace skim::test {

inline constexpr Position kMost = std::numeric_limits<Position>::max();

/// What the laws need to know of an estimator:
///   some()   selects a few
///   all()    the same with budgets for everything
///   exact()  the stages of some() that are not sampled
///   kPlain   all() selects one run of everything: what Dense does, bit for bit
struct DenseCase {
  static auto some() { return Dense{}; }
  static auto all() { return Dense{}; }
  static auto exact() { return Dense{}; }
  static constexpr bool kPlain = true;
};
struct SinksCase {
  static auto some() { return Sinks{3}; }
  static auto all() { return Sinks{kMost}; }
  static auto exact() { return some(); }
  static constexpr bool kPlain = true;
};
struct WindowCase {
  static auto some() { return Window{5}; }
  static auto all() { return Window{kMost}; }
  static auto exact() { return some(); }
  static constexpr bool kPlain = true;
};
struct TopKCase {
  static auto some() { return TopK{7}; }
  static auto all() { return TopK{kMost}; }
  static auto exact() { return some(); }
  static constexpr bool kPlain = true;
};
struct TopKFractionCase {
  static auto some() { return TopK{fraction(0.1, 2)}; }
  static auto all() { return TopK{fraction(1)}; }
  static auto exact() { return some(); }
  static constexpr bool kPlain = true;
};
struct TopKPowerCase {
  static auto some() { return TopK{power(0.8, 0.5)}; }
  static auto all() { return TopK{power(1, 1)}; }
  static auto exact() { return some(); }
  static constexpr bool kPlain = true;
};
struct UniformCase {
  static auto some() { return UniformTail{6}; }
  static auto all() { return UniformTail{fraction(1)}; }
  static auto exact() { return Sinks{0}; }
  static constexpr bool kPlain = true;
};
struct PriorityCase {
  static auto some() { return PriorityTail{6}; }
  static auto all() { return PriorityTail{kMost}; }
  static auto exact() { return Sinks{0}; }
  static constexpr bool kPlain = true;
};
struct MultinomialCase {
  static auto some() { return MultinomialTail{6}; }
  static auto all() { return MultinomialTail{kMost}; }
  static auto exact() { return Sinks{0}; }
  static constexpr bool kPlain = true;
};
struct SystematicCase {
  static auto some() { return SystematicTail{6}; }
  static auto all() { return SystematicTail{kMost}; }
  static auto exact() { return Sinks{0}; }
  static constexpr bool kPlain = true;
};
struct PoissonCase {
  static auto some() { return PoissonTail{6}; }
  static auto all() { return PoissonTail{kMost}; }
  static auto exact() { return Sinks{0}; }
  static constexpr bool kPlain = true;
};
struct TopPCase {
  static auto some() { return TopP{0.6}; }
  static auto all() { return TopP{1}; }
  static auto exact() { return some(); }
  static constexpr bool kPlain = true;
};
struct SinksWindowTopKCase {
  static auto some() { return stack(Sinks{2}, Window{4}, TopK{5}); }
  static auto all() { return stack(Sinks{2}, Window{4}, TopK{kMost}); }
  static auto exact() { return some(); }
  static constexpr bool kPlain = false;
};
struct SinksWindowTopKPriorityCase {
  static auto some() { return stack(Sinks{2}, Window{4}, TopK{3}, PriorityTail{5}); }
  static auto all() { return stack(Sinks{2}, Window{4}, TopK{3}, PriorityTail{kMost}); }
  static auto exact() { return stack(Sinks{2}, Window{4}, TopK{3}); }
  static constexpr bool kPlain = false;
};
struct TwoTopKsUniformCase {
  static auto some() { return stack(TopK{3}, Window{2}, TopK{power(1, 0.3)}, UniformTail{fraction(0.05, 2)}); }
  static auto all() { return stack(TopK{3}, Window{2}, TopK{power(1, 0.3)}, UniformTail{fraction(1)}); }
  static auto exact() { return stack(TopK{3}, Window{2}, TopK{power(1, 0.3)}); }
  static constexpr bool kPlain = false;
};
struct StackInStackCase {
  static auto some() { return stack(stack(Window{3}, Sinks{3}), stack(TopK{2}, PriorityTail{4})); }
  static auto all() { return stack(stack(Window{3}, Sinks{3}), stack(TopK{2}, PriorityTail{kMost})); }
  static auto exact() { return stack(stack(Window{3}, Sinks{3}), TopK{2}); }
  static constexpr bool kPlain = false;
};
struct TopKDenseCase {
  static auto some() { return stack(TopK{3}, Dense{}); }
  static auto all() { return some(); }
  static auto exact() { return some(); }
  static constexpr bool kPlain = false;
};
struct TextOfSpansCase {
  static auto some() { return parse("window(3) + sinks(2)"); }
  static auto all() { return parse("window(3) + dense"); }
  static auto exact() { return some(); }
  static constexpr bool kPlain = false;
};
struct TextOfTopKCase {
  static auto some() { return parse("sinks(2)+topk(power(0.8,0.5))"); }
  static auto all() { return parse("sinks(2)+topk(power(1,1))"); }
  static auto exact() { return some(); }
  static constexpr bool kPlain = false;
};
struct TextOfSamplersCase {
  static auto some() { return parse("sinks(2)+window(4)+topk(fraction(0.03,1))+priority(power(1,0.4))"); }
  static auto all() { return parse("sinks(2)+window(4)+topk(fraction(0.03,1))+priority(fraction(1))"); }
  static auto exact() { return parse("sinks(2)+window(4)+topk(fraction(0.03,1))"); }
  static constexpr bool kPlain = false;
};
struct TextOfProportionalCase {
  static auto some() { return parse("topp(0.3)+systematic(5)"); }
  static auto all() { return parse("topp(0.3)+systematic(fraction(1))"); }
  static auto exact() { return parse("topp(0.3)"); }
  static constexpr bool kPlain = false;
};
struct TextOfMultinomialCase {
  static auto some() { return parse("sinks(2)+multinomial(7)"); }
  static auto all() { return parse("sinks(2)+multinomial(1000000)"); }
  static auto exact() { return parse("sinks(2)"); }
  static constexpr bool kPlain = false;
};
struct TextOfPoissonCase {
  static auto some() { return parse("window(2)+poisson(7)"); }
  static auto all() { return parse("window(2)+poisson(1000000)"); }
  static auto exact() { return parse("window(2)"); }
  static constexpr bool kPlain = false;
};
struct TextOfUniformCase {
  static auto some() { return parse("topk(2)+uniform(5)"); }
  static auto all() { return parse("topk(2)+uniform(1000000)"); }
  static auto exact() { return parse("topk(2)"); }
  static constexpr bool kPlain = false;
};

using SingleCases =
    testing::Types<DenseCase, SinksCase, WindowCase, TopKCase, TopKFractionCase, TopKPowerCase, TopPCase, UniformCase,
                   PriorityCase, MultinomialCase, SystematicCase, PoissonCase>;
using StackCases =
    testing::Types<SinksWindowTopKCase, SinksWindowTopKPriorityCase, TwoTopKsUniformCase, StackInStackCase,
                   TopKDenseCase, TextOfSpansCase, TextOfTopKCase, TextOfSamplersCase, TextOfUniformCase,
                   TextOfProportionalCase, TextOfMultinomialCase, TextOfPoissonCase>;

// A text form holds every estimator of the library in one type: for other storage types it is quicker to compile.
using TextCases = testing::Types<DenseCase, SinksWindowTopKPriorityCase, TextOfSpansCase, TextOfTopKCase,
                                 TextOfSamplersCase, TextOfUniformCase, TextOfProportionalCase, TextOfMultinomialCase,
                                 TextOfPoissonCase>;

// Law 3: a stage that stands for everything still unselected can only be last. `stack` asserts it with this
// when it is compiled, `parse` and StageList::validate say it when they run.
static_assert(stack_detail::tail_is_last<Sinks, TopK, PriorityTail>());
static_assert(stack_detail::tail_is_last<Dense>());
static_assert(!stack_detail::tail_is_last<Dense, Sinks>());
static_assert(!stack_detail::tail_is_last<UniformTail, PriorityTail>());
static_assert(!stack_detail::tail_is_last<MultinomialTail, TopK>());
static_assert(!stack_detail::tail_is_last<SystematicTail, Dense>());
static_assert(!stack_detail::tail_is_last<PoissonTail, Sinks>());
static_assert(stack_detail::tail_is_last<TopP, Dense>());
static_assert(!stack_detail::tail_is_last<Sinks, PriorityTail, TopK>());
static_assert(!stack_detail::tail_is_last<Stack<Sinks, Dense>, Window>());

}  // namespace skim::test

#endif  // SKIM_TESTS_LAWS_CASES_H_

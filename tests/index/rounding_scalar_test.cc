// SPDX-License-Identifier: Apache-2.0
// Do bounds hold where rounding goes as wrong as it can, without vectors? Then every step of a sum follows the one before,
// and no more than the bounds allow is what it takes.
//
// Of what is used by other files of this program nothing may be included here that is compiled for a target and does not
// say so in its name: so none of the other headers of tests/support.
#define HWY_COMPILE_ONLY_SCALAR
#define SKIM_ALLOW_SLOW_TARGET
#include "support/rounding.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

template <class K>
struct RoundedAwayScalarOf : testing::Test {};
using Storages = testing::Types<float, F16, BF16>;  // sums of int8 are exact
TYPED_TEST_SUITE(RoundedAwayScalarOf, Storages);

// A quarter of the slack would not do. Half of it is the most that two sums with |key| + |centre| <= reach can need.
TYPED_TEST(RoundedAwayScalarOf, SketchBoundsHold) {
  static_assert(kLanes<float> == 1);
  for (const std::size_t d : {64u, 128u, 256u, 512u, 1024u}) expect_sketch_holds<TypeParam>(d);
  EXPECT_GE(shares_of_sketch<TypeParam>(1024).most, 0.45);
}

// Hardly anything of the slack could be spared.
TYPED_TEST(RoundedAwayScalarOf, BoxBoundsHold) {
  for (const std::size_t d : {64u, 128u, 256u, 1024u, 16384u}) expect_boxes_hold<TypeParam>(d);
  EXPECT_GE(shares_of_boxes<TypeParam>(16384).most, 0.98);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

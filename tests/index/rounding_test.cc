// SPDX-License-Identifier: Apache-2.0
// Do bounds hold where rounding goes as wrong as it can, with the vectors of this machine?
#include "support/rounding.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

template <class K>
struct RoundedAwayOf : testing::Test {};
using Storages = testing::Types<float, F16, BF16>;  // sums of int8 are exact
TYPED_TEST_SUITE(RoundedAwayOf, Storages);

TYPED_TEST(RoundedAwayOf, SketchBoundsHold) {
  for (const std::size_t d : {512u, 1024u}) expect_sketch_holds<TypeParam>(d);
}

TYPED_TEST(RoundedAwayOf, BoxBoundsHold) {
  for (const std::size_t d : {64u, 128u, 256u, 1024u, 16384u}) expect_boxes_hold<TypeParam>(d);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

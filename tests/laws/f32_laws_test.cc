// SPDX-License-Identifier: Apache-2.0
// The laws, for keys and values of type F32: each estimator alone.
#define SKIM_LAWS_STORAGE float
#include "laws/laws.h"

namespace skim::test {
namespace {

INSTANTIATE_TYPED_TEST_SUITE_P(F32, Laws, SingleCases, CaseName);

}  // namespace
}  // namespace skim::test

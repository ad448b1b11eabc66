// SPDX-License-Identifier: Apache-2.0
// The laws, for keys and values of type F32: stacks, and estimators from text.
#define SKIM_LAWS_STORAGE float
#include "laws/laws.h"

namespace skim::test {
namespace {

INSTANTIATE_TYPED_TEST_SUITE_P(F32Stacks, Laws, StackCases, CaseName);

}  // namespace
}  // namespace skim::test

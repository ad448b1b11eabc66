// SPDX-License-Identifier: Apache-2.0
// The laws, for keys and values of type F16.
#define SKIM_LAWS_STORAGE skim::F16
#include "laws/laws.h"

namespace skim::test {
namespace {

INSTANTIATE_TYPED_TEST_SUITE_P(F16, Laws, TextCases, CaseName);

}  // namespace
}  // namespace skim::test

// SPDX-License-Identifier: Apache-2.0
// The laws, for keys and values of type BF16.
#define SKIM_LAWS_STORAGE skim::BF16
#include "laws/laws.h"

namespace skim::test {
namespace {

INSTANTIATE_TYPED_TEST_SUITE_P(BF16, Laws, TextCases, CaseName);

}  // namespace
}  // namespace skim::test

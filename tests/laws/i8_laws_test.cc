// SPDX-License-Identifier: Apache-2.0
// The laws, for keys and values of type I8: spans, picks and every kind of stage, in few types.
#define SKIM_LAWS_STORAGE skim::I8
#include "laws/laws.h"

namespace skim::test {
namespace {

using FewCases = testing::Types<DenseCase, SinksWindowTopKPriorityCase, TextOfSamplersCase>;
INSTANTIATE_TYPED_TEST_SUITE_P(I8, Laws, FewCases, CaseName);

}  // namespace
}  // namespace skim::test

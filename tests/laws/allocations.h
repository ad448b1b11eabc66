// SPDX-License-Identifier: Apache-2.0
// How often has this program asked for memory?
#ifndef SKIM_TESTS_LAWS_ALLOCATIONS_H_
#define SKIM_TESTS_LAWS_ALLOCATIONS_H_

#include <cstddef>

namespace skim::test {

/// Calls of any operator new since the program began, on all threads.
std::size_t allocations();

}  // namespace skim::test

#endif  // SKIM_TESTS_LAWS_ALLOCATIONS_H_

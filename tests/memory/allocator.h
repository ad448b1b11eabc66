// SPDX-License-Identifier: Apache-2.0
// How often does this program ask for memory, and what if it gets none?
#ifndef SKIM_TESTS_MEMORY_ALLOCATOR_H_
#define SKIM_TESTS_MEMORY_ALLOCATOR_H_

#include <cstddef>
#include <new>

#include <gtest/gtest.h>

namespace skim::test {

/// Calls of any operator new since the program began, on all threads.
std::size_t allocations();

/// The allocation after `count` more fails, once.
void fail_allocation_after(std::size_t count);
/// None fails any more. Whether one did.
bool forgive_allocations();

/// Calls `call` again and again: the first, the second ... allocation in it fails, until there is none left to fail.
/// before() comes before each time, and failed() after each that has thrown; what fails must throw.
template <class Before, class Call, class Failed>
void for_each_failing_allocation(const Before& before, const Call& call, const Failed& failed) {
  for (std::size_t count = 0;; ++count) {
    ASSERT_LT(count, 10000u) << "there is no end of it";
    before();
    bool thrown = false;
    fail_allocation_after(count);
    try {
      call();
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
    const bool was_refused = forgive_allocations();
    ASSERT_EQ(thrown, was_refused) << "allocation " << count;
    if (!thrown) return;
    failed(count);
    if (testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace skim::test

#endif  // SKIM_TESTS_MEMORY_ALLOCATOR_H_

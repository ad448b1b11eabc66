// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_TESTS_CORE_EXPECT_ERROR_H_
#define SKIM_TESTS_CORE_EXPECT_ERROR_H_

#include <gtest/gtest.h>

#include <initializer_list>
#include <stdexcept>
#include <string>

namespace skim::test {

/// `call` must throw std::invalid_argument whose text has each of `parts`: usually both numbers that do not
/// go together.
template <class Call>
void expect_error(const Call& call, std::initializer_list<const char*> parts) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    const std::string text = error.what();
    for (const char* part : parts) {
      EXPECT_NE(text.find(part), std::string::npos) << "no \"" << part << "\" in: " << text;
    }
    return;
  }
  ADD_FAILURE() << "nothing was thrown; expected an error with \"" << *parts.begin() << "\"";
}

}  // namespace skim::test

#endif  // SKIM_TESTS_CORE_EXPECT_ERROR_H_

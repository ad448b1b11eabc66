// SPDX-License-Identifier: Apache-2.0
#include "skim/core/error.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

namespace {

template <class... Parts>
std::string text_of(const Parts&... parts) {
  try {
    skim::fail(parts...);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
}

TEST(Fail, JoinsTextsAndNumbers) {
  EXPECT_EQ(text_of("skim::attend: q has ", std::size_t{64}, " columns but keys have ", 128),
            "skim::attend: q has 64 columns but keys have 128");
  EXPECT_EQ(text_of(std::string("a string"), ", ", -7), "a string, -7");
}

TEST(Fail, ShowsLargeNumbersInFull) {
  EXPECT_EQ(text_of(std::numeric_limits<std::size_t>::max()), "18446744073709551615");
  EXPECT_EQ(text_of(std::numeric_limits<std::int64_t>::min()), "-9223372036854775808");
}

TEST(Fail, ShowsWhatIsWrongWithAFraction) {
  EXPECT_EQ(text_of(1.5).substr(0, 3), "1.5");
  EXPECT_EQ(text_of(std::numeric_limits<double>::quiet_NaN()), "nan");
  EXPECT_EQ(text_of(-std::numeric_limits<float>::infinity()), "-inf");
}

// std::to_string would print 0.000000 and hide the number that is out of range.
TEST(Fail, ShowsSmallFractions) {
  const std::string text = text_of("scale is ", -1e-9);
  EXPECT_NE(text.find("1e-09"), std::string::npos) << text;
}

}  // namespace

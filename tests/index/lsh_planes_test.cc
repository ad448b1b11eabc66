// SPDX-License-Identifier: Apache-2.0
// Are planes normal numbers that are the same for equal arguments?
#include "skim/index/lsh_planes.h"

#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "core/expect_error.h"

namespace skim::test {
namespace {

TEST(LshPlanes, AreTheirArguments) {
  const LshPlanes planes(37, 3, 11, 5), again(37, 3, 11, 5), other(37, 3, 11, 6), more(37, 3, 12, 5);
  EXPECT_EQ(planes.key_dim(), 37u);
  EXPECT_EQ(planes.bits(), 3u);
  EXPECT_EQ(planes.tables(), 11u);
  EXPECT_EQ(planes.bytes(), 37u * 3 * 11 * 4);
  EXPECT_EQ(std::memcmp(planes.normals(), again.normals(), planes.bytes()), 0);
  EXPECT_EQ(std::memcmp(planes.normals(), more.normals(), planes.bytes()), 0) << "fewer tables are the first of more";
  std::size_t same = 0;
  for (std::size_t i = 0; i < 37 * 3 * 11; ++i) same += planes.normals()[i] == other.normals()[i] ? 1u : 0u;
  EXPECT_LE(same, 2u);
}

// Moments and the share beyond 1, 2 and 3, each within 5.5 standard errors: a false alarm once in 10^6. And a plane has
// nothing to do with the next, nor a number with its partner in a pair.
TEST(LshPlanes, AreNormal) {
  const LshPlanes planes(128, 10, 150, 1);
  const std::size_t count = 128 * 10 * 150;
  const auto n = static_cast<double>(count);
  double moment[5] = {}, beyond[4] = {}, neighbours = 0, squares = 0, planes_apart = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const double x = planes.normals()[i];
    ASSERT_TRUE(std::isfinite(x));
    for (int j = 1; j <= 4; ++j) moment[j] += std::pow(x, j) / n;
    for (int j = 1; j <= 3; ++j) beyond[j] += x > j ? 1 / n : 0;
    if (i + 1 < count) neighbours += x * planes.normals()[i + 1] / n;
    if (i + 1 < count) squares += (x * x - 1) * (std::pow(planes.normals()[i + 1], 2) - 1) / n;
    if (i + 128 < count) planes_apart += x * planes.normals()[i + 128] / n;
  }
  const double error = 5.5 / std::sqrt(n);
  for (std::size_t lag = 1; lag < 300; ++lag) {  // a draw that is made twice
    double sum = 0;
    for (std::size_t i = 0; i + lag < count; ++i) sum += planes.normals()[i] * planes.normals()[i + lag] / n;
    ASSERT_NEAR(sum, 0, error) << lag;
  }
  EXPECT_NEAR(moment[1], 0, error);
  EXPECT_NEAR(moment[2], 1, error * std::sqrt(2));
  EXPECT_NEAR(moment[3], 0, error * std::sqrt(15));
  EXPECT_NEAR(moment[4], 3, error * std::sqrt(96));
  EXPECT_NEAR(neighbours, 0, error);
  EXPECT_NEAR(squares, 0, error * 2);
  EXPECT_NEAR(planes_apart, 0, error);
  for (int j = 1; j <= 3; ++j) {
    const double share = std::erfc(j / std::sqrt(2.0)) / 2;
    EXPECT_NEAR(beyond[j], share, error * std::sqrt(share)) << j;
  }
}

TEST(LshPlanes, Errors) {
  expect_error([] { LshPlanes(0, 1, 1, 1); }, {"d is 0", "1024"});
  expect_error([] { LshPlanes(1025, 1, 1, 1); }, {"d is 1025", "1024"});
  expect_error([] { LshPlanes(8, 0, 1, 1); }, {"bits is 0", "16"});
  expect_error([] { LshPlanes(8, 17, 1, 1); }, {"bits is 17", "16"});
  expect_error([] { LshPlanes(8, 1, 0, 1); }, {"tables is 0", "1024"});
  expect_error([] { LshPlanes(8, 1, 1025, 1); }, {"tables is 1025", "1024"});
}

}  // namespace
}  // namespace skim::test

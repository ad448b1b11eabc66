// SPDX-License-Identifier: Apache-2.0
// Was everything written, and nothing else? An output buffer full of poison between two fences.
#ifndef SKIM_TESTS_SUPPORT_GUARDED_H_
#define SKIM_TESTS_SUPPORT_GUARDED_H_

#include <cstddef>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

namespace skim::test {

/// `count` numbers of poison, with kFence sentinels before and behind.
template <class Real>
class Guarded {
 public:
  static constexpr std::size_t kFence = 1024;
  static constexpr Real kPoison = Real(-7.7e30);

  explicit Guarded(std::size_t count) : numbers_(count + 2 * kFence, kPoison) {}

  Real* data() { return numbers_.data() + kFence; }
  const Real* data() const { return numbers_.data() + kFence; }
  std::size_t size() const { return numbers_.size() - 2 * kFence; }

  testing::AssertionResult fences_stand() const {
    for (std::size_t i = 0; i < kFence; ++i) {
      if (numbers_[i] == kPoison && numbers_[numbers_.size() - 1 - i] == kPoison) continue;
      return testing::AssertionFailure() << "written beyond the buffer";
    }
    return testing::AssertionSuccess();
  }

  testing::AssertionResult untouched() const {
    for (std::size_t i = 0; i < numbers_.size(); ++i) {
      if (numbers_[i] != kPoison) return testing::AssertionFailure() << "something was written";
    }
    return testing::AssertionSuccess();
  }

  testing::AssertionResult all_written() const {
    for (std::size_t i = 0; i < size(); ++i) {
      if (data()[i] == kPoison) return testing::AssertionFailure() << "number " << i << " was not written";
    }
    return fences_stand();
  }

 private:
  std::vector<Real> numbers_;
};

}  // namespace skim::test

#endif  // SKIM_TESTS_SUPPORT_GUARDED_H_

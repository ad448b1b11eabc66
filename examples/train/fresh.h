// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "chance.h"

namespace train {

/// Draws words and numbers that a text does not have yet, so that what is hidden in it under them
/// is there once.
class Fresh {
 public:
  static constexpr std::size_t kWordBytes = 4;  // of almost all words

  explicit Fresh(std::string_view text) : used_(text) {}

  /// Two syllables of a consonant and a vowel, such as "kabo".
  std::string word(Random& random) {
    return draw([&](std::size_t more) {
      constexpr std::string_view kConsonants = "bdfghklmnprstvwz", kVowels = "aeiou";
      std::string word;
      for (std::size_t i = 0; i < 2 + more; ++i) {
        word += kConsonants[below(kConsonants.size(), random)];
        word += kVowels[below(kVowels.size(), random)];
      }
      return word;
    });
  }

  /// Four digits.
  std::string number(Random& random) {
    return draw([&](std::size_t more) {
      std::string number;
      for (std::size_t i = 0; i < 4 + more; ++i) number += static_cast<char>('0' + below(10, random));
      return number;
    });
  }

 private:
  /// What `make(more)` makes, tried until it is new. A text may have all there are, so after many
  /// failures they become longer by `more`.
  template <class Make>
  std::string draw(const Make& make) {
    for (std::size_t attempt = 0;; ++attempt) {
      std::string made = make(attempt / 64);
      if (used_.find(made) != std::string::npos) continue;
      used_ += ' ' + made;
      return made;
    }
  }

  std::string used_;
};

}  // namespace train
